//! ExternalSecrets: whether what the overlay asks for has really arrived. Names of keys only; a value is never read.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde::Deserialize;
use serde_json::Value;

use super::connect::Cluster;
use super::errors::kube_error;
use super::pods::Condition;
use crate::error::{Error, Result};

const GROUP: &str = "external-secrets.io";

/// The ExternalSecrets of one namespace.
#[derive(Clone)]
pub struct ExternalSecrets {
    cluster: Cluster,
    namespace: String,
}

/// One ExternalSecret.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalSecretState {
    pub name: String,
    /// The Kubernetes Secret that it fills.
    pub target: String,
    /// Keys of that Secret, and what they are fetched from: `(secretKey, remoteRef.key)`.
    pub keys: Vec<(String, String)>,
    /// `spec.dataFrom`: more keys, of whole secrets or of whatever fits.
    pub data_from: Vec<Value>,
    pub ready: Option<Condition>,
    pub refreshed_at: Option<Timestamp>,
    pub refresh_interval: Option<String>,
    pub generation: i64,
    /// The generation that was last fetched, from `status.syncedResourceVersion` (`<generation>-<hash>`).
    pub synced_generation: Option<i64>,
    /// The API version under which it was read: `v1`, `v1beta1`.
    pub api_version: String,
}

impl ExternalSecretState {
    /// Whether its newest spec was fetched with success; `Ready` alone may be about an old one.
    #[must_use]
    pub fn current(&self) -> bool {
        self.ready.as_ref().is_some_and(Condition::is_true)
            && self.synced_generation.is_some_and(|n| n >= self.generation)
    }
}

impl ExternalSecrets {
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.to_owned() }
    }

    /// The version that the cluster serves and prefers; `None` when the operator is not installed. (v1beta1 is no longer
    /// served by current releases: external-secrets#4840.)
    pub async fn served_version(&self) -> Result<Option<String>> {
        let asked = self.cluster.retry().read(async || {
            let request = http::Request::get(format!("/apis/{GROUP}"))
                .body(Vec::new())
                .map_err(|error| Error::internal("ask for an API group").because(error))?;
            let asked = self.cluster.client().request::<APIGroup>(request).await;
            asked.map_err(|error| kube_error(format!("ask which version of {GROUP} is served"), error))
        });
        match asked.await {
            Ok(group) => Ok(group.preferred_version.or(group.versions.into_iter().next()).map(|found| found.version)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All of the namespace, by name; none where the operator is not installed.
    pub async fn list(&self) -> Result<Vec<ExternalSecretState>> {
        let Some(version) = self.served_version().await? else { return Ok(Vec::new()) };
        let resource = ApiResource {
            group: GROUP.into(),
            version: version.clone(),
            api_version: format!("{GROUP}/{version}"),
            kind: "ExternalSecret".into(),
            plural: "externalsecrets".into(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.cluster.client().clone(), &self.namespace, &resource);
        let what = format!("external secrets in {}", self.namespace);
        let found = self.cluster.list(&api, &ListParams::default(), &what).await?;
        let mut all = found.into_iter().map(|object| state(object, &version)).collect::<Result<Vec<_>>>()?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    spec: Spec,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    refresh_interval: Option<String>,
    target: Target,
    data: Vec<Datum>,
    data_from: Vec<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Target {
    name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Datum {
    secret_key: String,
    remote_ref: RemoteRef,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RemoteRef {
    key: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    refresh_time: Option<Timestamp>,
    synced_resource_version: Option<String>,
    conditions: Vec<WireCondition>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: Option<Timestamp>,
}

fn state(object: DynamicObject, version: &str) -> Result<ExternalSecretState> {
    let name = object.metadata.name.unwrap_or_default();
    let Wire { spec, status } = serde_json::from_value(object.data)
        .map_err(|error| Error::outside(format!("read external secret {name}")).because(error))?;
    let ready = status.conditions.into_iter().find(|condition| condition.kind == "Ready");
    Ok(ExternalSecretState {
        target: spec.target.name.unwrap_or_else(|| name.clone()),
        name,
        keys: spec.data.into_iter().map(|datum| (datum.secret_key, datum.remote_ref.key)).collect(),
        data_from: spec.data_from,
        ready: ready.map(|c| Condition {
            kind: c.kind,
            status: c.status,
            reason: c.reason,
            message: c.message,
            since: c.last_transition_time,
        }),
        refreshed_at: status.refresh_time,
        refresh_interval: spec.refresh_interval,
        generation: object.metadata.generation.unwrap_or(0),
        synced_generation: status.synced_resource_version.and_then(|text| text.split('-').next()?.parse().ok()),
        api_version: version.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_for_an_old_spec_is_not_current() {
        let object = |synced: &str| {
            let object: DynamicObject = serde_json::from_value(serde_json::json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                "metadata": {"name": "gospelib-secrets", "generation": 3},
                "spec": {"refreshInterval": "1h", "secretStoreRef": {"name": "aws"}, "data": [
                    {"secretKey": "CLERK_SECRET_KEY", "remoteRef": {"key": "gospelib/production/clerk-secret-key"}}]},
                "status": {"refreshTime": "2025-03-04T08:30:00Z", "syncedResourceVersion": synced,
                    "conditions": [{"type": "Ready", "status": "True", "reason": "SecretSynced", "message": "ok"}]}
            }))
            .unwrap();
            state(object, "v1").unwrap()
        };
        assert!(!object("2-0a1b").current());
        let state = object("3-0a1b");
        assert!(state.current());
        assert_eq!(state.target, "gospelib-secrets");
        assert_eq!(state.keys[0].0, "CLERK_SECRET_KEY");
    }
}
