//! Deployments: ReplicaSets by template, rolled over within maxSurge and maxUnavailable.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::{Happened, record};
use super::memory::Memory;
use super::object::{
    Condition, annotate, annotation, by_owner, canonical, condition, condition_is_true, created, fnv, generation,
    is_owned_by, is_terminating, later, name, namespace, number, safe_name, seconds, set_condition, set_count, text,
    time, uid, versions,
};
use super::replicaset::{HASH_LABEL, replica_set};
use super::rollout::{Counts, Limits, next};
use crate::rehearsal::World;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// The revisions that a ReplicaSet had before the Deployment returned to it.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const BY: &str = "deployment-controller";

pub fn reconcile(world: &World, memory: &mut Memory, now: Timestamp) {
    let sets = world.kube.list("replicasets", None);
    let sets = by_owner(&sets);
    for deployment in world.kube.list("deployments", None) {
        let own = sets.get(uid(&deployment)).map_or(&[][..], Vec::as_slice);
        let seen = versions([&deployment].into_iter().chain(own));
        if is_terminating(&deployment) || memory.quiet.get(uid(&deployment)) == Some(&seen) {
            continue;
        }
        let before = world.kube.version();
        one(world, memory, &deployment, own, now);
        // One under way is looked at every time: its deadline may pass.
        let progressing = condition(&deployment, "Progressing").map_or("", |c| text(c, "/reason"));
        let settled = matches!(progressing, "NewReplicaSetAvailable" | "DeploymentPaused" | "ProgressDeadlineExceeded");
        if world.kube.version() == before && settled {
            memory.quiet.insert(uid(&deployment).to_owned(), seen);
        }
    }
}

/// Makes and numbers the ReplicaSet of each present template of a namespace, and starts no pod: what is left of a
/// deployment that was replaced since.
pub fn remember(world: &World, space: &str, now: Timestamp) {
    let sets = world.kube.list("replicasets", Some(space));
    let sets = by_owner(&sets);
    for deployment in world.kube.list("deployments", Some(space)) {
        let own = sets.get(uid(&deployment)).into_iter().flatten().cloned();
        let (current, old) = split(&deployment, own);
        if let Some(current) = current.or_else(|| create_current(world, &deployment, &old, now)) {
            bring_forward(world, &deployment, &current, &old, now);
        }
    }
}

fn one(world: &World, memory: &mut Memory, deployment: &Value, own: &[Arc<Value>], now: Timestamp) {
    let paused = deployment["spec"]["paused"] == json!(true);
    let (current, mut old) = split(deployment, own.iter().filter(|set| !is_terminating(set)).cloned());
    let current = match current {
        Some(set) => Some(set),
        None if paused => None,
        None => create_current(world, deployment, &old, now),
    };
    if let Some(current) = current.as_ref().filter(|_| !paused) {
        bring_forward(world, deployment, current, &old, now);
    }
    let all: Vec<_> = current.iter().chain(&old).cloned().collect();
    // Revision and status may just have changed: scale from what is stored now.
    let fresh = |set: &Arc<Value>| world.kube.get("replicasets", namespace(set), name(set));
    let current = current.as_ref().and_then(fresh);
    if paused {
        scale_paused(world, deployment, current.as_deref(), &old, now);
    } else if let Some(current) = &current {
        roll(world, deployment, current, &old, now);
        forget_oldest(world, deployment, &mut old);
    }
    observe(world, memory, deployment, all.iter().filter_map(fresh), now);
}

/// The ReplicaSet of the present template, and the others.
fn split(deployment: &Value, sets: impl Iterator<Item = Arc<Value>>) -> (Option<Arc<Value>>, Vec<Arc<Value>>) {
    let wanted = &deployment["spec"]["template"];
    let (mut current, old): (Vec<_>, Vec<_>) = sets.partition(|set| same_template(&set["spec"]["template"], wanted));
    current.sort_by_key(|set| created(set));
    (current.into_iter().next(), old)
}

/// Whether a ReplicaSet's template is the Deployment's, but for the hash label.
fn same_template(of_set: &Value, wanted: &Value) -> bool {
    let labels = |template: &Value| -> BTreeMap<String, Value> {
        let labels = template["metadata"]["labels"].as_object().into_iter().flatten();
        labels.filter(|(key, _)| *key != HASH_LABEL).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    of_set["spec"] == wanted["spec"]
        && of_set["metadata"]["annotations"] == wanted["metadata"]["annotations"]
        && labels(of_set) == labels(wanted)
}

/// The hash of a Deployment's template, as in the names of its ReplicaSets.
pub fn template_hash(deployment: &Value) -> String {
    safe_name(fnv(&[&canonical(&deployment["spec"]["template"])]), 10)
}

fn revision(object: &Value) -> i64 {
    annotation(object, REVISION).parse().unwrap_or(0)
}

fn create_current(world: &World, deployment: &Value, old: &[Arc<Value>], now: Timestamp) -> Option<Arc<Value>> {
    let mut set = replica_set(deployment, &template_hash(deployment), 0, now);
    let next = old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
    annotate(&mut set, REVISION, next.to_string());
    let set = world.kube.create("replicasets", set).ok()?;
    let message = format!("Created new replica set \"{}\"", name(&set));
    progressing(world, deployment, true, "NewReplicaSetCreated", message, now);
    Some(set)
}

/// The current ReplicaSet has the highest revision, and the Deployment the same.
fn bring_forward(world: &World, deployment: &Value, current: &Value, old: &[Arc<Value>], now: Timestamp) {
    let highest = old.iter().map(|set| revision(set)).max().unwrap_or(0);
    let mut own = revision(current);
    if own <= highest {
        let had = [annotation(current, REVISION_HISTORY), annotation(current, REVISION)];
        let had = had.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(",");
        own = highest + 1;
        let _ = world.kube.modify("replicasets", namespace(current), name(current), |set| {
            annotate(set, REVISION, own.to_string());
            annotate(set, REVISION_HISTORY, had.clone());
        });
        let message = format!("Found new replica set \"{}\"", name(current));
        progressing(world, deployment, true, "FoundNewReplicaSet", message, now);
    }
    if revision(deployment) != own {
        let _ = world.kube.modify("deployments", namespace(deployment), name(deployment), |deployment| {
            annotate(deployment, REVISION, own.to_string());
        });
    }
}

fn counts(set: &Value) -> Counts {
    Counts {
        wanted: number(set, "/spec/replicas").unwrap_or(1),
        existing: number(set, "/status/replicas").unwrap_or(0),
        available: number(set, "/status/availableReplicas").unwrap_or(0),
    }
}

fn desired(deployment: &Value) -> i64 {
    number(deployment, "/spec/replicas").unwrap_or(1)
}

fn roll(world: &World, deployment: &Value, current: &Value, old: &[Arc<Value>], now: Timestamp) {
    // A ReplicaSet that has not looked at its new size yet counts wrongly: wait for it.
    let stale = |set: &Value| number(set, "/status/observedGeneration").unwrap_or(0) < generation(set);
    if old.iter().any(|set| stale(set)) || (stale(current) && counts(current).wanted > 0) {
        return;
    }
    let mut oldest_first: Vec<&Arc<Value>> = old.iter().collect();
    oldest_first.sort_by_key(|set| created(set));
    let old_counts: Vec<Counts> = oldest_first.iter().map(|set| counts(set)).collect();
    let limits = Limits::of(&deployment["spec"]["strategy"], desired(deployment));
    let target = next(desired(deployment), &limits, counts(current), &old_counts);
    scale(world, deployment, current, target.current, now);
    for (set, wanted) in oldest_first.iter().zip(target.old) {
        scale(world, deployment, set, wanted, now);
    }
}

/// A paused Deployment rolls nothing over, but follows its replica count in the ReplicaSet that serves.
fn scale_paused(world: &World, deployment: &Value, current: Option<&Value>, old: &[Arc<Value>], now: Timestamp) {
    let all = current.into_iter().chain(old.iter().map(AsRef::as_ref));
    let active: Vec<&Value> = all.filter(|set| counts(set).wanted > 0).collect();
    if let [only] = active[..] {
        scale(world, deployment, only, desired(deployment), now);
    }
}

fn scale(world: &World, deployment: &Value, set: &Value, wanted: i64, now: Timestamp) {
    let before = counts(set).wanted;
    if before == wanted {
        return;
    }
    let surge = Limits::of(&deployment["spec"]["strategy"], desired(deployment)).surge;
    let _ = world.kube.modify("replicasets", namespace(set), name(set), |set| {
        set["spec"]["replicas"] = json!(wanted);
        annotate(set, "deployment.kubernetes.io/desired-replicas", desired(deployment).to_string());
        annotate(set, "deployment.kubernetes.io/max-replicas", (desired(deployment) + surge).to_string());
    });
    let direction = if wanted > before { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {} from {before} to {wanted}", name(set));
    record(world, deployment, &Happened::normal(BY, "ScalingReplicaSet", message), now);
}

fn forget_oldest(world: &World, deployment: &Value, old: &mut [Arc<Value>]) {
    let keep = usize::try_from(number(deployment, "/spec/revisionHistoryLimit").unwrap_or(10)).unwrap_or_default();
    old.sort_by_key(|set| revision(set));
    let empty = old.iter().filter(|set| counts(set).wanted == 0 && counts(set).existing == 0);
    let empty: Vec<_> = empty.collect();
    for set in empty.iter().take(empty.len().saturating_sub(keep)) {
        let _ = world.kube.delete("replicasets", namespace(set), name(set));
    }
}

fn progressing(world: &World, deployment: &Value, ok: bool, reason: &str, message: String, now: Timestamp) {
    let _ = world.kube.modify("deployments", namespace(deployment), name(deployment), |deployment| {
        let new = Condition { kind: "Progressing", status: ok, reason, message };
        set_condition(deployment, &new, now, true);
    });
}

fn observe(
    world: &World,
    memory: &mut Memory,
    deployment: &Value,
    sets: impl Iterator<Item = Arc<Value>>,
    now: Timestamp,
) {
    let Some(deployment) = world.kube.get("deployments", namespace(deployment), name(deployment)) else { return };
    let (current, old) = split(&deployment, sets);
    let mut after = Value::clone(&deployment);
    set_status(&mut after, current.as_deref(), &old);
    let stuck = || current.as_ref().is_some_and(|set| has_stuck_pod(world, set));
    set_progress(&mut after, &deployment, current.as_deref(), now, memory, stuck);
    if after["status"] != deployment["status"] {
        let status = after["status"].take();
        let _ = world.kube.modify("deployments", namespace(&deployment), name(&deployment), |d| d["status"] = status);
    }
}

/// Counts, `observedGeneration` and `Available`.
fn set_status(deployment: &mut Value, current: Option<&Value>, old: &[Arc<Value>]) {
    let all = || current.into_iter().chain(old.iter().map(AsRef::as_ref));
    let sum = |key: &str| all().map(|set| set["status"][key].as_i64().unwrap_or(0)).sum::<i64>();
    let wanted = desired(deployment);
    let total = all().map(|set| counts(set).wanted).sum::<i64>().max(wanted);
    let available = sum("availableReplicas");
    let generation = generation(deployment);
    let status = &mut deployment["status"];
    if !status.is_object() {
        *status = json!({});
    }
    status["observedGeneration"] = json!(generation);
    set_count(status, "replicas", sum("replicas"));
    set_count(status, "updatedReplicas", current.map_or(0, |set| counts(set).existing));
    set_count(status, "readyReplicas", sum("readyReplicas"));
    set_count(status, "availableReplicas", available);
    set_count(status, "unavailableReplicas", total - available);
}

/// `Available` and `Progressing` (kubernetes, pkg/controller/deployment/progress.go).
fn set_progress(
    after: &mut Value,
    before: &Value,
    current: Option<&Value>,
    now: Timestamp,
    memory: &mut Memory,
    stuck: impl FnOnce() -> bool,
) {
    let wanted = desired(after);
    let limits = Limits::of(&after["spec"]["strategy"], wanted);
    let count = |of: &Value, key: &str| of["status"][key].as_i64().unwrap_or(0);
    let enough = count(after, "availableReplicas") >= wanted - limits.unavailable;
    let (reason, message) = if enough {
        ("MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let available = Condition { kind: "Available", status: enough, reason, message: message.into() };
    set_condition(after, &available, now, true);

    if after["spec"]["paused"] == json!(true) {
        let message = "Deployment is paused".into();
        let paused = Condition { kind: "Progressing", status: true, reason: "DeploymentPaused", message };
        if condition(after, "Progressing").is_none_or(|old| old["reason"] != "DeploymentPaused") {
            set_condition(after, &paused, now, true);
        }
        return;
    }
    let Some(current) = current else { return };
    let set = name(current);
    let complete = ["updatedReplicas", "replicas", "availableReplicas"].iter().all(|key| count(after, key) == wanted);
    let moved = count(after, "updatedReplicas") > count(before, "updatedReplicas")
        || count(after, "availableReplicas") > count(before, "availableReplicas")
        || count(after, "readyReplicas") > count(before, "readyReplicas")
        || count(after, "replicas") - count(after, "updatedReplicas")
            < count(before, "replicas") - count(before, "updatedReplicas");
    let reason = condition(after, "Progressing").map(|c| text(c, "/reason").to_owned()).unwrap_or_default();
    let done = reason == "NewReplicaSetAvailable";
    if complete {
        let message = format!("ReplicaSet \"{set}\" has successfully progressed.");
        let new = Condition { kind: "Progressing", status: true, reason: "NewReplicaSetAvailable", message };
        set_condition(after, &new, now, true);
    } else if moved && !done {
        let message = format!("ReplicaSet \"{set}\" is progressing.");
        // Every progress restarts the deadline, also where the words stay the same.
        if let Some(conditions) = after.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
            conditions.iter_mut().filter(|c| c["type"] == "Progressing").for_each(|c| {
                c["lastUpdateTime"] = json!(super::object::stamp(now));
            });
        }
        let new = Condition { kind: "Progressing", status: true, reason: "ReplicaSetUpdated", message };
        set_condition(after, &new, now, true);
    } else if !done && reason != "ProgressDeadlineExceeded" {
        let limit = number(after, "/spec/progressDeadlineSeconds").unwrap_or(600);
        let since = condition(after, "Progressing").and_then(|c| time(c, "/lastUpdateTime")).unwrap_or(now);
        let due = later(since, seconds(limit));
        if due > now {
            memory.wake(due);
        } else if stuck() {
            // A machine that stalls while world time runs fast is not a rollout that stalls: only a pod that cannot
            // come up by itself counts.
            let message = format!("ReplicaSet \"{set}\" has timed out progressing.");
            let new = Condition { kind: "Progressing", status: false, reason: "ProgressDeadlineExceeded", message };
            set_condition(after, &new, now, true);
        }
    }
}

/// Whether a pod of the ReplicaSet waits for something that the kubelet will not bring about by itself.
fn has_stuck_pod(world: &World, set: &Value) -> bool {
    const DOOMED: [&str; 4] = ["ErrImagePull", "ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"];
    let pods = world.kube.list("pods", Some(namespace(set)));
    pods.iter().filter(|pod| is_owned_by(pod, set) && !is_terminating(pod)).any(|pod| {
        let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
        let failing = statuses.into_iter().flatten().any(|status| {
            DOOMED.contains(&text(status, "/state/waiting/reason")) || number(status, "/restartCount").unwrap_or(0) > 0
        });
        let unready = text(pod, "/status/phase") == "Running" && !condition_is_true(pod, "Ready");
        failing || unready
    })
}
