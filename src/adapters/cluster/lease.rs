//! The Lease that says whose turn it is to release.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};

use super::connect::Cluster;
use super::errors::kube_error;
use crate::error::Result;

/// Name of the Lease.
const NAME: &str = "gospel-release";
/// Annotation that names the run.
const RUN: &str = "gospel-release.dev/run";
/// Annotation of somebody else: who asks the holder to stop.
const STOP: &str = "gospel-release.dev/stop-asked-by";

/// The Lease `gospel-release` of one namespace.
#[derive(Clone)]
pub struct Leases {
    cluster: Cluster,
    namespace: String,
}

/// The Lease as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseState {
    /// `user@host`; `None` when it was given back.
    pub holder: Option<String>,
    /// The holder's run.
    pub run: Option<String>,
    /// When the holder last renewed it, by *his* clock: compare it only with itself.
    pub renewed_at: Option<Timestamp>,
    /// How long a renewal holds.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: u32,
    /// Who asks the holder to stop at his next safe point, and what for.
    pub stop_asked_by: Option<String>,
    /// What a compare-and-swap compares.
    pub resource_version: String,
}

/// The Lease as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseWrite {
    pub holder: Option<String>,
    pub run: Option<String>,
    pub renewed_at: Timestamp,
    pub duration: Duration,
    pub transitions: u32,
    pub stop_asked_by: Option<String>,
}

impl Leases {
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.to_owned() }
    }

    /// `None` when it does not exist.
    pub async fn get(&self) -> Result<Option<LeaseState>> {
        Ok(self.cluster.get(&self.api(), NAME, "lease").await?.map(Into::into))
    }

    /// Makes it.
    ///
    /// # Errors
    /// A conflict when somebody else made it first.
    pub async fn create(&self, write: &LeaseWrite) -> Result<LeaseState> {
        let lease = lease(write, None);
        let make = async || {
            let made = self.api().create(&PostParams::default(), &lease).await;
            made.map(Into::into).map_err(|error| kube_error(self.what("create"), error))
        };
        self.cluster.retry().write(make, async || self.written(write).await).await
    }

    /// Replaces the Lease that `resource_version` stands for.
    ///
    /// # Errors
    /// A conflict when it has changed since; `NotFound` when it is gone.
    pub async fn update(&self, write: &LeaseWrite, resource_version: &str) -> Result<LeaseState> {
        let lease = lease(write, Some(resource_version));
        let replace = async || {
            let replaced = self.api().replace(NAME, &PostParams::default(), &lease).await;
            replaced.map(Into::into).map_err(|error| kube_error(self.what("update"), error))
        };
        self.cluster.retry().write(replace, async || self.written(write).await).await
    }

    /// Deletes the Lease that `resource_version` stands for; one that is gone already is no error.
    ///
    /// # Errors
    /// A conflict when it has changed since.
    pub async fn delete(&self, resource_version: &str) -> Result<()> {
        let preconditions = Preconditions { resource_version: Some(resource_version.to_owned()), uid: None };
        let params = DeleteParams::default().preconditions(preconditions);
        let deleted = self.cluster.retry().read(async || {
            let deleted = self.api().delete(NAME, &params).await;
            deleted.map(|_| ()).map_err(|error| kube_error(self.what("delete"), error))
        });
        match deleted.await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Our own write, if it arrived.
    async fn written(&self, write: &LeaseWrite) -> Result<Option<LeaseState>> {
        let found = self.get().await?;
        Ok(found.filter(|state| {
            state.holder == write.holder
                && state.run == write.run
                && state.renewed_at == Some(micros(write.renewed_at))
                && state.stop_asked_by == write.stop_asked_by
        }))
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.cluster.client().clone(), &self.namespace)
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} lease {NAME} in {}", self.namespace)
    }
}

fn lease(write: &LeaseWrite, resource_version: Option<&str>) -> Lease {
    let renewed = MicroTime(micros(write.renewed_at));
    let noted = [(RUN, &write.run), (STOP, &write.stop_asked_by)];
    let noted = noted.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.clone()?)));
    Lease {
        metadata: ObjectMeta {
            name: Some(NAME.into()),
            resource_version: resource_version.map(ToOwned::to_owned),
            annotations: Some(noted.collect()),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), NAME.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: write.holder.clone(),
            acquire_time: Some(renewed.clone()),
            renew_time: Some(renewed),
            lease_duration_seconds: Some(i32::try_from(write.duration.as_secs().max(1)).unwrap_or(i32::MAX)),
            lease_transitions: Some(i32::try_from(write.transitions).unwrap_or(i32::MAX)),
            ..LeaseSpec::default()
        }),
    }
}

/// What a `MicroTime` can hold.
fn micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

impl From<Lease> for LeaseState {
    fn from(lease: Lease) -> Self {
        let spec = lease.spec.unwrap_or_default();
        let mut noted = lease.metadata.annotations.unwrap_or_default();
        let number = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            run: noted.remove(RUN),
            renewed_at: spec.renew_time.map(|time| time.0),
            duration: Duration::from_secs(u64::from(number(spec.lease_duration_seconds))),
            transitions: number(spec.lease_transitions),
            stop_asked_by: noted.remove(STOP),
            resource_version: lease.metadata.resource_version.unwrap_or_default(),
        }
    }
}

impl LeaseState {
    /// Whether it is held for this run by the process that took it as its change of hands number `taken`: the same person may
    /// have taken up the same run elsewhere since.
    #[must_use]
    pub fn is_held_by(&self, who: &str, run: &str, taken: u32) -> bool {
        (self.holder.as_deref(), self.run.as_deref(), self.transitions) == (Some(who), Some(run), taken)
    }

    /// Whether nobody else has taken it since.
    #[must_use]
    pub fn is_same_turn(&self, other: &Self) -> bool {
        (&self.holder, &self.run, self.transitions) == (&other.holder, &other.run, other.transitions)
    }

    /// What writes it as it is.
    #[must_use]
    pub fn as_it_is(&self) -> LeaseWrite {
        LeaseWrite {
            holder: self.holder.clone(),
            run: self.run.clone(),
            renewed_at: self.renewed_at.unwrap_or(Timestamp::UNIX_EPOCH),
            duration: self.duration,
            transitions: self.transitions,
            stop_asked_by: self.stop_asked_by.clone(),
        }
    }

    /// Who holds it and for which run, for people; `None` when nobody does.
    #[must_use]
    pub fn described(&self) -> Option<String> {
        let holder = self.holder.as_deref()?;
        Some(self.run.as_ref().map_or_else(|| holder.to_owned(), |run| format!("{holder} (run {run})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_survives_the_wire() {
        let write = LeaseWrite {
            holder: Some("dana@laptop".into()),
            run: Some("promote-1".into()),
            renewed_at: "2025-03-04T09:00:00.123456789Z".parse().unwrap(),
            duration: Duration::from_secs(30),
            transitions: 3,
            stop_asked_by: Some("amon@oncall, for a rollback".into()),
        };
        let text = serde_json::to_string(&lease(&write, Some("41"))).unwrap();
        let state: LeaseState = serde_json::from_str::<Lease>(&text).unwrap().into();
        assert_eq!(state.described().unwrap(), "dana@laptop (run promote-1)");
        assert_eq!(state.renewed_at, Some("2025-03-04T09:00:00.123456Z".parse().unwrap()));
        assert_eq!((state.duration, state.transitions), (write.duration, 3));
        assert_eq!(state.stop_asked_by, write.stop_asked_by);
        assert_eq!(state.resource_version, "41");
        assert!(state.is_held_by("dana@laptop", "promote-1", 3));
        // Dana took up the same run in another process.
        assert!(!state.is_held_by("dana@laptop", "promote-1", 2));
        assert!(!state.is_held_by("amon@laptop", "promote-1", 3) && !state.is_held_by("dana@laptop", "promote-2", 3));
    }
}
