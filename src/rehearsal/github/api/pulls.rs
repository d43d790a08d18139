//! Pull requests and merges.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use serde_json::{Value, json};

use super::super::json::{at, maybe_at, merge as extend, node};
use super::super::state::Pull;
use super::wire::{Answer, Cx, body, fail, ok, page, with_status};
use crate::rehearsal::git::RefChange;
use crate::rehearsal::{World, git};

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/pulls", get(list).post(create))
        .route("/pulls/{number}", get(one).patch(edit))
        .route("/pulls/{number}/merge", put(merge_pull))
        .route("/commits/{ref}/pulls", get(of_commit))
        .route("/merges", post(merge_branch))
}

/// A pull request as lists show it.
fn show(cx: &Cx, pull: &Pull) -> Value {
    let (links, number) = (&cx.links, pull.number);
    let (url, page) = (links.api(&format!("/pulls/{number}")), links.page(&format!("/pull/{number}")));
    let issue = links.api(&format!("/issues/{number}"));
    let statuses = links.api(&format!("/statuses/{}", pull.head_sha));
    let side = |name: &str, sha: &str| {
        json!({
            "label": format!("{}:{name}", links.owner()), "ref": name, "sha": sha, "user": links.user(links.owner()),
            "repo": links.full_repository(pull.updated),
        })
    };
    let href = |href: &str| json!({"href": href});
    let mut value = json!({
        "url": url, "id": pull.id, "node_id": node("PR", pull.id), "html_url": page,
        "diff_url": format!("{page}.diff"), "patch_url": format!("{page}.patch"), "issue_url": issue,
        "commits_url": format!("{url}/commits"), "review_comments_url": format!("{url}/comments"),
        "review_comment_url": links.api("/pulls/comments{/number}"), "comments_url": format!("{issue}/comments"),
        "statuses_url": statuses, "number": number, "state": if pull.closed.is_some() { "closed" } else { "open" },
        "locked": false, "title": pull.title, "body": pull.body, "user": links.user(&pull.author), "labels": [],
        "milestone": null, "active_lock_reason": null, "created_at": at(pull.created), "updated_at": at(pull.updated),
        "closed_at": maybe_at(pull.closed), "merged_at": maybe_at(pull.merged.as_ref().map(|merged| merged.2)),
        "merge_commit_sha": pull.merged.as_ref().map(|merged| &merged.0), "assignee": null, "assignees": [],
        "requested_reviewers": [], "requested_teams": [], "draft": false, "author_association": "MEMBER",
        "auto_merge": null,
    });
    let more = json!({
        "head": side(&pull.head, &pull.head_sha), "base": side(&pull.base, &pull.base_sha),
        "_links": {
            "self": href(&url), "html": href(&page), "issue": href(&issue), "statuses": href(&statuses),
            "comments": href(&format!("{issue}/comments")), "review_comments": href(&format!("{url}/comments")),
            "review_comment": href(&links.api("/pulls/comments{/number}")), "commits": href(&format!("{url}/commits")),
        },
    });
    extend(&mut value, more);
    value
}

/// A pull request with what its own address adds.
fn show_whole(cx: &Cx, pull: &Pull) -> Value {
    let repo = &cx.world.repo;
    let commits = repo.log(&pull.head_sha, Some(&pull.base_sha), 250).len();
    let files = repo.merge_base(&pull.base_sha, &pull.head_sha).map(|base| repo.changes(&base, &pull.head_sha));
    let files = files.unwrap_or_default();
    let clean = pull.closed.is_none().then(|| repo.merges_cleanly(&pull.base_sha, &pull.head_sha));
    let state = match clean {
        None => "unknown",
        Some(true) => "clean",
        Some(false) => "dirty",
    };
    let mut value = show(cx, pull);
    extend(
        &mut value,
        json!({
            "merged": pull.merged.is_some(), "mergeable": clean, "rebaseable": null, "mergeable_state": state,
            "merged_by": pull.merged.as_ref().map(|merged| cx.links.user(&merged.1)),
            "comments": 0, "review_comments": 0, "maintainer_can_modify": false, "commits": commits,
            "additions": files.iter().map(|file| file.additions).sum::<usize>(),
            "deletions": files.iter().map(|file| file.deletions).sum::<usize>(), "changed_files": files.len(),
        }),
    );
    value
}

async fn list(cx: Cx) -> Answer {
    let wanted = |pull: &&Pull| {
        let state = cx.query.get("state").unwrap_or("open");
        let head = format!("{}:{}", cx.links.owner(), pull.head);
        (state == "all" || (state == "closed") == pull.closed.is_some())
            && cx.query.allows("base", &pull.base)
            && cx.query.allows("head", &head)
    };
    let found: Vec<Pull> = cx.world.hub.read(|state| state.pulls.iter().rev().filter(wanted).cloned().collect());
    let items = found.into_iter().map(|pull| show(&cx, &at_present(&cx, pull))).collect();
    Ok(page(&cx, "/pulls", items))
}

async fn of_commit(cx: Cx, Path((_, _, name)): Path<(String, String, String)>) -> Answer {
    let repo = &cx.world.repo;
    let sha = repo.resolve(&name).ok_or_else(|| super::gitdata::no_commit(&name))?;
    let found = cx.world.hub.read(|state| state.pulls.clone());
    let with = |pull: &&Pull| repo.is_ancestor(&sha, &pull.head_sha) && !repo.is_ancestor(&sha, &pull.base_sha);
    let items = found.iter().filter(with).map(|pull| show(&cx, pull)).collect();
    Ok(page(&cx, &format!("/commits/{name}/pulls"), items))
}

fn find(cx: &Cx, number: i64) -> Result<Pull, fail::Failure> {
    let found = cx.world.hub.read(|state| state.pulls.iter().find(|pull| pull.number == number).cloned());
    found.map(|pull| at_present(cx, pull)).ok_or_else(fail::not_found)
}

/// An open pull request follows its two branches.
fn at_present(cx: &Cx, mut pull: Pull) -> Pull {
    if pull.closed.is_none() {
        let tip = |name: &str, known: String| cx.world.repo.head(name).unwrap_or(known);
        pull.head_sha = tip(&pull.head, pull.head_sha);
        pull.base_sha = tip(&pull.base, pull.base_sha);
    }
    pull
}

async fn one(cx: Cx, Path((_, _, number)): Path<(String, String, i64)>) -> Answer {
    let pull = find(&cx, number)?;
    Ok(ok(show_whole(&cx, &pull)))
}

async fn create(cx: Cx, bytes: Bytes) -> Answer {
    let body = body(&bytes)?;
    let repo = &cx.world.repo;
    let text = |field: &str| {
        body[field].as_str().map(str::to_owned).ok_or_else(|| fail::invalid("PullRequest", field, "missing_field"))
    };
    let (title, head, base) = (text("title")?, text("head")?, text("base")?);
    let head = head.rsplit(':').next().unwrap_or_default().to_owned();
    let tip = |field: &str, name: &str| repo.head(name).ok_or_else(|| fail::invalid("PullRequest", field, "invalid"));
    let (head_sha, base_sha) = (tip("head", &head)?, tip("base", &base)?);
    if repo.is_ancestor(&head_sha, &base_sha) {
        return Err(fail::of(StatusCode::UNPROCESSABLE_ENTITY, &format!("No commits between {base} and {head}")));
    }
    let now = cx.world.clock.now();
    let made = cx.world.hub.change(|state| {
        if state.pulls.iter().any(|pull| pull.closed.is_none() && pull.head == head && pull.base == base) {
            return None;
        }
        let number = 430 + i64::try_from(state.pulls.len()).unwrap_or(0);
        let pull = Pull {
            id: state.id(),
            number,
            title,
            body: body["body"].as_str().map(str::to_owned),
            head,
            head_sha,
            base,
            base_sha,
            author: cx.login.clone(),
            created: now,
            updated: now,
            merged: None,
            closed: None,
        };
        state.pulls.push(pull.clone());
        if !state.checks.iter().any(|check| check.sha == pull.head_sha) {
            // `ci.yml` runs for pull requests, too.
            state.add_checks_that_take(&pull.head, &pull.head_sha, now, [1, 3, 5], |_| "success");
        }
        Some(pull)
    });
    let pull = made.ok_or_else(|| fail::invalid("PullRequest", "head", "already_exists"))?;
    Ok(with_status(StatusCode::CREATED, show_whole(&cx, &pull)))
}

/// Merges a commit into a branch, and tells those who wait for pushes.
fn merge_into(
    cx: &Cx,
    branch: &str,
    commit: &str,
    message: &str,
    squash: bool,
) -> Result<Option<String>, fail::Failure> {
    let repo = &cx.world.repo;
    let old = repo.head(branch);
    let author = git::author(&cx.login, cx.world.clock.now());
    let merged = repo.merge(branch, commit, message, &author, squash).map_err(|error| {
        let status = if error.is_conflict() { StatusCode::CONFLICT } else { StatusCode::NOT_FOUND };
        fail::of(status, if error.is_conflict() { "Merge conflict" } else { "Not Found" })
    })?;
    if let Some(new) = &merged {
        let change = RefChange { name: format!("refs/heads/{branch}"), old, new: Some(new.clone()) };
        cx.world.hub.on_push(&cx.world, &[change]);
    }
    Ok(merged)
}

/// Title and body change; `state: closed` closes, `open` opens what was not merged.
async fn edit(cx: Cx, Path((_, _, number)): Path<(String, String, i64)>, bytes: Bytes) -> Answer {
    let body = body(&bytes)?;
    find(&cx, number)?;
    let now = cx.world.clock.now();
    cx.world.hub.change(|state| {
        let Some(pull) = state.pulls.iter_mut().find(|pull| pull.number == number) else { return };
        if let Some(title) = body["title"].as_str() {
            title.clone_into(&mut pull.title);
        }
        if let Some(text) = body["body"].as_str() {
            pull.body = Some(text.to_owned());
        }
        match body["state"].as_str() {
            Some("closed") => pull.closed = pull.closed.or(Some(now)),
            Some("open") if pull.merged.is_none() => pull.closed = None,
            _ => {}
        }
        pull.updated = now;
    });
    let pull = find(&cx, number)?;
    Ok(ok(show_whole(&cx, &pull)))
}

async fn merge_pull(cx: Cx, Path((_, _, number)): Path<(String, String, i64)>, bytes: Bytes) -> Answer {
    let pull = find(&cx, number)?;
    let body = if bytes.is_empty() { Value::Null } else { body(&bytes)? };
    let squash = match body["merge_method"].as_str() {
        None | Some("merge") => false,
        Some("squash") => true,
        Some(_) => return Err(fail::of(StatusCode::NOT_IMPLEMENTED, "a rebase is not rehearsed")),
    };
    let head = pull.head_sha.clone();
    if body["sha"].as_str().is_some_and(|sha| sha != head) {
        let message = "Head branch was modified. Review and try the merge again.";
        return Err(fail::of(StatusCode::CONFLICT, message));
    }
    let title = body["commit_title"]
        .as_str()
        .map_or_else(|| format!("Merge pull request #{number} from {}/{}", cx.links.owner(), pull.head), str::to_owned);
    let message = format!("{title}\n\n{}\n", body["commit_message"].as_str().unwrap_or(&pull.title));
    let refused = || fail::of(StatusCode::METHOD_NOT_ALLOWED, "Pull Request is not mergeable");
    if pull.closed.is_some() || !cx.world.repo.merges_cleanly(&pull.base_sha, &head) {
        return Err(refused());
    }
    let sha = merge_into(&cx, &pull.base, &head, &message, squash)?.ok_or_else(refused)?;
    let now = cx.world.clock.now();
    cx.world.hub.change(|state| {
        if let Some(pull) = state.pulls.iter_mut().find(|pull| pull.number == number) {
            pull.merged = Some((sha.clone(), cx.login.clone(), now));
            (pull.closed, pull.updated, pull.head_sha) = (Some(now), now, head);
        }
    });
    Ok(ok(json!({"sha": sha, "merged": true, "message": "Pull Request successfully merged"})))
}

async fn merge_branch(cx: Cx, bytes: Bytes) -> Answer {
    let body = body(&bytes)?;
    let text = |field: &str| body[field].as_str().ok_or_else(|| fail::invalid("Merge", field, "missing_field"));
    let (base, head) = (text("base")?, text("head")?);
    let repo = &cx.world.repo;
    let missing = |what: &str| fail::of(StatusCode::NOT_FOUND, &format!("{what} does not exist"));
    repo.head(base).ok_or_else(|| missing("Base"))?;
    if base == "main" && cx.world.scenario.world.main.protected {
        return Err(fail::of(StatusCode::FORBIDDEN, "Changes must be made through a pull request."));
    }
    let commit = repo.resolve(head).ok_or_else(|| missing("Head"))?;
    let message = body["commit_message"].as_str().map_or_else(|| format!("Merge {head} into {base}"), str::to_owned);
    match merge_into(&cx, base, &commit, &message, false)?.and_then(|sha| repo.commit(&sha)) {
        Some(commit) => Ok(with_status(StatusCode::CREATED, cx.links.commit(&commit))),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}
