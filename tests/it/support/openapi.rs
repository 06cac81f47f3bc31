//! What a published OpenAPI says of a request: its path, method, query and body. As much of JSON Schema as those use.

use std::path::Path;

use serde_json::Value;

/// One provider's description.
pub struct OpenApi {
    document: Value,
}

impl OpenApi {
    pub fn read(path: &Path) -> Self {
        Self { document: serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() }
    }

    /// What is wrong with a request.
    pub fn check(&self, method: &str, path: &str, query: &[(String, String)], body: &Value) -> Result<(), String> {
        let paths = self.document["paths"].as_object().unwrap();
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let template: Vec<&str> = template.split('/').collect();
            let is = |(part, own): (&&str, &&str)| part == own || (own.starts_with('{') && !part.is_empty());
            template.len() == parts.len() && parts.iter().zip(&template).all(is)
        };
        // One without a parameter at that place is meant before one with.
        let mut found: Vec<_> = paths.iter().filter(|(template, _)| fits(template)).collect();
        found.sort_by_key(|(template, _)| template.matches('{').count());
        let item = found.first().map(|(_, item)| *item).ok_or_else(|| format!("no path {path}"))?;
        let operation = item.get(method.to_lowercase()).ok_or_else(|| format!("{path} takes no {method}"))?;
        let own = [item, operation].map(|of| of["parameters"].as_array().cloned().unwrap_or_default()).concat();
        let parameters: Vec<&Value> = own.iter().map(|one| self.resolved(one)).collect();
        for (name, value) in query {
            let known = parameters.iter().find(|one| one["name"] == **name && one["in"] == "query");
            let known = known.ok_or_else(|| format!("{path} knows no query {name}"))?;
            let as_number = value.parse::<u64>().map_or_else(|_| Value::from(value.as_str()), Value::from);
            self.fits(&known["schema"], &as_number, name)
                .or_else(|_| self.fits(&known["schema"], &Value::from(value.as_str()), name))?;
        }
        let wanted = self.resolved(&operation["requestBody"]);
        let schema = &wanted["content"]["application/json"]["schema"];
        match (schema, body) {
            (Value::Null, Value::Null) => Ok(()),
            (Value::Null, _) => Err(format!("{method} {path} takes no body")),
            (_, Value::Null) if method == "GET" || method == "DELETE" => Ok(()),
            (schema, body) => {
                let mut known = Vec::new();
                self.properties(schema, &mut known);
                for name in body.as_object().ok_or("the body is no object")?.keys() {
                    if !known.contains(name) {
                        return Err(format!("the body has an unknown {name}"));
                    }
                }
                self.fits(schema, body, "body")
            }
        }
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(place) => self.resolved(self.document.pointer(place.trim_start_matches('#')).unwrap()),
            None => value,
        }
    }

    /// The names of all properties, whatever they are combined by.
    fn properties(&self, schema: &Value, known: &mut Vec<String>) {
        let schema = self.resolved(schema);
        known.extend(schema["properties"].as_object().into_iter().flat_map(|all| all.keys().cloned()));
        for word in ["allOf", "anyOf", "oneOf"] {
            schema[word].as_array().into_iter().flatten().for_each(|one| self.properties(one, known));
        }
    }

    fn fits(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = self.resolved(schema);
        let bad = |why: String| Err(format!("{at}: {why}"));
        let all = |word: &str| schema[word].as_array().into_iter().flatten();
        for one in all("allOf") {
            self.fits(one, value, at)?;
        }
        for word in ["anyOf", "oneOf"] {
            let tried: Vec<_> = all(word).map(|one| self.fits(one, value, at)).collect();
            if !tried.is_empty() && tried.iter().all(Result::is_err) {
                return bad(format!("fits none of {word}: {tried:?}"));
            }
        }
        let is = match schema["type"].as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64() || value.is_i64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => true,
        };
        if !is {
            return bad(format!("{value} is no {}", schema["type"]));
        }
        if let Some(one_of) = schema["enum"].as_array().filter(|one_of| !one_of.contains(value)) {
            return bad(format!("{value} is none of {one_of:?}"));
        }
        if let Some(text) = value.as_str() {
            let long = text.chars().count() as u64;
            if long < schema["minLength"].as_u64().unwrap_or(0)
                || long > schema["maxLength"].as_u64().unwrap_or(u64::MAX)
            {
                return bad(format!("it has {long} characters"));
            }
        }
        if let Some(number) = value.as_u64()
            && schema["maximum"].as_u64().is_some_and(|maximum| number > maximum)
        {
            return bad(format!("{number} is too much"));
        }
        for item in value.as_array().into_iter().flatten() {
            self.fits(&schema["items"], item, at)?;
        }
        if let Some(object) = value.as_object() {
            for name in schema["required"].as_array().into_iter().flatten() {
                if !object.contains_key(name.as_str().unwrap()) {
                    return bad(format!("{name} is missing"));
                }
            }
            for (name, value) in object {
                if let Some(property) = schema["properties"].get(name) {
                    self.fits(property, value, &format!("{at}.{name}"))?;
                }
            }
        }
        Ok(())
    }
}
