//! A served world, the real binary against it, and looks at both from outside.

mod kube;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The binary under test.
pub const BIN: &str = env!("CARGO_BIN_EXE_gospel-release");

/// Longest life of one program, and longest wait for one answer: far above any good one, so that a hang is a failure that
/// says what was printed.
const PATIENCE: Duration = Duration::from_secs(180);

/// Longest wait for one answer of a world.
const ANSWER: Duration = Duration::from_secs(30);

/// A rehearsed production in a process of its own; ended when dropped.
pub struct World {
    child: Child,
    pub manifest: Value,
    home: TempDir,
}

impl World {
    /// Serves `scenario` at its own speed.
    pub fn of(scenario: &str) -> Self {
        Self::start(&["rehearse", "serve", scenario])
    }

    /// Serves `scenario` at `speed` world seconds a second.
    pub fn serve(scenario: &str, speed: u32) -> Self {
        Self::start(&["rehearse", "serve", scenario, "--speed", &speed.to_string()])
    }

    /// Serves `scenario` with more flags of `rehearse serve`.
    pub fn serve_with(scenario: &str, flags: &[&str]) -> Self {
        Self::start(&[&["rehearse", "serve", scenario], flags].concat())
    }

    /// Serves `scenario` on a machine with these programs, and no others.
    pub fn serve_with_only(scenario: &str, programs: &[&str]) -> Self {
        Self::start_with(&["rehearse", "serve", scenario], programs)
    }

    fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    fn start_with(args: &[&str], programs: &[&str]) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let mut command = Command::new(BIN);
        if !programs.is_empty() {
            let (own, path) = (home.path().join("programs"), std::env::var_os("PATH").expect("PATH"));
            std::fs::create_dir(&own).expect("a directory");
            for program in programs {
                let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists());
                std::os::unix::fs::symlink(found.expect(program), own.join(program)).expect("a link");
            }
            command.env("PATH", own);
        }
        let mut child = command
            .args(args)
            .args(["--output", "json"])
            .env("HOME", home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("start rehearse serve");
        let (tell, told) = channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = tell.send(line);
        });
        let line = told.recv_timeout(PATIENCE).expect("a manifest in time");
        let manifest = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { child, manifest, home }
    }

    /// The tool in this world, with a state directory of the name `machine`.
    pub fn tool_on(&self, machine: &str, args: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        // Not by --config, which every hint would repeat.
        command.env("GOSPEL_RELEASE_CONFIG", self.manifest["config"].as_str().expect("config")).args(args);
        self.environment_of(&mut command);
        command.env("HOME", self.home.path()).env("XDG_STATE_HOME", self.state(machine)).env("USER", "tess");
        command
    }

    /// Gives a program what this world says to export.
    pub fn environment_of(&self, command: &mut Command) {
        for (name, value) in self.manifest["environment"].as_object().expect("environment") {
            command.env(name, value.as_str().expect("a string"));
        }
    }

    /// Runs the tool to its end.
    pub fn tool(&self, args: &[&str]) -> Ran {
        Running::start(self.tool_on("laptop", args)).end()
    }

    /// The developer's checkout in this world.
    pub fn checkout(&self) -> PathBuf {
        let text = std::fs::read_to_string(self.manifest["config"].as_str().expect("config")).expect("read it");
        let config: Value = serde_yaml::from_str(&text).expect("YAML");
        PathBuf::from(config["repository"]["checkout"].as_str().expect("a checkout"))
    }

    /// `git` in the checkout, as the developer runs it; it must succeed.
    #[track_caller]
    pub fn dev(&self, args: &[&str]) -> String {
        let ran = self.dev_may_fail(args);
        assert_eq!(ran.exit, 0, "git {args:?}\n{ran}");
        ran.stdout.trim().to_owned()
    }

    /// As [`World::dev`], however it ends.
    pub fn dev_may_fail(&self, args: &[&str]) -> Ran {
        let mut command = Command::new("git");
        command.args(args).current_dir(self.checkout());
        // The same commit in every world.
        command.env("GIT_AUTHOR_DATE", "2025-03-04T08:00:00Z").env("GIT_COMMITTER_DATE", "2025-03-04T08:00:00Z");
        self.environment_of(&mut command);
        command.env("HOME", self.home.path());
        Running::start(command).end()
    }

    pub fn state(&self, machine: &str) -> PathBuf {
        self.home.path().join(machine)
    }

    pub fn url(&self, name: &str) -> String {
        self.manifest["urls"][name].as_str().unwrap_or_else(|| panic!("no url {name}")).to_owned()
    }

    /// GET on the rehearsed GitHub's repository.
    pub fn github(&self, path: &str) -> Value {
        let url = format!("{}/repos/gospelib/gospelib/{path}", self.url("github"));
        block_on(async {
            let client = reqwest::Client::builder().timeout(ANSWER).build().expect("a client");
            // The flaky world answers 429 and 500 to us too.
            for _ in 0..20 {
                let request = client.get(&url).bearer_auth("ghp_rehearsal").header("user-agent", "test");
                if let Ok(answer) = request.send().await
                    && (answer.status().is_success() || answer.status() == 404)
                    && let Ok(value) = answer.json().await
                {
                    return value;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            panic!("GET {url} never answered")
        })
    }

    /// PUT on the rehearsed GitHub's repository, by somebody who may.
    pub fn github_put(&self, path: &str, body: &Value) -> Value {
        self.github_sent(reqwest::Method::PUT, path, body, "ghp_rehearsal")
    }

    /// POST there.
    pub fn github_post(&self, path: &str, body: &Value) -> Value {
        self.github_sent(reqwest::Method::POST, path, body, "ghp_rehearsal")
    }

    /// POST there, by another person.
    pub fn github_post_by(&self, login: &str, path: &str, body: &Value) -> Value {
        self.github_sent(reqwest::Method::POST, path, body, &format!("ghp_rehearsal_{login}"))
    }

    fn github_sent(&self, method: reqwest::Method, path: &str, body: &Value, token: &str) -> Value {
        let url = format!("{}/repos/gospelib/gospelib/{path}", self.url("github"));
        block_on(async {
            let client = reqwest::Client::builder().timeout(ANSWER).build().expect("a client");
            let request = client.request(method, &url).bearer_auth(token).header("user-agent", "test");
            let answer = request.json(body).send().await.expect("an answer");
            assert!(answer.status().is_success(), "{url}: {}", answer.status());
            answer.json().await.expect("JSON")
        })
    }

    /// Runs of the production workflow that a release tag started after the world began.
    pub fn workflow_runs(&self, tag: &str) -> Vec<Value> {
        let all = self.github("actions/workflows/cd-production.yml/runs?event=push&per_page=100");
        let runs = all["workflow_runs"].as_array().cloned().unwrap_or_default();
        runs.into_iter().filter(|run| run["head_branch"] == tag).collect()
    }

    /// GitHub Releases by tag.
    pub fn releases(&self) -> Vec<String> {
        let all = self.github("releases?per_page=100");
        all.as_array()
            .into_iter()
            .flatten()
            .filter_map(|release| Some(release["tag_name"].as_str()?.to_owned()))
            .collect()
    }

    /// The remote's refs: name to SHA (tags also peeled, as `name^{}`).
    pub fn refs(&self) -> BTreeMap<String, String> {
        for _ in 0..20 {
            let ran = git(self.home.path(), &["ls-remote", self.manifest["git"].as_str().expect("git")]);
            if ran.exit == 0 {
                return ran
                    .stdout
                    .lines()
                    .filter_map(|line| line.split_once('\t'))
                    .map(|(sha, name)| (name.to_owned(), sha.to_owned()))
                    .collect();
            }
        }
        panic!("git ls-remote never answered")
    }

    pub fn tags(&self) -> BTreeSet<String> {
        let tags = self.refs().into_keys().filter_map(|name| name.strip_prefix("refs/tags/").map(str::to_owned));
        tags.filter(|name| !name.ends_with("^{}")).collect()
    }

    /// What production's ready pods run: digests by Deployment.
    pub fn serving(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.ready_digests("gospelib-production")
    }

    /// What staging's ready pods run.
    pub fn soaked(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.ready_digests("gospelib-staging")
    }

    fn ready_digests(&self, namespace: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut serving: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pod in self.kube_list(&format!("/api/v1/namespaces/{namespace}/pods")) {
            let ready = pod["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
            let (Some(app), Some(image)) =
                (pod["metadata"]["labels"]["app"].as_str(), pod["status"]["containerStatuses"][0]["imageID"].as_str())
            else {
                continue;
            };
            if ready && pod["metadata"]["deletionTimestamp"].is_null() {
                let digest = image.rsplit_once('@').map_or(image, |(_, digest)| digest);
                serving.entry(app.to_owned()).or_default().insert(digest.to_owned());
            }
        }
        serving
    }

    /// The production Application.
    pub fn application(&self) -> Value {
        self.kube("/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/gospelib-production")
    }

    /// The Lease's holder; empty when it is free.
    pub fn lock_holder(&self) -> String {
        let lease = self.kube("/apis/coordination.k8s.io/v1/namespaces/gospelib-production/leases/gospel-release");
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// A clone of our own, as new as the remote.
    fn clone_of_remote(&self) -> PathBuf {
        let dir = self.home.path().join("look");
        if !dir.exists() {
            let url = self.manifest["git"].as_str().expect("git");
            run_git(self.home.path(), &["clone", "--quiet", url, "look"]);
        }
        run_git(&dir, &["fetch", "--quiet", "origin"]);
        dir
    }

    /// A file of the remote's main branch.
    pub fn file_on_main(&self, path: &str) -> String {
        run_git(&self.clone_of_remote(), &["show", &format!("origin/main:{path}")]).stdout
    }

    /// Subjects of the commits in a range of the remote (`origin/main` and SHAs), newest first.
    pub fn log(&self, range: &str) -> Vec<String> {
        let ran = run_git(&self.clone_of_remote(), &["log", "--format=%s", range]);
        ran.stdout.lines().map(str::to_owned).collect()
    }

    /// A commit's whole message.
    pub fn message(&self, commit: &str) -> String {
        run_git(&self.clone_of_remote(), &["log", "-1", "--format=%B", commit]).stdout
    }

    /// How many commits of main changed a file.
    pub fn changes_of(&self, path: &str) -> usize {
        self.changes_in("origin/main", path)
    }

    /// How many of them are not in a commit's past.
    pub fn changes_since(&self, commit: &str, path: &str) -> usize {
        self.changes_in(&format!("{commit}..origin/main"), path)
    }

    fn changes_in(&self, range: &str, path: &str) -> usize {
        run_git(&self.clone_of_remote(), &["log", "--format=%H", range, "--", path]).stdout.lines().count()
    }

    /// Keys of a ConfigMap of production, with what is ours of them left out: run ids.
    pub fn kept(&self, name: &str) -> Vec<String> {
        let map = self.kube(&format!("/api/v1/namespaces/gospelib-production/configmaps/{name}"));
        map["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    /// Every database's migration version and whether it is dirty, by the variable that names its URL.
    pub fn migrations(&self) -> BTreeMap<String, Vec<Option<String>>> {
        let urls = self.manifest["environment"].as_object().expect("environment").iter();
        let urls = urls.filter(|(name, _)| name.ends_with("_PG_URL"));
        block_on(async {
            let mut found = BTreeMap::new();
            for (name, url) in urls {
                let url = url.as_str().expect("a URL");
                let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("connect");
                let running = tokio::spawn(connection);
                let rows = client.simple_query("SELECT version, dirty FROM schema_migrations LIMIT 1").await;
                let row = rows.expect("an answer").into_iter().find_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => {
                        Some([0, 1].map(|at| row.get(at).map(str::to_owned)))
                    }
                    _ => None,
                });
                found.insert(name.clone(), row.map(Vec::from).unwrap_or_default());
                drop(client);
                let _ = running.await;
            }
            found
        })
    }

    /// One statement in a database, by the variable that names its URL.
    pub fn sql(&self, name: &str, statement: &str) {
        let url = self.manifest["environment"][name].as_str().expect("a URL");
        block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("connect");
            let running = tokio::spawn(connection);
            client.simple_query(statement).await.expect(statement);
            drop(client);
            let _ = running.await;
        });
    }

    /// The digest that ECR has under a tag, asked over the wire.
    pub fn digest_of(&self, repository: &str, tag: &str) -> Option<String> {
        let wanted = serde_json::json!({"repositoryName": repository, "imageIds": [{"imageTag": tag}]});
        let answer = self.aws("AmazonEC2ContainerRegistry_V20150921.DescribeImages", &wanted);
        answer["imageDetails"][0]["imageDigest"].as_str().map(str::to_owned)
    }

    /// One call of an AWS service that speaks JSON; the rehearsal does not check signatures, only that there is one.
    fn aws(&self, target: &str, body: &Value) -> Value {
        let key = self.manifest["environment"]["AWS_ACCESS_KEY_ID"].as_str().expect("a key");
        let signed = format!(
            "AWS4-HMAC-SHA256 Credential={key}/20250304/us-east-1/ecr/aws4_request, SignedHeaders=host, Signature=0"
        );
        block_on(async {
            let client = reqwest::Client::builder().timeout(ANSWER).build().expect("a client");
            let request = client
                .post(self.url("aws"))
                .header("x-amz-target", target)
                .header("content-type", "application/x-amz-json-1.1")
                .header("authorization", signed)
                .body(body.to_string());
            request.send().await.expect("an answer").json().await.expect("JSON")
        })
    }

    /// Switches a fault of the world on or off.
    pub fn fault(&self, name: &str, on: bool) {
        let url = format!("{}/faults/{name}", self.url("control"));
        block_on(async {
            let client = reqwest::Client::builder().timeout(ANSWER).build().expect("a client");
            let answer = client.put(url).body(on.to_string()).send().await.expect("an answer");
            assert!(answer.status().is_success(), "{answer:?}");
        });
    }

    /// GET on the world's control address.
    pub fn control(&self, path: &str) -> Value {
        let url = format!("{}/{path}", self.url("control"));
        block_on(async {
            let client = reqwest::Client::builder().timeout(ANSWER).build().expect("a client");
            client.get(url).send().await.expect("an answer").json().await.expect("JSON")
        })
    }

    /// What the team was told, oldest first.
    pub fn told(&self) -> Vec<Value> {
        let mut command = Command::new("curl");
        command.args(["-sS", &format!("{}/received", self.url("webhook"))]);
        Running::start(command).end().json().as_array().cloned().expect("a list")
    }
}

/// One run of git; it never asks.
pub fn git(dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env("GIT_TERMINAL_PROMPT", "0");
    Running::start(command).end()
}

fn run_git(dir: &Path, args: &[&str]) -> Ran {
    for _ in 0..20 {
        let ran = git(dir, args);
        if ran.exit == 0 {
            return ran;
        }
    }
    panic!("git {args:?} never worked")
}

impl Drop for World {
    fn drop(&mut self) {
        ask_to_end(&mut self.child);
    }
}

/// Asked to end, a world tidies its directory away; one that does not listen is killed.
pub fn ask_to_end(world: &mut Child) {
    if let Some(pid) = i32::try_from(world.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    for _ in 0..150 {
        if matches!(world.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = world.kill();
    let _ = world.wait();
}

/// A program under way. Its life is bounded: one that hangs is killed, and what it printed is in the failure.
pub struct Running {
    child: Child,
    shown: String,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let shown = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        Self { child, shown, stdout: collect(stdout), stderr: collect(stderr) }
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let status = self.child.wait().expect("wait");
                panic!("it did not end within {PATIENCE:?}: {}\n{}", self.shown, self.left(status));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.left(status)
    }

    fn left(&self, status: ExitStatus) -> Ran {
        use std::os::unix::process::ExitStatusExt;
        let text = |from: &Receiver<Vec<u8>>| {
            let bytes = from.recv_timeout(Duration::from_secs(20));
            bytes.map_or_else(
                |_| "(something that it started still holds this stream)".to_owned(),
                |bytes| String::from_utf8_lossy(&bytes).into_owned(),
            )
        };
        Ran {
            exit: status.code().unwrap_or(-1),
            signal: status.signal(),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = tell.send(bytes);
    });
    told
}

/// What a run of the tool left behind.
#[derive(Debug)]
pub struct Ran {
    /// -1 when a signal ended it.
    pub exit: i32,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The JSON document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    #[track_caller]
    pub fn ended(&self, exit: i32) -> &Self {
        assert_eq!(self.exit, exit, "{self}");
        self
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text) || self.stdout.contains(text), "nothing says {text:?}\n{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}\n--- stderr\n{}", self.exit, self.stdout, self.stderr)
    }
}

/// Waits until it holds; a minute is for ever.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}
