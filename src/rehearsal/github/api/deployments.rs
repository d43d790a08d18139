//! Environments, their protection, and deployments.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value, json};

use super::super::json::{at, node};
use super::super::state::{Deployment, Environment};
use super::wire::{Answer, Cx, counted, fail, ok, page};
use crate::rehearsal::World;

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/environments", get(environments))
        .route("/environments/{name}", get(environment))
        .route("/deployments", get(deployments))
        .route("/deployments/{id}", get(deployment))
        .route("/deployments/{id}/statuses", get(statuses))
}

/// An environment as it stands in other answers.
pub fn environment_link(cx: &Cx, name: &str, environment: &Environment) -> Value {
    let (id, created) = (environment.id, at(environment.created));
    json!({
        "id": id, "node_id": node("EN", id), "name": name,
        "url": cx.links.api(&format!("/environments/{name}")),
        "html_url": cx.links.page(&format!("/deployments/activity_log?environments_filter={name}")),
        "created_at": created, "updated_at": created,
    })
}

fn show_environment(cx: &Cx, name: &str, environment: &Environment) -> Value {
    let mut value = environment_link(cx, name, environment);
    let mut rules = Vec::new();
    if !environment.reviewers.is_empty() {
        let user = |login: &String| json!({"type": "User", "reviewer": cx.links.user(login)});
        rules.push(json!({
            "id": environment.id + 1000, "node_id": node("GA", environment.id + 1000), "type": "required_reviewers",
            "prevent_self_review": false, "reviewers": environment.reviewers.iter().map(user).collect::<Vec<_>>(),
        }));
    }
    value["protection_rules"] = json!(rules);
    value["deployment_branch_policy"] = Value::Null;
    value["can_admins_bypass"] = json!(false);
    value
}

async fn environments(cx: Cx) -> Answer {
    let found = cx.world.hub.read(|state| state.environments.clone());
    let items = found.iter().map(|(name, environment)| show_environment(&cx, name, environment)).collect();
    Ok(counted(&cx, "/environments", "environments", items))
}

async fn environment(cx: Cx, Path((_, _, name)): Path<(String, String, String)>) -> Answer {
    let found = cx.world.hub.read(|state| state.environments.get(&name).cloned());
    found.map(|environment| ok(show_environment(&cx, &name, &environment))).ok_or_else(fail::not_found)
}

pub fn show(cx: &Cx, deployment: &Deployment) -> Value {
    let url = cx.links.api(&format!("/deployments/{}", deployment.id));
    let updated = deployment.states.last().map_or(deployment.created, |(_, _, when)| *when);
    json!({
        "url": url, "id": deployment.id, "node_id": node("DE", deployment.id), "sha": deployment.sha,
        "ref": deployment.reference, "task": "deploy", "payload": {}, "original_environment": deployment.environment,
        "environment": deployment.environment, "description": null, "creator": cx.links.user("dana-dev"),
        "created_at": at(deployment.created), "updated_at": at(updated), "statuses_url": format!("{url}/statuses"),
        "repository_url": cx.links.api(""), "transient_environment": false,
        "production_environment": deployment.environment == "production", "performed_via_github_app": null,
    })
}

async fn deployments(cx: Cx) -> Answer {
    let wanted = |deployment: &&Deployment| {
        cx.query.allows("environment", &deployment.environment)
            && cx.query.allows("sha", &deployment.sha)
            && cx.query.allows("ref", &deployment.reference)
    };
    let found: Vec<Deployment> =
        cx.world.hub.read(|state| state.deployments.iter().rev().filter(wanted).cloned().collect());
    let items = found.iter().map(|deployment| show(&cx, deployment)).collect();
    Ok(page(&cx, "/deployments", items))
}

fn find(cx: &Cx, id: i64) -> Result<Deployment, fail::Failure> {
    let found = cx.world.hub.read(|state| state.deployments.iter().find(|found| found.id == id).cloned());
    found.ok_or_else(fail::not_found)
}

async fn deployment(cx: Cx, Path((_, _, id)): Path<(String, String, i64)>) -> Answer {
    let found = find(&cx, id)?;
    Ok(ok(show(&cx, &found)))
}

async fn statuses(cx: Cx, Path((_, _, id)): Path<(String, String, i64)>) -> Answer {
    let found = find(&cx, id)?;
    let url = cx.links.api(&format!("/deployments/{id}"));
    let status = |(status, state, when): &(i64, String, jiff::Timestamp)| {
        // The description of the API knows fewer states than the gate has.
        let state = if state == "waiting" { "pending" } else { state.as_str() };
        let log = cx.links.page(&format!("/actions/runs/{}", found.run));
        json!({
            "url": format!("{url}/statuses/{status}"), "id": status, "node_id": node("DES", *status), "state": state,
            "creator": cx.links.user("dana-dev"), "description": "", "environment": found.environment,
            "target_url": log, "log_url": log, "created_at": at(*when), "updated_at": at(*when),
            "deployment_url": url, "repository_url": cx.links.api(""), "performed_via_github_app": null,
        })
    };
    let items = found.states.iter().rev().map(status).collect();
    Ok(page(&cx, &format!("/deployments/{id}/statuses"), items))
}
