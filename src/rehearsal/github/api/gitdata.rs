//! Branches, tags, refs, commits and comparisons: what the repository itself knows.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value, json};

use super::super::json::at;
use super::wire::{Answer, Cx, fail, ok, page};
use crate::rehearsal::World;

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/branches", get(branches))
        .route("/branches/{branch}", get(branch))
        .route("/tags", get(tags))
        .route("/commits", get(commits))
        .route("/commits/{ref}", get(commit))
        .route("/compare/{*basehead}", get(compare))
        .route("/git/ref/{*ref}", get(reference))
        .route("/git/matching-refs/{*ref}", get(matching_refs))
        .route("/git/tags/{sha}", get(tag_object))
}

async fn branches(cx: Cx) -> Answer {
    let repo = &cx.world.repo;
    let branch = |(name, sha): (String, String)| {
        let name = name.trim_start_matches("refs/heads/");
        let url = cx.links.api(&format!("/commits/{sha}"));
        json!({"name": name, "commit": {"sha": sha, "url": url}, "protected": name == "main"})
    };
    let items = repo.refs("refs/heads/").into_iter().map(branch).collect();
    Ok(page(&cx, "/branches", items))
}

async fn branch(cx: Cx, Path((_, _, name)): Path<(String, String, String)>) -> Answer {
    let repo = &cx.world.repo;
    let commit = repo.head(&name).and_then(|sha| repo.commit(&sha));
    let commit = commit.ok_or_else(|| fail::of(axum::http::StatusCode::NOT_FOUND, "Branch not found"))?;
    let url = cx.links.api(&format!("/branches/{name}"));
    // Rulesets make a branch `protected`; its classic protection is off.
    Ok(ok(json!({
        "name": name, "commit": cx.links.commit(&commit),
        "_links": {"self": url, "html": cx.links.page(&format!("/tree/{name}"))},
        "protected": name == "main",
        "protection": {
            "enabled": name == "main" && cx.world.scenario.world.main.protected,
            "required_status_checks": {"enforcement_level": "off", "contexts": [], "checks": []},
        },
        "protection_url": format!("{url}/protection"),
    })))
}

async fn tags(cx: Cx) -> Answer {
    let repo = &cx.world.repo;
    let tag = |name: String| {
        let name = name.trim_start_matches("refs/tags/");
        let sha = repo.tag(name)?.commit;
        Some(json!({
            "name": name, "commit": {"sha": sha, "url": cx.links.api(&format!("/commits/{sha}"))},
            "zipball_url": cx.links.api(&format!("/zipball/refs/tags/{name}")),
            "tarball_url": cx.links.api(&format!("/tarball/refs/tags/{name}")),
            "node_id": format!("REF_{}", &sha[..12]),
        }))
    };
    let items = repo.refs("refs/tags/").into_keys().rev().filter_map(tag).collect();
    Ok(page(&cx, "/tags", items))
}

async fn commits(cx: Cx) -> Answer {
    let repo = &cx.world.repo;
    let from = repo.resolve(cx.query.get("sha").unwrap_or("main")).ok_or_else(fail::not_found)?;
    let items = repo.log(&from, None, 1000).iter().map(|commit| cx.links.commit(commit)).collect();
    Ok(page(&cx, "/commits", items))
}

async fn commit(cx: Cx, Path((_, _, name)): Path<(String, String, String)>) -> Answer {
    let repo = &cx.world.repo;
    let commit = repo.resolve(&name).and_then(|sha| repo.commit(&sha)).ok_or_else(|| no_commit(&name))?;
    let mut value = cx.links.commit(&commit);
    let files = commit.parents.first().map(|parent| repo.changes(parent, &commit.sha)).unwrap_or_default();
    let count = |of: fn(&crate::rehearsal::git::FileChange) -> usize| files.iter().map(of).sum::<usize>();
    let (additions, deletions) = (count(|file| file.additions), count(|file| file.deletions));
    value["stats"] = json!({"additions": additions, "deletions": deletions, "total": additions + deletions});
    value["files"] = files.iter().map(|file| cx.file(file, &commit.sha)).collect();
    Ok(ok(value))
}

/// GitHub's answer for a ref that is no commit.
pub fn no_commit(name: &str) -> fail::Failure {
    fail::of(axum::http::StatusCode::UNPROCESSABLE_ENTITY, &format!("No commit found for SHA: {name}"))
}

impl Cx {
    fn file(&self, file: &crate::rehearsal::git::FileChange, commit: &str) -> Value {
        let path = &file.path;
        json!({
            "sha": file.blob, "filename": path, "status": file.status,
            "additions": file.additions, "deletions": file.deletions, "changes": file.additions + file.deletions,
            "blob_url": self.links.page(&format!("/blob/{commit}/{path}")),
            "raw_url": self.links.page(&format!("/raw/{commit}/{path}")),
            "contents_url": self.links.api(&format!("/contents/{path}?ref={commit}")),
        })
    }
}

async fn compare(cx: Cx, Path((_, _, basehead)): Path<(String, String, String)>) -> Answer {
    let repo = &cx.world.repo;
    let (base, head) = basehead.split_once("...").ok_or_else(fail::not_found)?;
    let sha = |name: &str| repo.resolve(name).ok_or_else(fail::not_found);
    let (base_sha, head_sha) = (sha(base)?, sha(head)?);
    let merge_base = repo.merge_base(&base_sha, &head_sha).ok_or_else(fail::not_found)?;
    let mut ahead = repo.log(&head_sha, Some(&base_sha), 10_000);
    ahead.reverse();
    let behind = repo.log(&base_sha, Some(&head_sha), 10_000).len();
    let status = match (ahead.len(), behind) {
        (0, 0) => "identical",
        (_, 0) => "ahead",
        (0, _) => "behind",
        _ => "diverged",
    };
    let files = repo.changes(&merge_base, &head_sha);
    let show = |sha: &str| repo.commit(sha).map(|commit| cx.links.commit(&commit));
    let all: Vec<Value> = ahead.iter().map(|commit| cx.links.commit(commit)).collect();
    // Without paging, the first 250 commits; with it, pages of `per_page`.
    let paged = cx.query.get("page").is_some() || cx.query.get("per_page").is_some();
    let url = cx.links.api(&format!("/compare/{base}...{head}"));
    let html = cx.links.page(&format!("/compare/{base}...{head}"));
    let mut value = json!({
        "url": url, "html_url": html, "permalink_url": html,
        "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"),
        "base_commit": show(&base_sha), "merge_base_commit": show(&merge_base),
        "status": status, "ahead_by": ahead.len(), "behind_by": behind, "total_commits": ahead.len(),
        "commits": [], "files": files.iter().take(300).map(|file| cx.file(file, &head_sha)).collect::<Vec<_>>(),
    });
    if !paged {
        value["commits"] = Value::Array(all.into_iter().take(250).collect());
        return Ok(ok(value));
    }
    Ok(super::wire::page_within(&cx, &format!("/compare/{basehead}"), value, "commits", all))
}

async fn reference(cx: Cx, Path((_, _, name)): Path<(String, String, String)>) -> Answer {
    let full = format!("refs/{name}");
    let refs = cx.world.repo.refs(&full);
    refs.get(&full).map(|sha| ok(show_ref(&cx, &full, sha))).ok_or_else(fail::not_found)
}

async fn matching_refs(cx: Cx, Path((_, _, prefix)): Path<(String, String, String)>) -> Answer {
    let refs = cx.world.repo.refs(&format!("refs/{prefix}"));
    let items = refs.iter().map(|(name, sha)| show_ref(&cx, name, sha)).collect();
    Ok(page(&cx, &format!("/git/matching-refs/{prefix}"), items))
}

fn show_ref(cx: &Cx, name: &str, sha: &str) -> Value {
    let kind = if cx.world.repo.commit(sha).is_some() { "commit" } else { "tag" };
    cx.links.reference(name, kind, sha)
}

async fn tag_object(cx: Cx, Path((_, _, sha)): Path<(String, String, String)>) -> Answer {
    let repo = &cx.world.repo;
    let named = |(name, target): (String, String)| (target == sha).then_some(name);
    let name = repo.refs("refs/tags/").into_iter().find_map(named).ok_or_else(fail::not_found)?;
    let name = name.trim_start_matches("refs/tags/").to_owned();
    let tag = repo.tag(&name).ok_or_else(fail::not_found)?;
    let (message, tagger) = tag.annotation.ok_or_else(fail::not_found)?;
    Ok(ok(json!({
        "node_id": format!("T_{}", &sha[..16]), "tag": name, "sha": sha,
        "url": cx.links.api(&format!("/git/tags/{sha}")), "message": message.trim_end(),
        "tagger": {"name": tagger.name, "email": tagger.email, "date": at(tagger.at)},
        "object": {
            "type": "commit", "sha": tag.commit, "url": cx.links.api(&format!("/git/commits/{}", tag.commit)),
        },
        "verification": {
            "verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null,
        },
    })))
}
