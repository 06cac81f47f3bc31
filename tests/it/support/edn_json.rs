//! EDN values as the corpus writes them in JSON, to compare with what Clojure read.

use airplanes::edn::{Document, Form, Kind, Number, instant_millis, uuid_bits};
use serde_json::{Map, Value, json};

/// The top-level values, maps and sets in an order of our own.
pub fn forms(document: &Document<'_>) -> Vec<Value> {
    document.forms().map(value).collect()
}

/// Clojure's values in the same order.
pub fn canonical(mut value: Value) -> Value {
    match &mut value {
        Value::Array(items) => items.iter_mut().for_each(|item| *item = canonical(item.take())),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                *field = canonical(field.take());
                match (key.as_str(), &mut *field) {
                    ("map" | "set", Value::Array(items)) => items.sort_by_key(Value::to_string),
                    ("float", Value::String(text)) => *text = float(text.parse().unwrap()),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    value
}

fn float(value: f64) -> String {
    format!("{value:?}").to_lowercase().replace("inf", "infinity").replace("infinityinity", "infinity")
}

fn value(form: Form<'_>) -> Value {
    let all = |form: Form<'_>| form.values().map(value).collect::<Vec<_>>();
    let mut json = match form.kind() {
        Kind::Nil => Value::Null,
        Kind::Bool => json!(form.boolean().unwrap()),
        Kind::Number => number(form.number().unwrap()),
        Kind::Char => json!({"char": form.character().unwrap().to_string()}),
        Kind::Str => json!({"str": form.string().unwrap()}),
        Kind::Keyword => json!({"kw": form.keyword().unwrap().to_string()}),
        Kind::Symbol => json!({"sym": form.symbol().unwrap().to_string()}),
        Kind::List => json!({"list": all(form)}),
        Kind::Vector => json!({"vec": all(form)}),
        Kind::Set => json!({"set": all(form)}),
        Kind::Map => json!({"map": form.entries().map(|(k, v)| json!([value(k), value(v)])).collect::<Vec<_>>()}),
        Kind::Tagged => {
            let inner = form.values().next().unwrap();
            match form.tag().unwrap() {
                "inst" => json!({"inst": instant(&inner.string().unwrap())}),
                "uuid" => json!({"uuid": uuid(&inner.string().unwrap())}),
                tag => json!({"tag": tag, "form": value(inner)}),
            }
        }
    };
    let mut meta: Vec<(Value, Value)> = Vec::new();
    for form in form.metadata() {
        let entries: Vec<(Value, Value)> = match form.kind() {
            Kind::Map => form.entries().map(|(k, v)| (value(k), value(v))).collect(),
            Kind::Keyword => vec![(value(form), json!(true))],
            _ => vec![(json!({"kw": "tag"}), value(form))],
        };
        // The outermost comes first, and wins.
        for (key, value) in entries {
            if !meta.iter().any(|(known, _)| *known == key) {
                meta.push((key, value));
            }
        }
    }
    if !meta.is_empty() {
        let meta: Vec<Value> = meta.into_iter().map(|(k, v)| json!([k, v])).collect();
        let fields: &mut Map<String, Value> = json.as_object_mut().unwrap();
        fields.insert("meta".to_owned(), json!({"map": meta}));
    }
    canonical(json)
}

fn number(number: Number) -> Value {
    match number {
        Number::Int(int) => json!({"int": int.to_string()}),
        Number::BigInt(digits) => json!({"bigint": digits}),
        Number::Float(value) => {
            json!({"float": if value.is_infinite() { if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned() } else { value.to_string() }})
        }
        Number::Decimal { digits, scale } => json!({"decimal": decimal(&digits, scale)}),
        Number::Ratio { numerator, denominator } => json!({"ratio": format!("{numerator}/{denominator}")}),
    }
}

/// As Java's `BigDecimal.toString`.
fn decimal(digits: &str, scale: i64) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let adjusted = digits.len() as i64 - 1 - scale;
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    if scale > 0 && adjusted >= -6 {
        let padded = format!("{digits:0>width$}", width = scale as usize + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale as usize);
        return format!("{sign}{whole}.{fraction}");
    }
    let point = if digits.len() > 1 { "." } else { "" };
    format!("{sign}{}{point}{}E{adjusted:+}", &digits[..1], &digits[1..])
}

fn instant(text: &str) -> String {
    let millis = instant_millis(text).unwrap();
    let stamp = jiff::Timestamp::from_millisecond(millis).unwrap();
    let digits = if millis % 1000 == 0 { 0 } else { 3 };
    format!("{stamp:.digits$}")
}

fn uuid(text: &str) -> String {
    let hex = format!("{:032x}", uuid_bits(text).unwrap());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
