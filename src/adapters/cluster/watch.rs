//! Deployments and pods as they are now: one list and one watch a kind, however many objects there are and however often
//! they are looked at.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::{NamespaceResourceScope, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::debug;

use super::connect::Cluster;
use super::errors::kube_error;
use super::pods::{Pod, PodState};
use super::workloads::{Deployment, DeploymentState, Workloads};
use crate::error::Result;

/// A watch is ended by the server after this long, well before the client's read time-out, and begun again.
const WATCH_SECONDS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The workloads of a namespace, kept up to date. Where that fails it says nothing from memory: a look is then a list, and a
/// failed list is a failed look. Dropping it ends the watches.
pub struct Live {
    workloads: Workloads,
    known: Arc<Known>,
    _tasks: JoinSet<()>,
}

/// What the watches have told so far.
#[derive(Default)]
struct Known {
    deployments: Mutex<Kept<DeploymentState>>,
    pods: Mutex<Kept<PodState>>,
    news: Notify,
    /// A first list was answered, or failed.
    begun: Notify,
}

/// The objects of one kind, by name.
#[derive(Default)]
enum Kept<S> {
    /// The first list is not answered yet.
    #[default]
    Awaited,
    Now(BTreeMap<String, Arc<S>>),
    /// The watch broke; what it told may be old.
    Lost,
}

impl Live {
    /// Of Deployments, and of pods as well.
    pub(super) fn of(workloads: &Workloads, pods: bool) -> Self {
        let known = Arc::new(Known::default());
        let (cluster, namespace) = (workloads.cluster(), workloads.namespace());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::<Deployment, DeploymentState>(cluster.clone(), namespace.to_owned(), known.clone()));
        if pods {
            tasks.spawn(follow::<Pod, PodState>(cluster.clone(), namespace.to_owned(), known.clone()));
        } else {
            *lock(&known.pods) = Kept::Lost;
        }
        Self { workloads: workloads.clone(), known, _tasks: tasks }
    }

    /// All Deployments, by name; without a request while the watch is whole.
    pub async fn deployments(&self) -> Result<Vec<Arc<DeploymentState>>> {
        self.begun().await;
        match all(&self.known.deployments) {
            Some(deployments) => Ok(deployments),
            None => Ok(shared(self.workloads.deployments().await?)),
        }
    }

    /// The first lists were answered, or failed.
    async fn begun(&self) {
        loop {
            let begun = self.known.begun.notified();
            if !self.awaited() {
                return;
            }
            begun.await;
        }
    }

    /// All Deployments and all pods, by name; without a request while the watches are whole.
    pub async fn look(&self) -> Result<(Vec<Arc<DeploymentState>>, Vec<Arc<PodState>>)> {
        self.begun().await;
        if let (Some(deployments), Some(pods)) = (all(&self.known.deployments), all(&self.known.pods)) {
            return Ok((deployments, pods));
        }
        let (deployments, pods) = futures::try_join!(self.workloads.deployments(), self.workloads.pods(None))?;
        Ok((shared(deployments), shared(pods)))
    }

    fn awaited(&self) -> bool {
        matches!(*lock(&self.known.deployments), Kept::Awaited) || matches!(*lock(&self.known.pods), Kept::Awaited)
    }

    /// Returns when there is news since the last call; several are one, and it may return for nothing.
    pub async fn changed(&self) {
        self.known.news.notified().await;
    }
}

fn shared<S>(all: Vec<S>) -> Vec<Arc<S>> {
    all.into_iter().map(Arc::new).collect()
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn all<S>(kept: &Mutex<Kept<S>>) -> Option<Vec<Arc<S>>> {
    match &*lock(kept) {
        Kept::Now(objects) => Some(objects.values().cloned().collect()),
        Kept::Awaited | Kept::Lost => None,
    }
}

/// A kind that is kept.
trait Watched: Sized {
    fn kept(known: &Known) -> &Mutex<Kept<Self>>;
    fn name(&self) -> &str;
}

impl Watched for DeploymentState {
    fn kept(known: &Known) -> &Mutex<Kept<Self>> {
        &known.deployments
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Watched for PodState {
    fn kept(known: &Known) -> &Mutex<Kept<Self>> {
        &known.pods
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// Keeps one kind for ever. After a failure it wakes the owner, who will see for himself whether the cluster answers.
async fn follow<K, S>(cluster: Cluster, namespace: String, known: Arc<Known>)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    S: Watched + From<K>,
{
    let api: Api<K> = Api::namespaced(cluster.client().clone(), &namespace);
    let mut pause = PAUSE;
    loop {
        let followed = follow_once::<K, S>(&cluster, &api, &namespace, &known).await;
        *lock(S::kept(&known)) = Kept::Lost;
        known.begun.notify_waiters();
        known.news.notify_one();
        match followed {
            Ok(()) => pause = PAUSE,
            Err(error) => {
                debug!(?error, kind = %K::kind(&()), "watch broke");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Lists, and watches from there until the server forgets the version (410) or the connection breaks.
async fn follow_once<K, S>(cluster: &Cluster, api: &Api<K>, namespace: &str, known: &Known) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    S: Watched + From<K>,
{
    let plural = K::plural(&());
    let (objects, version) = cluster.list_at(api, &ListParams::default(), &format!("{plural} in {namespace}")).await?;
    let named = |state: S| (state.name().to_owned(), Arc::new(state));
    *lock(S::kept(known)) = Kept::Now(objects.into_iter().map(|object| named(object.into())).collect());
    known.begun.notify_waiters();
    known.news.notify_one();
    let mut version = version.unwrap_or_else(|| "0".into());
    let failed = |error| kube_error(format!("watch {plural} in {namespace}"), error);
    loop {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let mut events = match api.watch(&params, &version).await {
            Ok(events) => events.boxed(),
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut heard = false;
        while let Some(event) = events.try_next().await.map_err(failed)? {
            heard = true;
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    note_version(&mut version, &object);
                    change::<S>(known, |kept| kept.extend([named(object.into())]));
                }
                WatchEvent::Deleted(object) => {
                    note_version(&mut version, &object);
                    change::<S>(known, |kept| drop(kept.remove(S::from(object).name())));
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                // Gone: begin again with a list.
                WatchEvent::Error(status) if status.code == 410 => return Ok(()),
                WatchEvent::Error(status) => return Err(failed(kube::Error::Api(status))),
            }
        }
        if !heard {
            // A server that ends watches at once must not be asked in a tight loop.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn note_version<K: Resource<DynamicType = ()>>(version: &mut String, object: &K) {
    if let Some(newer) = &object.meta().resource_version {
        version.clone_from(newer);
    }
}

fn change<S: Watched>(known: &Known, change: impl FnOnce(&mut BTreeMap<String, Arc<S>>)) {
    if let Kept::Now(kept) = &mut *lock(S::kept(known)) {
        change(kept);
    }
    known.news.notify_one();
}
