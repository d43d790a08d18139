//! Argo CD's sync: applies what Git says.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::compare::{Place, TRACKING, left_over};
use super::object::{annotate, name, stamp, text};
use crate::rehearsal::World;

/// What a sync did.
pub struct Outcome {
    /// `operationState.syncResult.resources`.
    pub resources: Vec<Value>,
    /// Why it failed, when it did.
    pub failure: Option<String>,
}

/// Applies `desired` as the operation's `sync` (`asked`) says: all of it or the named resources, with or without
/// pruning, or only for show.
pub fn apply(world: &World, app: &Value, desired: &[Value], asked: &Value, now: Timestamp) -> Outcome {
    let target = text(app, "/spec/destination/namespace");
    let only = asked["resources"].as_array().filter(|only| !only.is_empty());
    let dry_run = asked["dryRun"] == json!(true);
    let mut outcome = Outcome { resources: Vec::new(), failure: None };
    for object in desired {
        let place = Place::of(object, target);
        if only.is_some_and(|only| !only.iter().any(|named| is_named(&place, named))) {
            continue;
        }
        let done = if dry_run { Ok("unchanged (dry run)") } else { put(world, app, &place, object, now) };
        outcome.note(&place, done, "Synced");
    }
    if asked["prune"] == json!(true) && only.is_none() {
        for live in left_over(world, app, desired) {
            let place = Place::of(&live, target);
            let Some(plural) = place.plural.filter(|_| !dry_run) else { continue };
            let done = world.kube.delete(plural, &place.namespace, place.name);
            outcome.note(&place, done.map(|_| "pruned").map_err(|status| status.message), "Pruned");
        }
    }
    outcome
}

fn is_named(place: &Place<'_>, named: &Value) -> bool {
    let of = |key: &str| named[key].as_str().unwrap_or_default();
    let space = of("namespace");
    of("kind") == place.kind
        && of("name") == place.name
        && of("group") == place.group
        && (space.is_empty() || space == place.namespace)
}

impl Outcome {
    fn note(&mut self, place: &Place<'_>, done: Result<&str, String>, word: &str) {
        let shown = if place.group.is_empty() {
            format!("{}/{}", place.kind.to_lowercase(), place.name)
        } else {
            format!("{}.{}/{}", place.kind.to_lowercase(), place.group, place.name)
        };
        let (status, phase, message) = match done {
            Ok(done) => (word, "Running", format!("{shown} {done}")),
            Err(why) => {
                self.failure.get_or_insert(why.clone());
                ("SyncFailed", "Failed", why)
            }
        };
        self.resources.push(json!({
            "group": place.group,
            "version": place.version,
            "kind": place.kind,
            "namespace": place.namespace,
            "name": place.name,
            "status": status,
            "message": message,
            "hookPhase": phase,
            "syncPhase": "Sync",
        }));
    }
}

/// Creates an object or brings it to what Git says; says which.
pub fn put(
    world: &World,
    app: &Value,
    place: &Place<'_>,
    object: &Value,
    now: Timestamp,
) -> Result<&'static str, String> {
    let Some(plural) = place.plural else {
        return Err(format!(
            "The Kubernetes API could not find {}/{} for requested resource {}/{}. Make sure the \"{}\" CRD is \
             installed on the destination cluster.",
            place.group, place.kind, place.namespace, place.name, place.kind
        ));
    };
    let tracking = place.tracking(name(app));
    let Some(live) = world.kube.get(plural, &place.namespace, place.name) else {
        let mut new = object.clone();
        annotate(&mut new, TRACKING, tracking);
        if !place.namespace.is_empty() {
            new["metadata"]["namespace"] = json!(place.namespace);
        }
        new["metadata"]["creationTimestamp"] = json!(stamp(now));
        return world.kube.create(plural, new).map(|_| "created").map_err(|status| status.message);
    };
    let changed = world.kube.update(plural, &place.namespace, place.name, |live| {
        for part in ["labels", "annotations"] {
            merge(&mut live["metadata"][part], &object["metadata"][part]);
        }
        for (key, value) in object.as_object().into_iter().flatten() {
            if !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind") {
                merge(&mut live[key], value);
            }
        }
        annotate(live, TRACKING, tracking);
    });
    let changed = changed.map_err(|status| status.message)?;
    let same = changed["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"];
    Ok(if same { "unchanged" } else { "configured" })
}

/// Maps are merged, item by item; lists of named things keep what others filled in, and have Git's members only.
fn merge(live: &mut Value, desired: &Value) {
    match desired {
        Value::Null => {}
        Value::Object(fields) => {
            if !live.is_object() {
                *live = json!({});
            }
            for (key, value) in fields {
                merge(&mut live[key], value);
            }
        }
        Value::Array(items) => {
            let before = live.take();
            let old = |item: &Value| {
                let named = item.get("name")?;
                before.as_array()?.iter().find(|old| old.get("name") == Some(named)).cloned()
            };
            let merged = items.iter().map(|item| {
                let mut merged = old(item).unwrap_or(Value::Null);
                if merged.is_null() {
                    return item.clone();
                }
                merge(&mut merged, item);
                merged
            });
            *live = merged.collect();
        }
        scalar => *live = scalar.clone(),
    }
}
