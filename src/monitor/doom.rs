//! Which state of a pod will not get better by waiting, and which will.

use jiff::Timestamp;
use serde::Serialize;

use crate::adapters::cluster::{ContainerState, PodState, Terminated, Waiting};
use crate::config::model::Rollout;
use crate::domain::{ImageRef, count, printable};

use super::pods::{ended, lasted, lasting, short_image};

/// Why a pod will not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doom {
    ImagePull,
    InvalidImage,
    /// A Secret, a ConfigMap or a key in it is missing.
    Config,
    /// The container cannot be started at all.
    Start,
    CrashLoop,
    OutOfMemory,
    Unschedulable,
}

/// What dooms a pod, as a verb: "cannot pull … (not found in ECR)". `None`: nothing, or only what passes by itself (evicted, preempted, a
/// first pull error, "failed to sync … cache", a start race with exit code 128).
pub(super) fn of_pod(pod: &PodState, container: &str, rollout: &Rollout, now: Timestamp) -> Option<(Doom, String)> {
    // Evicted, preempted, node shutdown: its ReplicaSet makes another one.
    if pod.phase == "Failed" || pod.deleting || pod.ready {
        return None;
    }
    let age = lasted(pod.started_at.or(pod.created_at), now);
    let old_enough = age.is_some_and(|age| age >= rollout.grace);
    let main = pod.main(container);
    // The service's own container first: a sidecar's trouble is named only when it has none.
    let mut containers: Vec<&ContainerState> = main.into_iter().collect();
    containers.extend(pod.containers.iter().filter(|c| main.is_none_or(|main| main.name != c.name)));
    containers
        .into_iter()
        .find_map(|container| of_container(container, old_enough, rollout))
        .or_else(|| unschedulable(pod, rollout, now))
}

fn of_container(container: &ContainerState, old_enough: bool, rollout: &Rollout) -> Option<(Doom, String)> {
    let killed = |end: &&Terminated| end.reason == "OOMKilled";
    let out_of_memory =
        [&container.terminated, &container.last_terminated].into_iter().flatten().any(|end| killed(&end));
    // Once may be a peak at the start; it is over when the container runs again.
    let again = container.restarts >= 2 || container.restarts == 1 && container.running_since.is_none();
    if out_of_memory && again && !container.ready {
        let (name, ended) = (&container.name, ended(container));
        let times = count(container.restarts as usize, "restart");
        return Some((Doom::OutOfMemory, format!("run out of memory in {name}: {ended}, {times}")));
    }
    let waiting = container.waiting.as_ref()?;
    match waiting.reason.as_str() {
        // The first error of a pull is followed by another try: only the back-off, or time, makes it a cause.
        "ErrImagePull" if !old_enough => None,
        "ErrImagePull" | "ImagePullBackOff" => pull(container, waiting, old_enough),
        "InvalidImageName" | "ErrImageNeverPull" => {
            Some((Doom::InvalidImage, format!("cannot use image {}: {}", printable(&container.image), said(waiting))))
        }
        // The kubelet's cache of Secrets and ConfigMaps may be late on a new node.
        "CreateContainerConfigError" if passes(&waiting.message) => None,
        "CreateContainerConfigError" => Some((Doom::Config, format!("lack configuration: {}", said(waiting)))),
        "RunContainerError" | "CreateContainerError" | "StartError" => start(container, waiting, old_enough, rollout),
        "CrashLoopBackOff" if container.restarts >= rollout.restarts => {
            let kind = if container.init { "init container " } else { "" };
            let (name, ended) = (&container.name, ended(container));
            let times = count(container.restarts as usize, "restart");
            let why = format!("crash again and again: {kind}{name} ended with {ended}, {times}");
            Some((Doom::CrashLoop, why))
        }
        _ => None,
    }
}

fn pull(container: &ContainerState, waiting: &Waiting, old_enough: bool) -> Option<(Doom, String)> {
    let message = without_names(&waiting.message.to_ascii_lowercase(), &container.image.to_ascii_lowercase());
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let in_ecr = if container.image.contains(".dkr.ecr.") { " in ECR" } else { "" };
    let cause = if has(&["not found", "manifest unknown", "name unknown", "does not exist", "no such image"]) {
        Some(format!("not found{in_ecr}"))
    } else if has(&[
        "unauthorized",
        "unauthorised",
        "denied",
        "forbidden",
        "authorization",
        "no basic auth",
        "status code: 401",
        "status code: 403",
        "status code 401",
        "status code 403",
    ]) {
        Some(format!("not allowed{in_ecr}"))
    } else if old_enough {
        // Older kubelets do not say why in the back-off.
        Some(if waiting.message.is_empty() { "no reason given".into() } else { said(waiting) })
    } else {
        None
    }?;
    let image =
        container.image.parse::<ImageRef>().map_or_else(|_| printable(&container.image), |image| short_image(&image));
    Some((Doom::ImagePull, format!("cannot pull {image} ({cause})")))
}

/// A message without the image and the digests that it names: their digits and words are no reasons.
fn without_names(message: &str, image: &str) -> String {
    let named = if image.is_empty() { message.to_owned() } else { message.replace(image, "") };
    let mut parts = named.split("sha256:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |said, part| said + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}

fn start(container: &ContainerState, waiting: &Waiting, old_enough: bool, rollout: &Rollout) -> Option<(Doom, String)> {
    let ends = [&container.terminated, &container.last_terminated];
    let told = ends.into_iter().flatten().map(|end| end.message.as_str()).chain([waiting.message.as_str()]);
    let hopeless = told.map(str::to_ascii_lowercase).any(|text| {
        ["executable file not found", "no such file or directory", "permission denied", "exec format error"]
            .iter()
            .any(|sign| text.contains(sign))
    });
    // The runtime's races (exit code 128) and a slow volume go away with the next try.
    if !hopeless && (passes(&waiting.message) || (container.restarts < rollout.restarts && !old_enough)) {
        return None;
    }
    Some((Doom::Start, format!("cannot start {}: {}", container.name, said(waiting))))
}

/// Messages of the kubelet about what it will try again.
fn passes(message: &str) -> bool {
    message.contains("failed to sync") && message.contains("cache")
        || message.contains("timed out waiting for the condition")
        || message.contains("context deadline exceeded")
}

fn unschedulable(pod: &PodState, rollout: &Rollout, now: Timestamp) -> Option<(Doom, String)> {
    let condition = pod.condition("PodScheduled")?;
    if condition.status != "False" || condition.reason != "Unschedulable" {
        return None;
    }
    let lasted = lasted(condition.since.or(pod.created_at), now);
    // A node may be on its way (cluster autoscaler), and a preempted pod's room may become free.
    if lasted.is_none_or(|lasted| lasted < rollout.grace) {
        return None;
    }
    let why = if condition.message.is_empty() { "no reason given".into() } else { printable(&condition.message) };
    Some((Doom::Unschedulable, format!("find no node{}: {why}", lasting(lasted))))
}

fn said(waiting: &Waiting) -> String {
    if waiting.message.is_empty() { printable(&waiting.reason) } else { printable(&waiting.message) }
}
