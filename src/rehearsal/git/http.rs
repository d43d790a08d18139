//! Smart HTTP at `/git/<owner>/<name>.git`, through `git http-backend` as a CGI program (gitprotocol-http(5),
//! git-http-backend(1)). No credentials are asked for; the rules on release tags are GitHub's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::{RefChange, Repo, author, receive};
use crate::process::Program;
use crate::rehearsal::World;

/// The routes below `/git/`.
pub fn router(world: Arc<World>) -> Router {
    Router::new().route("/git/{owner}/{name}/{*rest}", any(serve)).layer(DefaultBodyLimit::disable()).with_state(world)
}

async fn serve(
    State(world): State<Arc<World>>,
    Path((owner, name, rest)): Path<(String, String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let slug = format!("{owner}/{}", name.strip_suffix(".git").unwrap_or(&name));
    let known = matches!(rest.as_str(), "info/refs" | "git-upload-pack" | "git-receive-pack" | "HEAD");
    if slug != world.shape.slug || !known {
        return (StatusCode::NOT_FOUND, "Repository not found.\n").into_response();
    }
    let request = Request { method, rest, query: uri.query().unwrap_or_default().to_owned(), headers, body };
    if request.rest == "info/refs" && request.query.contains("service=git-receive-pack") {
        main_moves(&world);
    }
    if request.rest == "git-receive-pack" && request.method == Method::POST {
        receive_pack(&world, request).await
    } else {
        backend(&world.repo, request).await
    }
}

struct Request {
    method: Method,
    rest: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Receives one push: rules, accidents, then Git itself; at last those who wait for pushes are told.
async fn receive_pack(world: &Arc<World>, request: Request) -> Response {
    if !request.header("content-encoding").is_empty() {
        // Git compresses requests of fetches only; the commands of a push must be readable here.
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed pushes are not rehearsed\n").into_response();
    }
    let repo = &world.repo;
    let _one_at_a_time = repo.receiving.lock().await;
    let push = match receive::Push::parse(&request.body) {
        Ok(push) => push,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    if let Some(refusal) = push.against_rules(&world.shape.slug, world.scenario.world.main.protected) {
        return answer(push.refuse(&refusal));
    }
    let to_main = push.commands.iter().any(|command| command.name == receive::MAIN);
    if repo.races.landed.swap(false, Ordering::Relaxed) && !to_main {
        // It was not main that this push was about: the accident is still to come.
        repo.races.main.store(true, Ordering::Relaxed);
    }
    let release = push.commands.iter().find(|command| command.name.starts_with(receive::PROTECTED));
    if let Some(tag) = release
        && repo.races.push.swap(false, Ordering::Relaxed)
    {
        if let Some(change) = somebody_else(world, "mira-w", "fix(web): focus stays in the search box", "search.ts") {
            world.hub.on_push(world, &[change]);
        }
        return answer(push.refuse(&receive::Refusal::locked(&tag.name)));
    }
    let before = repo.refs("refs/");
    let response = backend(repo, request).await;
    let after = repo.refs("refs/");
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changes: Vec<RefChange> = names
        .into_iter()
        .map(|name| RefChange { name: name.clone(), old: before.get(name).cloned(), new: after.get(name).cloned() })
        .filter(|change| change.old != change.new)
        .collect();
    if !changes.is_empty() {
        repo.announce();
        world.hub.on_push(world, &changes);
    }
    response
}

/// A colleague's commit lands on main before the client hears where main is: Git calls its push "fetch first".
fn main_moves(world: &Arc<World>) {
    let races = &world.repo.races;
    races.landed.store(false, Ordering::Relaxed);
    if races.main.swap(false, Ordering::Relaxed)
        && let Some(change) = somebody_else(world, "joel-k", "docs(web): where the footnotes went", "footnotes.ts")
    {
        races.landed.store(true, Ordering::Relaxed);
        world.hub.on_push(world, &[change]);
    }
}

/// A colleague's commit lands on main.
pub fn somebody_else(world: &World, login: &str, message: &str, file: &str) -> Option<RefChange> {
    let repo = &world.repo;
    let old = repo.head("main");
    let path = format!("apps/web/src/{file}");
    let text = format!("// {message}\n");
    let new = repo.commit_files("main", &[(&path, &text)], message, &author(login, world.clock.now())).ok()?;
    Some(RefChange { name: "refs/heads/main".into(), old, new: Some(new) })
}

fn answer(body: Vec<u8>) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/x-git-receive-pack-result"), (header::CACHE_CONTROL, "no-cache")];
    (StatusCode::OK, headers, body).into_response()
}

/// Runs `git http-backend` on the request (RFC 3875's variables) and reads its answer.
async fn backend(repo: &Repo, request: Request) -> Response {
    let program = Program::new("git")
        .args(["http-backend"])
        .clean_env()
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        // The directory is ours, whoever we run as.
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .env("GIT_PROJECT_ROOT", repo.path())
        .env("PATH_INFO", format!("/{}", request.rest))
        .env("REQUEST_METHOD", request.method.as_str())
        .env("QUERY_STRING", &request.query)
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REMOTE_USER", "dana-dev")
        .env("CONTENT_TYPE", request.header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", request.header("content-encoding"))
        .env("GIT_PROTOCOL", request.header("git-protocol"))
        .timeout(Duration::from_mins(1))
        .stdin(request.body.to_vec());
    match program.output().await {
        Ok(finished) => {
            let errors = finished.error_text();
            cgi_answer(finished.stdout).unwrap_or_else(|| failed(&format!("git http-backend: {}", errors.trim_end())))
        }
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response()
}

/// A CGI program's answer: headers, a blank line, the body; `Status` is the HTTP status.
fn cgi_answer(mut output: Vec<u8>) -> Option<Response> {
    let (end, gap) = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| (at, 4))
        .or_else(|| output.windows(2).position(|window| window == b"\n\n").map(|at| (at, 2)))?;
    let body = output.split_off(end + gap);
    let mut response = Response::new(Body::from(body));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok())?;
            *response.status_mut() = StatusCode::from_u16(code).ok()?;
        } else {
            let name = header::HeaderName::from_bytes(name.as_bytes()).ok()?;
            response.headers_mut().append(name, header::HeaderValue::from_str(value).ok()?);
        }
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Finished;
    use crate::rehearsal::github::testing;

    async fn git(dir: &std::path::Path, args: &[&str]) -> Finished {
        Program::new("git")
            .args(args)
            .cwd(dir)
            .clean_env()
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_AUTHOR_NAME", "Dana")
            .env("GIT_AUTHOR_EMAIL", "dana-dev@gospelib.example")
            .env("GIT_COMMITTER_NAME", "Dana")
            .env("GIT_COMMITTER_EMAIL", "dana-dev@gospelib.example")
            .output()
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn git_clones_and_pushes_and_release_tags_stay() {
        let served = testing::serve("{git_race: true}").await;
        let dir = tempfile::tempdir().unwrap();
        let url = format!("{}/git/gospelib/gospelib.git", served.url);
        let cloned = git(dir.path(), &["clone", "-q", &url, "work"]).await;
        assert!(cloned.success(), "{}", cloned.error_text());
        let work = dir.path().join("work");
        let candidate = served.world.past.candidate.commit.clone();
        git(&work, &["tag", "-a", "release/v1.2.0", "-m", "Release v1.2.0", &candidate]).await;
        let tip = served.world.repo.head("main");
        let push = ["push", "--atomic", "origin", "refs/tags/release/v1.2.0"];
        let refused = git(&work, &push).await;
        assert!(!refused.success() && refused.error_text().contains("cannot lock ref"), "{}", refused.error_text());
        assert_ne!(served.world.repo.head("main"), tip, "somebody else's commit is there");
        assert!(served.world.repo.tag("release/v1.2.0").is_none());
        let pushed = git(&work, &push).await;
        assert!(pushed.success(), "{}", pushed.error_text());
        assert_eq!(served.world.repo.tag("release/v1.2.0").unwrap().commit, candidate);

        for moved in
            [vec!["push", "-f", "origin", "main:refs/tags/release/v1.2.0"], vec!["push", "origin", ":release/v1.2.0"]]
        {
            let refused = git(&work, &moved).await;
            let said = refused.error_text();
            assert!(!refused.success() && said.contains("remote: error: GH013"), "{said}");
        }
        assert_eq!(served.world.repo.tag("release/v1.2.0").unwrap().commit, candidate);

        git(&work, &["pull", "-q", "--rebase"]).await;
        std::fs::write(work.join("big.bin"), vec![7_u8; 3 << 20]).unwrap();
        git(&work, &["add", "."]).await;
        git(&work, &["commit", "-qm", "chore: large"]).await;
        let pushed = git(&work, &["-c", "http.postBuffer=1000", "push", "origin", "HEAD:main"]).await;
        assert!(pushed.success(), "{}", pushed.error_text());
        let missing = git(dir.path(), &["clone", "-q", &url.replace("gospelib.git", "other.git"), "x"]).await;
        assert!(missing.error_text().contains("not found"), "{}", missing.error_text());
    }

    /// A clone with one commit of Dana's on main.
    async fn with_a_commit(served: &testing::Served, dir: &std::path::Path) -> std::path::PathBuf {
        let url = format!("{}/git/gospelib/gospelib.git", served.url);
        assert!(git(dir, &["clone", "-q", &url, "work"]).await.success());
        let work = dir.join("work");
        std::fs::write(work.join("note.txt"), "note").unwrap();
        git(&work, &["add", "."]).await;
        assert!(git(&work, &["commit", "-qm", "chore: a note"]).await.success());
        work
    }

    #[tokio::test]
    async fn main_moves_before_the_first_push_to_it_and_only_then() {
        let served = testing::serve("{main: {moves: true}}").await;
        let dir = tempfile::tempdir().unwrap();
        let work = with_a_commit(&served, dir.path()).await;
        assert!(git(&work, &["push", "-q", "origin", "HEAD:hotfix/a"]).await.success(), "other branches are free");
        let refused = git(&work, &["push", "origin", "HEAD:main"]).await;
        assert!(!refused.success() && refused.error_text().contains("(fetch first)"), "{}", refused.error_text());
        assert!(git(&work, &["pull", "-q", "--rebase"]).await.success());
        let pushed = git(&work, &["push", "-q", "origin", "HEAD:main"]).await;
        assert!(pushed.success(), "{}", pushed.error_text());
    }

    #[tokio::test]
    async fn a_protected_main_takes_no_pushes() {
        let served = testing::serve("{main: {protected: true}}").await;
        let dir = tempfile::tempdir().unwrap();
        let work = with_a_commit(&served, dir.path()).await;
        let refused = git(&work, &["push", "origin", "HEAD:main"]).await;
        let said = refused.error_text();
        assert!(said.contains("remote: error: GH006: Protected branch update failed for refs/heads/main."), "{said}");
        assert!(said.contains("! [remote rejected] HEAD -> main (protected branch hook declined)"), "{said}");
        assert!(git(&work, &["push", "-q", "origin", "HEAD:hotfix/a"]).await.success());
    }

    #[tokio::test]
    async fn an_outage_ends_when_somebody_repairs_it() {
        let served = testing::serve("{git_down: true}").await;
        let client = reqwest::Client::new();
        let status = async |url: &str| client.get(url).bearer_auth("ghp_rehearsal").send().await.unwrap().status();
        let (repo, clone) = (
            format!("{}/repos/gospelib/gospelib", served.url),
            format!("{}/git/gospelib/gospelib.git/info/refs?service=git-upload-pack", served.url),
        );
        assert_eq!((status(&repo).await.as_u16(), status(&clone).await.as_u16()), (503, 503));
        let faults: serde_json::Value =
            client.get(format!("{}/control/faults", served.url)).send().await.unwrap().json().await.unwrap();
        assert_eq!(
            faults,
            serde_json::json!({"git-down": true, "git-hangs": false, "argo-down": false, "state-locked": false})
        );
        let put = async |name: &str, body: &'static str| {
            client
                .put(format!("{}/control/faults/{name}", served.url))
                .body(body)
                .send()
                .await
                .unwrap()
                .status()
                .as_u16()
        };
        assert_eq!((put("nothing", "true").await, put("git-down", "perhaps").await), (404, 400));
        assert_eq!(put("git-down", "false").await, 200);
        assert_eq!((status(&repo).await.as_u16(), status(&clone).await.as_u16()), (200, 200));
    }
}
