//! Argo CD's comparison: what Git says against what is there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::object::{annotation, condition, condition_is_true, generation, label, name, namespace, number, text};
use crate::rehearsal::World;
use crate::rehearsal::kube::resources;

/// Ties a live object to its Application (Argo CD v3's default tracking method).
pub const TRACKING: &str = "argocd.argoproj.io/tracking-id";

/// The outcome of one comparison.
pub struct Comparison {
    /// `status.resources`.
    pub resources: Vec<Value>,
    /// The resources that differ, as an operation names them.
    pub out_of_sync: Vec<Value>,
    pub health: &'static str,
    pub images: BTreeSet<String>,
}

/// An object's place: group, version, kind, plural, namespace, name.
pub struct Place<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    /// `None` when the cluster does not serve this version of this kind.
    pub plural: Option<&'static str>,
    pub namespace: String,
    pub name: &'a str,
}

impl<'a> Place<'a> {
    /// Where `object` goes, when the Application deploys to `default_namespace`.
    pub fn of(object: &'a Value, default_namespace: &str) -> Self {
        let api_version = text(object, "/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = text(object, "/kind");
        let resource = resources::RESOURCES.iter().find(|r| r.kind == kind && r.group == group && r.version == version);
        let own = namespace(object);
        let namespace = match resource {
            Some(resource) if !resource.namespaced => String::new(),
            _ if own.is_empty() => default_namespace.to_owned(),
            _ => own.to_owned(),
        };
        Self { group, version, kind, plural: resource.map(|r| r.plural), namespace, name: name(object) }
    }

    /// `status.resources[]` and `operation.sync.resources[]`: the group is left out for the core.
    pub fn entry(&self) -> Value {
        let mut entry = json!({ "kind": self.kind, "name": self.name, "namespace": self.namespace });
        if !self.group.is_empty() {
            entry["group"] = json!(self.group);
        }
        entry
    }

    pub fn tracking(&self, app: &str) -> String {
        format!("{app}:{}/{}:{}/{}", self.group, self.kind, self.namespace, self.name)
    }
}

pub fn compare(world: &World, app: &Value, desired: &[Value]) -> Comparison {
    let target = text(app, "/spec/destination/namespace");
    let mut outcome =
        Comparison { resources: Vec::new(), out_of_sync: Vec::new(), health: "Healthy", images: BTreeSet::new() };
    for object in desired {
        let place = Place::of(object, target);
        let live = place.plural.and_then(|plural| world.kube.get(plural, &place.namespace, place.name));
        let synced = live.as_ref().is_some_and(|live| !differs(object, live));
        let health = live.as_ref().map_or("Missing", |live| health(live));
        outcome.health = worse(outcome.health, health);
        if let Some(live) = &live {
            outcome.images.extend(images(live));
        }
        outcome.push(&place, if synced { "Synced" } else { "OutOfSync" }, false);
    }
    for live in left_over(world, app, desired) {
        let place = Place::of(&live, target);
        outcome.push(&place, "OutOfSync", true);
    }
    let managed: BTreeSet<&str> = desired.iter().filter(|object| object["kind"] == "Deployment").map(name).collect();
    for pod in world.kube.list("pods", Some(target)) {
        if managed.contains(label(&pod, "app")) {
            outcome.images.extend(images(&pod));
        }
    }
    outcome
}

impl Comparison {
    fn push(&mut self, place: &Place<'_>, status: &str, prune: bool) {
        let mut entry = place.entry();
        if status != "Synced" {
            self.out_of_sync.push(entry.clone());
        }
        entry["version"] = json!(place.version);
        entry["status"] = json!(status);
        if prune {
            entry["requiresPruning"] = json!(true);
        }
        self.resources.push(entry);
    }
}

/// Live objects that belong to the Application and that Git no longer has.
pub fn left_over(world: &World, app: &Value, desired: &[Value]) -> Vec<Value> {
    let target = text(app, "/spec/destination/namespace");
    let wanted: BTreeSet<String> = desired.iter().map(|object| Place::of(object, target).tracking(name(app))).collect();
    let known = app["status"]["resources"].as_array().into_iter().flatten();
    let live = known.filter_map(|entry| {
        let group = text(entry, "/group");
        let version = text(entry, "/version");
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let resource = resources::by_kind(&api_version, text(entry, "/kind"))?;
        world.kube.get(resource.plural, text(entry, "/namespace"), text(entry, "/name"))
    });
    live.filter(|live| {
        let tracking = annotation(live, TRACKING);
        tracking.starts_with(&format!("{}:", name(app))) && !wanted.contains(tracking)
    })
    .map(|live| Value::clone(&live))
    .collect()
}

fn images(object: &Value) -> BTreeSet<String> {
    let containers = object
        .pointer("/spec/template/spec/containers")
        .or_else(|| object.pointer("/spec/jobTemplate/spec/template/spec/containers"))
        .or_else(|| object.pointer("/spec/containers"));
    let containers = containers.and_then(Value::as_array).into_iter().flatten();
    containers.map(|container| text(container, "/image").to_owned()).filter(|image| !image.is_empty()).collect()
}

/// Whether something that Git says is otherwise in the cluster. What only the cluster has (defaults, status) is not a
/// difference.
pub fn differs(desired: &Value, live: &Value) -> bool {
    let Some(fields) = desired.as_object() else { return desired != live };
    fields.iter().any(|(key, value)| match key.as_str() {
        "status" | "apiVersion" => false,
        "metadata" => ["labels", "annotations"].iter().any(|part| lacks(&live["metadata"][part], &value[part])),
        _ => lacks(&live[key], value),
    })
}

/// Whether `live` lacks something of `desired`.
fn lacks(live: &Value, desired: &Value) -> bool {
    match desired {
        Value::Null => false,
        Value::Object(fields) => fields.iter().any(|(key, value)| lacks(&live[key], value)),
        Value::Array(items) => live.as_array().is_none_or(|live| {
            live.len() != items.len() || items.iter().zip(live).any(|(desired, live)| lacks(live, desired))
        }),
        scalar => scalar != live,
    }
}

fn worse(a: &'static str, b: &'static str) -> &'static str {
    // gitops-engine, pkg/health: from healthy to worst.
    const ORDER: [&str; 6] = ["Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown"];
    let rank = |health: &str| ORDER.iter().position(|known| *known == health).unwrap_or(ORDER.len());
    if rank(b) > rank(a) { b } else { a }
}

/// The health of one object (gitops-engine, pkg/health).
pub fn health(live: &Value) -> &'static str {
    match text(live, "/kind") {
        "Deployment" => deployment_health(live),
        "Job" if condition_is_true(live, "Failed") => "Degraded",
        "Job" if !condition_is_true(live, "Complete") => "Progressing",
        "ExternalSecret" => match condition(live, "Ready") {
            None => "Progressing",
            Some(ready) if ready["status"] == "True" => "Healthy",
            Some(_) => "Degraded",
        },
        _ => "Healthy",
    }
}

fn deployment_health(live: &Value) -> &'static str {
    let count = |key: &str| live["status"][key].as_i64().unwrap_or(0);
    if live["spec"]["paused"] == json!(true) {
        return "Suspended";
    }
    if count("observedGeneration") < generation(live) {
        return "Progressing";
    }
    if condition(live, "Progressing").is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
        return "Degraded";
    }
    let updated = count("updatedReplicas");
    let rolling = updated < number(live, "/spec/replicas").unwrap_or(1)
        || count("replicas") > updated
        || count("availableReplicas") < updated;
    if rolling { "Progressing" } else { "Healthy" }
}
