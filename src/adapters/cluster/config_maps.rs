//! ConfigMaps: where the shared copy of a run is kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::core::request::Error as RequestError;
use kube::core::{PartialObjectMeta, Request};

use super::connect::Cluster;
use super::errors::kube_error;
use crate::error::Result;

/// The ConfigMaps of one namespace.
#[derive(Clone)]
pub struct ConfigMaps {
    cluster: Cluster,
    namespace: String,
}

/// A ConfigMap. To write one, `resource_version` and `created_at` may be left empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredMap {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub data: BTreeMap<String, String>,
    /// What a compare-and-swap compares.
    pub resource_version: String,
    pub created_at: Option<Timestamp>,
}

impl ConfigMaps {
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.to_owned() }
    }

    /// How a person looks at one.
    #[must_use]
    pub fn look_at(&self, name: &str) -> String {
        format!("kubectl -n {} get configmap {name} -o yaml", self.namespace)
    }

    /// `None` when it does not exist.
    pub async fn get(&self, name: &str) -> Result<Option<StoredMap>> {
        Ok(self.cluster.get(&self.api(), name, "config map").await?.map(Into::into))
    }

    /// Those that a label selector picks, by name.
    pub async fn list(&self, selector: &str) -> Result<Vec<StoredMap>> {
        let what = format!("config maps ({selector}) in {}", self.namespace);
        let found = self.cluster.list(&self.api(), &ListParams::default().labels(selector), &what).await?;
        let mut all: Vec<StoredMap> = found.into_iter().map(Into::into).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Makes it; returns its resourceVersion.
    ///
    /// # Errors
    /// A conflict when one of this name exists.
    pub async fn create(&self, map: &StoredMap) -> Result<String> {
        let object = object(map, None);
        let make = async || {
            let made = self.send(|to, body| to.create(&PostParams::default(), body), &object).await;
            made.map_err(|error| kube_error(self.what("create", &map.name), error))
        };
        self.cluster.retry().write(make, async || self.written(map).await).await
    }

    /// Replaces the one that `map.resource_version` stands for; returns its next resourceVersion.
    ///
    /// # Errors
    /// A conflict when it has changed since; `NotFound` when it is gone.
    pub async fn replace(&self, map: &StoredMap) -> Result<String> {
        let object = object(map, Some(&map.resource_version));
        let replace = async || {
            let replaced = self.send(|to, body| to.replace(&map.name, &PostParams::default(), body), &object).await;
            replaced.map_err(|error| kube_error(self.what("update", &map.name), error))
        };
        self.cluster.retry().write(replace, async || self.written(map).await).await
    }

    /// Deletes it; one that is gone already is no error.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let deleted = self.cluster.retry().read(async || {
            let deleted = self.api().delete(name, &DeleteParams::default()).await;
            deleted.map(|_| ()).map_err(|error| kube_error(self.what("delete", name), error))
        });
        match deleted.await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Sends a write. Of the answer, which repeats all that was written, the metadata alone is read.
    async fn send(
        &self,
        request: impl FnOnce(Request, Vec<u8>) -> Result<http::Request<Vec<u8>>, RequestError>,
        object: &ConfigMap,
    ) -> Result<String, kube::Error> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        let request = request(Request::new(self.api().resource_url()), body).map_err(kube::Error::BuildRequest)?;
        let written: PartialObjectMeta<ConfigMap> = self.cluster.client().request(request).await?;
        Ok(written.metadata.resource_version.unwrap_or_default())
    }

    /// Our own write, if it arrived.
    async fn written(&self, map: &StoredMap) -> Result<Option<String>> {
        let found = self.get(&map.name).await?.filter(|found| {
            found.data == map.data && found.labels == map.labels && found.annotations == map.annotations
        });
        Ok(found.map(|found| found.resource_version))
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.cluster.client().clone(), &self.namespace)
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("{verb} config map {name} in {}", self.namespace)
    }
}

fn object(map: &StoredMap, resource_version: Option<&str>) -> ConfigMap {
    let some = |all: &BTreeMap<String, String>| (!all.is_empty()).then(|| all.clone());
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(map.name.clone()),
            labels: some(&map.labels),
            annotations: some(&map.annotations),
            resource_version: resource_version.map(ToOwned::to_owned),
            ..ObjectMeta::default()
        },
        data: some(&map.data),
        ..ConfigMap::default()
    }
}

impl From<ConfigMap> for StoredMap {
    fn from(object: ConfigMap) -> Self {
        Self {
            name: object.metadata.name.unwrap_or_default(),
            labels: object.metadata.labels.unwrap_or_default(),
            annotations: object.metadata.annotations.unwrap_or_default(),
            data: object.data.unwrap_or_default(),
            resource_version: object.metadata.resource_version.unwrap_or_default(),
            created_at: object.metadata.creation_timestamp.map(|time| time.0),
        }
    }
}
