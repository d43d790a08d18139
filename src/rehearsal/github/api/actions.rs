//! Workflows, runs, jobs, and the approval gate.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::super::json::{Links, at, maybe_at, node};
use super::super::state::{CD_WORKFLOW, CI_WORKFLOW, Environment, Job, NIGHTLY_WORKFLOW, Run, suite_of_run};
use super::super::workflow;
use super::deployments;
use super::wire::{Answer, Cx, body, counted, fail, ok, with_status};
use crate::rehearsal::World;

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/actions/workflows", get(workflows))
        .route("/actions/workflows/{workflow}", get(workflow_by))
        .route("/actions/workflows/{workflow}/runs", get(workflow_runs))
        .route("/actions/runs", get(runs))
        .route("/actions/runs/{run}", get(run))
        .route("/actions/runs/{run}/jobs", get(jobs))
        .route("/actions/runs/{run}/attempts/{attempt}", get(attempt))
        .route("/actions/runs/{run}/attempts/{attempt}/jobs", get(attempt_jobs))
        .route("/actions/runs/{run}/pending_deployments", get(pending).post(review))
        .route("/actions/runs/{run}/approvals", get(approvals))
        .route("/actions/runs/{run}/cancel", post(cancel))
        .route("/actions/runs/{run}/rerun", post(rerun))
        .route("/actions/runs/{run}/rerun-failed-jobs", post(rerun_failed))
        .route("/actions/jobs/{job}", get(job))
}

type ById = Path<(String, String, i64)>;

const WORKFLOWS: [i64; 3] = [CD_WORKFLOW, CI_WORKFLOW, NIGHTLY_WORKFLOW];

fn path_of(cx: &Cx, workflow: i64) -> String {
    let file = match workflow {
        CD_WORKFLOW => cx.world.shape.workflow_file.as_str(),
        NIGHTLY_WORKFLOW => "nightly.yml",
        _ => "ci.yml",
    };
    format!(".github/workflows/{file}")
}

fn name_of(cx: &Cx, workflow: i64) -> String {
    let path = path_of(cx, workflow);
    path.trim_start_matches(".github/workflows/").trim_end_matches(".yml").to_owned()
}

fn show_workflow(cx: &Cx, id: i64) -> Value {
    let path = path_of(cx, id);
    let file = path.trim_start_matches(".github/workflows/");
    json!({
        "id": id, "node_id": node("W", id), "name": name_of(cx, id), "path": path, "state": "active",
        "created_at": "2024-12-04T09:00:00Z", "updated_at": "2025-01-03T09:00:00Z",
        "url": cx.links.api(&format!("/actions/workflows/{id}")),
        "html_url": cx.links.page(&format!("/blob/main/{path}")),
        "badge_url": cx.links.page(&format!("/actions/workflows/{file}/badge.svg")),
    })
}

/// A workflow by id or file name.
fn find_workflow(cx: &Cx, named: &str) -> Result<i64, fail::Failure> {
    let is = |id: &i64| named == id.to_string() || path_of(cx, *id) == format!(".github/workflows/{named}");
    WORKFLOWS.into_iter().find(is).ok_or_else(fail::not_found)
}

async fn workflows(cx: Cx) -> Answer {
    let items = WORKFLOWS.map(|id| show_workflow(&cx, id)).to_vec();
    Ok(counted(&cx, "/actions/workflows", "workflows", items))
}

async fn workflow_by(cx: Cx, Path((_, _, named)): Path<(String, String, String)>) -> Answer {
    let id = find_workflow(&cx, &named)?;
    Ok(ok(show_workflow(&cx, id)))
}

async fn workflow_runs(cx: Cx, Path((_, _, named)): Path<(String, String, String)>) -> Answer {
    let id = find_workflow(&cx, &named)?;
    Ok(list_runs(&cx, &format!("/actions/workflows/{named}/runs"), Some(id)))
}

async fn runs(cx: Cx) -> Answer {
    Ok(list_runs(&cx, "/actions/runs", None))
}

/// Every run, newest first: those that are driven, and those whose jobs are checks.
fn every_run(cx: &Cx) -> Vec<Run> {
    let now = cx.world.clock.now();
    let mut runs = cx.world.hub.read(|state| [state.runs.clone(), state.runs_of_checks(now)].concat());
    runs.sort_by_key(|run| std::cmp::Reverse((run.created, run.id)));
    runs
}

/// Runs newest first, filtered as the query asks. `status` may name a status or a conclusion.
fn list_runs(cx: &Cx, path: &str, workflow: Option<i64>) -> axum::response::Response {
    let wanted = |run: &Run| {
        let conclusion = run.conclusion.as_deref().unwrap_or_default();
        workflow.is_none_or(|id| run.workflow == id)
            && cx.query.allows("event", "push")
            && cx.query.allows("branch", &run.head)
            && cx.query.allows("head_sha", &run.sha)
            && cx.query.allows("check_suite_id", &suite_of_run(run.id).to_string())
            && cx.query.allows("actor", &run.actor)
            && cx.query.get("status").is_none_or(|status| status == run.status || status == conclusion)
    };
    let items = every_run(cx).iter().filter(|run| wanted(run)).map(|run| show_run(cx, run)).collect();
    counted(cx, path, "workflow_runs", items)
}

fn find_run(cx: &Cx, id: i64) -> Result<Run, fail::Failure> {
    cx.world.hub.read(|state| state.run(id).cloned()).ok_or_else(fail::not_found)
}

async fn run(cx: Cx, Path((_, _, id)): ById) -> Answer {
    let run = every_run(&cx).into_iter().find(|run| run.id == id).ok_or_else(fail::not_found)?;
    Ok(ok(show_run(&cx, &run)))
}

async fn attempt(cx: Cx, Path((_, _, id, attempt)): Path<(String, String, i64, i64)>) -> Answer {
    let run = find_run(&cx, id)?;
    if run.attempt == attempt { Ok(ok(show_run(&cx, &run))) } else { Err(fail::not_found()) }
}

fn show_run(cx: &Cx, run: &Run) -> Value {
    let links = &cx.links;
    let url = links.api(&format!("/actions/runs/{}", run.id));
    let commit = cx.world.repo.commit(&run.sha);
    let suite = suite_of_run(run.id);
    let title = commit.as_ref().and_then(|commit| commit.message.lines().next()).unwrap_or_default();
    json!({
        "id": run.id, "node_id": node("WFR", run.id), "name": name_of(cx, run.workflow), "head_branch": run.head,
        "head_sha": run.sha, "path": path_of(cx, run.workflow), "display_title": title, "run_number": run.number,
        "event": "push", "status": run.status, "conclusion": run.conclusion, "workflow_id": run.workflow,
        "check_suite_id": suite, "check_suite_node_id": node("CS", suite), "url": url,
        "html_url": links.page(&format!("/actions/runs/{}", run.id)), "pull_requests": [],
        "created_at": at(run.created), "updated_at": at(run.updated), "run_started_at": at(run.started),
        "actor": links.user(&run.actor), "triggering_actor": links.user(&run.actor), "run_attempt": run.attempt,
        "referenced_workflows": [], "jobs_url": format!("{url}/jobs"), "logs_url": format!("{url}/logs"),
        "check_suite_url": links.api(&format!("/check-suites/{suite}")),
        "artifacts_url": format!("{url}/artifacts"), "cancel_url": format!("{url}/cancel"),
        "rerun_url": format!("{url}/rerun"), "previous_attempt_url": null,
        "workflow_url": links.api(&format!("/actions/workflows/{}", run.workflow)),
        "head_commit": Links::simple_commit(commit.as_ref()),
        "repository": links.repository(), "head_repository": links.repository(),
    })
}

async fn jobs(cx: Cx, Path((_, _, id)): ById) -> Answer {
    let run = find_run(&cx, id)?;
    let all = cx.query.get("filter") == Some("all");
    let jobs: Vec<&Job> = if all { run.jobs.iter().collect() } else { run.latest_jobs() };
    let items = jobs.into_iter().map(|job| show_job(&cx, &run, job)).collect();
    Ok(counted(&cx, &format!("/actions/runs/{id}/jobs"), "jobs", items))
}

async fn attempt_jobs(cx: Cx, Path((_, _, id, attempt)): Path<(String, String, i64, i64)>) -> Answer {
    let run = find_run(&cx, id)?;
    if attempt < 1 || attempt > run.attempt {
        return Err(fail::not_found());
    }
    let items = run.jobs.iter().filter(|job| job.attempt == attempt).map(|job| show_job(&cx, &run, job)).collect();
    Ok(counted(&cx, &format!("/actions/runs/{id}/attempts/{attempt}/jobs"), "jobs", items))
}

async fn job(cx: Cx, Path((_, _, id)): ById) -> Answer {
    let found = cx.world.hub.read(|state| {
        let run = state.runs.iter().find(|run| run.jobs.iter().any(|job| job.id == id))?;
        Some((run.clone(), run.jobs.iter().find(|job| job.id == id)?.clone()))
    });
    let (run, job) = found.ok_or_else(fail::not_found)?;
    Ok(ok(show_job(&cx, &run, &job)))
}

fn show_job(cx: &Cx, run: &Run, job: &Job) -> Value {
    let links = &cx.links;
    let runner = job.started.filter(|_| job.conclusion.as_deref() != Some("skipped"));
    let step = if job.name.starts_with("build (") { "Push image" } else { "Run" };
    let steps: Vec<Value> = runner
        .map(|started| {
            json!({
                "name": step, "status": job.status, "conclusion": job.conclusion, "number": 1,
                "started_at": at(started), "completed_at": maybe_at(job.completed),
            })
        })
        .into_iter()
        .collect();
    json!({
        "id": job.id, "node_id": node("J", job.id), "run_id": run.id, "run_attempt": job.attempt,
        "run_url": links.api(&format!("/actions/runs/{}", run.id)), "head_sha": run.sha, "head_branch": run.head,
        "workflow_name": name_of(cx, run.workflow), "name": job.name, "status": job.status,
        "conclusion": job.conclusion, "created_at": at(job.created),
        "started_at": at(job.started.unwrap_or(job.created)), "completed_at": maybe_at(job.completed), "steps": steps,
        "url": links.api(&format!("/actions/jobs/{}", job.id)),
        "html_url": links.page(&format!("/actions/runs/{}/job/{}", run.id, job.id)),
        "check_run_url": links.api(&format!("/check-runs/{}", job.id)), "labels": ["ubuntu-24.04"],
        "runner_id": runner.map(|_| 21), "runner_name": runner.map(|_| "GitHub Actions 21"),
        "runner_group_id": runner.map(|_| 0), "runner_group_name": runner.map(|_| "GitHub Actions"),
    })
}

fn environment_of(cx: &Cx, name: &str) -> Result<Environment, fail::Failure> {
    cx.world.hub.read(|state| state.environments.get(name).cloned()).ok_or_else(fail::not_found)
}

async fn pending(cx: Cx, Path((_, _, id)): ById) -> Answer {
    let run = find_run(&cx, id)?;
    let Some(pending) = &run.pending else { return Ok(ok(json!([]))) };
    let environment = environment_of(&cx, &pending.environment)?;
    let user = |login: &String| json!({"type": "User", "reviewer": cx.links.user(login)});
    Ok(ok(json!([{
        "environment": deployments::environment_link(&cx, &pending.environment, &environment),
        "wait_timer": 0, "wait_timer_started_at": null,
        "current_user_can_approve": environment.reviewers.contains(&cx.login),
        "reviewers": environment.reviewers.iter().map(user).collect::<Vec<_>>(),
    }])))
}

async fn review(cx: Cx, Path((_, _, id)): ById, bytes: Bytes) -> Answer {
    let run = find_run(&cx, id)?;
    let body = body(&bytes)?;
    let wrong = |message: &str| fail::of(StatusCode::UNPROCESSABLE_ENTITY, message);
    let approved = match body["state"].as_str() {
        Some("approved") => true,
        Some("rejected") => false,
        _ => return Err(fail::invalid("PendingDeployment", "state", "invalid")),
    };
    let Some(comment) = body["comment"].as_str() else {
        return Err(fail::invalid("PendingDeployment", "comment", "missing_field"));
    };
    let pending = run.pending.as_ref().ok_or_else(|| wrong("No pending deployment requests to approve or reject"))?;
    let environment = environment_of(&cx, &pending.environment)?;
    let named = body["environment_ids"].as_array().is_some_and(|ids| ids.contains(&json!(environment.id)));
    if !named {
        return Err(wrong("No pending deployment requests to approve or reject"));
    }
    if !environment.reviewers.contains(&cx.login) {
        return Err(wrong(&format!("{} is not a required reviewer of {}", cx.login, pending.environment)));
    }
    let now = cx.world.clock.now();
    let decided = cx.world.hub.change(|state| {
        let deployment = workflow::decide(state, id, &cx.login, approved, comment, now)?;
        state.deployments.iter().find(|found| found.id == deployment).cloned()
    });
    let deployment = decided.ok_or_else(|| wrong("No pending deployment requests to approve or reject"))?;
    Ok(ok(json!([deployments::show(&cx, &deployment)])))
}

async fn approvals(cx: Cx, Path((_, _, id)): ById) -> Answer {
    let run = find_run(&cx, id)?;
    let mut items = Vec::new();
    for approval in &run.approvals {
        let environment = environment_of(&cx, &approval.environment)?;
        items.push(json!({
            "state": if approval.approved { "approved" } else { "rejected" }, "comment": approval.comment,
            "environments": [deployments::environment_link(&cx, &approval.environment, &environment)],
            "user": cx.links.user(&approval.by),
        }));
    }
    Ok(ok(Value::Array(items)))
}

async fn cancel(cx: Cx, Path((_, _, id)): ById) -> Answer {
    let run = find_run(&cx, id)?;
    if run.is_over() {
        return Err(fail::of(StatusCode::CONFLICT, "Cannot cancel a workflow run that is completed."));
    }
    cx.world.hub.change(|state| {
        if let Some(run) = state.run_mut(id) {
            run.cancelled = true;
        }
    });
    Ok(with_status(StatusCode::ACCEPTED, json!({})))
}

async fn rerun(cx: Cx, Path((_, _, id)): ById) -> Answer {
    again(&cx, id, false)
}

async fn rerun_failed(cx: Cx, Path((_, _, id)): ById) -> Answer {
    again(&cx, id, true)
}

fn again(cx: &Cx, id: i64, failed_only: bool) -> Answer {
    find_run(cx, id)?;
    if workflow::rerun(&cx.world, id, failed_only) {
        Ok(with_status(StatusCode::CREATED, json!({})))
    } else {
        Err(fail::of(StatusCode::FORBIDDEN, "This workflow run is already running"))
    }
}
