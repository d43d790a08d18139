//! The JSON Schema of `gospel-release.yaml`, made from the model; editors use it, and so does our own check.

use std::sync::OnceLock;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::{Config, span};
use crate::domain::{ServiceName, TagPattern};

const SERVICE_NAME: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
const TAG_PATTERN: &str = "^([A-Za-z0-9_][-A-Za-z0-9_./]*)?v\\*$";

/// The schema, as `config schema` prints it and as `schema/gospel-release.schema.json` holds it.
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = schemars::schema_for!(Config);
        schema.insert("title".into(), "gospel-release.yaml".into());
        schema.to_value()
    })
}

/// The text of the schema's file.
pub fn file() -> String {
    // A `Value` has string keys only: it always becomes text.
    serde_json::to_string_pretty(schema()).unwrap_or_default() + "\n"
}

/// The schema that `schema` refers to, if it is a reference.
pub(super) fn resolve(schema: &'static Value) -> &'static Value {
    let Some(pointer) = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#')) else {
        return schema;
    };
    self::schema().pointer(pointer).unwrap_or(schema)
}

/// The alternatives of a schema, `null` left out: itself, if it has none. And whether `null` is one.
pub(super) fn alternatives(schema: &'static Value) -> (Vec<&'static Value>, bool) {
    let is_null = |schema: &Value| schema.get("type").and_then(Value::as_str) == Some("null");
    match resolve(schema).get("anyOf").and_then(Value::as_array) {
        None => {
            let own = resolve(schema);
            let nullable =
                own.get("type").and_then(Value::as_array).is_some_and(|types| types.contains(&"null".into()));
            (vec![own], nullable)
        }
        Some(all) => (all.iter().filter(|one| !is_null(one)).map(resolve).collect(), all.iter().any(is_null)),
    }
}

/// The schema's properties, where it is a section.
pub(super) fn properties(schema: &'static Value) -> Option<&'static serde_json::Map<String, Value>> {
    let (alternatives, _) = alternatives(schema);
    alternatives.into_iter().find_map(|one| one.get("properties")).and_then(Value::as_object)
}

/// Whether a text has a form, and if not, why.
pub(super) type Form = fn(&str) -> Result<(), String>;

/// What a text of this pattern must be beyond it: the parser that will read it.
pub(super) fn form(pattern: &str) -> Option<Form> {
    match pattern {
        span::PATTERN => Some(|text| span::parse(text).map(drop)),
        SERVICE_NAME => Some(|text| text.parse::<ServiceName>().map(drop).map_err(|error| error.to_string())),
        TAG_PATTERN => Some(|text| text.parse::<TagPattern>().map(drop).map_err(|error| error.to_string())),
        _ => None,
    }
}

pub(super) fn service_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": SERVICE_NAME})
}

pub(super) fn tag_pattern(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": TAG_PATTERN})
}

/// A section of which a file may name any part: the rest is merged from the layers below.
pub(super) fn nothing_required(schema: &mut Schema) {
    schema.remove("required");
}
