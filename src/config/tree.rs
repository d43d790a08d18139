//! A located tree: every value of a layer, and where it stands.

use std::fmt;

use super::Origin;

/// A value and its origin.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub value: Value,
    pub origin: Origin,
    /// The characters of an unquoted scalar: `007` is a number, and also the text `007`.
    pub raw: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping; the key has a place of its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub origin: Origin,
    pub node: Node,
}

impl Node {
    pub fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin, raw: None }
    }

    /// An empty mapping.
    pub fn empty(origin: Origin) -> Self {
        Self::new(Value::Map(Vec::new()), origin)
    }

    /// A tree whose every node has the same origin.
    pub fn from_json(value: serde_json::Value, origin: &Origin) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(flag),
            Json::Number(number) => Value::Number(number),
            Json::String(text) => Value::Text(text),
            Json::Array(items) => Value::List(items.into_iter().map(|item| Self::from_json(item, origin)).collect()),
            Json::Object(map) => Value::Map(
                map.into_iter()
                    .map(|(key, item)| Entry { key, origin: origin.clone(), node: Self::from_json(item, origin) })
                    .collect(),
            ),
        };
        Self::new(value, origin.clone())
    }

    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect())
            }
        }
    }

    /// This tree with `over` laid on top: mappings by key, everything else whole. A section that was left empty
    /// (`gates:` and nothing below) says nothing.
    pub fn merge(self, over: Self) -> Self {
        match (self.value, over.value) {
            (Value::Map(mut below), Value::Map(above)) => {
                for entry in above {
                    match below.iter_mut().find(|known| known.key == entry.key) {
                        Some(known) => {
                            let old = std::mem::replace(&mut known.node, Self::empty(Origin::Default));
                            known.node = old.merge(entry.node);
                            known.origin = entry.origin;
                        }
                        None => below.push(entry),
                    }
                }
                Self::new(Value::Map(below), over.origin)
            }
            (Value::Map(below), Value::Null) => Self::new(Value::Map(below), self.origin),
            (_, value) => Self { value, origin: over.origin, raw: over.raw },
        }
    }

    /// The node at a path.
    pub fn at(&self, path: &Path) -> Option<&Self> {
        path.0.iter().try_fold(self, |node, step| match (&node.value, step) {
            (Value::Map(entries), Step::Key(key)) => {
                entries.iter().find(|entry| entry.key == *key).map(|entry| &entry.node)
            }
            (Value::List(items), Step::Index(index)) => items.get(*index),
            _ => None,
        })
    }

    /// The origin of the node at a path, or of the nearest one around it.
    pub fn origin_near(&self, path: &Path) -> &Origin {
        let mut path = path.clone();
        loop {
            match self.at(&path) {
                Some(node) => return &node.origin,
                None if path.0.pop().is_none() => return &self.origin,
                None => {}
            }
        }
    }

    /// What it is, in plain words: `the number 24`, `a list`.
    pub fn in_words(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => format!("the number {}", self.raw.as_ref().unwrap_or(&number.to_string())),
            Value::Text(text) => format!("the text {:?}", shortened(text)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a section with keys".into(),
        }
    }
}

/// At most 40 characters: a value that is out of place may be long.
pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() <= 40 { text.into() } else { text.chars().take(39).chain(['…']).collect() }
}

/// A place in the model: `services[0].database.reach`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path(pub Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    /// The path one key further.
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// The path of an item.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// The path of several keys: `cluster.arn`.
    pub fn keys(&self, dotted: &str) -> Self {
        dotted.split('.').fold(self.clone(), |path, key| path.key(key))
    }

    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl From<&serde_path_to_error::Path> for Path {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        Self(
            path.iter()
                .filter_map(|segment| match segment {
                    Segment::Seq { index } => Some(Step::Index(*index)),
                    Segment::Map { key } => Some(Step::Key(key.clone())),
                    Segment::Enum { .. } | Segment::Unknown => None,
                })
                .collect(),
        )
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Well-typed layers: `s*` is a section (or left empty), `l*` a scalar or a list.
    fn section(depth: u32) -> BoxedStrategy<serde_json::Value> {
        let leaf = prop_oneof![
            any::<i8>().prop_map(Into::into),
            prop::collection::vec(any::<bool>(), 0..2).prop_map(Into::into)
        ];
        let leaves = prop::collection::btree_map("l[a-c]", leaf, 0..3);
        if depth == 0 {
            return leaves.prop_map(|map| serde_json::Value::Object(map.into_iter().collect())).boxed();
        }
        let below = prop_oneof![4 => section(depth - 1), 1 => Just(serde_json::Value::Null)];
        (leaves, prop::collection::btree_map("s[a-c]", below, 0..3))
            .prop_map(|(leaves, sections)| serde_json::Value::Object(leaves.into_iter().chain(sections).collect()))
            .boxed()
    }

    fn tree(json: &serde_json::Value, flag: &str) -> Node {
        Node::from_json(json.clone(), &Origin::Flag(flag.into()))
    }

    /// Empty sections say nothing, so they are not compared.
    fn said(json: serde_json::Value) -> serde_json::Value {
        match json {
            serde_json::Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| (key, said(value)))
                .filter(|(_, value)| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty()))
                .collect::<std::collections::BTreeMap<_, _>>()
                .into_iter()
                .collect(),
            other => other,
        }
    }

    proptest! {
        #[test]
        fn merging_is_associative(a in section(2), b in section(2), c in section(2)) {
            let (x, y, z) = (tree(&a, "a"), tree(&b, "b"), tree(&c, "c"));
            let left = x.clone().merge(y.clone()).merge(z.clone());
            let right = x.merge(y.merge(z));
            prop_assert_eq!(said(left.to_json()), said(right.to_json()));
        }

        #[test]
        fn an_empty_layer_changes_nothing_and_a_layer_twice_is_once(a in section(2), b in section(2)) {
            let (x, y) = (tree(&a, "a"), tree(&b, "b"));
            let empty = Node::empty(Origin::Default);
            prop_assert_eq!(x.clone().merge(empty.clone()).to_json(), a.clone());
            prop_assert_eq!(empty.merge(x.clone()).to_json(), a);
            let once = x.merge(y.clone());
            prop_assert_eq!(once.clone().merge(y).to_json(), once.to_json());
        }

        #[test]
        fn the_upper_layer_wins_where_it_speaks(a in section(1), b in section(1)) {
            let merged = tree(&a, "a").merge(tree(&b, "b"));
            for (key, value) in b.as_object().unwrap().iter().filter(|(key, _)| key.starts_with('l')) {
                let node = merged.at(&Path::default().key(key)).unwrap();
                prop_assert_eq!(&node.to_json(), value);
                prop_assert_eq!(&node.origin, &Origin::Flag("b".into()));
            }
        }
    }
}
