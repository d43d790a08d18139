//! Release objects.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};

use super::super::json::{at, maybe_at, node};
use super::super::state::{Release, State};
use super::wire::{Answer, Cx, body, fail, ok, page, with_status};
use crate::rehearsal::World;

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/releases", get(list).post(create))
        .route("/releases/latest", get(latest))
        .route("/releases/tags/{*tag}", get(by_tag))
        .route("/releases/{id}", get(one).patch(edit).delete(remove))
}

fn show(cx: &Cx, release: &Release) -> Value {
    let url = cx.links.api(&format!("/releases/{}", release.id));
    let tag = &release.tag;
    let place = if release.draft { format!("untagged-{}", release.id) } else { tag.clone() };
    json!({
        "url": url, "html_url": cx.links.page(&format!("/releases/tag/{place}")),
        "assets_url": format!("{url}/assets"), "upload_url": format!("{url}/assets{{?name,label}}"),
        "tarball_url": cx.links.api(&format!("/tarball/{tag}")), "zipball_url": cx.links.api(&format!("/zipball/{tag}")),
        "id": release.id, "node_id": node("RE", release.id), "tag_name": tag, "target_commitish": release.target,
        "name": release.name, "body": release.body, "draft": release.draft, "prerelease": release.prerelease,
        "immutable": false, "created_at": at(release.created), "published_at": maybe_at(release.published),
        "author": cx.links.user(&release.author), "assets": [],
    })
}

/// Newest first; drafts are for those who may push, as Dana may.
async fn list(cx: Cx) -> Answer {
    let found = cx.world.hub.read(|state| state.releases.clone());
    let items = found.iter().rev().map(|release| show(&cx, release)).collect();
    Ok(page(&cx, "/releases", items))
}

async fn latest(cx: Cx) -> Answer {
    let last = |state: &State| {
        state
            .releases
            .iter()
            .filter(|release| !release.draft && !release.prerelease && release.latest_since.is_some())
            .max_by_key(|release| release.latest_since)
            .cloned()
    };
    cx.world.hub.read(last).map(|release| ok(show(&cx, &release))).ok_or_else(fail::not_found)
}

async fn by_tag(cx: Cx, Path((_, _, tag)): Path<(String, String, String)>) -> Answer {
    let wanted = |release: &&Release| release.tag == tag && !release.draft;
    let found = cx.world.hub.read(|state| state.releases.iter().find(wanted).cloned());
    found.map(|release| ok(show(&cx, &release))).ok_or_else(fail::not_found)
}

async fn one(cx: Cx, Path((_, _, id)): Path<(String, String, i64)>) -> Answer {
    let found = cx.world.hub.read(|state| state.releases.iter().find(|release| release.id == id).cloned());
    found.map(|release| ok(show(&cx, &release))).ok_or_else(fail::not_found)
}

async fn create(cx: Cx, bytes: Bytes) -> Answer {
    let body = body(&bytes)?;
    let Some(tag) = body["tag_name"].as_str().filter(|tag| !tag.is_empty()) else {
        return Err(fail::invalid("Release", "tag_name", "missing_field"));
    };
    let (draft, now) = (body["draft"].as_bool().unwrap_or(false), cx.world.clock.now());
    let repo = &cx.world.repo;
    let target = body["target_commitish"].as_str().unwrap_or("main").to_owned();
    if repo.tag(tag).is_none() && !draft {
        // GitHub makes a missing tag at the target; a release tag comes with a push here, and only so.
        return Err(fail::of(StatusCode::NOT_IMPLEMENTED, "making a tag through a release is not rehearsed"));
    }
    let prerelease = body["prerelease"].as_bool().unwrap_or(false);
    let latest = makes_latest(&body, draft || prerelease)?.unwrap_or(true);
    let made = cx.world.hub.change(|state| {
        if state.releases.iter().any(|release| release.tag == tag && !release.draft && !draft) {
            return None;
        }
        let release = Release {
            id: state.id(),
            tag: tag.to_owned(),
            target,
            name: body["name"].as_str().map(str::to_owned),
            body: body["body"].as_str().unwrap_or_default().to_owned(),
            draft,
            prerelease,
            author: cx.login.clone(),
            created: now,
            published: (!draft).then_some(now),
            latest_since: latest.then_some(now),
        };
        state.releases.push(release.clone());
        Some(release)
    });
    let release = made.ok_or_else(|| fail::invalid("Release", "tag_name", "already_exists"))?;
    Ok(with_status(StatusCode::CREATED, show(&cx, &release)))
}

/// `make_latest`: "true", "false", or "legacy" (by date), which is as if nothing were said.
fn makes_latest(body: &Value, unfinished: bool) -> Result<Option<bool>, fail::Failure> {
    match body["make_latest"].as_str() {
        Some("true") if unfinished => {
            let message = "Latest release cannot be draft or prerelease";
            Err(fail::of(StatusCode::UNPROCESSABLE_ENTITY, message))
        }
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some("legacy") | None => Ok(None),
        Some(_) => Err(fail::invalid("Release", "make_latest", "invalid")),
    }
}

async fn edit(cx: Cx, Path((_, _, id)): Path<(String, String, i64)>, bytes: Bytes) -> Answer {
    let body = body(&bytes)?;
    let now = cx.world.clock.now();
    let old = cx.world.hub.read(|state| state.releases.iter().find(|release| release.id == id).cloned());
    let old = old.ok_or_else(fail::not_found)?;
    let unfinished =
        body["draft"].as_bool().unwrap_or(old.draft) || body["prerelease"].as_bool().unwrap_or(old.prerelease);
    let latest = makes_latest(&body, unfinished)?;
    let edited = cx.world.hub.change(|state| {
        let release = state.releases.iter_mut().find(|release| release.id == id)?;
        if let Some(name) = body["name"].as_str() {
            release.name = Some(name.to_owned());
        }
        if let Some(text) = body["body"].as_str() {
            text.clone_into(&mut release.body);
        }
        if let Some(prerelease) = body["prerelease"].as_bool() {
            release.prerelease = prerelease;
        }
        if let Some(draft) = body["draft"].as_bool() {
            release.draft = draft;
            release.published = if draft { None } else { release.published.or(Some(now)) };
        }
        match latest {
            Some(true) => release.latest_since = Some(now),
            Some(false) => release.latest_since = None,
            None => {}
        }
        Some(release.clone())
    });
    edited.map(|release| ok(show(&cx, &release))).ok_or_else(fail::not_found)
}

async fn remove(cx: Cx, Path((_, _, id)): Path<(String, String, i64)>) -> Answer {
    let removed = cx.world.hub.change(|state| {
        let before = state.releases.len();
        state.releases.retain(|release| release.id != id);
        before != state.releases.len()
    });
    if removed { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(fail::not_found()) }
}
