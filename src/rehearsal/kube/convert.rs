//! Events exist in two groups: stored as core/v1, shown as asked for.

use serde_json::{Map, Value, json};

use super::resources::Resource;

/// Names of the same field in core/v1 and in events.k8s.io/v1.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn is_other_event(resource: &Resource) -> bool {
    resource.group == "events.k8s.io"
}

fn rename(object: &Value, version: &str, name: impl Fn(&str) -> String) -> Value {
    let mut renamed: Map<String, Value> =
        object.as_object().into_iter().flatten().map(|(key, value)| (name(key), value.clone())).collect();
    renamed.insert("apiVersion".into(), json!(version));
    Value::Object(renamed)
}

/// A stored object as `resource` shows it.
pub(super) fn outward(resource: &Resource, object: &Value) -> Value {
    if !is_other_event(resource) {
        return object.clone();
    }
    let name = |key: &str| NAMES.iter().find(|(core, _)| *core == key).map_or(key, |(_, other)| *other).to_owned();
    rename(object, "events.k8s.io/v1", name)
}

/// A given object as it is stored.
pub(super) fn inward(resource: &Resource, object: Value) -> Value {
    if !is_other_event(resource) {
        return object;
    }
    let name = |key: &str| NAMES.iter().find(|(_, other)| *other == key).map_or(key, |(core, _)| *core).to_owned();
    rename(&object, "v1", name)
}

#[cfg(test)]
mod tests {
    use super::super::resources::served;
    use super::*;

    #[test]
    fn both_groups_show_the_same_event() {
        let resource = served("events.k8s.io", "v1", "events").unwrap();
        let core =
            json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "p"}, "message": "m", "count": 2});
        let shown = outward(resource, &core);
        assert_eq!(shown["regarding"]["name"], "p");
        assert_eq!(shown["note"], "m");
        assert_eq!(inward(resource, shown), core);
    }
}
