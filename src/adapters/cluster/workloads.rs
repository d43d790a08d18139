//! Deployments, ReplicaSets and pods of one namespace, each read with one list, never object by object.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1;
use kube::api::{Api, ListParams};

use super::connect::Cluster;
use super::parts::{ContainerSpec, Parts, WorkloadSpec, WorkloadStatus};
use super::pods::{Condition, Pod, PodState, conditions, owner};
use super::watch::Live;
use crate::domain::ImageRef;
use crate::error::Result;

const REVISION: &str = "deployment.kubernetes.io/revision";
/// Written when a Deployment returns to an earlier ReplicaSet (Kubernetes, pkg/controller/deployment/util): its revisions until then.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

pub(super) type Deployment = Parts<v1::Deployment, WorkloadSpec, WorkloadStatus>;
type ReplicaSet = Parts<v1::ReplicaSet, WorkloadSpec, WorkloadStatus>;

/// The workloads of one namespace.
#[derive(Clone)]
pub struct Workloads {
    cluster: Cluster,
    namespace: String,
}

/// A Deployment, and how far its controller has come.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentState {
    pub name: String,
    /// Rises with each change of the spec.
    pub generation: i64,
    /// The generation that the counts below are about. Compare it first.
    pub observed_generation: i64,
    pub desired: u32,
    /// Pods of the newest template.
    pub updated: u32,
    /// All pods, old and new.
    pub replicas: u32,
    pub ready: u32,
    pub available: u32,
    /// Image of each container, by container name.
    pub images: BTreeMap<String, ImageRef>,
    pub conditions: Vec<Condition>,
    /// `deployment.kubernetes.io/revision`.
    pub revision: Option<u64>,
    pub paused: bool,
    /// The labels by which it finds its pods.
    pub selector: BTreeMap<String, String>,
    pub created_at: Option<Timestamp>,
}

/// A ReplicaSet: one version of a Deployment's pods.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaSetState {
    pub name: String,
    pub deployment: Option<String>,
    pub revision: Option<u64>,
    /// Whether the Deployment returned to it: its age says nothing of the time since then.
    pub again: bool,
    pub desired: u32,
    pub replicas: u32,
    pub ready: u32,
    pub images: BTreeMap<String, ImageRef>,
    pub created_at: Option<Timestamp>,
}

impl Workloads {
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.to_owned() }
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// All Deployments, by name.
    pub async fn deployments(&self) -> Result<Vec<DeploymentState>> {
        let api: Api<Deployment> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        let what = format!("deployments in {}", self.namespace);
        let found = self.cluster.list(&api, &ListParams::default(), &what).await?;
        let mut all: Vec<DeploymentState> = found.into_iter().map(Into::into).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// All pods, or those that a label selector (`app=gospelib-gateway`) picks, by name.
    pub async fn pods(&self, selector: Option<&str>) -> Result<Vec<PodState>> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        let params = selector.map_or_else(ListParams::default, |labels| ListParams::default().labels(labels));
        let found = self.cluster.list(&api, &params, &format!("pods in {}", self.namespace)).await?;
        let mut all: Vec<PodState> = found.into_iter().map(Into::into).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// All ReplicaSets, by name.
    pub async fn replica_sets(&self) -> Result<Vec<ReplicaSetState>> {
        let api: Api<ReplicaSet> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        let what = format!("replica sets in {}", self.namespace);
        let found = self.cluster.list(&api, &ListParams::default(), &what).await?;
        let mut all: Vec<ReplicaSetState> = found.into_iter().map(Into::into).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Deployments and pods, kept up to date from now on. Call it inside a Tokio runtime.
    #[must_use]
    pub fn live(&self) -> Live {
        Live::of(self, true)
    }

    /// As [`Workloads::live`], for who looks at Deployments alone.
    #[must_use]
    pub fn live_deployments(&self) -> Live {
        Live::of(self, false)
    }
}

impl DeploymentState {
    /// Whether the controller has seen the newest spec; before that, no count says anything about it.
    #[must_use]
    pub fn observed(&self) -> bool {
        self.observed_generation >= self.generation
    }

    /// Whether the newest spec runs whole and alone: observed, all pods of the newest template available, no old ones left.
    #[must_use]
    pub fn rolled_out(&self) -> bool {
        self.observed()
            && self.updated == self.desired
            && self.replicas == self.desired
            && self.available == self.desired
    }

    /// The image of the service's container: the one of this name, or the only one.
    #[must_use]
    pub fn image(&self, container: &str) -> Option<&ImageRef> {
        let only = || self.images.values().next().filter(|_| self.images.len() == 1);
        self.images.get(container).or_else(only)
    }

    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

impl From<Deployment> for DeploymentState {
    fn from(object: Deployment) -> Self {
        let Deployment { metadata, spec, status, .. } = object;
        Self {
            revision: revision(metadata.annotations.as_ref()),
            name: metadata.name.unwrap_or_default(),
            generation: metadata.generation.unwrap_or(0),
            observed_generation: status.observed_generation.unwrap_or(0),
            desired: number(spec.replicas.or(Some(1))),
            updated: number(status.updated_replicas),
            replicas: number(status.replicas),
            ready: number(status.ready_replicas),
            available: number(status.available_replicas),
            images: images(&spec.template.spec.containers),
            conditions: conditions(status.conditions),
            paused: spec.paused.unwrap_or(false),
            selector: spec.selector.match_labels.unwrap_or_default(),
            created_at: metadata.creation_timestamp.map(|time| time.0),
        }
    }
}

impl From<ReplicaSet> for ReplicaSetState {
    fn from(object: ReplicaSet) -> Self {
        let ReplicaSet { metadata, spec, status, .. } = object;
        Self {
            deployment: owner(&metadata, "Deployment"),
            revision: revision(metadata.annotations.as_ref()),
            again: metadata.annotations.iter().any(|all| all.contains_key(REVISION_HISTORY)),
            name: metadata.name.unwrap_or_default(),
            desired: number(spec.replicas.or(Some(1))),
            replicas: number(status.replicas),
            ready: number(status.ready_replicas),
            images: images(&spec.template.spec.containers),
            created_at: metadata.creation_timestamp.map(|time| time.0),
        }
    }
}

fn number(count: Option<i32>) -> u32 {
    count.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

fn revision(annotations: Option<&BTreeMap<String, String>>) -> Option<u64> {
    annotations?.get(REVISION)?.parse().ok()
}

/// Images by container name. A name that is no image reference is kept whole, for the message that will be needed.
fn images(containers: &[ContainerSpec]) -> BTreeMap<String, ImageRef> {
    let image =
        |text: &str| text.parse().unwrap_or_else(|_| ImageRef { name: text.to_owned(), tag: None, digest: None });
    containers.iter().map(|c| (c.name.clone(), image(c.image.as_deref().unwrap_or_default()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(status: serde_json::Value) -> DeploymentState {
        let object: Deployment = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "gospelib-gateway", "generation": 7, "annotations": {REVISION: "5"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "gospelib-gateway"}},
                "template": {"spec": {"containers": [{"name": "gateway", "image": "r.example/gospelib-gateway:v1.2.0"}]}}},
            "status": status
        }))
        .unwrap();
        object.into()
    }

    #[test]
    fn the_generation_comes_before_the_counts() {
        let full = |observed: i64| serde_json::json!({"observedGeneration": observed, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2});
        assert!(!deployment(full(6)).rolled_out());
        assert!(deployment(full(7)).rolled_out());
        let surge =
            serde_json::json!({"observedGeneration": 7, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3});
        assert!(!deployment(surge).rolled_out());
        let state = deployment(serde_json::json!({}));
        assert_eq!((state.revision, state.ready, state.desired), (Some(5), 0, 2));
        assert_eq!(state.image("other").unwrap().tag.as_deref(), Some("v1.2.0"));
    }
}
