//! The client over a real socket, against a server that answers from a script.

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::*;
use crate::config::model;
use crate::domain::CommitSha;
use crate::error::{Class, Result};

/// What was asked: `METHOD /path?query`, and the Authorization header.
type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Answers each request by `answer(number of the request, "METHOD /path?query")`.
async fn server(answer: impl Fn(usize, &str) -> Response + Clone + Send + Sync + 'static) -> (GitHub, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let app = axum::Router::new().fallback(move |request: Request| {
        let line = format!("{} {}", request.method(), request.uri());
        let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push((line.clone(), token.map(str::to_owned)));
            seen.len() - 1
        };
        let response = answer(number, &line);
        async move { response }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    // A base with a path, as GitHub Enterprise has it.
    let api = format!("http://{}/api/v3/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = model::GitHub { api, ..model::GitHub::default() };
    let github = GitHub::connect(&config, "gospelib/gospelib", Token::new("s3cret")).unwrap();
    (github, asked)
}

fn reply(status: u16, body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::from_u16(status).unwrap(), kind, body.to_string()).into_response()
}

fn sha() -> CommitSha {
    "a".repeat(40).parse().unwrap()
}

fn lines(asked: &Asked) -> Vec<String> {
    asked.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
}

fn release(tag: &str) -> Value {
    json!({ "id": 7, "tag_name": tag, "name": tag, "body": "", "html_url": "https://github.com/x", "draft": false,
        "prerelease": false, "created_at": "2025-03-04T09:00:00Z", "published_at": "2025-03-04T09:00:00Z" })
}

#[tokio::test]
async fn all_pages_are_read_with_the_token_and_encoded_refs() {
    let (github, asked) = server(|_, line| {
        if line.contains("page=2") {
            return reply(
                200,
                &json!([{ "type": "required_status_checks", "ruleset_id": 1,
                "parameters": { "required_status_checks": [{ "context": "ci / unit" }] } }]),
            );
        }
        if line.contains("/rules/") {
            let mut first = reply(200, &json!([{ "type": "deletion" }]));
            let link = r#"<https://elsewhere.example/x?page=2>; rel="next""#;
            first.headers_mut().insert(header::LINK, link.parse().unwrap());
            return first;
        }
        reply(403, &json!({ "message": "Resource not accessible by personal access token" }))
    })
    .await;
    let required = github.required_checks("release/1.x").await.unwrap();
    assert_eq!(required.checks.len(), 1);
    assert_eq!(required.unknown.len(), 1, "{:?}", required.unknown);
    let lines = lines(&asked);
    let second = "GET /api/v3/repos/gospelib/gospelib/rules/branches/release%2F1.x?per_page=100&page=2";
    assert!(lines.iter().any(|line| line == second), "{lines:?}");
    assert!(asked.lock().unwrap().iter().all(|(_, token)| token.as_deref() == Some("Bearer s3cret")));
}

#[tokio::test]
async fn a_protection_that_is_hidden_is_not_none() {
    // GitHub says 404 to a token that may not administer; the branch itself says whether there is a protection.
    let branch = |protection: Value| {
        server(move |_, line| match line {
            line if line.contains("/rules/") => reply(200, &json!([])),
            line if line.ends_with("/protection") => reply(404, &json!({ "message": "Not Found" })),
            _ => reply(200, &json!({ "name": "main", "protected": true, "protection": protection })),
        })
    };
    let (github, _) = branch(json!({ "enabled": true })).await;
    let required = github.required_checks("main").await.unwrap();
    assert_eq!(required.unknown, ["branch protection of main: the token may not read it"]);
    let told = json!({ "enabled": true, "required_status_checks": { "contexts": ["ci / unit"] } });
    let (github, _) = branch(told).await;
    let required = github.required_checks("main").await.unwrap();
    assert_eq!((required.checks[0].context.as_str(), required.unknown.len()), ("ci / unit", 0));
    let (github, _) = branch(json!({ "enabled": false })).await;
    let required = github.required_checks("main").await.unwrap();
    assert!(required.checks.is_empty() && required.unknown.is_empty(), "{required:?}");
}

#[tokio::test]
async fn a_rule_against_force_pushes_alone_keeps_no_tag_in_its_place() {
    let rules = |kinds: &'static [&'static str]| async move {
        let (github, _) = server(move |_, line| {
            let rules: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
            let refs = json!({ "ref_name": { "include": ["refs/tags/release/v*"], "exclude": [] } });
            match line {
                line if line.contains("/rulesets/7") => reply(
                    200,
                    &json!({ "name": "release tags", "conditions": refs, "rules": rules, "current_user_can_bypass": "always" }),
                ),
                _ => reply(200, &json!([{ "id": 7, "name": "release tags", "target": "tag", "enforcement": "active" }])),
            }
        })
        .await;
        github.tag_rules("release/v1.2.0").await.unwrap()
    };
    let weak = rules(&["non_fast_forward", "deletion"]).await;
    assert_eq!((weak.no_update, weak.no_deletion), (false, true));
    let whole = rules(&["update", "deletion"]).await;
    assert!(whole.no_update && whole.no_deletion);
    assert_eq!(whole.bypassed, ["release tags"]);
}

#[tokio::test]
async fn only_older_runs_are_ahead() {
    let (github, _) = server(|_, line| {
        let run = |id: u64, status: &str| {
            json!({ "id": id, "name": "cd", "head_sha": "a".repeat(40), "head_branch": "release/v1.2.0", "event": "push",
                "status": status, "conclusion": null, "html_url": "https://github.com/x", "run_number": id, "run_attempt": 1,
                "created_at": "2025-03-04T09:00:00Z", "updated_at": "2025-03-04T09:00:00Z", "path": "x" })
        };
        let runs = if line.contains("status=in_progress") { json!([run(4, "in_progress"), run(9, "in_progress")]) } else { json!([]) };
        reply(200, &json!({ "total_count": 2, "workflow_runs": runs }))
    })
    .await;
    let ahead = github.queued_ahead("cd-production.yml", 7).await.unwrap();
    assert_eq!(ahead.iter().map(|run| run.id).collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn a_write_that_happened_is_not_sent_again() {
    let (github, asked) = server(|number, line| match number {
        0 => reply(502, &json!({ "message": "Server Error" })),
        _ if line.starts_with("GET") => reply(200, &release("release/v1.2.0")),
        _ => reply(500, &json!({})),
    })
    .await;
    let new = NewRelease {
        tag: "release/v1.2.0".into(),
        commit: sha(),
        name: "v1.2.0".into(),
        body: "notes".into(),
        latest: true,
    };
    assert_eq!(github.create_release(&new).await.unwrap().id, 7);
    let lines = lines(&asked);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].ends_with("/releases/tags/release%2Fv1.2.0"), "{lines:?}");
}

#[tokio::test]
async fn a_write_without_effect_is_sent_again_and_a_read_survives_a_bad_moment() {
    let (github, asked) = server(|number, line| match number {
        0 => reply(502, &json!({})),
        1 => reply(503, &json!({})),
        _ if line.starts_with("GET") => reply(404, &json!({ "message": "Not Found" })),
        _ => reply(201, &release("release/v1.2.0")),
    })
    .await;
    let new = NewRelease {
        tag: "release/v1.2.0".into(),
        commit: sha(),
        name: String::new(),
        body: String::new(),
        latest: false,
    };
    github.create_release(&new).await.unwrap();
    let methods: Vec<String> = lines(&asked).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(methods, ["POST", "GET", "GET", "POST"]);
}

#[tokio::test]
async fn refusals_keep_their_meaning() {
    let (github, _) = server(|_, line| match line {
        line if line.ends_with("/user") => reply(401, &json!({ "message": "Bad credentials" })),
        line if line.ends_with("/environments/production") => reply(404, &json!({ "message": "Not Found" })),
        _ => reply(200, &json!({ "id": "not a number" })),
    })
    .await;
    let error = github.user().await.unwrap_err();
    assert_eq!(error.classified(), Class::Denied);
    assert!(error.hints()[0].contains("GH_TOKEN") && !format!("{error:?}").contains("s3cret"));
    assert_eq!(github.environment("production").await.unwrap(), None);
    let error = github.run(1).await.unwrap_err();
    assert!(error.what().contains("actions/runs/1") && !error.causes().is_empty(), "{error:?}");
}

#[tokio::test]
async fn whose_job_it_is_is_asked_once_and_an_answer_that_fails_is_no_pass() {
    let check = |id: u64, suite: u64, conclusion: &str| {
        json!({ "id": id, "name": "unit", "status": "completed", "conclusion": conclusion, "check_suite": { "id": suite },
            "started_at": format!("2025-03-04T09:0{id}:00Z"), "app": { "id": 15368, "slug": "github-actions" } })
    };
    let run = |suite: u64, workflow: u64, path: &str| json!({ "check_suite_id": suite, "workflow_id": workflow, "path": path });
    let answer = move |may: bool, line: &str| {
        if line.contains("/statuses") {
            return reply(200, &json!([]));
        }
        if line.contains("/check-runs") {
            let runs = [check(1, 11, "failure"), check(2, 12, "failure"), check(3, 13, "success")];
            return reply(200, &json!({ "check_runs": runs }));
        }
        assert!(line.contains(&format!("/actions/runs?head_sha={}", "a".repeat(40))), "{line}");
        if !may {
            return reply(403, &json!({ "message": "Resource not accessible by personal access token" }));
        }
        let (ci, nightly) = (".github/workflows/ci.yml", ".github/workflows/nightly.yml@main");
        reply(200, &json!({ "workflow_runs": [run(11, 1, ci), run(12, 2, nightly), run(13, 1, ci)] }))
    };
    let (github, asked) = server(move |_, line| answer(true, line)).await;
    let checks = github.checks(&sha()).await.unwrap();
    let seen = |checks: &Checks| -> Vec<(u64, Option<String>)> {
        checks.runs.iter().map(|run| (run.id, run.workflow.clone().map(|workflow| workflow.file))).collect()
    };
    assert_eq!(seen(&checks), [(2, Some("nightly.yml".into())), (3, Some("ci.yml".into()))]);
    assert_eq!((checks.unclear.clone(), lines(&asked).len()), (None, 3));
    let (github, _) = server(move |_, line| answer(false, line)).await;
    let checks = github.checks(&sha()).await.unwrap();
    assert_eq!(seen(&checks), [(1, None), (2, None), (3, None)]);
    assert!(checks.unclear.is_some());
}

#[tokio::test]
async fn nobody_there_is_transient() {
    let config = model::GitHub { api: "http://127.0.0.1:1".into(), ..model::GitHub::default() };
    let mut github = GitHub::connect(&config, "gospelib/gospelib", None).unwrap();
    github.retry = crate::adapters::retry::Retry::never();
    let error = github.latest_release().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(format!("{error:?}").to_lowercase().contains("refused"), "{error:?}");
    assert!(!format!("{error:?}").contains("Backtrace"), "{error:?}");
}

/// Steps are boxed Send futures.
#[allow(dead_code)]
fn calls_can_cross_threads(github: &GitHub) -> futures::future::BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        github.approve(1, &[2], "ok").await?;
        github.cancel(1).await?;
        github.checks(&sha()).await?;
        github.queued_ahead("cd.yml", u64::MAX).await?;
        github.tag_rules("release/v1").await?;
        github.user().await.map(|_| ())
    })
}

/// Likewise for Git.
#[allow(dead_code)]
fn git_calls_can_cross_threads(git: &crate::adapters::git::Git) -> futures::future::BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        let version = crate::domain::Version::new(1, 0, 0);
        git.remote_url().await?;
        git.fetch().await?;
        git.create_tag(&version, &sha(), "x").await?;
        git.push_tag(&version).await?;
        git.delete_local_tag(&version, &sha()).await.map(|_| ())
    })
}
