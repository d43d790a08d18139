//! Check runs, check suites and commit statuses: two kinds of answer to "is this commit good?".

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value, json};

use super::super::json::{Links, at, maybe_at, node};
use super::super::state::{CheckRun, Status, run_of_suite};
use super::gitdata::no_commit;
use super::wire::{Answer, Cx, counted, fail, ok, page};
use crate::rehearsal::World;

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/commits/{ref}/check-runs", get(check_runs))
        .route("/commits/{ref}/check-suites", get(check_suites))
        .route("/commits/{ref}/status", get(combined_status))
        .route("/commits/{ref}/statuses", get(statuses))
        .route("/check-runs/{id}", get(check_run))
}

type Named = Path<(String, String, String)>;

/// Status and conclusion at the world's present.
fn progress<'a>(cx: &Cx, check: &'a CheckRun) -> (&'static str, Option<&'a str>) {
    if cx.world.clock.now() < check.completed { ("in_progress", None) } else { ("completed", Some(&check.conclusion)) }
}

/// The checks of a commit, newest first.
fn of_commit(cx: &Cx, sha: &str) -> Vec<CheckRun> {
    cx.world.hub.read(|state| state.checks.iter().rev().filter(|check| check.sha == sha).cloned().collect())
}

async fn check_runs(cx: Cx, Path((_, _, name)): Named) -> Answer {
    let sha = cx.world.repo.resolve(&name).ok_or_else(|| no_commit(&name))?;
    let mut checks = of_commit(&cx, &sha);
    if cx.query.get("filter") != Some("all") {
        // `latest` compares within one suite only, as GitHub does.
        let all = checks.clone();
        checks.retain(|check| {
            !all.iter().any(|other| other.suite == check.suite && other.name == check.name && other.id > check.id)
        });
    }
    checks.retain(|check| {
        let app = super::super::state::ACTIONS_APP.to_string();
        cx.query.allows("check_name", &check.name)
            && cx.query.allows("status", progress(&cx, check).0)
            && cx.query.allows("app_id", &app)
    });
    let items = checks.iter().map(|check| show(&cx, check)).collect();
    Ok(counted(&cx, &format!("/commits/{name}/check-runs"), "check_runs", items))
}

async fn check_run(cx: Cx, Path((_, _, id)): Path<(String, String, i64)>) -> Answer {
    let found = cx.world.hub.read(|state| state.checks.iter().find(|check| check.id == id).cloned());
    found.map(|check| ok(show(&cx, &check))).ok_or_else(fail::not_found)
}

fn show(cx: &Cx, check: &CheckRun) -> Value {
    let links = &cx.links;
    let (status, conclusion) = progress(cx, check);
    let url = links.api(&format!("/check-runs/{}", check.id));
    let page = links.page(&format!("/actions/runs/{}/job/{}", run_of_suite(check.suite), check.id));
    json!({
        "id": check.id, "node_id": node("CR", check.id), "head_sha": check.sha, "name": check.name,
        "external_id": "", "url": url, "html_url": page, "details_url": page,
        "status": status, "conclusion": conclusion, "started_at": at(check.started),
        "completed_at": maybe_at(conclusion.map(|_| check.completed)),
        "output": {
            "title": null, "summary": null, "text": null, "annotations_count": 0,
            "annotations_url": format!("{url}/annotations"),
        },
        "check_suite": {"id": check.suite}, "app": links.actions_app(), "pull_requests": [],
    })
}

async fn check_suites(cx: Cx, Path((_, _, name)): Named) -> Answer {
    let sha = cx.world.repo.resolve(&name).ok_or_else(|| no_commit(&name))?;
    let checks = of_commit(&cx, &sha);
    let commit = cx.world.repo.commit(&sha);
    let mut ids: Vec<i64> = checks.iter().map(|check| check.suite).collect();
    ids.sort_unstable();
    ids.dedup();
    let suite = |id: &i64| {
        let checks: Vec<&CheckRun> = checks.iter().filter(|check| check.suite == *id).collect();
        let over = checks.iter().all(|check| progress(&cx, check).1.is_some());
        let worst = if checks.iter().any(|check| check.conclusion == "failure") { "failure" } else { "success" };
        let created = checks.iter().map(|check| check.started).min();
        let branch = checks.first().map(|check| check.branch.as_str());
        let updated = checks.iter().map(|check| check.completed).max();
        let url = cx.links.api(&format!("/check-suites/{id}"));
        json!({
            "id": id, "node_id": node("CS", *id), "head_branch": branch, "head_sha": sha,
            "status": if over { "completed" } else { "in_progress" }, "conclusion": over.then_some(worst),
            "url": url, "before": commit.as_ref().and_then(|commit| commit.parents.first()), "after": sha,
            "pull_requests": [], "app": cx.links.actions_app(), "repository": cx.links.repository(),
            "created_at": maybe_at(created), "updated_at": maybe_at(updated),
            "head_commit": Links::simple_commit(commit.as_ref()),
            "latest_check_runs_count": checks.len(), "check_runs_url": format!("{url}/check-runs"),
        })
    };
    let items = ids.iter().map(suite).collect();
    Ok(counted(&cx, &format!("/commits/{name}/check-suites"), "check_suites", items))
}

/// The statuses of a commit, newest first.
fn statuses_of(cx: &Cx, sha: &str) -> Vec<Status> {
    cx.world.hub.read(|state| state.statuses.iter().rev().filter(|status| status.sha == sha).cloned().collect())
}

fn show_status(cx: &Cx, status: &Status) -> Value {
    json!({
        "url": cx.links.api(&format!("/statuses/{}", status.sha)), "id": status.id, "node_id": node("SC", status.id),
        "avatar_url": format!("{}/avatars/codecov", cx.links.base), "state": status.state,
        "description": status.description, "context": status.context,
        "target_url": format!("https://codecov.example/gh/{}/commit/{}", cx.links.slug, status.sha),
        "created_at": at(status.at), "updated_at": at(status.at),
    })
}

async fn combined_status(cx: Cx, Path((_, _, name)): Named) -> Answer {
    let sha = cx.world.repo.resolve(&name).ok_or_else(|| no_commit(&name))?;
    let all = statuses_of(&cx, &sha);
    // The newest of each context counts.
    let latest: Vec<&Status> = all
        .iter()
        .enumerate()
        .filter(|(n, status)| !all[..*n].iter().any(|newer| newer.context == status.context))
        .map(|(_, status)| status)
        .collect();
    let any = |state: &str| latest.iter().any(|status| status.state == state);
    let state = if any("failure") || any("error") {
        "failure"
    } else if latest.is_empty() || any("pending") {
        "pending"
    } else {
        "success"
    };
    Ok(ok(json!({
        "state": state, "sha": sha, "total_count": latest.len(),
        "statuses": latest.iter().map(|status| show_status(&cx, status)).collect::<Vec<_>>(),
        "repository": cx.links.repository(), "commit_url": cx.links.api(&format!("/commits/{sha}")),
        "url": cx.links.api(&format!("/commits/{sha}/status")),
    })))
}

async fn statuses(cx: Cx, Path((_, _, name)): Named) -> Answer {
    let sha = cx.world.repo.resolve(&name).ok_or_else(|| no_commit(&name))?;
    let show = |status: &Status| {
        let mut value = show_status(&cx, status);
        value["creator"] = cx.links.user("codecov-bot");
        value
    };
    let items = statuses_of(&cx, &sha).iter().map(show).collect();
    Ok(page(&cx, &format!("/commits/{name}/statuses"), items))
}
