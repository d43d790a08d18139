//! What the kubelet writes into a pod's status.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::{Happened, record};
use super::object::{Condition, fnv, label, name, namespace, set_condition, sha256, stamp, text, uid};
use crate::domain::{Digest, ImageRef};
use crate::rehearsal::World;
use crate::rehearsal::scenario::PodFaultKind;

/// The outcome of pulling a pod's images.
pub enum Pulled {
    /// `imageID` of each container.
    Yes(Vec<String>),
    /// The runtime's words.
    No(String),
}

pub fn container_name(pod: &Value) -> &str {
    text(pod, "/spec/containers/0/name")
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten()
}

/// The Secret that a container needs and that is not there.
pub fn missing_secret(world: &World, pod: &Value) -> Option<String> {
    let from = |container: &Value| container["envFrom"].as_array().cloned().unwrap_or_default();
    let names = containers(pod).flat_map(from).filter(|source| source["secretRef"]["optional"] != json!(true));
    let names = names.filter_map(|source| source["secretRef"]["name"].as_str().map(str::to_owned));
    names.into_iter().find(|secret| world.kube.get("secrets", namespace(pod), secret).is_none())
}

/// The service whose pod this is: what follows `gospelib-` in its `app` label.
pub fn service_of<'a>(world: &World, pod: &'a Value) -> Option<&'a str> {
    world.shape.service_of(label(pod, "app"))
}

/// The fault that the scenario has for this pod: in production only, of the named service, and not for the images
/// that ran there before the story began.
pub fn fault(world: &World, pod: &Value) -> Option<PodFaultKind> {
    let fault = world.scenario.world.pod.as_ref()?;
    let service = service_of(world, pod)?;
    if namespace(pod) != world.shape.namespace("production") || service != fault.service {
        return None;
    }
    let image: ImageRef = text(pod, "/spec/containers/0/image").parse().ok()?;
    let digest = world.registry.resolve(&image).or(image.digest);
    let known = |digest: &Digest| world.past.releases.iter().any(|past| past.images.get(service) == Some(digest));
    (!digest.as_ref().is_some_and(known)).then_some(fault.kind)
}

/// Finds the images of a pod: ours in the rehearsed registry, those of others wherever they are.
pub fn resolve(world: &World, pod: &Value) -> Pulled {
    if fault(world, pod) == Some(PodFaultKind::ImagePull) {
        let image = text(pod, "/spec/containers/0/image");
        return Pulled::No(format!(
            "rpc error: code = Unknown desc = failed to pull and unpack image \"{image}\": failed to resolve reference \
             \"{image}\": unexpected status from HEAD request to https://{}: 403 Forbidden",
            image.replacen('/', "/v2/", 1)
        ));
    }
    let mut ids = Vec::new();
    for container in containers(pod) {
        let image = text(container, "/image");
        let Ok(reference) = image.parse::<ImageRef>() else {
            return Pulled::No(format!("couldn't parse image name \"{image}\": invalid reference format"));
        };
        match image_id(world, &reference) {
            Some(id) => ids.push(id),
            None => {
                return Pulled::No(format!(
                    "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve \
                     reference \"{image}\": {image}: not found"
                ));
            }
        }
    }
    Pulled::Yes(ids)
}

/// `<repository>@<digest>`; of an index it is the platform's.
pub fn image_id(world: &World, image: &ImageRef) -> Option<String> {
    let digest: Digest = if image.name.starts_with(&world.shape.registry()) {
        world.registry.on_node(image.short_name(), world.registry.resolve(image)?)
    } else {
        image.digest.clone().or_else(|| format!("sha256:{}", sha256(&image.to_string())).parse().ok())?
    };
    Some(format!("{}@{digest}", image.name))
}

fn change(world: &World, pod: &Value, change: impl FnOnce(&mut Value)) {
    // A pod that is gone needs no status.
    let _ = world.kube.modify("pods", namespace(pod), name(pod), change);
}

fn set(pod: &mut Value, kind: &str, status: bool, reason: &str, message: &str, at: Timestamp) {
    set_condition(pod, &Condition { kind, status, reason, message: message.into() }, at, false);
}

/// The node of a pod and its address.
pub fn node_of(world: &World, pod: &Value) -> (String, String) {
    let nodes = world.kube.list("nodes", None);
    let pick = usize::try_from(fnv(&[name(pod)])).unwrap_or_default() % nodes.len().max(1);
    let Some(node) = nodes.get(pick) else { return (String::new(), String::new()) };
    (name(node).to_owned(), text(node, "/status/addresses/0/address").to_owned())
}

fn pod_ip(pod: &Value) -> String {
    let hash = fnv(&[uid(pod), name(pod)]);
    format!("10.0.{}.{}", 32 + hash % 64, 2 + (hash >> 8) % 250)
}

pub fn schedule(world: &World, pod: &Value, at: Timestamp) {
    let (node, host) = node_of(world, pod);
    let message = format!("Successfully assigned {}/{} to {node}", namespace(pod), name(pod));
    record(world, pod, &Happened::normal("default-scheduler", "Scheduled", message), at);
    change(world, pod, |pod| {
        pod["spec"]["nodeName"] = json!(node);
        let names: Vec<String> = containers(pod).map(|c| text(c, "/name").to_owned()).collect();
        let not_ready = format!("containers with unready status: [{}]", names.join(" "));
        set(pod, "PodReadyToStartContainers", false, "", "", at);
        set(pod, "Initialized", true, "", "", at);
        set(pod, "Ready", false, "ContainersNotReady", &not_ready, at);
        set(pod, "ContainersReady", false, "ContainersNotReady", &not_ready, at);
        set(pod, "PodScheduled", true, "", "", at);
        pod["status"]["hostIP"] = json!(host);
        pod["status"]["hostIPs"] = json!([{ "ip": host }]);
        pod["status"]["startTime"] = json!(stamp(at));
        let statuses: Vec<Value> = containers(pod)
            .map(|container| {
                json!({
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": false,
                    "started": false,
                    "restartCount": 0,
                    "lastState": {},
                    "state": { "waiting": { "reason": "ContainerCreating" } },
                })
            })
            .collect();
        pod["status"]["containerStatuses"] = json!(statuses);
    });
}

fn each_status(pod: &mut Value, mut change: impl FnMut(usize, &mut Value)) {
    let statuses = pod.pointer_mut("/status/containerStatuses").and_then(Value::as_array_mut);
    statuses.into_iter().flatten().enumerate().for_each(|(n, status)| change(n, status));
}

/// Every container waits for this reason.
pub fn waiting(world: &World, pod: &Value, reason: &str, message: &str) {
    change(world, pod, |pod| {
        each_status(pod, |_, status| {
            status["state"] = json!({ "waiting": { "reason": reason, "message": message } });
            status["ready"] = json!(false);
        });
    });
}

/// Every container runs; none is ready yet.
pub fn running(world: &World, pod: &Value, image_ids: &[String], at: Timestamp) {
    let ip = pod_ip(pod);
    change(world, pod, |pod| {
        set(pod, "PodReadyToStartContainers", true, "", "", at);
        let own_id = uid(pod).to_owned();
        let status = &mut pod["status"];
        status["phase"] = json!("Running");
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{ "ip": ip }]);
        each_status(pod, |n, status| {
            status["imageID"] = json!(image_ids.get(n).cloned().unwrap_or_default());
            status["containerID"] = json!(container_id(&own_id, n, 0));
            status["started"] = json!(true);
            status["state"] = json!({ "running": { "startedAt": stamp(at) } });
        });
    });
}

fn container_id(pod: &str, n: usize, restarts: u32) -> String {
    format!("containerd://{}", sha256(&format!("{pod}/{n}/{restarts}")))
}

pub fn ready(world: &World, pod: &Value, at: Timestamp) {
    change(world, pod, |pod| {
        each_status(pod, |_, status| status["ready"] = json!(true));
        set(pod, "Ready", true, "", "", at);
        set(pod, "ContainersReady", true, "", "", at);
    });
}

/// The container ended with 1; with `backing_off` it waits `wait` seconds for its next start.
pub fn crashed(world: &World, pod: &Value, backing_off: bool, wait: i64, at: Timestamp) {
    let back_off = format!(
        "back-off {wait}s restarting failed container={} pod={}_{}({})",
        container_name(pod),
        name(pod),
        namespace(pod),
        uid(pod)
    );
    change(world, pod, |pod| {
        each_status(pod, |_, status| {
            let ended = json!({ "terminated": {
                "exitCode": 1,
                "reason": "Error",
                "startedAt": status["state"]["running"]["startedAt"],
                "finishedAt": stamp(at),
                "containerID": status["containerID"],
            }});
            status["ready"] = json!(false);
            status["started"] = json!(false);
            if backing_off {
                status["lastState"] = ended;
                status["state"] = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": back_off } });
            } else {
                status["state"] = ended;
            }
        });
    });
}

pub fn restarted(world: &World, pod: &Value, restarts: u32, at: Timestamp) {
    change(world, pod, |pod| {
        let own_id = uid(pod).to_owned();
        each_status(pod, |n, status| {
            if status["state"]["terminated"].is_object() {
                status["lastState"] = status["state"].take();
            }
            status["restartCount"] = json!(restarts);
            status["containerID"] = json!(container_id(&own_id, n, restarts));
            status["started"] = json!(true);
            status["state"] = json!({ "running": { "startedAt": stamp(at) } });
        });
    });
}

/// A Job's pod has run to its end.
pub fn finished(world: &World, pod: &Value, exit_code: i64, at: Timestamp) {
    let (phase, reason) = if exit_code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    change(world, pod, |pod| {
        let condition_reason = if exit_code == 0 { "PodCompleted" } else { "PodFailed" };
        each_status(pod, |_, status| {
            status["ready"] = json!(false);
            status["started"] = json!(false);
            status["state"] = json!({ "terminated": {
                "exitCode": exit_code,
                "reason": reason,
                "startedAt": status["state"]["running"]["startedAt"],
                "finishedAt": stamp(at),
                "containerID": status["containerID"],
            }});
        });
        set(pod, "Ready", false, condition_reason, "", at);
        set(pod, "ContainersReady", false, condition_reason, "", at);
        pod["status"]["phase"] = json!(phase);
    });
}
