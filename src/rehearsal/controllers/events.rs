//! `v1` Events, aggregated as the kubelet does: the same thing again raises the count.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::object::{fnv, later, name, namespace, stamp, text, uid};
use crate::rehearsal::World;

/// What happened to an object.
#[derive(Debug, Clone)]
pub struct Happened<'a> {
    /// `Warning` rather than `Normal`.
    pub warning: bool,
    pub reason: &'a str,
    pub message: String,
    /// `kubelet`, `deployment-controller`, …
    pub by: &'a str,
}

impl<'a> Happened<'a> {
    pub fn normal(by: &'a str, reason: &'a str, message: impl Into<String>) -> Self {
        Self { warning: false, reason, message: message.into(), by }
    }

    pub fn warning(by: &'a str, reason: &'a str, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into(), by }
    }
}

/// Events live an hour (kube-apiserver, `--event-ttl`).
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// Records an event about `object`; not one that would be forgotten by now.
pub fn record(world: &World, object: &Value, happened: &Happened<'_>, at: Timestamp) {
    if later(at, LIFETIME) < world.clock.now() {
        return;
    }
    let hash = fnv(&[uid(object), happened.reason, &happened.message]);
    let event_name = format!("{}.{hash:016x}", name(object));
    let space = namespace(object);
    let seen = stamp(at);
    if world.kube.get("events", space, &event_name).is_some() {
        let again = world.kube.modify("events", space, &event_name, |event| {
            event["count"] = json!(event["count"].as_i64().unwrap_or(1) + 1);
            event["lastTimestamp"] = json!(seen);
        });
        if again.is_ok() {
            return;
        }
    }
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": event_name, "namespace": space, "creationTimestamp": seen },
        "involvedObject": {
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "namespace": space,
            "name": name(object),
            "uid": uid(object),
        },
        "reason": happened.reason,
        "message": happened.message,
        "source": { "component": happened.by, "host": text(object, "/spec/nodeName") },
        "firstTimestamp": seen,
        "lastTimestamp": seen,
        "count": 1,
        "type": if happened.warning { "Warning" } else { "Normal" },
        "eventTime": null,
        "reportingComponent": happened.by,
        "reportingInstance": "",
    });
    // Two events with one name would be the same event: losing the second loses nothing.
    let _ = world.kube.create("events", event);
}
