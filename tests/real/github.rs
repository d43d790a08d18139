//! The rehearsed GitHub behind Prism, which compares every request and answer with GitHub's own description.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Server, World, contract, eventually, free_port, http, need};

const DANA: &str = "ghp_rehearsal";
const RHEA: &str = "ghp_rehearsal_rhea-reviewer";

/// Prism between a client and the rehearsed GitHub.
struct Proxy {
    world: World,
    url: String,
    log: std::path::PathBuf,
    _prism: Server,
}

impl Proxy {
    fn start(scenario: &str, speed: u32, description: &Path, dir: &Path) -> Self {
        let world = World::serve(scenario, speed);
        let (port, log) = (free_port().to_string(), dir.join("prism.log"));
        let output = std::fs::File::create(&log).unwrap();
        let args =
            ["proxy", description.to_str().unwrap(), world.url("github"), "--errors", "-h", "127.0.0.1", "-p", &port];
        let prism = Server::start("prism", &args, |command| {
            command.env("NO_COLOR", "1").stdout(output.try_clone().unwrap()).stderr(output);
        });
        let url = format!("http://127.0.0.1:{port}");
        let prism = prism.ready_at(&format!("{url}/user"));
        Self { world, url, log, _prism: prism }
    }

    /// Asks through Prism; an answer that GitHub would not give ends the test.
    #[track_caller]
    fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        let path = path.replace("{repo}", "/repos/gospelib/gospelib");
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", &*authorization), ("accept", "application/json"), ("user-agent", "tests")];
        let answer = http(method, &format!("{}{path}", self.url), &headers, body).unwrap();
        let said = answer.headers.get("sl-violations");
        assert!(said.is_none() && !answer.body.contains("stoplight.io"), "{method} {path}: {answer:?}");
        answer
    }

    #[track_caller]
    fn get(&self, path: &str, status: u16) -> Value {
        let answer = self.call("GET", path, DANA, None);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        answer.json()
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let answer = self.call(method, path, DANA, Some(body).filter(|body| !body.is_null()));
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        serde_json::from_str(&answer.body).unwrap_or_default()
    }
}

/// Prism before a scenario's world, if both Prism and GitHub's description are there.
fn proxy(scenario: &str, speed: u32, dir: &Path) -> Option<Proxy> {
    let description = contract("github-openapi.json")?;
    need(&["prism", "git"]).then(|| Proxy::start(scenario, speed, &description, dir))
}

#[test]
fn a_promote_says_and_hears_what_github_describes() {
    let dir = tempfile::tempdir().unwrap();
    if let Some(proxy) = proxy("clean", 3600, dir.path()) {
        promote(&proxy, dir.path());
    }
}

#[test]
fn every_answer_is_as_github_describes() {
    let dir = tempfile::tempdir().unwrap();
    // A world in which nobody else approves.
    let Some(proxy) = proxy("approval-expired", 1000, dir.path()) else { return };
    reads(&proxy);
    release_by_hand(&proxy, dir.path());
    releases(&proxy);
    pull_requests(&proxy, &dir.path().join("work"));
    // Prism does notice: this body lacks what GitHub requires.
    let headers = [("authorization", "Bearer ghp_rehearsal"), ("user-agent", "tests")];
    let url = format!("{}/repos/gospelib/gospelib/releases", proxy.url);
    let wrong = http("POST", &url, &headers, Some(json!({ "name": "no tag" }))).unwrap();
    assert!(wrong.body.contains("stoplight.io"), "{wrong:?}");
}

/// What can be read before a release.
fn reads(proxy: &Proxy) {
    let tag = "release%2Fv1.1.1";
    let released = proxy.get(&format!("{{repo}}/git/ref/tags%2F{tag}"), 200);
    let tag_object = released["object"]["sha"].as_str().unwrap();
    let target = proxy.get(&format!("{{repo}}/git/tags/{tag_object}"), 200);
    let commit = target["object"]["sha"].as_str().unwrap();
    for path in [
        "check-runs",
        "check-runs?per_page=2&page=2",
        "check-runs?filter=all",
        "check-suites",
        "status",
        "statuses",
        "pulls",
    ] {
        proxy.get(&format!("{{repo}}/commits/{commit}/{path}"), 200);
        proxy.get(&format!("{{repo}}/commits/main/{path}"), 200);
    }
    for path in [
        "/user",
        "/rate_limit",
        "{repo}",
        "{repo}/branches/main",
        "{repo}/rules/branches/main",
        "{repo}/rulesets",
        "{repo}/commits/main",
        "{repo}/compare/release%2Fv1.1.1...main",
        "{repo}/compare/main...release%2Fv1.1.1",
        "{repo}/git/ref/heads%2Fmain",
        "{repo}/git/matching-refs/tags%2Frelease",
        "{repo}/actions/workflows",
        "{repo}/actions/workflows/cd-production.yml",
        "{repo}/actions/workflows/cd-production.yml/runs?event=push&status=success",
        "{repo}/actions/runs",
        "{repo}/actions/runs?per_page=2&page=2",
        "{repo}/environments",
        "{repo}/environments/production",
        "{repo}/deployments",
        "{repo}/releases",
        "{repo}/releases/latest",
        "{repo}/releases/tags/release%2Fv1.1.1",
        "{repo}/pulls",
    ] {
        proxy.get(path, 200);
    }
    for ruleset in proxy.get("{repo}/rulesets", 200).as_array().unwrap() {
        proxy.get(&format!("{{repo}}/rulesets/{}", ruleset["id"]), 200);
    }
    let deployment = &proxy.get("{repo}/deployments", 200)[0]["id"];
    proxy.get(&format!("{{repo}}/deployments/{deployment}"), 200);
    proxy.get(&format!("{{repo}}/deployments/{deployment}/statuses"), 200);
    for path in [
        "{repo}/rulesets/1",
        "{repo}/compare/main...nowhere",
        "{repo}/git/ref/tags%2Fnowhere",
        "{repo}/releases/tags/nowhere",
        "/repos/gospelib/nowhere",
    ] {
        proxy.get(path, 404);
    }
    let anonymous = proxy.call("GET", "/user", "ghp_wrong", None);
    assert_eq!(anonymous.status, 401);
}

/// The tool's own calls.
fn promote(proxy: &Proxy, dir: &Path) {
    let direct = proxy.world.url("github");
    let config = std::fs::read_to_string(proxy.world.path("config")).unwrap();
    let line = format!("  api: {direct}\n");
    assert!(config.contains(&line), "{config}");
    let through = dir.join("gospel-release.yaml");
    std::fs::write(&through, config.replace(&line, &format!("  api: {}\n", proxy.url))).unwrap();
    let ran = proxy
        .world
        .client(env!("CARGO_BIN_EXE_gospel-release"))
        .env("XDG_STATE_HOME", dir.join("state"))
        .arg("--config")
        .arg(&through)
        .args(["promote", "--yes", "--output", "json"])
        .run();
    let log = std::fs::read_to_string(&proxy.log).unwrap();
    assert_eq!(ran.code, Some(0), "{}\n{}\n{log}", ran.err, ran.out);
    let requests: Vec<&str> = log.lines().filter(|line| line.contains("Request received")).collect();
    for ours in [
        "/actions/runs",
        "/check-runs",
        "/rulesets",
        "/environments/production",
        "post /repos/gospelib/gospelib/releases",
    ] {
        assert!(requests.iter().any(|request| request.contains(ours)), "{ours}: {requests:#?}");
    }
    // Its own lines tell made-up examples of every path.
    let mut said = log.lines().filter(|line| !line.contains("[CLI]"));
    let complaints =
        said.find(|line| ["violat", "error", "warn"].iter().any(|word| line.to_lowercase().contains(word)));
    assert_eq!(complaints, None, "{log}");
}

/// Another release, without the tool: the approval as its reviewer sees it.
fn release_by_hand(proxy: &Proxy, dir: &Path) {
    let world = &proxy.world;
    world.client("git").args(["clone", "--quiet", world.path("git")]).arg(dir.join("work")).run().ok();
    let git = |args: &[&str]| world.client("git").dir(&dir.join("work")).args(args.iter().copied()).run().ok();
    let commit = git(&["rev-parse", "HEAD"]).trim().to_owned();
    git(&["tag", "-a", "release/v1.2.0", "-m", "Release v1.2.0", &commit]);
    git(&["push", "--quiet", "origin", "refs/tags/release/v1.2.0"]);
    let runs = format!("{{repo}}/actions/workflows/cd-production.yml/runs?branch=release%2Fv1.2.0&head_sha={commit}");
    let soon = Duration::from_secs(30);
    let run = eventually("the run appears", soon, || {
        let found = proxy.get(&runs, 200);
        found["workflow_runs"][0]["id"].as_u64().ok_or(found.to_string())
    });
    let run = format!("{{repo}}/actions/runs/{run}");
    let pending = format!("{run}/pending_deployments");
    proxy.get(&run, 200);
    let environment = eventually("the approval is waited for", soon, || {
        let found = proxy.get(&pending, 200);
        found[0]["environment"]["id"].as_u64().ok_or_else(|| found.to_string())
    });
    let approval = json!({ "environment_ids": [environment], "state": "approved", "comment": "go" });
    let approved = proxy.call("POST", &pending, RHEA, Some(approval));
    assert_eq!(approved.status, 200, "{approved:?}");
    proxy.get(&format!("{run}/jobs"), 200);
    let jobs = eventually("the run ends", soon, || {
        let jobs = proxy.get(&format!("{run}/jobs"), 200);
        let run = proxy.get(&run, 200);
        if run["status"] == "completed" { Ok(jobs) } else { Err(run["status"].to_string()) }
    });
    assert_eq!(proxy.get(&run, 200)["conclusion"], "success", "{jobs}");
    proxy.get(&format!("{{repo}}/actions/jobs/{}", jobs["jobs"][0]["id"]), 200);
    proxy.get(&format!("{run}/attempts/1/jobs"), 200);
    assert_eq!(proxy.get(&format!("{run}/approvals"), 200)[0]["state"], "approved");
    proxy.send("POST", &format!("{run}/cancel"), Value::Null, 409);
    assert_eq!(proxy.get("{repo}/deployments?environment=production", 200)[0]["ref"], "release/v1.2.0");
}

fn releases(proxy: &Proxy) {
    let release = json!({ "tag_name": "release/v1.2.0", "name": "v1.2.0", "body": "by hand" });
    let made = proxy.send("POST", "{repo}/releases", release.clone(), 201);
    proxy.send("POST", "{repo}/releases", release, 422);
    let path = format!("{{repo}}/releases/{}", made["id"]);
    proxy.get(&path, 200);
    assert_eq!(proxy.send("PATCH", &path, json!({ "body": "edited" }), 200)["body"], "edited");
    proxy.send("DELETE", &path, Value::Null, 204);
    assert_eq!(proxy.get("{repo}/releases/latest", 200)["tag_name"], "release/v1.1.1");
}

fn pull_requests(proxy: &Proxy, work: &Path) {
    let git = |args: &[&str]| proxy.world.client("git").dir(work).args(args.iter().copied()).run().ok();
    git(&["switch", "--quiet", "-c", "hotfix"]);
    std::fs::write(work.join("hotfix.txt"), "fixed").unwrap();
    git(&["add", "hotfix.txt"]);
    git(&["commit", "--quiet", "-m", "fix: a hotfix"]);
    git(&["push", "--quiet", "origin", "hotfix"]);
    let wanted = json!({ "title": "fix: a hotfix", "head": "hotfix", "base": "main" });
    let number = proxy.send("POST", "{repo}/pulls", wanted, 201)["number"].clone();
    proxy.get("{repo}/pulls", 200);
    proxy.get("{repo}/commits/hotfix/pulls", 200);
    proxy.get(&format!("{{repo}}/pulls/{number}"), 200);
    let merge = format!("{{repo}}/pulls/{number}/merge");
    let answer = proxy.call("PUT", &merge, DANA, Some(json!({})));
    assert!([200, 405].contains(&answer.status), "{answer:?}");
    proxy.get(&format!("{{repo}}/pulls/{number}"), 200);
}
