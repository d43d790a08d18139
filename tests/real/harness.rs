//! Programs, servers and worlds for the tests; everything is bounded in time and ends with the tests.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest life of one client program, unless a test says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time that a server takes to be ready.
const START: Duration = Duration::from_secs(90);

/// Whether all `programs` are on the `PATH`. What is missing is said, or is a failure where it is required.
pub fn need(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|name| find(name).is_none()).collect();
    missing.is_empty() || skip(&format!("{} not installed", missing.join(", ")))
}

/// Whether python3 has all `modules`.
pub fn need_modules(modules: &[&str]) -> bool {
    need(&["python3"]) && {
        let imports = modules.iter().map(|name| format!("import {name}")).collect::<Vec<_>>().join("\n");
        Client::new("python3").args(["-c", &imports]).run().code == Some(0)
            || skip(&format!("python3 lacks one of {}", modules.join(", ")))
    }
}

/// A file of `GOSPEL_CONTRACTS`: API descriptions that belong to other projects.
pub fn contract(name: &str) -> Option<PathBuf> {
    let file = std::env::var_os("GOSPEL_CONTRACTS").map(|dir| Path::new(&dir).join(name)).filter(|file| file.is_file());
    if file.is_none() {
        skip(&format!("{name} is not in the directory GOSPEL_CONTRACTS"));
    }
    file
}

/// Says that a part is missing, or fails where it is required.
pub fn skip(why: &str) -> bool {
    assert!(std::env::var("GOSPEL_REAL").as_deref() != Ok("required"), "GOSPEL_REAL=required, but {why}");
    let name = thread::current().name().unwrap_or("test").to_owned();
    // Past the capture of the test harness: a skipped test must not look like a passed one.
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
    false
}

pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A port on which nothing listened a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks again until it is true; the last answer is in the failure.
pub fn eventually<T: std::fmt::Debug>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match ask() {
            Ok(value) => return value,
            Err(last) => assert!(begin.elapsed() < limit, "{what}: not within {limit:?}; last: {last}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// A client program, one run of it.
#[derive(Debug)]
pub struct Client {
    command: Command,
    input: Option<String>,
    limit: Duration,
}

/// What a client program did.
#[derive(Debug)]
pub struct Ran {
    /// `None`: it was ended by a signal, ours after the limit.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Its output; it must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What it complained about; it must have failed.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(self.code.is_some_and(|code| code != 0), "it should have failed: {self:?}");
        self.err
    }
}

impl Client {
    pub fn new(program: &str) -> Self {
        Self { command: Command::new(program), input: None, limit: PATIENCE }
    }

    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.command.arg(arg.into());
        self
    }

    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Ran {
        self.follow(|_| false)
    }

    /// Runs it until its output is enough: for clients that follow for ever.
    pub fn follow(self, enough: impl Fn(&str) -> bool) -> Ran {
        self.start().end_when(enough)
    }

    /// Starts it, and lets it run.
    pub fn start(mut self) -> Started {
        let stdin = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        let spawned = self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        if let (Some(text), Some(mut stdin)) = (self.input.take(), child.stdin.take()) {
            thread::spawn(move || stdin.write_all(text.as_bytes()));
        }
        let out = Collected::of(child.stdout.take().unwrap());
        let err = Collected::of(child.stderr.take().unwrap());
        Started { child, out, err, limit: self.limit }
    }
}

/// A client program that runs.
pub struct Started {
    child: Child,
    out: Collected,
    err: Collected,
    limit: Duration,
}

impl Started {
    /// Sends it a signal: `INT`, `KILL`, `HUP`.
    pub fn signal(&self, name: &str) {
        kill(name, self.child.id());
    }

    /// Waits for its end.
    pub fn end(self) -> Ran {
        self.end_when(|_| false)
    }

    fn end_when(mut self, enough: impl Fn(&str) -> bool) -> Ran {
        let code = wait(&mut self.child, self.limit, || enough(&self.out.text()));
        Ran { code, out: self.out.all(), err: self.err.all() }
    }
}

/// Sends a process a signal; it must be there.
pub fn kill(signal: &str, pid: u32) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
    assert!(sent.success(), "kill -{signal} {pid}");
}

/// What a program has written so far.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: thread::JoinHandle<()>,
}

impl Collected {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let to = bytes.clone();
        let reader = thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                to.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn all(self) -> String {
        let Self { bytes, reader } = self;
        reader.join().unwrap();
        String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned()
    }
}

/// Its exit code; `None` when it was ended because it was enough, or took too long.
fn wait(child: &mut Child, limit: Duration, enough: impl Fn() -> bool) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begin.elapsed() >= limit || enough() {
            let _ = child.kill();
            return child.wait().unwrap().code();
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// A server. It ends when this is dropped, and also when the test process ends in any other way: a shell waits for the end
/// of its standard input, which is ours.
#[derive(Debug)]
pub struct Server {
    shell: Child,
    /// Its first line of output, if it was waited for.
    pub hello: String,
}

/// Starts the server; at the end of the input, ends it and what it started.
const KEEPER: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null & server=$!
{ read -r _ <&3; kill $server; } >/dev/null 2>&1 & watcher=$!
wait $server
kill $watcher 2>/dev/null
"#;

impl Server {
    /// Starts a server whose readiness is asked for from outside.
    pub fn start(program: &str, args: &[&str], set: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh", program]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        set(&mut command);
        Self { shell: command.spawn().unwrap(), hello: String::new() }
    }

    /// Starts a server that says a line when it is ready.
    fn start_and_listen(program: &str, args: &[&str]) -> Self {
        let mut server = Self::start(program, args, |command| {
            command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        });
        let mut lines = BufReader::new(server.shell.stdout.take().unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = lines.read_line(&mut line);
            let _ = tell.send(line);
            // Nobody reads on; but a closed pipe could end the server.
            let _ = std::io::copy(&mut lines, &mut std::io::sink());
        });
        server.hello = told.recv_timeout(START).unwrap_or_else(|_| panic!("{program} did not start within {START:?}"));
        server
    }

    /// Waits until `url` answers with any status.
    pub fn ready_at(mut self, url: &str) -> Self {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.shell.try_wait().unwrap() {
                panic!("the server for {url} ended: {status}");
            }
            if http("GET", url, &[], None).is_ok() {
                return self;
            }
            assert!(begin.elapsed() < START, "{url} did not answer within {START:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = wait(&mut self.shell, Duration::from_secs(10), || false);
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One request over HTTP, with no retries and no proxy.
pub fn http(method: &str, url: &str, headers: &[(&str, &str)], body: Option<Value>) -> Result<Answer, String> {
    let ask = async {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        let mut request = client.request(method.parse().unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok::<_, reqwest::Error>(Answer { status, headers, body: answer.text().await? })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask).map_err(|error| format!("{error:?}"))
}

/// A served rehearsal.
#[derive(Debug)]
pub struct World {
    _server: Server,
    pub manifest: Value,
}

impl World {
    /// `rehearse serve` of a scenario.
    pub fn serve(scenario: &str, speed: u32) -> Self {
        let ours = env!("CARGO_BIN_EXE_gospel-release");
        let speed = speed.to_string();
        let serve = ["rehearse", "serve", scenario, "--speed", &speed, "--output", "json"];
        let server = Server::start_and_listen(ours, &serve);
        let manifest =
            serde_json::from_str(&server.hello).unwrap_or_else(|error| panic!("{error}: {:?}", server.hello));
        Self { _server: server, manifest }
    }

    /// The clean world that all tests share which do not release anything; ten minutes a second.
    pub fn shared() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| Self::serve("clean", 600))
    }

    pub fn url(&self, part: &str) -> &str {
        self.manifest["urls"][part].as_str().unwrap()
    }

    pub fn path(&self, part: &str) -> &str {
        self.manifest[part].as_str().unwrap()
    }

    /// A program with the world's environment.
    pub fn client(&self, program: &str) -> Client {
        let variables = self.manifest["environment"].as_object().unwrap();
        variables.iter().fold(Client::new(program), |client, (name, value)| client.env(name, value.as_str().unwrap()))
    }
}
