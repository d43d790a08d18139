//! Events: what the cluster says about an object.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};

use super::connect::Cluster;
use crate::error::Result;

/// The events of one namespace.
#[derive(Clone)]
pub struct Events {
    cluster: Cluster,
    namespace: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLine {
    /// When it was last seen.
    pub at: Option<Timestamp>,
    pub warning: bool,
    /// `Failed`, `BackOff`, `FailedScheduling`, …
    pub reason: String,
    pub message: String,
    pub count: u32,
    /// Kind and name of what it is about: `Pod/gospelib-gateway-5d9-x2k`.
    pub about: String,
}

impl Events {
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.to_owned() }
    }

    /// The last `limit` events about one object, oldest first.
    pub async fn about(&self, kind: &str, name: &str, limit: usize) -> Result<Vec<EventLine>> {
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let wanted = format!("{kind}/{name}");
        let mut all = self.list(ListParams::default().fields(&fields), &format!("events about {wanted}")).await?;
        all.retain(|event| event.about == wanted);
        Ok(last(all, limit))
    }

    /// The last `limit` warnings of the namespace, oldest first.
    pub async fn warnings(&self, limit: usize) -> Result<Vec<EventLine>> {
        let params = ListParams::default().fields("type=Warning");
        let mut all = self.list(params, &format!("warnings in {}", self.namespace)).await?;
        all.retain(|event| event.warning);
        Ok(last(all, limit))
    }

    async fn list(&self, params: ListParams, what: &str) -> Result<Vec<EventLine>> {
        let api: Api<Event> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        Ok(self.cluster.list(&api, &params, what).await?.into_iter().map(line).collect())
    }
}

fn last(mut events: Vec<EventLine>, limit: usize) -> Vec<EventLine> {
    events.sort_by_key(|event| event.at);
    events.split_off(events.len().saturating_sub(limit))
}

fn line(event: Event) -> EventLine {
    let seen = event.last_timestamp.map(|time| time.0);
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref().map(|time| time.0));
    let once = event.event_time.map(|time| time.0).or(event.first_timestamp.map(|time| time.0));
    let object = event.involved_object;
    EventLine {
        at: seen.or(series).or(once).or(event.metadata.creation_timestamp.map(|time| time.0)),
        warning: event.type_.as_deref() == Some("Warning"),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        count: event.count.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        about: format!("{}/{}", object.kind.unwrap_or_default(), object.name.unwrap_or_default()),
    }
}
