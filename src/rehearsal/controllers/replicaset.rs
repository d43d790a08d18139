//! ReplicaSets: as many pods as wanted.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::{Happened, record};
use super::memory::Memory;
use super::object::{
    by_owner, condition, condition_is_true, created, generation, is_terminating, later, name, namespace, number,
    owner_reference, seconds, set_count, text, time, uid, versions,
};
use crate::rehearsal::World;

/// Label that ties a ReplicaSet's pods to one version of the template.
pub const HASH_LABEL: &str = "pod-template-hash";

pub fn reconcile(world: &World, memory: &mut Memory, now: Timestamp) {
    let pods = world.kube.list("pods", None);
    let pods = by_owner(&pods);
    for set in world.kube.list("replicasets", None) {
        let own = pods.get(uid(&set)).map_or(&[][..], Vec::as_slice);
        let seen = versions([&set].into_iter().chain(own));
        if memory.quiet.get(uid(&set)) == Some(&seen) {
            continue;
        }
        let before = world.kube.version();
        let waits = one(world, memory, &set, own, now);
        if world.kube.version() == before && !waits {
            memory.quiet.insert(uid(&set).to_owned(), seen);
        }
    }
}

/// Returns whether a pod becomes available by the passing of time alone.
fn one(world: &World, memory: &mut Memory, set: &Value, pods: &[Arc<Value>], now: Timestamp) -> bool {
    let wanted = usize::try_from(number(set, "/spec/replicas").unwrap_or(1)).unwrap_or_default();
    let own: Vec<&Arc<Value>> = pods.iter().filter(|pod| is_active(pod)).collect();
    if own.len() < wanted && !is_terminating(set) {
        for _ in own.len()..wanted {
            let pod_name = memory.pod_name(world.seed, set);
            if world.kube.create("pods", pod(set, &pod_name, now)).is_ok() {
                let message = format!("Created pod: {pod_name}");
                record(world, set, &Happened::normal("replicaset-controller", "SuccessfulCreate", message), now);
            }
        }
    } else {
        let mut victims = own.clone();
        // Those that serve nobody go first, then the youngest (kubernetes, controller_utils.go, ActivePods).
        victims.sort_by_key(|pod| (condition_is_true(pod, "Ready"), std::cmp::Reverse(created(pod))));
        for pod in victims.iter().take(own.len().saturating_sub(wanted)) {
            terminate(world, pod, now);
            let message = format!("Deleted pod: {}", name(pod));
            record(world, set, &Happened::normal("replicaset-controller", "SuccessfulDelete", message), now);
        }
    }
    // What was just created or ended is counted too.
    let fresh = own.iter().filter_map(|pod| world.kube.get("pods", namespace(pod), name(pod)));
    let counted: Vec<_> = fresh.filter(|pod| is_active(pod)).collect();
    observe(world, memory, set, &counted, wanted.saturating_sub(own.len()), now)
}

fn observe(world: &World, memory: &mut Memory, set: &Value, own: &[Arc<Value>], made: usize, now: Timestamp) -> bool {
    let settle = seconds(number(set, "/spec/minReadySeconds").unwrap_or(0));
    let ready = own.iter().filter(|pod| condition_is_true(pod, "Ready")).count();
    let mut waits = false;
    let available = own.iter().filter(|pod| {
        let since = condition(pod, "Ready").filter(|ready| ready["status"] == "True");
        let Some(since) = since.and_then(|ready| time(ready, "/lastTransitionTime")) else { return false };
        let due = later(since, settle);
        if due > now {
            memory.wake(due);
            waits = true;
        }
        due <= now
    });
    let available = available.count();
    let status = status(own.len() + made, ready, available, generation(set));
    if set["status"] != status {
        let _ = world.kube.modify("replicasets", namespace(set), name(set), |set| set["status"] = status);
    }
    waits
}

/// The status of a ReplicaSet with these counts.
pub fn status(all: usize, ready: usize, available: usize, generation: i64) -> Value {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let mut status = json!({ "replicas": all });
    set_count(&mut status, "fullyLabeledReplicas", count(all));
    set_count(&mut status, "readyReplicas", count(ready));
    set_count(&mut status, "availableReplicas", count(available));
    status["observedGeneration"] = json!(generation);
    status
}

/// Neither finished nor on its way out.
pub fn is_active(pod: &Value) -> bool {
    !is_terminating(pod) && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Asks a pod to end, as `DELETE` with its grace period does.
pub fn terminate(world: &World, pod: &Value, now: Timestamp) {
    let grace = number(pod, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
    let _ = world.kube.modify("pods", namespace(pod), name(pod), |pod| {
        if !is_terminating(pod) {
            pod["metadata"]["deletionTimestamp"] = json!(super::object::stamp(later(now, seconds(grace))));
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        }
    });
}

/// The ReplicaSet of a Deployment's present template.
pub fn replica_set(deployment: &Value, hash: &str, replicas: i64, at: Timestamp) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH_LABEL] = json!(hash);
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH_LABEL] = json!(hash);
    let mut set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", name(deployment)),
            "namespace": namespace(deployment),
            "labels": template["metadata"]["labels"],
            "annotations": {},
            "ownerReferences": [owner_reference(deployment)],
            "creationTimestamp": super::object::stamp(at),
        },
        "spec": { "replicas": replicas, "selector": selector, "template": template },
        "status": { "replicas": 0 },
    });
    if let Some(settle) = deployment["spec"].get("minReadySeconds") {
        set["spec"]["minReadySeconds"] = settle.clone();
    }
    set
}

/// A pod of a ReplicaSet or Job, not yet scheduled.
pub fn pod(owner: &Value, pod_name: &str, at: Timestamp) -> Value {
    let template = &owner["spec"]["template"];
    let mut spec = template["spec"].clone();
    for (key, value) in [
        ("serviceAccountName", json!("default")),
        ("schedulerName", json!("default-scheduler")),
        ("enableServiceLinks", json!(true)),
        ("securityContext", json!({})),
    ] {
        if spec.get(key).is_none() {
            spec[key] = value;
        }
    }
    let mut metadata = json!({
        "name": pod_name,
        "generateName": format!("{}-", name(owner)),
        "namespace": namespace(owner),
        "labels": template["metadata"]["labels"],
        "ownerReferences": [owner_reference(owner)],
        "creationTimestamp": super::object::stamp(at),
    });
    if template["metadata"]["annotations"].is_object() {
        metadata["annotations"] = template["metadata"]["annotations"].clone();
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec,
        "status": { "phase": "Pending", "qosClass": "Burstable" } })
}
