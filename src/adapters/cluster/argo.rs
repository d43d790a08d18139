//! Argo CD, through its Application objects: what is synced, what is under way, what was.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams};
use serde::Deserialize;
use serde_json::{Value, json};

use super::argo_sources::{Overlay, Revisions, Source, position, request};
use super::connect::Cluster;
use super::errors::kube_error;
use crate::error::{Class, Error, Result};

/// Annotation by which a refresh is asked for; the controller removes it when done.
const REFRESH: &str = "argocd.argoproj.io/refresh";
const TRACKING: &str = "argocd.argoproj.io/tracking-id";
/// Who starts operations, in Argo's words.
const US: &str = "gospel-release";

/// The Applications of Argo CD's namespace.
#[derive(Clone)]
pub struct Applications {
    cluster: Cluster,
    namespace: String,
    /// The overlay that an Application deploys, by its name.
    overlays: Vec<(String, Overlay)>,
}

/// An Application.
#[derive(Debug, Clone, PartialEq)]
pub struct AppState {
    pub name: String,
    /// `Synced`, `OutOfSync`, `Unknown`: the live objects compared with `revision`. May be about an old revision.
    pub sync_status: String,
    /// The commit that was last compared. Of several sources: the overlay's.
    pub revision: Option<String>,
    /// Why it cannot be told which commit of ours it deploys; its revisions are not told then.
    pub unclear: Option<String>,
    /// `Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing`, `Unknown`.
    pub health: String,
    pub health_message: String,
    /// The operation under way, or else the last one. `None` between a request and its start.
    pub operation: Option<Operation>,
    /// A refresh was asked for and the controller has not taken it: it removes the request when it has.
    pub refresh_requested: bool,
    /// An operation was asked for and the controller has not begun it.
    pub operation_requested: bool,
    /// Finished syncs, oldest first. Partial syncs (self-heal) leave no entry.
    pub history: Vec<AppHistory>,
    pub auto_sync: bool,
    pub self_heal: bool,
    /// The ApplicationSet that makes it, or the Application that tracks it ("app of apps"), as `Kind/name`: edits of its spec would
    /// be undone.
    pub owner: Option<String>,
    /// Images that its live objects name.
    pub images: BTreeSet<String>,
    /// `SyncError`, `ComparisonError`, …
    pub conditions: Vec<AppCondition>,
    pub reconciled_at: Option<Timestamp>,
    pub repo_url: String,
    pub source_path: String,
    pub target_revision: String,
    /// Namespace that it deploys to.
    pub destination: String,
    pub resource_version: String,
}

/// A sync operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// `Running`, `Terminating`, `Succeeded`, `Failed`, `Error`.
    pub phase: String,
    /// The commit that it syncs.
    pub revision: Option<String>,
    pub started_at: Option<Timestamp>,
    /// Also set while a failed try waits for its retry, with phase `Running`.
    pub finished_at: Option<Timestamp>,
    pub message: String,
    /// A user's name, or `automated`.
    pub initiated_by: String,
    pub retries: u32,
}

/// A finished sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppHistory {
    pub id: i64,
    pub revision: String,
    pub deployed_at: Timestamp,
}

/// What Argo CD complains about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppCondition {
    pub kind: String,
    pub message: String,
    pub at: Option<Timestamp>,
}

/// How thoroughly an Application is compared again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Against Git.
    Normal,
    /// Against Git, with manifests made anew.
    Hard,
}

impl Operation {
    /// Whether it is under way (also when it waits for a retry).
    #[must_use]
    pub fn running(&self) -> bool {
        matches!(self.phase.as_str(), "Running" | "Terminating")
    }

    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.phase == "Succeeded"
    }

    /// Whether its try failed and it waits to try again.
    #[must_use]
    pub fn waits_for_retry(&self) -> bool {
        self.phase == "Running" && self.finished_at.is_some()
    }
}

impl AppState {
    /// Asserts that its revisions are commits of the configured overlay.
    ///
    /// # Errors
    /// A configuration error that says why it cannot be told.
    pub fn must_be_clear(&self) -> Result<()> {
        let Some(why) = &self.unclear else { return Ok(()) };
        Err(Error::config(format!("what the Argo CD application {} deploys cannot be followed: {why}", self.name))
            .hint("compare argo.application, the environment's overlay and repository.slug with the Application's sources"))
    }

    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&AppCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

impl Applications {
    /// `namespace`: Argo CD's own, not the one that is deployed to.
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.to_owned(), overlays: Vec::new() }
    }

    /// Says which overlay (a path in the repository `slug`, `owner/name`) the Application `name` deploys: of several sources, that one
    /// is meant.
    #[must_use]
    pub fn deploying(mut self, name: &str, slug: &str, path: &str) -> Self {
        self.overlays.push((name.to_owned(), Overlay { slug: slug.to_owned(), path: path.to_owned() }));
        self
    }

    fn overlay(&self, name: &str) -> Option<&Overlay> {
        self.overlays.iter().find(|(known, _)| known == name).map(|(_, overlay)| overlay)
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Application `name`.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn application(&self, name: &str) -> Result<AppState> {
        state(self.object(name).await?, self.overlay(name))
    }

    /// Names of the Applications that the ApplicationSet `set` makes, sorted.
    pub async fn made_by(&self, set: &str) -> Result<Vec<String>> {
        let owner = Some(format!("ApplicationSet/{set}"));
        let all = self.cluster.list(&self.api(), &ListParams::default(), "Argo CD applications").await?;
        let named = all.into_iter().filter_map(|object| {
            let name = object.metadata.name.clone()?;
            (self::owner(&object.metadata, &name) == owner).then_some(name)
        });
        let mut names: Vec<String> = named.collect();
        names.sort();
        Ok(names)
    }

    /// Asks the controller to compare it again now.
    pub async fn refresh(&self, name: &str, refresh: Refresh) -> Result<()> {
        let how = if refresh == Refresh::Hard { "hard" } else { "normal" };
        let patch = json!({"metadata": {"annotations": {REFRESH: how}}});
        // Asked twice is compared once more: harmless.
        let asked = self.cluster.retry().read(async || self.patch(name, &patch, "refresh").await);
        asked.await.map(|_| ())
    }

    /// Asks the controller to end the operation under way. It ends later: look until it is gone. Answers `false` when none
    /// was under way (any more).
    pub async fn terminate(&self, name: &str) -> Result<bool> {
        self.cluster
            .retry()
            .read(async || {
                let state = self.application(name).await?;
                match &state.operation {
                    Some(operation) if operation.phase == "Running" => {}
                    Some(operation) if operation.phase == "Terminating" => return Ok(true),
                    _ => return Ok(false),
                }
                // As Argo's own server does it (Application controller, `TerminateOperation`); the version guards against
                // ending an operation that began in between.
                let patch = json!({
                    "metadata": {"resourceVersion": state.resource_version},
                    "status": {"operationState": {"phase": "Terminating"}}
                });
                match self.patch(name, &patch, "end the operation of").await {
                    Ok(_) => Ok(true),
                    Err(error) if error.is_conflict() => Err(error.class(Class::Transient { retry_after: None })),
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// Starts a sync to `revision` (a commit), with the Application's own options.
    ///
    /// # Errors
    /// A conflict when an operation is requested or under way already, or the Application changed meanwhile; a configuration error
    /// when it cannot be told which of its sources the commit is of.
    pub async fn sync(&self, name: &str, revision: &str) -> Result<()> {
        let begin = async || {
            let object = self.object(name).await?;
            let state = state(object.clone(), self.overlay(name))?;
            state.must_be_clear()?;
            let busy = state.operation_requested || state.operation.as_ref().is_some_and(Operation::running);
            if busy {
                let what = format!("application {name} has an operation under way");
                return Err(Error::outside(what).class(Class::Conflict));
            }
            let patch = json!({
                "metadata": {"resourceVersion": state.resource_version},
                "operation": operation(&object.data, self.overlay(name), revision)?
            });
            self.patch(name, &patch, "sync").await.map(|_| ())
        };
        let begun = async || {
            let object = self.object(name).await?;
            let requested = &object.data["operation"];
            let sync = operation(&object.data, self.overlay(name), revision)?["sync"].take();
            let same = ["revision", "revisions"].iter().all(|key| requested["sync"][key] == sync[key]);
            let ours = requested["initiatedBy"]["username"] == US && same;
            let state = state(object, self.overlay(name))?;
            let running =
                state.operation.is_some_and(|op| op.initiated_by == US && op.revision.as_deref() == Some(revision));
            Ok((ours || running).then_some(()))
        };
        self.cluster.retry().write(begin, begun).await
    }

    async fn object(&self, name: &str) -> Result<DynamicObject> {
        let found = self.cluster.get(&self.api(), name, "Argo CD application").await?;
        found.ok_or_else(|| {
            let what = format!("there is no Argo CD application {name} in namespace {}", self.namespace);
            Error::outside(what).class(Class::NotFound).hint("check argo.application and argo.namespace")
        })
    }

    async fn patch(&self, name: &str, patch: &Value, verb: &str) -> Result<DynamicObject> {
        let patched = self.api().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map_err(|error| kube_error(format!("{verb} Argo CD application {name}"), error))
    }

    fn api(&self) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "argoproj.io".into(),
            version: "v1alpha1".into(),
            api_version: "argoproj.io/v1alpha1".into(),
            kind: "Application".into(),
            plural: "applications".into(),
        };
        Api::namespaced_with(self.cluster.client().clone(), &self.namespace, &resource)
    }
}

/// The operation that Argo's own server would start: prune and options as the Application's sync policy has them.
fn operation(data: &Value, overlay: Option<&Overlay>, revision: &str) -> Result<Value> {
    let policy = &data["spec"]["syncPolicy"];
    let sources: Vec<Source> = serde_json::from_value(data["spec"]["sources"].clone()).unwrap_or_default();
    let ours = (!sources.is_empty()).then(|| position(&sources, overlay)).transpose().map_err(Error::config)?;
    let mut sync = request(&sources, ours, revision);
    if policy["automated"]["prune"] == json!(true) {
        sync["prune"] = json!(true);
    }
    if policy["syncOptions"].is_array() {
        sync["syncOptions"] = policy["syncOptions"].clone();
    }
    let mut operation = json!({"initiatedBy": {"username": US}, "sync": sync});
    if policy["retry"].is_object() {
        operation["retry"] = policy["retry"].clone();
    }
    Ok(operation)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    spec: Spec,
    status: Status,
    operation: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    source: Source,
    /// Where there are any, `source` does not count.
    sources: Vec<Source>,
    source_hydrator: Option<Value>,
    destination: Destination,
    sync_policy: Option<SyncPolicy>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Destination {
    namespace: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SyncPolicy {
    automated: Option<Automated>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Automated {
    self_heal: bool,
    /// Argo CD 3.1: `enabled: false` switches auto-sync off although the block is there.
    enabled: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    sync: Sync,
    health: Health,
    operation_state: Option<WireOperation>,
    history: Vec<WireHistory>,
    conditions: Vec<WireCondition>,
    summary: Summary,
    reconciled_at: Option<Timestamp>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Sync {
    status: String,
    #[serde(flatten)]
    revisions: Revisions,
    compared_to: ComparedTo,
}

/// What the revisions were compared of: the sources may have changed since.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ComparedTo {
    sources: Vec<Source>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Health {
    status: Option<String>,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireOperation {
    phase: String,
    message: String,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    retry_count: u32,
    sync_result: Option<Revisions>,
    operation: WireRequest,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireRequest {
    sync: Option<Revisions>,
    initiated_by: InitiatedBy,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct InitiatedBy {
    username: String,
    automated: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireHistory {
    id: i64,
    #[serde(flatten)]
    revisions: Revisions,
    deployed_at: Timestamp,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireCondition {
    #[serde(rename = "type")]
    kind: String,
    message: String,
    last_transition_time: Option<Timestamp>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Summary {
    images: BTreeSet<String>,
}

/// Why it cannot be told which of its revisions is ours.
fn unclear(spec: &Spec, overlay: Option<&Overlay>) -> Option<String> {
    if spec.source_hydrator.as_ref().is_some_and(|hydrator| !hydrator.is_null()) {
        return Some("it is hydrated (spec.sourceHydrator), and syncs commits that are not ours".to_owned());
    }
    if spec.sources.is_empty() { None } else { position(&spec.sources, overlay).err() }
}

fn state(object: DynamicObject, overlay: Option<&Overlay>) -> Result<AppState> {
    let metadata = object.metadata;
    let name = metadata.name.clone().unwrap_or_default();
    let Wire { spec, status, operation } = serde_json::from_value(object.data)
        .map_err(|error| Error::outside(format!("read Argo CD application {name}")).because(error))?;
    let unclear = unclear(&spec, overlay);
    let ours = |revisions: &Revisions| revisions.ours(&spec.sources, overlay).filter(|_| unclear.is_none());
    let automated = spec.sync_policy.as_ref().and_then(|policy| policy.automated.as_ref());
    let owner = owner(&metadata, &name);
    let at = position(&spec.sources, overlay).ok();
    let source = at.and_then(|at| spec.sources.get(at)).unwrap_or(&spec.source);
    let mut history: Vec<AppHistory> = status
        .history
        .into_iter()
        .map(|entry| AppHistory {
            id: entry.id,
            revision: ours(&entry.revisions).unwrap_or_default(),
            deployed_at: entry.deployed_at,
        })
        .collect();
    history.sort_by_key(|entry| entry.id);
    Ok(AppState {
        sync_status: if status.sync.status.is_empty() { "Unknown".into() } else { status.sync.status },
        revision: ours(&status.sync.revisions.of(status.sync.compared_to.sources)),
        health: status.health.status.unwrap_or_else(|| "Unknown".into()),
        health_message: status.health.message,
        operation: status.operation_state.map(|wire| read_operation(wire, ours)),
        refresh_requested: metadata.annotations.as_ref().is_some_and(|all| all.contains_key(REFRESH)),
        operation_requested: operation.is_some_and(|request| !request.is_null()),
        history,
        auto_sync: automated.is_some_and(|automated| automated.enabled != Some(false)),
        self_heal: automated.is_some_and(|automated| automated.self_heal),
        owner,
        images: status.summary.images,
        conditions: status
            .conditions
            .into_iter()
            .map(|c| AppCondition { kind: c.kind, message: c.message, at: c.last_transition_time })
            .collect(),
        reconciled_at: status.reconciled_at,
        repo_url: source.repo_url.clone(),
        source_path: source.path.clone(),
        target_revision: source.target_revision.clone(),
        destination: spec.destination.namespace.clone(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        name,
        unclear: unclear.clone(),
    })
}

fn read_operation(wire: WireOperation, ours: impl Fn(&Revisions) -> Option<String>) -> Operation {
    let told = [wire.sync_result, wire.operation.sync];
    let by = wire.operation.initiated_by;
    Operation {
        phase: wire.phase,
        revision: told.iter().flatten().find_map(ours),
        started_at: wire.started_at,
        finished_at: wire.finished_at,
        message: wire.message,
        initiated_by: if by.automated || by.username.is_empty() { "automated".into() } else { by.username },
        retries: wire.retry_count,
    }
}

/// Owner references say who made it; an Application made by another one has that one's name in its tracking id instead
/// (Argo CD's documentation, "Resource Tracking": `app:group/Kind:namespace/name`).
fn owner(metadata: &ObjectMeta, name: &str) -> Option<String> {
    if let Some(owner) = metadata.owner_references.iter().flatten().next() {
        return Some(format!("{}/{}", owner.kind, owner.name));
    }
    let tracked = metadata.annotations.as_ref()?.get(TRACKING)?;
    let parent = tracked.split(':').next().filter(|parent| !parent.is_empty() && *parent != name)?;
    Some(format!("Application/{parent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": "gospelib-production", "resourceVersion": "77", "ownerReferences": [
                {"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "gospelib", "uid": "u"}]},
            "spec": {"project": "default", "destination": {"namespace": "gospelib-production"},
                "source": {"repoURL": "https://github.example/g.git", "path": "infra/k8s/overlays/production", "targetRevision": "main"},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "syncOptions": ["CreateNamespace=false"]}},
            "status": status
        }))
        .unwrap()
    }

    #[test]
    fn a_waiting_retry_is_still_under_way() {
        let app = state(object(json!({
            "sync": {"status": "Synced", "revision": "abc"}, "health": {"status": "Healthy"},
            "operationState": {"phase": "Running", "startedAt": "2025-03-04T09:00:00Z", "finishedAt": "2025-03-04T09:00:05Z",
                "message": "one or more tasks are running", "retryCount": 2,
                "operation": {"sync": {"revision": "def"}, "initiatedBy": {"automated": true}}},
            "history": [{"id": 4, "revision": "b", "deployedAt": "2025-03-02T00:00:00Z", "source": {"repoURL": "x"}},
                {"id": 3, "revision": "a", "deployedAt": "2025-03-01T00:00:00Z", "source": {"repoURL": "x"}}],
            "summary": {"images": ["r.example/gospelib-gateway:v1"]}
        })), None)
        .unwrap();
        let operation = app.operation.as_ref().unwrap();
        assert!(operation.running() && operation.waits_for_retry());
        assert_eq!((operation.revision.as_deref(), operation.initiated_by.as_str()), (Some("def"), "automated"));
        assert_eq!(app.history.last().unwrap().revision, "b");
        assert!(app.auto_sync && app.self_heal);
        assert_eq!(app.owner.as_deref(), Some("ApplicationSet/gospelib"));
    }

    #[test]
    fn who_made_an_application_is_read_from_its_owner_or_its_tracking_id() {
        let owner = |metadata: Value| super::owner(&serde_json::from_value(metadata).unwrap(), "shop");
        let tracked = |id: &str| json!({"annotations": {"argocd.argoproj.io/tracking-id": id}});
        assert_eq!(owner(json!({})), None);
        assert_eq!(
            owner(tracked("platform:argoproj.io/Application:argocd/shop")).as_deref(),
            Some("Application/platform")
        );
        assert_eq!(owner(tracked("shop:argoproj.io/Application:argocd/shop")), None, "itself");
        assert_eq!(owner(tracked("")), None);
    }

    #[test]
    fn a_new_application_is_unknown_not_healthy() {
        let app = state(object(json!({})), None).unwrap();
        assert_eq!((app.sync_status.as_str(), app.health.as_str()), ("Unknown", "Unknown"));
        assert!(app.operation.is_none() && !app.operation_requested && app.revision.is_none());
    }

    #[test]
    fn what_was_compared_is_read_at_the_places_of_then() {
        let ours = json!({"repoURL": "https://github.com/o/r", "path": "p"});
        let (now, then) = (json!([{"repoURL": "x"}, ours]), json!([ours, {"repoURL": "x"}]));
        let overlay = Overlay { slug: "o/r".into(), path: "p".into() };
        let read = |sync: Value| {
            let app: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "shop"},
                "spec": {"sources": now}, "status": {"sync": sync},
            }))
            .unwrap();
            state(app, Some(&overlay)).unwrap().revision
        };
        let compared = json!({"status": "Synced", "revisions": ["abc", "1.2.3"], "comparedTo": {"sources": then}});
        assert_eq!(read(compared).as_deref(), Some("abc"));
        assert_eq!(read(json!({"revisions": ["1.2.3", "abc"]})).as_deref(), Some("abc"));
    }

    #[test]
    fn a_sync_keeps_the_applications_own_options() {
        let request = operation(&object(json!({})).data, None, "abc").unwrap();
        assert_eq!(request["sync"]["prune"], json!(true));
        assert_eq!(request["sync"]["syncOptions"], json!(["CreateNamespace=false"]));
        assert_eq!(request["sync"]["revision"], "abc");
    }
}
