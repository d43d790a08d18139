//! Rulesets and branch protection: main demands three checks, release tags stay where they are.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};

use super::super::json::node;
use super::super::state::{ACTIONS_APP, REQUIRED};
use super::wire::{Answer, Cx, fail, ok, page};
use crate::rehearsal::World;

const MAIN: i64 = 90_101;
const TAGS: i64 = 90_102;

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/branches/{branch}/protection", get(protection))
        .route("/branches/{branch}/protection/required_status_checks", get(required_checks))
        .route("/rules/branches/{branch}", get(branch_rules))
        .route("/rulesets", get(rulesets))
        .route("/rulesets/{id}", get(ruleset))
}

/// Gospelib uses rulesets; the older branch protection is off, unless the scenario protects main.
async fn protection(cx: Cx, Path((_, _, branch)): Path<(String, String, String)>) -> Answer {
    if branch != "main" || !cx.world.scenario.world.main.protected {
        let known = cx.world.repo.head(&branch).is_some();
        return Err(fail::of(StatusCode::NOT_FOUND, if known { "Branch not protected" } else { "Branch not found" }));
    }
    let url = cx.links.api("/branches/main/protection");
    let off = json!({"enabled": false});
    Ok(ok(json!({
        "url": url,
        "required_pull_request_reviews": {
            "url": format!("{url}/required_pull_request_reviews"), "dismiss_stale_reviews": false,
            "require_code_owner_reviews": false, "required_approving_review_count": 0,
            "require_last_push_approval": false,
            "bypass_pull_request_allowances": {"users": [], "teams": [], "apps": [cx.links.actions_app()]},
        },
        "required_signatures": {"url": format!("{url}/required_signatures"), "enabled": false},
        "enforce_admins": {"url": format!("{url}/enforce_admins"), "enabled": true},
        "required_linear_history": off, "allow_force_pushes": off, "allow_deletions": off, "block_creations": off,
        "required_conversation_resolution": off, "lock_branch": off, "allow_fork_syncing": off,
    })))
}

async fn required_checks(cx: Cx, path: Path<(String, String, String)>) -> Answer {
    protection(cx, path).await?;
    Err(fail::of(StatusCode::NOT_FOUND, "Required status checks not enabled"))
}

fn main_rules() -> Vec<Value> {
    let check = |context: &&str| json!({"context": context, "integration_id": ACTIONS_APP});
    vec![
        json!({"type": "deletion"}),
        json!({"type": "non_fast_forward"}),
        json!({"type": "required_status_checks", "parameters": {
            "strict_required_status_checks_policy": false, "do_not_enforce_on_create": false,
            "required_status_checks": REQUIRED.iter().map(check).collect::<Vec<_>>(),
        }}),
    ]
}

async fn branch_rules(cx: Cx, Path((_, _, branch)): Path<(String, String, String)>) -> Answer {
    let of_ruleset = |mut rule: Value| {
        rule["ruleset_source_type"] = json!("Repository");
        rule["ruleset_source"] = json!(cx.links.slug);
        rule["ruleset_id"] = json!(MAIN);
        rule
    };
    let rules = if branch == "main" { main_rules() } else { Vec::new() };
    let items = rules.into_iter().map(of_ruleset).collect();
    Ok(page(&cx, &format!("/rules/branches/{branch}"), items))
}

fn summary(cx: &Cx, id: i64) -> Value {
    let (name, target) = if id == MAIN { ("main", "branch") } else { ("release tags", "tag") };
    json!({
        "id": id, "name": name, "target": target, "source_type": "Repository", "source": cx.links.slug,
        "enforcement": "active", "node_id": node("RRS", id), "current_user_can_bypass": "never",
        "_links": {
            "self": {"href": cx.links.api(&format!("/rulesets/{id}"))},
            "html": {"href": cx.links.page(&format!("/rules/{id}"))},
        },
        "created_at": "2024-12-05T10:00:00Z", "updated_at": "2024-12-05T10:00:00Z",
    })
}

async fn rulesets(cx: Cx) -> Answer {
    let wanted = |id: &i64| {
        let target = if *id == MAIN { "branch" } else { "tag" };
        cx.query.get("targets").is_none_or(|targets| targets.split(',').any(|name| name == target))
    };
    let items = [MAIN, TAGS].iter().filter(|id| wanted(id)).map(|id| summary(&cx, *id)).collect();
    Ok(page(&cx, "/rulesets", items))
}

async fn ruleset(cx: Cx, Path((_, _, id)): Path<(String, String, i64)>) -> Answer {
    let (rules, include) = match id {
        MAIN => (main_rules(), "~DEFAULT_BRANCH"),
        TAGS => (vec![json!({"type": "deletion"}), json!({"type": "update"})], "refs/tags/release/v*"),
        _ => return Err(fail::not_found()),
    };
    let mut value = summary(&cx, id);
    value["conditions"] = json!({"ref_name": {"include": [include], "exclude": []}});
    value["rules"] = json!(rules);
    value["bypass_actors"] = json!([]);
    Ok(ok(value))
}
