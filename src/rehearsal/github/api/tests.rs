//! The API over HTTP, by a client that knows nothing of it.

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::rehearsal::git;
use crate::rehearsal::github::testing::{Served, serve};

fn request(served: &Served, method: Method, path: &str) -> RequestBuilder {
    Client::new().request(method, format!("{}/repos/gospelib/gospelib{path}", served.url))
}

async fn call(served: &Served, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let request = request(served, method, path).bearer_auth("ghp_rehearsal").json(&body);
    let response = request.send().await.unwrap();
    (response.status(), serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

async fn read(served: &Served, path: &str) -> Value {
    let (status, value) = call(served, Method::GET, path, Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{path}: {value}");
    value
}

#[tokio::test]
async fn strangers_unknown_routes_and_unchanged_answers() {
    let served = serve("{}").await;
    let get = |path| request(&served, Method::GET, path);
    assert_eq!(get("").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(get("").bearer_auth("ghp_other").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let known = get("").header("authorization", "token ghp_rehearsal").send().await.unwrap();
    assert_eq!(known.status(), StatusCode::OK);
    let tag = known.headers()["etag"].clone();
    assert!(known.headers().contains_key("x-ratelimit-remaining"));
    let again = get("").bearer_auth("ghp_rehearsal").header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(call(&served, Method::GET, "/issues", Value::Null).await.0, StatusCode::NOT_IMPLEMENTED);
    let (status, body) = call(&served, Method::GET, "/branches/nowhere", Value::Null).await;
    assert_eq!((status, body["status"].as_str()), (StatusCode::NOT_FOUND, Some("404")));
}

#[tokio::test]
async fn checks_are_paged_and_newest_per_suite() {
    let served = serve("{}").await;
    let candidate = served.world.past.candidate.commit.clone();
    let path = format!("/commits/{candidate}/check-runs?per_page=3");
    let response = request(&served, Method::GET, &path).bearer_auth("ghp_rehearsal").send().await.unwrap();
    let link = response.headers()["link"].to_str().unwrap().to_owned();
    assert!(link.contains("rel=\"next\"") && link.contains("page=2"), "{link}");
    let checks = read(&served, &format!("/commits/{candidate}/check-runs")).await;
    let named = |name: &str| -> Vec<Value> {
        let all = checks["check_runs"].as_array().unwrap().iter();
        all.filter(|check| check["name"] == name).map(|check| check["conclusion"].clone()).collect()
    };
    assert_eq!(named("ci / unit"), ["success", "failure"], "the failed run is in an older suite");
    assert_eq!(named("ci / lint"), ["success"]);
    let status = read(&served, &format!("/commits/{candidate}/status")).await;
    assert_eq!(
        (status["state"].as_str(), status["statuses"][0]["context"].as_str()),
        (Some("success"), Some("codecov/project"))
    );
    let none = serve("{ci: none}").await;
    let path = format!("/commits/{}/check-runs", none.world.past.candidate.commit);
    assert_eq!(read(&none, &path).await["total_count"], 0);
}

#[tokio::test]
async fn refs_tags_and_comparisons() {
    let served = serve("{}").await;
    let reference = read(&served, "/git/ref/tags%2Frelease%2Fv1.1.1").await;
    assert_eq!(reference["object"]["type"], "tag");
    let tag = read(&served, &format!("/git/tags/{}", reference["object"]["sha"].as_str().unwrap())).await;
    assert_eq!(tag["object"]["sha"], served.world.past.releases[2].commit);
    assert_eq!(read(&served, "/git/matching-refs/tags/release/v").await.as_array().unwrap().len(), 3);
    let compared = read(&served, &format!("/compare/release%2Fv1.1.1...{}", served.world.past.candidate.commit)).await;
    assert_eq!((compared["status"].as_str(), compared["behind_by"].as_i64()), (Some("ahead"), Some(0)));
    let names: Vec<&str> =
        compared["files"].as_array().unwrap().iter().map(|file| file["filename"].as_str().unwrap()).collect();
    assert!(names.contains(&"services/content/migrations/000008_add_scripture_bookmarks.up.sql"), "{names:?}");
}

#[tokio::test]
async fn a_reviewer_opens_the_gate_and_others_may_not() {
    let served = serve("{approval: {answer: never}}").await;
    let world = &served.world;
    let tagger = git::author("dana-dev", world.clock.now());
    world.repo.create_tag("release/v1.2.0", &world.past.candidate.commit, "Release v1.2.0", &tagger).unwrap();
    let new = Some(world.repo.tag("release/v1.2.0").unwrap().sha);
    world.hub.on_push(world, &[git::RefChange { name: "refs/tags/release/v1.2.0".into(), old: None, new }]);
    let runs = "/actions/workflows/cd-production.yml/runs?event=push&branch=release/v1.2.0";
    let id = read(&served, runs).await["workflow_runs"][0]["id"].as_i64().unwrap();
    let gate = format!("/actions/runs/{id}/pending_deployments");
    let mut pending = json!([]);
    while pending.as_array().is_some_and(Vec::is_empty) {
        pending = read(&served, &gate).await;
    }
    assert_eq!(pending[0]["current_user_can_approve"], false);
    assert_eq!(pending[0]["reviewers"][1]["reviewer"]["login"], "amon-oncall");
    let review = json!({"environment_ids": [pending[0]["environment"]["id"]], "state": "approved", "comment": "ok"});
    let (status, _) = call(&served, Method::POST, &gate, review.clone()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let reviewer = request(&served, Method::POST, &gate).bearer_auth("ghp_rehearsal_rhea-reviewer").json(&review);
    assert_eq!(reviewer.send().await.unwrap().status(), StatusCode::OK);
    let mut run = Value::Null;
    while run["status"] != "completed" {
        run = read(&served, &format!("/actions/runs/{id}")).await;
    }
    assert_eq!(run["conclusion"], "success");
    let approvals = read(&served, &format!("/actions/runs/{id}/approvals")).await;
    assert_eq!(approvals[0]["user"]["login"], "rhea-reviewer");
    assert_eq!(
        call(&served, Method::POST, &format!("/actions/runs/{id}/cancel"), Value::Null).await.0,
        StatusCode::CONFLICT
    );
}

#[tokio::test]
async fn releases_and_pull_requests() {
    let served = serve("{}").await;
    let world = &served.world;
    let author = git::author("dana-dev", world.clock.now());
    world.repo.create_tag("release/v1.2.0", &world.past.candidate.commit, "Release v1.2.0", &author).unwrap();
    assert_eq!(read(&served, "/releases/latest").await["tag_name"], "release/v1.1.1");
    let release = json!({"tag_name": "release/v1.2.0", "name": "v1.2.0", "body": "notes"});
    let (status, made) = call(&served, Method::POST, "/releases", release.clone()).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, again) = call(&served, Method::POST, "/releases", release).await;
    assert_eq!(
        (status, again["errors"][0]["code"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("already_exists"))
    );
    assert_eq!(read(&served, "/releases/tags/release%2Fv1.2.0").await["id"], made["id"]);
    let path = format!("/releases/{}", made["id"]);
    assert_eq!(call(&served, Method::PATCH, &path, json!({"body": "new"})).await.1["body"], "new");
    assert_eq!(call(&served, Method::DELETE, &path, Value::Null).await.0, StatusCode::NO_CONTENT);

    let main = world.repo.head("main").unwrap();
    world.repo.commit_files("fix", &[("a.txt", "a")], "fix: a", &author).unwrap();
    let pull = json!({"title": "fix: a", "head": "fix", "base": "main"});
    let (status, _) = call(&served, Method::POST, "/pulls", pull).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(world.repo.head("main"), Some(main));
    assert_eq!(read(&served, "/pulls").await[0]["number"], 430);
    let (status, merged) = call(&served, Method::PUT, "/pulls/430/merge", json!({})).await;
    assert_eq!((status, merged["merged"].as_bool()), (StatusCode::OK, Some(true)), "{merged}");
    assert_eq!(read(&served, "/pulls/430").await["state"], "closed");
}

#[tokio::test]
async fn the_latest_release_is_the_one_that_is_said_to_be() {
    let served = serve("{}").await;
    let release = |tag: &str| format!("/releases/tags/release%2F{tag}");
    let (last, before) = (read(&served, &release("v1.1.1")).await, read(&served, &release("v1.1.0")).await);
    let edit = async |id: &Value, body: Value| call(&served, Method::PATCH, &format!("/releases/{id}"), body).await;
    let latest = async || read(&served, "/releases/latest").await["tag_name"].as_str().unwrap().to_owned();
    let bad = json!({"prerelease": true, "name": "v1.1.1 (rolled back)", "body": "Do not deploy."});
    let (status, edited) = edit(&last["id"], bad).await;
    assert_eq!((status, edited["prerelease"].as_bool()), (StatusCode::OK, Some(true)));
    assert_eq!(edited["name"], "v1.1.1 (rolled back)");
    assert_eq!(latest().await, "release/v1.1.0");
    let (status, refused) = edit(&last["id"], json!({"make_latest": "true"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    edit(&last["id"], json!({"prerelease": false})).await;
    assert_eq!(latest().await, "release/v1.1.1");
    edit(&before["id"], json!({"make_latest": "true"})).await;
    assert_eq!(latest().await, "release/v1.1.0");
    edit(&before["id"], json!({"make_latest": "false"})).await;
    assert_eq!(latest().await, "release/v1.1.1");
}

#[tokio::test]
async fn pull_requests_follow_their_branches_and_conflicts_are_not_merged() {
    let served = serve("{main: {protected: true}}").await;
    let world = &served.world;
    let author = git::author("dana-dev", world.clock.now());
    let branch = |name: &str, text: &str| world.repo.commit_files(name, &[("note.txt", text)], "n", &author).unwrap();
    let main = world.repo.head("main").unwrap();
    // A branch begins where the hotfix does.
    world.repo.commit_on("fix", None, &[("a.txt", "a")], "begin", &author).unwrap();
    world.repo.merge("fix", &main, "from main", &author, false).unwrap();
    let old = branch("fix", "ours");
    let (status, made) =
        call(&served, Method::POST, "/pulls", json!({"title": "t", "head": "gospelib:fix", "base": "main"})).await;
    assert_eq!((status, made["mergeable"].as_bool()), (StatusCode::CREATED, Some(true)), "{made}");
    let number = made["number"].as_i64().unwrap();
    let checks = read(&served, &format!("/commits/{old}/check-runs")).await;
    assert_eq!(checks["total_count"], 3, "checks run for a pull request");
    branch("main", "theirs");
    let pull = read(&served, &format!("/pulls/{number}")).await;
    assert_eq!((pull["mergeable"].as_bool(), pull["mergeable_state"].as_str()), (Some(false), Some("dirty")));
    let merge = async |body| call(&served, Method::PUT, &format!("/pulls/{number}/merge"), body).await.0;
    assert_eq!(merge(json!({})).await, StatusCode::METHOD_NOT_ALLOWED);
    branch("fix", "theirs");
    assert_eq!(merge(json!({"sha": old})).await, StatusCode::CONFLICT, "another head than was looked at");
    let listed = read(&served, "/pulls?head=gospelib:fix&base=main").await;
    assert_eq!(listed[0]["head"]["sha"], json!(world.repo.head("fix").unwrap()));
    assert_eq!(merge(json!({"merge_method": "merge"})).await, StatusCode::OK);
    let tip = world.repo.head("main").unwrap();
    assert_eq!(world.repo.commit(&tip).unwrap().parents.len(), 2);
    let protection = read(&served, "/branches/main/protection").await;
    assert_eq!(protection["required_pull_request_reviews"]["required_approving_review_count"], 0);
}

#[tokio::test]
async fn a_waiting_run_can_be_cancelled() {
    let served = serve("{approval: {answer: never}}").await;
    let world = &served.world;
    let author = git::author("dana-dev", world.clock.now());
    let live = world.past.releases.last().unwrap().commit.clone();
    world.repo.create_tag("release/v1.1.2", &live, "Release v1.1.2", &author).unwrap();
    let new = Some(world.repo.tag("release/v1.1.2").unwrap().sha);
    world.hub.on_push(world, &[git::RefChange { name: "refs/tags/release/v1.1.2".into(), old: None, new }]);
    let runs = "/actions/workflows/cd-production.yml/runs?event=push&branch=release/v1.1.2";
    let mut run = Value::Null;
    while run["status"] != "waiting" {
        run = read(&served, runs).await["workflow_runs"][0].clone();
    }
    let path = format!("/actions/runs/{}", run["id"]);
    let cancel = async || call(&served, Method::POST, &format!("{path}/cancel"), Value::Null).await.0;
    assert_eq!(cancel().await, StatusCode::ACCEPTED);
    while run["status"] != "completed" {
        run = read(&served, &path).await;
    }
    assert_eq!(run["conclusion"], "cancelled");
    let jobs = read(&served, &format!("{path}/jobs")).await;
    let approve = jobs["jobs"].as_array().unwrap().iter().find(|job| job["name"] == "approve").unwrap();
    assert_eq!(approve["conclusion"], "cancelled");
    assert_eq!(read(&served, &format!("{path}/pending_deployments")).await, json!([]));
    assert_eq!(cancel().await, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_hotfix_branch_gets_its_checks() {
    let served = serve("{}").await;
    let world = &served.world;
    let author = git::author("dana-dev", world.clock.now());
    let tip = world.repo.commit_on("hotfix/a", None, &[("a.txt", "a")], "fix: a", &author).unwrap();
    let change = git::RefChange { name: "refs/heads/hotfix/a".into(), old: None, new: Some(tip.clone()) };
    world.hub.on_push(world, &[change]);
    let mut checks = Value::Null;
    let done = |checks: &Value| {
        let all =
            checks["check_runs"].as_array().is_some_and(|runs| runs.iter().all(|run| run["conclusion"] == "success"));
        all && checks["total_count"] == 3
    };
    while !done(&checks) {
        checks = read(&served, &format!("/commits/{tip}/check-runs")).await;
    }
    assert_eq!(read(&served, &format!("/commits/{tip}/status")).await["state"], "success");
}
