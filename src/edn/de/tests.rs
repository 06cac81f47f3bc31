//! The deserializer on small structs like those of the config.

use serde::Deserialize;

use super::*;
use crate::edn::{Rewrite, read_node};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct App {
    git_url: Spanned<String>,
    #[serde(rename = "update?", default)]
    update: bool,
    trigger: Option<Trigger>,
    ports: Option<Vec<u16>>,
    runner: Option<Runner>,
    environment: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Trigger {
    PushAny,
    Push,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Runner {
    Local,
    Remote { url: String },
}

fn fault(text: &str) -> (String, String) {
    let error = from_str::<App>(text).unwrap_err();
    let span = error.span.expect("every error has a place");
    (error.to_string(), text[span.range()].to_owned())
}

#[test]
fn keywords_are_fields_variants_and_map_keys() {
    let text = r#"{:git-url "git@h:a/b" :update? true :trigger :push-any :ports [80 8080] :runner {:remote {:url "u"}}
                   :environment {"PORT" "1" :HOME "/"}}"#;
    let app: App = from_str(text).unwrap();
    assert_eq!(app.git_url.value, "git@h:a/b");
    assert_eq!(&text[app.git_url.span.range()], "\"git@h:a/b\"");
    assert_eq!((app.update, app.trigger, app.ports), (true, Some(Trigger::PushAny), Some(vec![80, 8080])));
    assert_eq!(app.runner, Some(Runner::Remote { url: "u".into() }));
    assert_eq!(app.environment.unwrap().len(), 2);
    assert_eq!(from_str::<App>("{:git-url \"x\" :runner :local :trigger nil}").unwrap().runner, Some(Runner::Local));
}

#[test]
fn an_error_points_at_what_is_wrong() {
    let (message, place) = fault("{:git-url \"x\" :triger :push}");
    assert_eq!(place, ":triger");
    assert!(message.starts_with("unknown key :triger; expected one of :git-url :update? :trigger"), "{message}");
    assert_eq!(fault("{:git-url \"x\" :trigger :pull}").1, ":pull");
    assert_eq!(fault("{:git-url \"x\" :ports [1 70000]}").1, "70000");
    assert_eq!(fault("{:git-url \"x\" :ports 80}"), ("expected a vector, found the number 80".into(), "80".into()));
    assert_eq!(fault("{:git-url 7}"), ("expected a string, found the number 7".into(), "7".into()));
    assert_eq!(fault(" {:update? true}"), ("the key :git-url is missing".into(), "{:update? true}".into()));
    assert_eq!(fault("{:git-url #env X}"), ("the tag #env has no meaning here".into(), "#env X".into()));
    assert_eq!(fault("{:git-url \"x\" :runner {:remote {:url \"u\" :x}}}").1, ":x");
    assert_eq!(fault("[1]").0, "expected a map, found a vector");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_in_the_message() {
    assert!(!fault("{:git-url \"x\" :update? \"hunter2\"}").0.contains("hunter2"));
}

/// `#env` becomes a string, `#or` the first that is not nil, `#include` a value from another text.
struct Tags;

impl Rewrite for Tags {
    type Error = String;
    fn tagged(&mut self, tag: &str, inner: Node, span: Span) -> Result<Node, String> {
        match (tag, inner.value) {
            ("env", Value::Symbol(name)) if name == "SET" => Ok(Node::new(span, Value::Str("set".into()))),
            ("env", _) => Ok(Node::new(span, Value::Nil)),
            ("or", Value::Vector(nodes)) => {
                for node in nodes {
                    let node = node.rewrite(self)?;
                    if node.value != Value::Nil {
                        return Ok(node);
                    }
                }
                Ok(Node::new(span, Value::Nil))
            }
            ("include", _) => read_node("{:deep #env SET}", SourceId(1)).map_err(|e| e.to_string())?.rewrite(self),
            _ => Err(format!("no #{tag}")),
        }
    }
}

#[test]
fn tagged_values_are_replaced_and_keep_their_places() {
    let text = "{:a #or [#env NONE #env SET #boom 1] :b #include \"x\" :c [#env SET]}";
    let node = read_node(text, SourceId(0)).unwrap().rewrite(&mut Tags).unwrap();
    let a = node.get("a").unwrap();
    assert_eq!((a.as_str(), &text[a.span.range()]), (Some("set"), "#env SET"));
    let deep = node.get("b").unwrap().get("deep").unwrap();
    assert_eq!((deep.as_str(), deep.span.source), (Some("set"), SourceId(1)));
    assert_eq!(read_node("{:a #boom 1}", SourceId(0)).unwrap().rewrite(&mut Tags), Err("no #boom".to_owned()));
}
