//! JSON merge patch (RFC 7386) and JSON patch (RFC 6902).

use serde_json::{Map, Value};

use super::Status;

/// Applies a merge patch.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            map.remove(name);
        } else {
            merge(map.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a JSON patch; a failing operation refuses the whole patch.
pub(super) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), Status> {
    let operations = patch.as_array().ok_or_else(|| Status::bad_request("a JSON patch is a list of operations"))?;
    for operation in operations {
        operate(target, operation).ok_or_else(|| {
            Status::new(422, "Invalid", format!("the server rejected our request due to an error in our request: the patch operation {operation} does not apply"))
        })?;
    }
    Ok(())
}

fn operate(target: &mut Value, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?;
    match operation["op"].as_str()? {
        "add" => add(target, path, operation.get("value")?.clone()),
        "remove" => remove(target, path).map(drop),
        "replace" => {
            *target.pointer_mut(path)? = operation.get("value")?.clone();
            Some(())
        }
        "move" => {
            let value = remove(target, operation["from"].as_str()?)?;
            add(target, path, value)
        }
        "copy" => {
            let value = target.pointer(operation["from"].as_str()?)?.clone();
            add(target, path, value)
        }
        "test" => (target.pointer(path).unwrap_or(&Value::Null) == operation.get("value")?).then_some(()),
        _ => None,
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    let Some((parent, last)) = path.rsplit_once('/') else {
        *target = value;
        return Some(());
    };
    match target.pointer_mut(parent)? {
        Value::Object(map) => drop(map.insert(unescape(last), value)),
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at: usize = last.parse().ok().filter(|at| *at <= items.len())?;
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(target: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = path.rsplit_once('/')?;
    match target.pointer_mut(parent)? {
        Value::Object(map) => map.shift_remove(&unescape(last)),
        Value::Array(items) => {
            let at: usize = last.parse().ok().filter(|at| *at < items.len())?;
            Some(items.remove(at))
        }
        _ => None,
    }
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patches() {
        let mut value = json!({"a": {"b": 1, "c": [1]}, "d": 1});
        merge(&mut value, &json!({"a": {"b": null, "c": [2], "e": {"f": null}}, "d": {"x": 1}}));
        assert_eq!(value, json!({"a": {"c": [2], "e": {}}, "d": {"x": 1}}));
    }

    #[test]
    fn json_patches() {
        let mut value = json!({"a": {"x/y": 1}, "l": [1, 2]});
        let patch = json!([
            {"op": "test", "path": "/a/x~1y", "value": 1},
            {"op": "replace", "path": "/a/x~1y", "value": 5},
            {"op": "add", "path": "/l/1", "value": 9},
            {"op": "add", "path": "/l/-", "value": 7},
            {"op": "copy", "from": "/l/0", "path": "/first"},
            {"op": "move", "from": "/l/0", "path": "/a/m"},
            {"op": "remove", "path": "/l/0"},
        ]);
        json_patch(&mut value, &patch).unwrap();
        assert_eq!(value, json!({"a": {"x/y": 5, "m": 1}, "l": [2, 7], "first": 1}));
        let wrong = json!([{"op": "test", "path": "/first", "value": 2}]);
        assert_eq!(json_patch(&mut value, &wrong).unwrap_err().code, 422);
        let missing = json!([{"op": "replace", "path": "/no", "value": 2}]);
        assert!(json_patch(&mut value, &missing).is_err());
    }
}
