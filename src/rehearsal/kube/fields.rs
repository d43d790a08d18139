//! Sets of fields: who owns what (`fieldsV1` of managedFields).
//!
//! Semantics from sigs.k8s.io/structured-merge-diff; ownership is of leaves, and of the presence of list items.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema::{ListKind, is_atomic_map, item_key, list_kind};

/// A path of FieldsV1 elements: `f:name`, `k:{"name":"a"}`, `v:"x"`.
pub(super) type Path = Vec<String>;

/// A set of owned paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet(pub BTreeSet<Path>);

/// Fields that nobody owns.
const UNOWNED: &[&str] = &[
    "name",
    "namespace",
    "generateName",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
];

impl FieldSet {
    /// All owned paths of an object.
    pub fn of(object: &Value, custom: bool) -> Self {
        let mut set = BTreeSet::new();
        for (name, value) in object.as_object().into_iter().flatten() {
            match name.as_str() {
                "apiVersion" | "kind" => {}
                "metadata" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        if !UNOWNED.contains(&name.as_str()) {
                            collect(&mut set, &mut vec!["f:metadata".into(), format!("f:{name}")], value, custom);
                        }
                    }
                }
                _ => collect(&mut set, &mut vec![format!("f:{name}")], value, custom),
            }
        }
        Self(set)
    }

    /// Reads `fieldsV1`.
    pub fn read(fields: &Value) -> Self {
        fn walk(set: &mut BTreeSet<Path>, path: &mut Path, node: &Map<String, Value>) {
            if !path.is_empty() && (node.is_empty() || node.contains_key(".")) {
                set.insert(path.clone());
            }
            for (name, child) in node.iter().filter(|(name, _)| *name != ".") {
                path.push(name.clone());
                walk(set, path, child.as_object().unwrap_or(&Map::new()));
                path.pop();
            }
        }
        let mut set = BTreeSet::new();
        walk(&mut set, &mut Vec::new(), fields.as_object().unwrap_or(&Map::new()));
        Self(set)
    }

    /// Writes `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut root = Map::new();
        for path in &self.0 {
            let mut node = &mut root;
            for part in path {
                let child = node.entry(part.clone()).or_insert_with(|| json!({}));
                node = child.as_object_mut().expect("only maps are put into this tree");
            }
            // A mark on each owned node; leaves lose it below, as they are empty maps by convention.
            node.insert(".".into(), json!({}));
        }
        unmark(&mut root);
        Value::Object(root)
    }

    pub fn contains(&self, path: &Path) -> bool {
        self.0.contains(path)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any path of the set lies at or below `prefix`.
    pub fn reaches(&self, prefix: &Path) -> bool {
        self.0.range(prefix.clone()..).next().is_some_and(|path| path.starts_with(prefix))
    }
}

/// Takes the mark from leaves: they are empty maps by convention.
fn unmark(node: &mut Map<String, Value>) {
    if node.len() == 1 && node.contains_key(".") {
        node.clear();
    }
    for child in node.iter_mut().filter(|(name, _)| *name != ".").filter_map(|(_, v)| v.as_object_mut()) {
        unmark(child);
    }
}

fn collect(set: &mut BTreeSet<Path>, path: &mut Path, value: &Value, custom: bool) {
    match value {
        Value::Null => {}
        Value::Object(map) if !map.is_empty() && !is_atomic_map(path, custom) => {
            for (name, child) in map {
                path.push(format!("f:{name}"));
                collect(set, path, child, custom);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => match elements(items, path, custom) {
            None => drop(set.insert(path.clone())),
            Some(elements) => {
                for (element, item) in elements.into_iter().zip(items) {
                    path.push(element);
                    set.insert(path.clone());
                    for (name, child) in item.as_object().into_iter().flatten() {
                        path.push(format!("f:{name}"));
                        collect(set, path, child, custom);
                        path.pop();
                    }
                    path.pop();
                }
            }
        },
        _ => drop(set.insert(path.clone())),
    }
}

/// The FieldsV1 element of each item; `None` when the list is one value.
pub(super) fn elements(items: &[Value], path: &[String], custom: bool) -> Option<Vec<String>> {
    match list_kind(path, custom) {
        ListKind::Atomic => None,
        ListKind::Set => Some(items.iter().map(|item| format!("v:{item}")).collect()),
        ListKind::Map(keys) => items
            .iter()
            .map(|item| {
                let values = item_key(item, keys)?;
                let key: Map<String, Value> = keys.iter().map(|key| (*key).to_owned()).zip(values).collect();
                Some(format!("k:{}", Value::Object(key)))
            })
            .collect(),
    }
}

/// The value at a path.
pub(super) fn get<'a>(object: &'a Value, path: &[String], custom: bool) -> Option<&'a Value> {
    let mut value = object;
    for (depth, part) in path.iter().enumerate() {
        value = if let Some(name) = part.strip_prefix("f:") {
            value.get(name)?
        } else {
            let items = value.as_array()?;
            let at = elements(items, &path[..depth], custom)?.iter().position(|element| element == part)?;
            &items[at]
        };
    }
    Some(value)
}

/// Removes what is at a path, and then each map or list above it that is left empty, down to `keep` elements.
pub(super) fn remove(object: &mut Value, path: &[String], custom: bool, keep: usize) {
    let Some((last, above)) = path.split_last() else { return };
    let Some(parent) = get_mut(object, above, custom) else { return };
    match (last.strip_prefix("f:"), &mut *parent) {
        (Some(name), Value::Object(map)) => drop(map.shift_remove(name)),
        (None, Value::Array(items)) => {
            let at = elements(items, above, custom).and_then(|e| e.iter().position(|element| element == last));
            if let Some(at) = at {
                items.remove(at);
            }
        }
        _ => return,
    }
    let empty = match parent {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if empty && above.len() > keep {
        remove(object, above, custom, keep);
    }
}

fn get_mut<'a>(object: &'a mut Value, path: &[String], custom: bool) -> Option<&'a mut Value> {
    let mut value = object;
    for (depth, part) in path.iter().enumerate() {
        value = if let Some(name) = part.strip_prefix("f:") {
            value.get_mut(name)?
        } else {
            let items = value.as_array_mut()?;
            let at = elements(items, &path[..depth], custom)?.iter().position(|element| element == part)?;
            items.get_mut(at)?
        };
    }
    Some(value)
}

/// A path for people: `.spec.template.spec.containers[name="gateway"].image`.
pub(super) fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        if let Some(name) = part.strip_prefix("f:") {
            text.push('.');
            text.push_str(name);
        } else if let Some(key) = part.strip_prefix("k:") {
            let key: Value = serde_json::from_str(key).unwrap_or_default();
            let pairs: Vec<String> =
                key.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
            text.push_str(&format!("[{}]", pairs.join(",")));
        } else {
            text.push_str(&format!("[={}]", part.trim_start_matches("v:")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_survives_its_written_form() {
        let object = json!({
            "apiVersion": "apps/v1", "metadata": {"name": "a", "labels": {"x": "1"}, "finalizers": ["f"]},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [
                {"name": "c", "image": "i", "args": ["x"], "ports": [{"containerPort": 80}], "resources": {}}]}}},
        });
        let set = FieldSet::of(&object, false);
        let written = set.write();
        assert_eq!(FieldSet::read(&written), set);
        let container = &written["f:spec"]["f:template"]["f:spec"]["f:containers"][r#"k:{"name":"c"}"#];
        assert_eq!(container["f:image"], json!({}));
        assert_eq!(container["."], json!({}));
        assert!(container["f:ports"].get(r#"k:{"containerPort":80,"protocol":"TCP"}"#).is_some());
        assert_eq!(written["f:spec"]["f:selector"], json!({}), "a label selector is owned whole");
        for path in &set.0 {
            assert!(get(&object, path, false).is_some(), "{}", shown(path));
        }
    }

    #[test]
    fn removing_cleans_up_above() {
        let mut object = json!({"metadata": {"labels": {"x": "1"}}, "spec": {"a": 1}});
        remove(&mut object, &["f:metadata".into(), "f:labels".into(), "f:x".into()], false, 1);
        assert_eq!(object, json!({"metadata": {}, "spec": {"a": 1}}));
    }
}
