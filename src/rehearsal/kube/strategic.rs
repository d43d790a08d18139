//! Strategic merge patch: lists of objects merge by a key, and directives say what a plain merge cannot.

use serde_json::{Map, Value};

use super::Status;
use super::schema::patch_key;

const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch.
pub(super) fn merge(target: &mut Value, patch: &Value) -> Result<(), Status> {
    merge_value(target, patch, "", false)
}

fn merge_value(target: &mut Value, patch: &Value, name: &str, in_container: bool) -> Result<(), Status> {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            match target {
                Value::Object(map) => merge_map(map, patch, in_container || is_container_list(name)),
                _ => Ok(()),
            }
        }
        Value::Array(items) => match patch_key(name, in_container) {
            Some(key) => merge_list(target, items, key, name, in_container),
            None if name == "finalizers" => {
                add_missing(target, items);
                Ok(())
            }
            None => {
                *target = patch.clone();
                Ok(())
            }
        },
        _ => {
            *target = patch.clone();
            Ok(())
        }
    }
}

fn is_container_list(name: &str) -> bool {
    matches!(name, "containers" | "initContainers" | "ephemeralContainers")
}

fn merge_map(map: &mut Map<String, Value>, patch: &Map<String, Value>, in_container: bool) -> Result<(), Status> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            map.clear();
            map.extend(patch.iter().filter(|(name, _)| *name != "$patch").map(|(n, v)| (n.clone(), v.clone())));
            return Ok(());
        }
        Some("delete") => {
            map.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(Status::bad_request(format!("Unknown patch type found: {other}"))),
    }
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|name, _| kept.iter().any(|kept| kept == name));
    }
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        if value.is_null() {
            map.shift_remove(name);
            continue;
        }
        merge_value(map.entry(name.clone()).or_insert(Value::Null), value, name, in_container)?;
    }
    for (directive, value) in patch.iter().filter(|(name, _)| name.starts_with('$')) {
        let listed = value.as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(name) = directive.strip_prefix(DELETE)
            && let Some(items) = map.get_mut(name).and_then(Value::as_array_mut)
        {
            items.retain(|item| !listed.contains(item));
        }
        if let Some(name) = directive.strip_prefix(ORDER)
            && let Some(items) = map.get_mut(name).and_then(Value::as_array_mut)
        {
            order(items, listed, patch_key(name, in_container));
        }
    }
    Ok(())
}

fn merge_list(target: &mut Value, patch: &[Value], key: &str, name: &str, in_container: bool) -> Result<(), Status> {
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Value::Array(items) = target else { return Ok(()) };
    if patch.iter().any(|item| item["$patch"] == "replace") {
        *items = patch.iter().filter(|item| item["$patch"] != "replace").cloned().collect();
        return Ok(());
    }
    for item in patch {
        let id = &item[key];
        if id.is_null() {
            let why = format!("map: {item} does not contain declared merge key: {key}");
            return Err(Status::bad_request(why));
        }
        if item["$patch"] == "delete" {
            items.retain(|known| known[key] != *id);
            continue;
        }
        if let Some(known) = items.iter_mut().find(|known| known[key] == *id) {
            merge_value(known, item, name, in_container)?;
        } else {
            let mut fresh = Value::Null;
            merge_value(&mut fresh, item, name, in_container)?;
            items.push(fresh);
        }
    }
    Ok(())
}

fn add_missing(target: &mut Value, patch: &[Value]) {
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    if let Value::Array(items) = target {
        for item in patch {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
    }
}

/// Brings the listed items into the listed order; the others keep their place at the end.
fn order(items: &mut [Value], listed: &[Value], key: Option<&str>) {
    let id = |value: &Value| key.map_or_else(|| value.clone(), |key| value[key].clone());
    let place = |item: &Value| listed.iter().position(|l| id(l) == id(item)).unwrap_or(usize::MAX);
    items.sort_by_key(place);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(mut value: Value, patch: &Value) -> Value {
        merge(&mut value, patch).unwrap();
        value
    }

    #[test]
    fn containers_env_and_ports_merge_by_their_keys() {
        let pod = json!({"spec": {"containers": [
            {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80}]},
            {"name": "b", "image": "1"}], "tolerations": [{"key": "k"}]}});
        let patch = json!({"spec": {"containers": [
            {"name": "b", "$patch": "delete"},
            {"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}], "ports": [{"containerPort": 81}]},
            {"name": "c", "image": "3"}], "tolerations": []}});
        let wanted = json!({"spec": {"containers": [
            {"name": "a", "image": "2", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
             "ports": [{"containerPort": 80}, {"containerPort": 81}]},
            {"name": "c", "image": "3"}], "tolerations": []}});
        assert_eq!(patched(pod, &patch), wanted);
    }

    #[test]
    fn directives() {
        let value = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}, "finalizers": ["a", "b"],
                           "env": [{"name": "X"}, {"name": "Y"}]});
        let patch = json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"},
                           "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"],
                           "$setElementOrder/env": [{"name": "Y"}, {"name": "X"}]});
        let wanted = json!({"strategy": {"type": "Recreate"}, "finalizers": ["b", "c"],
                            "env": [{"name": "Y"}, {"name": "X"}]});
        assert_eq!(patched(value, &patch), wanted);
        let keyless = merge(&mut json!({"env": []}), &json!({"env": [{"value": "x"}]})).unwrap_err();
        assert_eq!(keyless.code, 400);
    }
}
