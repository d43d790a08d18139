//! The External Secrets Operator: each ExternalSecret makes a Secret with its key names.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::events::{Happened, record};
use super::memory::Memory;
use super::object::{
    Condition, annotation, duration, fnv, generation, is_terminating, later, name, namespace, owner_reference, seconds,
    set_condition, stamp, text, time,
};
use crate::rehearsal::World;

/// Hash of the data that the operator wrote (external-secrets, `reconcile.external-secrets.io/data-hash`).
const DATA_HASH: &str = "reconcile.external-secrets.io/data-hash";

pub fn reconcile(world: &World, memory: &mut Memory, now: Timestamp) {
    for external in world.kube.list("externalsecrets", None) {
        if !is_terminating(&external) {
            one(world, memory, &external, now);
        }
    }
}

fn one(world: &World, memory: &mut Memory, external: &Value, now: Timestamp) {
    let interval = text(external, "/spec/refreshInterval");
    let interval = duration(if interval.is_empty() { "1h" } else { interval }).unwrap_or_else(|| seconds(3600));
    let synced = text(external, "/status/syncedResourceVersion");
    let present = world.kube.get("secrets", namespace(external), target(external)).is_some();
    if let Some(refreshed) = time(external, "/status/refreshTime").filter(|_| present) {
        // An interval of 0 means once: later edits are not noticed (external-secrets#4167).
        if interval.is_zero() {
            return;
        }
        let due = later(refreshed, interval);
        if due > now && synced == version(external) {
            return memory.wake(due);
        }
    }
    sync(world, external, now);
    if !interval.is_zero() {
        memory.wake(later(now, interval));
    }
}

fn target(external: &Value) -> &str {
    let target = text(external, "/spec/target/name");
    if target.is_empty() { name(external) } else { target }
}

/// `<generation>-<hash of labels and annotations>`: what `syncedResourceVersion` says of the spec that was synced.
fn version(external: &Value) -> String {
    let hash = fnv(&[&external["metadata"]["labels"].to_string(), &external["metadata"]["annotations"].to_string()]);
    format!("{}-{hash:016x}", generation(external))
}

/// Writes the Secret, with values that nobody may rely on, and the status.
pub fn sync(world: &World, external: &Value, now: Timestamp) {
    let keys = external["spec"]["data"].as_array().into_iter().flatten();
    let mut data = Map::new();
    for key in keys.map(|entry| text(entry, "/secretKey")).filter(|key| !key.is_empty()) {
        let value = format!("{:016x}", fnv(&[&world.seed.to_string(), namespace(external), key]));
        data.insert(key.to_owned(), json!(base64(&value)));
    }
    let hash = format!("{:016x}", fnv(&[&Value::Object(data.clone()).to_string()]));
    let space = namespace(external);
    if let Some(secret) = world.kube.get("secrets", space, target(external)) {
        if annotation(&secret, DATA_HASH) != hash {
            let _ = world.kube.modify("secrets", space, target(external), |secret| {
                secret["data"] = Value::Object(data);
                super::object::annotate(secret, DATA_HASH, hash);
            });
        }
    } else {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": target(external),
                "namespace": space,
                "labels": { "reconcile.external-secrets.io/managed": "true" },
                "annotations": { DATA_HASH: hash },
                "ownerReferences": [owner_reference(external)],
                "creationTimestamp": stamp(now),
            },
            "data": data,
        });
        let _ = world.kube.create("secrets", secret);
        record(world, external, &Happened::normal("external-secrets", "Created", "secret created"), now);
    }
    let _ = world.kube.modify("externalsecrets", space, name(external), |external| {
        let message = "secret synced".into();
        let ready = Condition { kind: "Ready", status: true, reason: "SecretSynced", message };
        let version = version(external);
        let target = target(external).to_owned();
        set_condition(external, &ready, now, false);
        external["status"]["refreshTime"] = json!(stamp(now));
        external["status"]["syncedResourceVersion"] = json!(version);
        external["status"]["binding"] = json!({ "name": target });
    });
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
