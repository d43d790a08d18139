//! "Something changed", from watches that begin again by themselves.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::{NamespaceResourceScope, PartialObjectMeta, Resource};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use super::connect::Cluster;
use super::errors::kube_error;
use crate::error::Result;

/// A watch is ended by the server after this long, well before the client's read time-out, and begun again.
const WATCH_SECONDS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Wakes its owner when something changes. It carries no objects: the owner lists again, and so never acts on half of the
/// news. It may wake for nothing; it does not sleep through a change. Dropping it ends the watches.
pub struct Changes {
    count: watch::Receiver<u64>,
    _tasks: JoinSet<()>,
}

impl Changes {
    pub(super) fn of_workloads(cluster: &Cluster, namespace: &str) -> Self {
        let (sender, count) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::<Deployment>(cluster.clone(), namespace.to_owned(), sender.clone()));
        tasks.spawn(follow::<Pod>(cluster.clone(), namespace.to_owned(), sender));
        Self { count, _tasks: tasks }
    }

    /// Returns when something has changed since the last call (or since the beginning); changes in between are one.
    pub async fn changed(&mut self) {
        // The senders live as long as the tasks, and the tasks as long as this.
        let _ = self.count.changed().await;
    }
}

/// Watches for ever. After a failure it wakes the owner too, who will see for himself whether the cluster answers.
async fn follow<K>(cluster: Cluster, namespace: String, sender: watch::Sender<u64>)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    // Only metadata is read: the owner lists what it needs.
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(cluster.client().clone(), &namespace);
    let mut pause = PAUSE;
    loop {
        match follow_once(&api, &sender).await {
            Ok(()) => pause = PAUSE,
            Err(error) => {
                debug!(?error, kind = %K::kind(&()), "watch broke");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        sender.send_modify(|count| *count += 1);
    }
}

/// Lists (for the version to begin at) and watches until the server forgets that version (410) or the connection breaks.
async fn follow_once<K>(api: &Api<PartialObjectMeta<K>>, sender: &watch::Sender<u64>) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + 'static,
{
    let what = || format!("watch {}", K::plural(&()));
    let listed = api.list(&ListParams::default().limit(1)).await.map_err(|error| kube_error(what(), error))?;
    let mut version = listed.metadata.resource_version.unwrap_or_else(|| "0".into());
    // What happened before this list is news to an owner that looked earlier.
    sender.send_modify(|count| *count += 1);
    loop {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let mut events = api.watch(&params, &version).await.map_err(|error| kube_error(what(), error))?.boxed();
        let mut heard = false;
        while let Some(event) = events.try_next().await.map_err(|error| kube_error(what(), error))? {
            heard = true;
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                    if let Some(newer) = object.metadata.resource_version {
                        version = newer;
                    }
                    sender.send_modify(|count| *count += 1);
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                // 410 Gone: begin again with a list.
                WatchEvent::Error(status) if status.code == 410 => return Ok(()),
                WatchEvent::Error(status) => return Err(kube_error(what(), kube::Error::Api(status))),
            }
        }
        if !heard {
            // A server that ends watches at once must not be asked in a tight loop.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
