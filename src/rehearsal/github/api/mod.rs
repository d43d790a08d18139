//! GitHub's REST API (docs.github.com/rest, version 2022-11-28), as far as releases use it. The rest answers 501.

mod actions;
mod checks;
mod deployments;
mod gitdata;
mod pulls;
mod releases;
mod rules;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde_json::json;

use self::wire::{Answer, Cx, fail};
use super::json::{at, merge};
use crate::rehearsal::World;

/// GitHub's REST routes below `/`. Needs `Authorization: Bearer ghp_rehearsal` (Dana's token; the token of another
/// person is `ghp_rehearsal_<login>`).
pub fn router(world: Arc<World>) -> Router {
    let below = Router::new()
        .merge(gitdata::routes())
        .merge(checks::routes())
        .merge(rules::routes())
        .merge(actions::routes())
        .merge(deployments::routes())
        .merge(releases::routes())
        .merge(pulls::routes());
    Router::new()
        .route("/user", get(user))
        .route("/rate_limit", get(rate_limit))
        .route("/repos/{owner}/{repo}", get(repository))
        .nest("/repos/{owner}/{repo}", below)
        .fallback(wire::unknown)
        .layer(axum::middleware::from_fn_with_state(world.clone(), wire::envelope))
        .with_state(world)
}

async fn user(cx: Cx) -> Answer {
    let mut user = cx.links.user(&cx.login);
    merge(
        &mut user,
        json!({
            "name": cx.login, "company": null, "blog": "", "location": null,
            "email": format!("{}@gospelib.example", cx.login), "hireable": null, "bio": null,
            "public_repos": 0, "public_gists": 0, "followers": 0, "following": 0, "private_gists": 0,
            "total_private_repos": 1, "owned_private_repos": 0, "disk_usage": 0, "collaborators": 0,
            "two_factor_authentication": true, "created_at": "2021-06-01T08:00:00Z",
            "updated_at": at(cx.world.clock.now()),
        }),
    );
    Ok(wire::ok(user))
}

async fn rate_limit(cx: Cx) -> Answer {
    let reset = cx.world.clock.wall().as_second() + 3600;
    let limit = |limit: i64| json!({"limit": limit, "remaining": limit - 1, "used": 1, "reset": reset});
    Ok(wire::ok(json!({"resources": {"core": limit(5000), "search": limit(30)}, "rate": limit(5000)})))
}

async fn repository(cx: Cx) -> Answer {
    let tip = cx.world.repo.head("main").and_then(|sha| cx.world.repo.commit(&sha));
    let pushed = tip.map(|commit| commit.committer.at).ok_or_else(fail::not_found)?;
    Ok(wire::ok(cx.links.full_repository(pushed)))
}
