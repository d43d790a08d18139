//! What the cluster lets us do.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use super::connect::Cluster;
use super::errors::kube_error;
use crate::error::Result;

/// One permission: `update` of `leases` (group `coordination.k8s.io`) in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub verb: String,
    /// API group; empty for core.
    pub group: String,
    /// Plural; with a subresource as `pods/log`.
    pub resource: String,
    /// `None`: in the whole cluster.
    pub namespace: Option<String>,
}

/// The cluster's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pub allowed: bool,
    /// In the authoriser's words; often empty.
    pub reason: String,
}

impl Access {
    #[must_use]
    pub fn new(verb: &str, group: &str, resource: &str, namespace: &str) -> Self {
        let namespace = Some(namespace.to_owned());
        Self { verb: verb.to_owned(), group: group.to_owned(), resource: resource.to_owned(), namespace }
    }
}

impl Cluster {
    /// Asks whether we may (`SelfSubjectAccessReview`); it changes nothing.
    pub async fn may(&self, access: &Access) -> Result<Allowed> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client().clone());
        let (resource, subresource) = match access.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (access.resource.as_str(), None),
        };
        let attributes = ResourceAttributes {
            verb: Some(access.verb.clone()),
            group: Some(access.group.clone()),
            resource: Some(resource.to_owned()),
            subresource,
            namespace: access.namespace.clone(),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let what = format!("ask whether we may {} {}", access.verb, access.resource);
        // A review is stored nowhere: it may be repeated freely.
        let answer = self
            .retry()
            .read(async || {
                let asked = api.create(&PostParams::default(), &review).await;
                asked.map_err(|error| kube_error(what.clone(), error))
            })
            .await?;
        let status = answer.status.unwrap_or_default();
        Ok(Allowed { allowed: status.allowed, reason: status.reason.unwrap_or_default() })
    }
}
