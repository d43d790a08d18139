//! Pods, as a rollout looks at them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self, ContainerStateTerminated};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::parts::{ConditionRead, ContainerSpec, ContainerStatus, Parts, PodSpec, PodStatus};
use crate::domain::{Digest, ImageRef};

pub(super) type Pod = Parts<v1::Pod, PodSpec, PodStatus>;

/// One pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodState {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// Why it is in this phase: `Evicted`, `Preempting`, …
    pub reason: Option<String>,
    pub message: Option<String>,
    /// Whether its condition Ready is True.
    pub ready: bool,
    /// Its containers in the order of the spec: init containers first.
    pub containers: Vec<ContainerState>,
    pub conditions: Vec<Condition>,
    /// The ReplicaSet that owns it.
    pub replica_set: Option<String>,
    pub node: Option<String>,
    pub created_at: Option<Timestamp>,
    /// When the kubelet took it on.
    pub started_at: Option<Timestamp>,
    /// It is being deleted: not a failure, whatever its state.
    pub deleting: bool,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerState {
    pub name: String,
    pub init: bool,
    /// As the pod's spec names it.
    pub image: String,
    /// The manifest that really runs, from `imageID`: an index's digest or a platform's. `None` until it was pulled, and where
    /// the node knows only the image's configuration.
    pub digest: Option<Digest>,
    pub ready: bool,
    pub restarts: u32,
    pub waiting: Option<Waiting>,
    /// Since when it has been running, if it is.
    pub running_since: Option<Timestamp>,
    /// How it ended, if it is not running now.
    pub terminated: Option<Terminated>,
    /// How it ended before its last restart.
    pub last_terminated: Option<Terminated>,
}

/// Why a container does not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// `ImagePullBackOff`, `CrashLoopBackOff`, `CreateContainerConfigError`, `ContainerCreating`, …
    pub reason: String,
    pub message: String,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminated {
    /// `OOMKilled`, `Error`, `Completed`, …
    pub reason: String,
    pub exit_code: i32,
    pub message: String,
    pub at: Option<Timestamp>,
}

/// A condition of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `Ready`, `PodScheduled`, `Progressing`, `Available`, …
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
    pub since: Option<Timestamp>,
}

impl Condition {
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

impl PodState {
    /// The value of its label `app`.
    #[must_use]
    pub fn app(&self) -> Option<&str> {
        self.labels.get("app").map(String::as_str)
    }

    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerState> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The service's own container: the one of this name, or else the first that is no init container.
    #[must_use]
    pub fn main(&self, name: &str) -> Option<&ContainerState> {
        self.container(name).or_else(|| self.containers.iter().find(|container| !container.init))
    }

    /// Restarts of all containers.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.containers.iter().map(|container| container.restarts).sum()
    }

    /// The first container that waits, and why.
    #[must_use]
    pub fn waiting(&self) -> Option<(&ContainerState, &Waiting)> {
        self.containers.iter().find_map(|container| Some((container, container.waiting.as_ref()?)))
    }

    /// The newest end of any container, before a restart or for good.
    #[must_use]
    pub fn last_terminated(&self) -> Option<(&ContainerState, &Terminated)> {
        let ends = self.containers.iter().flat_map(|container| {
            [&container.terminated, &container.last_terminated].into_iter().flatten().map(move |end| (container, end))
        });
        ends.max_by_key(|(_, end)| end.at)
    }
}

impl From<Pod> for PodState {
    fn from(pod: Pod) -> Self {
        let Pod { metadata, spec, status, .. } = pod;
        let init = spec.init_containers.into_iter().map(|c| container(c, true, &status.init_container_statuses));
        let main = spec.containers.into_iter().map(|c| container(c, false, &status.container_statuses));
        let containers = init.chain(main).collect();
        let conditions = conditions(status.conditions);
        Self {
            replica_set: owner(&metadata, "ReplicaSet"),
            name: metadata.name.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            phase: status.phase.unwrap_or_else(|| "Unknown".into()),
            reason: status.reason,
            message: status.message,
            ready: conditions.iter().any(|c| c.kind == "Ready" && c.is_true()),
            containers,
            conditions,
            node: spec.node_name,
            created_at: metadata.creation_timestamp.map(|time| time.0),
            started_at: status.start_time.map(|time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }
}

fn container(spec: ContainerSpec, init: bool, statuses: &[ContainerStatus]) -> ContainerState {
    let status = statuses.iter().find(|status| status.name == spec.name).cloned().unwrap_or_default();
    let state = status.state;
    ContainerState {
        name: spec.name,
        init,
        image: spec.image.unwrap_or_default(),
        digest: running_digest(&status.image_id),
        ready: status.ready,
        restarts: u32::try_from(status.restart_count).unwrap_or(0),
        waiting: state.waiting.map(|waiting| Waiting {
            reason: waiting.reason.unwrap_or_default(),
            message: waiting.message.unwrap_or_default(),
        }),
        running_since: state.running.and_then(|running| running.started_at).map(|time| time.0),
        terminated: state.terminated.map(terminated),
        last_terminated: status.last_state.terminated.map(terminated),
    }
}

fn terminated(end: ContainerStateTerminated) -> Terminated {
    Terminated {
        reason: end.reason.unwrap_or_default(),
        exit_code: end.exit_code,
        message: end.message.unwrap_or_default(),
        at: end.finished_at.map(|time| time.0),
    }
}

/// The manifest's digest in an `imageID`. A bare `sha256:…` is the digest of the image's configuration, which says nothing
/// about a registry.
fn running_digest(image_id: &str) -> Option<Digest> {
    image_id.parse::<ImageRef>().ok()?.digest
}

pub(super) fn conditions(read: Vec<ConditionRead>) -> Vec<Condition> {
    let condition = |read: ConditionRead| Condition {
        kind: read.kind,
        status: read.status,
        reason: read.reason.unwrap_or_default(),
        message: read.message.unwrap_or_default(),
        since: read.last_transition_time.map(|time| time.0),
    };
    read.into_iter().map(condition).collect()
}

/// The name of the controlling owner, if it is of this kind.
pub(super) fn owner(metadata: &ObjectMeta, kind: &str) -> Option<String> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true) && owner.kind == kind).map(|owner| owner.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> PodState {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "gospelib-gateway-5d9-x2k", "labels": {"app": "gospelib-gateway"},
                "creationTimestamp": "2025-03-04T09:00:00Z", "deletionTimestamp": "2025-03-04T09:05:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gospelib-gateway-5d9", "uid": "u", "controller": true}]
            },
            "spec": {"nodeName": "node-a", "initContainers": [{"name": "wait", "image": "busybox"}],
                "containers": [{"name": "gateway", "image": "r.example/gospelib-gateway:v1"}, {"name": "proxy", "image": "envoy"}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2025-03-04T09:00:01Z"}],
                "initContainerStatuses": [{"name": "wait", "image": "busybox", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2025-03-04T09:00:10Z"}}}],
                "containerStatuses": [
                    {"name": "proxy", "image": "envoy", "imageID": format!("sha256:{}", "c".repeat(64)), "ready": true, "restartCount": 0,
                        "state": {"running": {"startedAt": "2025-03-04T09:00:20Z"}}},
                    {"name": "gateway", "image": "r.example/gospelib-gateway:v1", "ready": false, "restartCount": 4,
                        "imageID": format!("docker-pullable://r.example/gospelib-gateway@sha256:{}", "a".repeat(64)),
                        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2025-03-04T09:04:00Z"}}}]
            }
        }))
        .unwrap();
        pod.into()
    }

    #[test]
    fn a_pod_is_read_as_it_is() {
        let pod = pod();
        assert_eq!((pod.app(), pod.replica_set.as_deref()), (Some("gospelib-gateway"), Some("gospelib-gateway-5d9")));
        assert!(pod.deleting && !pod.ready);
        assert_eq!(pod.restarts(), 4);
        let (container, waiting) = pod.waiting().unwrap();
        assert_eq!((container.name.as_str(), waiting.reason.as_str()), ("gateway", "CrashLoopBackOff"));
        let (_, end) = pod.last_terminated().unwrap();
        assert_eq!((end.reason.as_str(), end.exit_code), ("OOMKilled", 137));
        assert!(pod.condition("PodScheduled").unwrap().is_true());
        assert_eq!(pod.main("web").unwrap().name, "gateway");
    }

    #[test]
    fn only_a_manifest_counts_as_the_running_digest() {
        let pod = pod();
        assert!(pod.container("gateway").unwrap().digest.is_some());
        assert!(pod.container("proxy").unwrap().digest.is_none());
        assert!(pod.container("wait").unwrap().digest.is_none());
    }
}
