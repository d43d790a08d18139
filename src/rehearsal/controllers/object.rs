//! Reading and writing Kubernetes objects as plain JSON.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// World time in the form of `metav1.Time`: RFC 3339 in UTC, whole seconds.
pub fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The value at a JSON pointer without escapes; unlike [`Value::pointer`] it allocates nothing, and controllers look
/// often.
pub fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer.split('/').skip(1).try_fold(object, |object, part| match object {
        Value::Array(list) => list.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

/// The time at a JSON pointer.
pub fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    at(object, pointer)?.as_str()?.parse().ok()
}

/// The text at a JSON pointer; empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at a JSON pointer.
pub fn number(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer)?.as_i64()
}

pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub fn created(object: &Value) -> Option<Timestamp> {
    time(object, "/metadata/creationTimestamp")
}

pub fn generation(object: &Value) -> i64 {
    number(object, "/metadata/generation").unwrap_or(1)
}

pub fn is_terminating(object: &Value) -> bool {
    at(object, "/metadata/deletionTimestamp").is_some_and(Value::is_string)
}

/// A label or annotation whose key has slashes.
pub fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][key].as_str().unwrap_or_default()
}

pub fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["labels"][key].as_str().unwrap_or_default()
}

/// Sets an annotation, and makes the map where there is none.
pub fn annotate(object: &mut Value, key: &str, value: impl Into<String>) {
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[key] = Value::String(value.into());
}

/// Whether every pair of `wanted` (matchLabels, or a Service's selector) is among `labels`. Nothing wanted, nothing
/// matches.
pub fn selects(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().is_some_and(|wanted| {
        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key).is_some_and(|found| found == value))
    })
}

/// The controller's entry in `metadata.ownerReferences` of what it makes.
pub fn owner_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The reference to the controller that made `object`.
pub fn controller(object: &Value) -> Option<&Value> {
    let owners = at(object, "/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)
}

pub fn is_owned_by(object: &Value, owner: &Value) -> bool {
    controller(object).is_some_and(|reference| reference["uid"] == owner["metadata"]["uid"])
}

/// Objects by the uid of the controller that made them.
pub fn by_owner(objects: &[Arc<Value>]) -> HashMap<&str, Vec<Arc<Value>>> {
    let mut groups: HashMap<&str, Vec<Arc<Value>>> = HashMap::new();
    for object in objects {
        if let Some(owner) = controller(object) {
            groups.entry(text(owner, "/uid")).or_default().push(object.clone());
        }
    }
    groups
}

/// One number for the versions of some objects: the same objects, unchanged, have the same.
pub fn versions<'a>(objects: impl IntoIterator<Item = &'a Arc<Value>>) -> u64 {
    let versions: Vec<&str> = objects.into_iter().map(|object| text(object, "/metadata/resourceVersion")).collect();
    fnv(&versions)
}

/// The condition of a type in `status.conditions`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = at(object, "/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

pub fn condition_is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// A condition without its times.
#[derive(Debug, Clone)]
pub struct Condition<'a> {
    pub kind: &'a str,
    pub status: bool,
    pub reason: &'a str,
    pub message: String,
}

/// Writes a condition: `lastTransitionTime` moves with the status only. `lastUpdateTime` (Deployments have it) is kept
/// where it was unless something changed.
pub fn set_condition(object: &mut Value, new: &Condition<'_>, at: Timestamp, with_update_time: bool) {
    let status = if new.status { "True" } else { "False" };
    let old = condition(object, new.kind).cloned();
    let same = |key: &str, value: &str| old.as_ref().is_some_and(|old| old[key].as_str().unwrap_or_default() == value);
    if same("status", status) && same("reason", new.reason) && same("message", &new.message) {
        return;
    }
    let mut condition = Map::new();
    condition.insert("type".into(), json!(new.kind));
    condition.insert("status".into(), json!(status));
    let since = old.as_ref().filter(|_| same("status", status)).map(|old| old["lastTransitionTime"].clone());
    if with_update_time {
        condition.insert("lastUpdateTime".into(), json!(stamp(at)));
    }
    condition.insert("lastTransitionTime".into(), since.unwrap_or_else(|| json!(stamp(at))));
    if !new.reason.is_empty() {
        condition.insert("reason".into(), json!(new.reason));
    }
    if !new.message.is_empty() {
        condition.insert("message".into(), json!(new.message));
    }
    let status = &mut object["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    if let Some(list) = status["conditions"].as_array_mut() {
        match list.iter_mut().find(|found| found["type"] == new.kind) {
            Some(found) => *found = Value::Object(condition),
            None => list.push(Value::Object(condition)),
        }
    }
}

/// Writes a number as the API server does: zero is left out.
pub fn set_count(status: &mut Value, key: &str, count: i64) {
    if count != 0 {
        status[key] = json!(count);
    } else if let Some(map) = status.as_object_mut() {
        map.remove(key);
    }
}

/// FNV-1a, 64 bits: the hash of everything here that only has to be stable.
pub fn fnv(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV's low bits are weak for short text; fold the high half in.
    hash ^ (hash >> 29)
}

/// SHA-256 as 64 hex digits.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// `length` characters of the alphabet that Kubernetes' generated names use (apimachinery, util/rand).
pub fn safe_name(hash: u64, length: usize) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut left = hash;
    let mut letter = || {
        let next = ALPHABET[usize::try_from(left % 27).unwrap_or_default()];
        left = (left / 27) ^ left.rotate_left(17);
        char::from(next)
    };
    (0..length).map(|_| letter()).collect()
}

/// `template` with its map keys in order: two equal templates are one text.
pub fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_by(|a, b| a.0.cmp(b.0));
                Value::Object(keys.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
            }
            Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

/// World seconds as a duration.
pub fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// `at` plus a duration; stays where it is on overflow.
pub fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(at)
}

/// A Go duration as Kubernetes objects and scenarios write it: `1h`, `8m`, `90s`, `1h0m0s`, `24h`, `7d`.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let mut total = 0_f64;
    let mut rest = text.trim();
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        total += value
            * match &rest[digits..unit_end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    SignedDuration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_names() {
        assert_eq!(duration("1h30m"), Some(SignedDuration::from_mins(90)));
        assert_eq!(duration("0"), Some(SignedDuration::ZERO));
        assert_eq!(duration("soon"), None);
        assert_eq!(safe_name(fnv(&["a"]), 10).len(), 10);
        assert_ne!(safe_name(fnv(&["a", "b"]), 5), safe_name(fnv(&["ab"]), 5));
    }

    #[test]
    fn a_condition_keeps_its_transition_time() {
        let (early, late): (Timestamp, Timestamp) =
            ("2025-03-04T09:00:00Z".parse().unwrap(), "2025-03-04T10:00:00Z".parse().unwrap());
        let mut object = json!({});
        let mut ready = Condition { kind: "Ready", status: true, reason: "A", message: String::new() };
        set_condition(&mut object, &ready, early, false);
        ready.reason = "B";
        set_condition(&mut object, &ready, late, false);
        assert_eq!(time(condition(&object, "Ready").unwrap(), "/lastTransitionTime"), Some(early));
        ready.status = false;
        set_condition(&mut object, &ready, late, false);
        assert_eq!(time(condition(&object, "Ready").unwrap(), "/lastTransitionTime"), Some(late));
    }
}
