//! What the stand-in knows of each type: which attributes come from the provider, which force a replacement, how long it takes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::value::{Attributes, Val};
use crate::error::{Error, Result};

/// What the types of the AWS provider begin with.
pub const AWS: &str = "aws_";

/// Every type by name.
#[derive(Debug)]
pub struct Schemas(BTreeMap<String, Schema>);

/// One type of resource. World time in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schema {
    /// Every argument that may be given; all, where it is not said.
    pub takes: Option<Vec<String>>,
    /// Attributes of the provider's making, as templates over arguments, `region`, `account` and `hash`.
    pub computed: BTreeMap<String, String>,
    /// What the provider fills in where nothing is given.
    pub defaults: BTreeMap<String, Value>,
    /// Arguments that cannot be changed in place.
    pub forces: Vec<String>,
    /// The attribute that keeps it from being deleted while it is true, and what the provider says then.
    pub protected_by: Option<(String, String)>,
    /// Attributes whose values are secret.
    pub sensitive: Vec<String>,
    pub create: u64,
    pub update: u64,
    pub delete: u64,
}

impl Schemas {
    pub fn built_in() -> Result<Self> {
        serde_yaml::from_str(include_str!("schema.yaml"))
            .map(Self)
            .map_err(|error| Error::internal("read the rehearsed types of resources").because(error))
    }

    pub fn get(&self, kind: &str) -> Option<&Schema> {
        self.0.get(kind)
    }
}

impl Schema {
    /// What planning makes of the arguments: computed attributes of a new resource are unknown, of an old one they stay.
    pub fn planned(&self, kind: &str, arguments: Attributes, prior: Option<&Attributes>) -> Attributes {
        let mut planned = arguments;
        for (name, default) in &self.defaults {
            planned.entry(name.clone()).or_insert_with(|| Val::of(default));
        }
        if kind == "terraform_data" {
            for name in ["input", "triggers_replace"] {
                planned.entry(name.to_owned()).or_insert(Val::NULL);
            }
            let same = prior.is_some_and(|prior| prior.get("input") == planned.get("input"));
            let output = prior.and_then(|prior| prior.get("output")).filter(|_| same).cloned();
            let output = output.or_else(|| planned.get("input").filter(|input| **input == Val::NULL).cloned());
            planned.insert("output".to_owned(), output.unwrap_or(Val::Unknown));
        }
        for name in self.computed.keys() {
            let before = prior.and_then(|prior| prior.get(name)).cloned();
            planned.entry(name.clone()).or_insert(before.unwrap_or(Val::Unknown));
        }
        // What was given and is given no more goes back to nothing.
        for name in prior.into_iter().flat_map(Attributes::keys) {
            planned.entry(name.clone()).or_insert(Val::NULL);
        }
        planned
    }

    /// The arguments that force a replacement.
    pub fn forcing(&self, prior: &Attributes, planned: &Attributes) -> Vec<String> {
        let differs =
            |name: &&String| prior.get(*name).unwrap_or(&Val::NULL) != planned.get(*name).unwrap_or(&Val::NULL);
        self.forces.iter().filter(differs).cloned().collect()
    }

    /// Fills in what was unknown, as the provider does.
    pub fn completed(&self, planned: &Attributes, fill: &dyn Fn(&str) -> Option<String>) -> Attributes {
        let mut made = planned.clone();
        for (name, template) in &self.computed {
            if made.get(name).is_none_or(|value| *value == Val::Unknown) {
                let text = filled(template, &made, fill);
                made.insert(name.clone(), Val::Known(Value::String(text)));
            }
        }
        if let (Some(Val::Unknown), Some(input)) = (made.get("output"), made.get("input").cloned()) {
            made.insert("output".to_owned(), input);
        }
        made
    }
}

/// `{name}` in a text: an attribute.
pub fn with_attributes(text: &str, attributes: &Attributes) -> String {
    filled(text, attributes, &|_| None)
}

/// `{name}` in a template: an attribute, or what `fill` knows.
fn filled(template: &str, attributes: &Attributes, fill: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(before);
        let own = attributes.get(name).and_then(|value| match value {
            Val::Known(Value::String(text)) => Some(text.clone()),
            Val::Known(value) => Some(value.to_string()),
            _ => None,
        });
        out.push_str(&fill(name).or(own).unwrap_or_default());
        rest = after;
    }
    out + rest
}
