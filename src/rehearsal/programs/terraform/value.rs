//! Values, some of which are only known after apply; and how Terraform writes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A value, or a part of one, may be unknown.
#[derive(Debug, Clone, PartialEq)]
pub enum Val {
    /// Known after apply.
    Unknown,
    /// A scalar, or null.
    Known(Value),
    List(Vec<Val>),
    Map(BTreeMap<String, Val>),
}

/// The attributes of a resource.
pub type Attributes = BTreeMap<String, Val>;

impl Val {
    pub const NULL: Self = Self::Known(Value::Null);

    pub fn of(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Object(entries) => {
                Self::Map(entries.iter().map(|(name, value)| (name.clone(), Self::of(value))).collect())
            }
            scalar => Self::Known(scalar.clone()),
        }
    }

    pub fn is_known(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Known(_) => true,
            Self::List(items) => items.iter().all(Self::is_known),
            Self::Map(entries) => entries.values().all(Self::is_known),
        }
    }

    /// As JSON; unknown entries of objects are left out, unknown elements are null.
    pub fn json(&self) -> Value {
        match self {
            Self::Unknown => Value::Null,
            Self::Known(value) => value.clone(),
            Self::List(items) => Value::Array(items.iter().map(Self::json).collect()),
            Self::Map(entries) => object(entries),
        }
    }

    /// `after_unknown`: true where it is unknown. Entries of objects that are known are left out.
    pub fn unknown(&self) -> Value {
        match self {
            Self::Unknown => Value::Bool(true),
            Self::Known(_) => Value::Bool(false),
            Self::List(items) => Value::Array(items.iter().map(Self::unknown).collect()),
            Self::Map(entries) => unknown(entries),
        }
    }

    /// `after_sensitive` of something that is not: the shape, and false in lists.
    fn shape(&self) -> Value {
        match self {
            Self::Unknown | Self::Known(_) => Value::Bool(false),
            Self::List(items) => Value::Array(items.iter().map(Self::shape).collect()),
            Self::Map(entries) => {
                let kept = entries.iter().map(|(name, value)| (name.clone(), value.shape()));
                Value::Object(kept.filter(|(_, shape)| *shape != Value::Bool(false)).collect())
            }
        }
    }

    /// An element, or an entry.
    pub fn at(&self, key: &str) -> Option<&Self> {
        match self {
            Self::List(items) => items.get(key.parse::<usize>().ok()?),
            Self::Map(entries) => entries.get(key),
            Self::Unknown => Some(self),
            Self::Known(_) => None,
        }
    }
}

/// What is known of attributes, as JSON.
pub fn object(attributes: &Attributes) -> Value {
    let known = attributes.iter().filter(|(_, value)| **value != Val::Unknown);
    Value::Object(known.map(|(name, value)| (name.clone(), value.json())).collect())
}

/// `after_unknown` of attributes.
pub fn unknown(attributes: &Attributes) -> Value {
    let masks = attributes.iter().map(|(name, value)| (name.clone(), value.unknown()));
    Value::Object(masks.filter(|(_, mask)| *mask != Value::Bool(false)).collect())
}

/// `before_sensitive`, `after_sensitive` of attributes, some of which are secret.
pub fn sensitive(attributes: &Attributes, secret: &[String]) -> Value {
    let mut shapes: Map<String, Value> = match Val::Map(attributes.clone()).shape() {
        Value::Object(shapes) => shapes,
        _ => Map::new(),
    };
    let there = |name: &&String| attributes.get(*name).is_some_and(|value| *value != Val::NULL);
    shapes.extend(secret.iter().filter(there).map(|name| (name.clone(), Value::Bool(true))));
    Value::Object(shapes)
}

/// A value's type, as a state writes it: `"string"`, `["object", {…}]`.
pub fn type_of(value: &Value) -> Value {
    match value {
        Value::Null => json!("dynamic"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(items) => json!(["tuple", items.iter().map(type_of).collect::<Vec<_>>()]),
        Value::Object(entries) => {
            let types: Map<String, Value> =
                entries.iter().map(|(name, value)| (name.clone(), type_of(value))).collect();
            json!(["object", types])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_left_out_and_marked() {
        let value = BTreeMap::from([
            ("id".to_owned(), Val::Unknown),
            ("input".to_owned(), Val::of(&json!({"size": 1}))),
            ("list".to_owned(), Val::List(vec![Val::of(&json!("one")), Val::Unknown])),
        ]);
        assert_eq!(object(&value), json!({"input": {"size": 1}, "list": ["one", null]}));
        assert_eq!(unknown(&value), json!({"id": true, "input": {}, "list": [false, true]}));
        let secret = ["list".to_owned(), "none".to_owned()];
        assert_eq!(sensitive(&value, &secret), json!({"input": {}, "list": true}));
        assert_eq!(type_of(&json!({"a": ["x"]})), json!(["object", {"a": ["tuple", ["string"]]}]));
    }
}
