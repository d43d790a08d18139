//! Objects of which only the parts are read that somebody looks at.
//!
//! The client library's own types hold every field of a kind (a pod's volumes and probes, everybody's managedFields), and a rollout of
//! a hundred services reads some thousand objects: reading all of each cost more than anything else that is done with them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::api::core::v1::ContainerState;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use kube::core::Resource;
use serde::{Deserialize, Deserializer};

/// An object of kind `K`, with a spec and a status of which `S` and `T` are the parts.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "S: Default + Deserialize<'de>, T: Default + Deserialize<'de>")]
pub(super) struct Parts<K, S, T> {
    #[serde(deserialize_with = "read_metadata")]
    pub metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: S,
    #[serde(default, deserialize_with = "or_default")]
    pub status: T,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K: Resource, S, T> Resource for Parts<K, S, T> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Metadata without managedFields, which are most of it.
fn read_metadata<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        generation: Option<i64>,
        resource_version: Option<String>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        owner_references: Option<Vec<OwnerReference>>,
    }
    let read = Read::deserialize(from)?;
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        labels: read.labels,
        annotations: read.annotations,
        generation: read.generation,
        resource_version: read.resource_version,
        creation_timestamp: read.creation_timestamp,
        deletion_timestamp: read.deletion_timestamp,
        owner_references: read.owner_references,
        ..ObjectMeta::default()
    })
}

/// Go writes an empty list or object as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Of a Deployment's spec, and of a ReplicaSet's.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct WorkloadSpec {
    pub replicas: Option<i32>,
    pub paused: Option<bool>,
    #[serde(default, deserialize_with = "or_default")]
    pub selector: LabelSelector,
    #[serde(default, deserialize_with = "or_default")]
    pub template: Template,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Template {
    #[serde(default, deserialize_with = "or_default")]
    pub spec: PodSpec,
}

/// Of a Deployment's status, and of a ReplicaSet's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkloadStatus {
    pub observed_generation: Option<i64>,
    pub replicas: Option<i32>,
    pub updated_replicas: Option<i32>,
    pub ready_replicas: Option<i32>,
    pub available_replicas: Option<i32>,
    #[serde(default, deserialize_with = "or_default")]
    pub conditions: Vec<ConditionRead>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub node_name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub init_containers: Vec<ContainerSpec>,
    #[serde(default, deserialize_with = "or_default")]
    pub containers: Vec<ContainerSpec>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ContainerSpec {
    pub name: String,
    pub image: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub phase: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub start_time: Option<Time>,
    #[serde(default, deserialize_with = "or_default")]
    pub conditions: Vec<ConditionRead>,
    #[serde(default, deserialize_with = "or_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
    #[serde(default, deserialize_with = "or_default")]
    pub container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub name: String,
    #[serde(default, rename = "imageID", deserialize_with = "or_default")]
    pub image_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub ready: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub restart_count: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub state: ContainerState,
    #[serde(default, deserialize_with = "or_default")]
    pub last_state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConditionRead {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub last_transition_time: Option<Time>,
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    type Read = Parts<Pod, PodSpec, PodStatus>;

    #[test]
    fn what_is_empty_or_null_or_not_there_is_nothing() {
        for object in [
            json!({"metadata": {"name": "a"}}),
            json!({"metadata": {"name": "a", "labels": null, "managedFields": [{"manager": "m", "fieldsV1": {"f:x": {}}}]},
                "spec": null, "status": {"conditions": null, "containerStatuses": [{"name": "web", "state": null}]}}),
        ] {
            let read: Read = serde_json::from_value(object).unwrap();
            assert_eq!((read.metadata.name.as_deref(), read.metadata.labels), (Some("a"), None));
            assert!(read.spec.containers.is_empty() && read.status.conditions.is_empty());
            assert!(read.status.container_statuses.iter().all(|status| status.name == "web" && !status.ready));
        }
        assert!(serde_json::from_value::<Read>(json!({"spec": {}})).is_err(), "no object");
    }

    #[test]
    fn it_is_asked_for_as_its_kind() {
        assert_eq!(Read::url_path(&(), Some("n")), Pod::url_path(&(), Some("n")));
    }
}
