//! Argo CD's application controller, as far as a release can see it: refresh, compare, automatic sync, operations.
//!
//! Behaviour from Argo CD's source (controller/appcontroller.go, controller/sync.go, v3): `operation` stays on the
//! object until the operation has completed; a request clears `operationState`; auto-sync never tries a revision
//! twice; self-heal is a partial sync, backs off, and leaves no history entry; a repository that cannot be read is a
//! ComparisonError, and whatever is not OutOfSync is not synced by itself.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::compare::{self, Comparison};
use super::memory::Memory;
use super::object::{
    annotation, duration, fnv, is_terminating, later, name, namespace, number, seconds, stamp, text, time,
};
use super::{sources, sync};
use crate::rehearsal::World;

/// Asks for a refresh: `normal` or `hard`; the controller removes it.
pub const REFRESH: &str = "argocd.argoproj.io/refresh";

/// World time between two looks at Git; a webhook would be as fast.
const LOOK_EVERY: i64 = 30;
/// Seconds after an operation until the next attempt at self-healing: the first comes at once
/// (`--self-heal-backoff-timeout-seconds` 2, `-factor` 3, `-cap-seconds` 300).
const SELF_HEAL_BACKOFF: [i64; 7] = [0, 2, 6, 18, 54, 162, 300];
/// A success that is so old makes the next attempt the first (`--self-heal-backoff-cooldown-seconds`).
const SELF_HEAL_COOLDOWN: i64 = 330;
/// World time for which the answer of a repository is believed (repo-server, `--revision-cache-expiration`).
const REVISION_CACHE: SignedDuration = SignedDuration::from_mins(3);
/// World time between two writes of `reconciledAt` where nothing changes.
const RECONCILE_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// Entries of `status.history` (Argo's default `revisionHistoryLimit`).
const HISTORY: usize = 10;

/// What the controller remembers of one Application.
#[derive(Default)]
pub struct Attention {
    /// The commit that Argo takes for the tip of the target branch.
    seen: Option<String>,
    look_at: Option<Timestamp>,
    reconciled: Option<Timestamp>,
    /// Since when a new commit is kept from Argo's eyes (scenario).
    held_since: Option<Timestamp>,
    out_of_sync_since: Option<Timestamp>,
    /// Since when the repository cannot be read, and whether what was read of it is too old by now.
    blind_since: Option<Timestamp>,
    blind: bool,
    start_at: Option<Timestamp>,
    /// When the running operation is done; `None` for one that hangs.
    done_at: Option<Timestamp>,
    /// What was there when a comparison found nothing to do, and when it was.
    quiet: Option<u64>,
    rendered: Vec<(String, Rendered)>,
}

type Rendered = Result<Arc<Vec<Value>>, String>;

impl Attention {
    /// The overlay at a commit; the last few are kept.
    fn render(&mut self, world: &World, commit: &str, path: &str) -> Rendered {
        let key = format!("{commit}:{path}");
        if let Some((_, rendered)) = self.rendered.iter().find(|(at, _)| *at == key) {
            return rendered.clone();
        }
        let rendered = world.repo.render(commit, path).map(Arc::new).map_err(|error| {
            let causes = error.causes().join(": ");
            format!("Failed to load target state: failed to generate manifest for source 1 of 1: {error}: {causes}")
        });
        if self.rendered.len() >= 4 {
            drop(self.rendered.remove(0));
        }
        self.rendered.push((key, rendered.clone()));
        rendered
    }
}

pub fn reconcile(world: &World, memory: &mut Memory, now: Timestamp) {
    for app in world.kube.list("applications", None) {
        if is_terminating(&app) {
            continue;
        }
        let mut attention = memory.applications.remove(name(&app)).unwrap_or_else(|| Attention {
            seen: Some(sources::revision(&app, &app["status"]["sync"]).to_owned()).filter(|found| !found.is_empty()),
            ..Attention::default()
        });
        one(world, memory, &mut attention, &app, now);
        memory.applications.insert(name(&app).to_owned(), attention);
    }
}

fn one(world: &World, memory: &mut Memory, attention: &mut Attention, app: &Value, now: Timestamp) {
    let asked = !annotation(app, REFRESH).is_empty();
    look(world, memory, attention, app, asked, now);
    let seen = versions_of(world, attention, app);
    let waits = attention.done_at.is_some() || attention.start_at.is_some() || attention.out_of_sync_since.is_some();
    let due = attention.reconciled.is_none_or(|at| later(at, reconcile_every(world)) <= now);
    if !asked && !waits && !due && attention.quiet == Some(seen) {
        return;
    }
    attention.quiet = Some(seen);
    let mut after = app.clone();
    if !after["status"].is_object() {
        after["status"] = json!({});
    }
    operate(world, memory, attention, &mut after, now);
    let comparison = observe(world, attention, &mut after, now);
    if let Some(comparison) = comparison {
        auto_sync(world, memory, attention, &mut after, &comparison, now);
    }
    if asked && let Some(annotations) = after.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(REFRESH);
    }
    store(world, attention, app, after, asked, now);
}

/// The versions of everything that a comparison depends on.
fn versions_of(world: &World, attention: &Attention, app: &Value) -> u64 {
    const COMPARED: [&str; 7] =
        ["deployments", "services", "externalsecrets", "configmaps", "cronjobs", "jobs", "pods"];
    fnv(&[
        &world.kube.last_change(&COMPARED).to_string(),
        attention.seen.as_deref().unwrap_or_default(),
        &attention.blind.to_string(),
        text(app, "/metadata/resourceVersion"),
    ])
}

/// Looks at the branch, when it is time or somebody asks.
fn look(world: &World, memory: &mut Memory, attention: &mut Attention, app: &Value, asked: bool, now: Timestamp) {
    if world.switches.git_down() {
        let blind_at = later(*attention.blind_since.get_or_insert(now), REVISION_CACHE);
        attention.blind |= asked || blind_at <= now;
        if !attention.blind {
            memory.wake(blind_at);
        }
        return;
    }
    if attention.blind_since.take().is_some() {
        (attention.blind, attention.look_at) = (false, None);
    }
    if !asked && attention.seen.is_some() && attention.look_at.is_some_and(|at| at > now) {
        attention.look_at.into_iter().for_each(|at| memory.wake(at));
        return;
    }
    let next = later(now, at_least_wall(world, seconds(LOOK_EVERY), 0.015));
    attention.look_at = Some(next);
    memory.wake(next);
    let branch = sources::branch(sources::rendered(app));
    let Some(head) = world.repo.head(branch).or_else(|| world.repo.resolve(branch)) else { return };
    if attention.seen.as_ref() == Some(&head) {
        return;
    }
    if let Some(until) = stale_until(world, attention, app, &head, now) {
        attention.look_at = Some(until.min(next));
        memory.wake(until);
        return;
    }
    attention.held_since = None;
    attention.seen = Some(head);
}

/// A world duration, but no less than this wall time: a fast world must not keep the machine busy with looking.
fn at_least_wall(world: &World, wanted: SignedDuration, wall_seconds: f64) -> SignedDuration {
    let floor = SignedDuration::try_from_secs_f64(world.clock.speed() * wall_seconds).unwrap_or(wanted);
    wanted.max(floor)
}

fn reconcile_every(world: &World) -> SignedDuration {
    at_least_wall(world, RECONCILE_EVERY, 0.5)
}

/// Until when the scenario keeps a new production commit from Argo; `None` when it does not, or no longer.
fn stale_until(world: &World, attention: &mut Attention, app: &Value, head: &str, now: Timestamp) -> Option<Timestamp> {
    let stale = duration(world.scenario.world.argo.stale_for.as_deref()?)?;
    let seen = attention.seen.clone()?;
    if text(app, "/spec/destination/namespace") != world.shape.namespace("production") {
        return None;
    }
    let path = path_of(app);
    if attention.render(world, &seen, path) == attention.render(world, head, path) {
        return None;
    }
    let until = later(*attention.held_since.get_or_insert(now), stale);
    (until > now).then_some(until)
}

fn path_of(app: &Value) -> &str {
    text(sources::rendered(app), "/path")
}

fn in_progress(app: &Value) -> bool {
    matches!(text(app, "/status/operationState/phase"), "Running" | "Terminating")
}

/// Starts, finishes or ends the operation.
fn operate(world: &World, memory: &mut Memory, attention: &mut Attention, app: &mut Value, now: Timestamp) {
    if text(app, "/status/operationState/phase") == "Terminating" {
        return complete(attention, app, "Failed", "Operation terminated", now);
    }
    if in_progress(app) {
        match attention.done_at {
            Some(at) if at <= now => perform(world, attention, app, now),
            Some(at) => memory.wake(at),
            None => {}
        }
        return;
    }
    if !app["operation"].is_object() {
        attention.start_at = None;
        return;
    }
    let start = *attention.start_at.get_or_insert(later(now, seconds(1)));
    if start > now {
        return memory.wake(start);
    }
    attention.start_at = None;
    start_operation(world, memory, attention, app, now);
}

fn start_operation(world: &World, memory: &mut Memory, attention: &mut Attention, app: &mut Value, now: Timestamp) {
    let operation = app["operation"].clone();
    let asked = sources::revision(app, &operation["sync"]);
    let revision = if asked.is_empty() { attention.seen.clone() } else { world.repo.resolve(asked) };
    // `revision` is required, and empty where there are several.
    let mut result = json!({ "revision": "" });
    sources::put_revision(world, app, &mut result, revision.as_deref().unwrap_or(asked));
    sources::put_source(app, &mut result);
    app["status"]["operationState"] = json!({
        "operation": operation,
        "phase": "Running",
        "startedAt": stamp(now),
        "syncResult": result,
    });
    if attention.blind {
        return complete(attention, app, "Error", &format!("ComparisonError: {}", unreadable(world)), now);
    }
    if revision.is_none() {
        let message =
            format!("ComparisonError: Failed to load target state: unable to resolve '{asked}' to a commit SHA");
        return complete(attention, app, "Error", &message, now);
    }
    let done = later(now, seconds(3));
    attention.done_at = Some(done);
    memory.wake(done);
}

/// Applies what the running operation asks for, and completes it.
fn perform(world: &World, attention: &mut Attention, app: &mut Value, now: Timestamp) {
    let revision = sources::revision(app, &app["status"]["operationState"]["syncResult"]).to_owned();
    let desired = match attention.render(world, &revision, path_of(app)) {
        Ok(desired) => desired,
        Err(error) => return complete(attention, app, "Error", &format!("ComparisonError: {error}"), now),
    };
    let asked = app["status"]["operationState"]["operation"]["sync"].clone();
    let outcome = sync::apply(world, app, &desired, &asked, now);
    app["status"]["operationState"]["syncResult"]["resources"] = json!(outcome.resources);
    if let Some(failure) = outcome.failure {
        let message = format!("one or more objects failed to apply, reason: {failure}");
        return complete(attention, app, "Failed", &message, now);
    }
    let partial = asked["resources"].as_array().is_some_and(|only| !only.is_empty());
    let dry_run = asked["dryRun"] == json!(true);
    if !partial && !dry_run {
        remember(world, app, &revision, now);
    }
    complete(attention, app, "Succeeded", "successfully synced (all tasks run)", now);
    // A finished sync compares with the latest commit at once, unless the scenario keeps Argo from seeing it.
    if attention.held_since.is_none() {
        attention.look_at = None;
    }
}

fn complete(attention: &mut Attention, app: &mut Value, phase: &str, message: &str, now: Timestamp) {
    attention.done_at = None;
    attention.out_of_sync_since = None;
    let state = &mut app["status"]["operationState"];
    state["phase"] = json!(phase);
    state["message"] = json!(message);
    state["finishedAt"] = json!(stamp(now));
    if let Some(app) = app.as_object_mut() {
        app.shift_remove("operation");
    }
}

/// Adds the finished sync to `status.history`.
fn remember(world: &World, app: &mut Value, revision: &str, now: Timestamp) {
    let state = app["status"]["operationState"].clone();
    let mut entry = json!({
        "deployStartedAt": state["startedAt"],
        "deployedAt": stamp(now),
        "initiatedBy": state["operation"]["initiatedBy"].as_object().cloned().unwrap_or_default(),
    });
    sources::put_revision(world, app, &mut entry, revision);
    sources::put_source(app, &mut entry);
    let history = &mut app["status"]["history"];
    if !history.is_array() {
        *history = json!([]);
    }
    let Some(list) = history.as_array_mut() else { return };
    let id = list.last().and_then(|entry| entry["id"].as_i64()).map_or(0, |id| id + 1);
    entry["id"] = json!(id);
    list.push(entry);
    let surplus = list.len().saturating_sub(HISTORY);
    list.drain(..surplus);
}

/// Compares the target with the cluster and writes sync, health and resources.
fn observe(world: &World, attention: &mut Attention, app: &mut Value, now: Timestamp) -> Option<Comparison> {
    let revision = attention.seen.clone()?;
    let path = path_of(app).to_owned();
    let mut compared_to = json!({ "destination": app["spec"]["destination"] });
    sources::put_source(app, &mut compared_to);
    let mut sync = json!({ "comparedTo": compared_to });
    sources::put_revision(world, app, &mut sync, &revision);
    let rendered = if attention.blind { Err(unreadable(world)) } else { attention.render(world, &revision, &path) };
    let desired = match rendered {
        Ok(desired) => desired,
        Err(error) => {
            sync["status"] = json!("Unknown");
            app["status"]["sync"] = sync;
            set_problem(app, "ComparisonError", Some(error), now);
            return None;
        }
    };
    set_problem(app, "ComparisonError", None, now);
    let comparison = compare::compare(world, app, &desired);
    let status = if comparison.out_of_sync.is_empty() { "Synced" } else { "OutOfSync" };
    let since = app["status"]["health"]["lastTransitionTime"].clone();
    let same = text(app, "/status/health/status") == comparison.health && since.is_string();
    let status_of = &mut app["status"];
    sync["status"] = json!(status);
    status_of["sync"] = sync;
    status_of["health"] = json!({
        "status": comparison.health,
        "lastTransitionTime": if same { since } else { json!(stamp(now)) },
    });
    status_of["resources"] = json!(comparison.resources);
    status_of["summary"] = json!({ "images": comparison.images });
    status_of["sourceType"] = json!("Kustomize");
    status_of["resourceHealthSource"] = json!("appTree");
    status_of["controllerNamespace"] = json!("argocd");
    if comparison.out_of_sync.is_empty() {
        attention.out_of_sync_since = None;
    } else {
        attention.out_of_sync_since.get_or_insert(now);
    }
    Some(comparison)
}

/// What the repo-server says of a Git hosting that answers 503.
fn unreadable(world: &World) -> String {
    format!(
        "Failed to load target state: failed to generate manifest for source 1 of 1: rpc error: code = Unknown desc = \
         failed to list refs: unexpected client error: unexpected requesting \"https://github.com/{}.git/info/refs\
         ?service=git-upload-pack\" status code: 503",
        world.shape.slug
    )
}

/// Sets or clears a condition; Argo's have a type, a message and a time only.
fn set_problem(app: &mut Value, kind: &str, message: Option<String>, now: Timestamp) {
    let old = super::object::condition(app, kind).cloned();
    if old.as_ref().map(|old| text(old, "/message").to_owned()) == message {
        return;
    }
    let conditions = &mut app["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(list) = conditions.as_array_mut() {
        list.retain(|condition| condition["type"] != kind);
        if let Some(message) = message {
            list.push(json!({ "type": kind, "message": message, "lastTransitionTime": stamp(now) }));
        }
        if list.is_empty()
            && let Some(status) = app["status"].as_object_mut()
        {
            status.shift_remove("conditions");
        }
    }
}

/// Requests a sync where the policy says so (controller/appcontroller.go, `autoSync`).
fn auto_sync(
    world: &World,
    memory: &mut Memory,
    attention: &mut Attention,
    app: &mut Value,
    comparison: &Comparison,
    now: Timestamp,
) {
    let policy = app["spec"]["syncPolicy"]["automated"].clone();
    let Some(revision) = attention.seen.clone() else { return };
    if !policy.is_object() || policy["enabled"] == json!(false) || comparison.out_of_sync.is_empty() {
        return set_problem(app, "SyncError", None, now);
    }
    if app["operation"].is_object() || in_progress(app) {
        return;
    }
    let state = &app["status"]["operationState"];
    // A later commit that leaves the manifests as they are counts as the one that was synced.
    let synced = sources::revision(app, &state["syncResult"]);
    let path = path_of(app);
    let attempted = synced == revision
        || (!synced.is_empty() && attention.render(world, synced, path) == attention.render(world, &revision, path));
    let phase = text(state, "/phase").to_owned();
    let mut asked = json!({});
    sources::put_revision(world, app, &mut asked, &revision);
    if policy["prune"] == json!(true) {
        asked["prune"] = json!(true);
    }
    if attempted && phase != "Succeeded" {
        let message =
            format!("Failed last sync attempt to [{revision}]: {} (retried 0 times).", text(state, "/message"));
        return set_problem(app, "SyncError", Some(message), now);
    }
    if attempted {
        if policy["selfHeal"] != json!(true) {
            return;
        }
        let finished = time(state, "/finishedAt").unwrap_or(now);
        let cool = now.duration_since(finished) >= seconds(SELF_HEAL_COOLDOWN);
        let attempts = number(state, "/operation/sync/autoHealAttemptsCount").filter(|_| !cool).unwrap_or(0);
        let step = usize::try_from(attempts).unwrap_or(0).min(SELF_HEAL_BACKOFF.len() - 1);
        let due = later(finished, seconds(SELF_HEAL_BACKOFF[step]));
        if due > now {
            return memory.wake(due);
        }
        asked["resources"] = json!(comparison.out_of_sync);
        asked["autoHealAttemptsCount"] = json!(attempts + 1);
    }
    let retry = app["spec"]["syncPolicy"]["retry"].as_object().cloned();
    let retry = retry.map_or_else(|| json!({ "limit": 5 }), Value::Object);
    app["operation"] = json!({ "sync": asked, "initiatedBy": { "automated": true }, "retry": retry });
    if let Some(status) = app["status"].as_object_mut() {
        status.shift_remove("operationState");
    }
    memory.wake(now);
}

/// Writes the outcome, unless somebody else changed the operation meanwhile: then the next turn looks again.
fn store(world: &World, attention: &mut Attention, before: &Value, mut after: Value, asked: bool, now: Timestamp) {
    let due = attention.reconciled.is_none_or(|at| later(at, reconcile_every(world)) <= now);
    if after["status"] == before["status"] && after["operation"] == before["operation"] && !due && !asked {
        return;
    }
    attention.reconciled = Some(now);
    if attention.seen.is_some() {
        after["status"]["reconciledAt"] = json!(stamp(now));
    }
    let _ = world.kube.modify("applications", namespace(before), name(before), |app| {
        let unchanged = ["/operation", "/spec", "/status/operationState"];
        if unchanged.iter().all(|part| app.pointer(part) == before.pointer(part)) {
            let annotations = after["metadata"]["annotations"].take();
            if asked && !annotations.is_null() {
                app["metadata"]["annotations"] = annotations;
            }
            app["status"] = after["status"].take();
            match after["operation"].take() {
                Value::Null => drop(app.as_object_mut().and_then(|app| app.shift_remove("operation"))),
                operation => app["operation"] = operation,
            }
        }
    });
}
