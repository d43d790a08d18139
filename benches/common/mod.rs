//! What every measurement needs: a served world, a program run with what it cost, and a table.

#![allow(dead_code, reason = "each bench uses its part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The tool under measurement, as `cargo bench` builds it.
pub const BIN: &str = env!("CARGO_BIN_EXE_gospel-release");

/// GNU time: what a program cost, as its parent is told.
const TIME: &str = "/usr/bin/time";

/// Whether to measure: `cargo bench` says so, `cargo test --benches` does not.
pub fn asked() -> bool {
    let asked = std::env::args().any(|arg| arg == "--bench");
    if !asked {
        println!("nothing measured: cargo bench --bench NAME");
    }
    asked
}

/// What one run of a program cost.
#[derive(Debug, Clone)]
pub struct Cost {
    pub exit: i32,
    pub wall: Duration,
    /// User and system time of the program and of the programs that it ran, in seconds.
    pub cpu: f64,
    /// Largest resident set of any one of them.
    pub peak_kib: u64,
    pub stdout: String,
    /// Lines of standard error, and when each came.
    pub stderr: Vec<(Duration, String)>,
}

impl Cost {
    pub fn peak_mib(&self) -> f64 {
        self.peak_kib as f64 / 1024.0
    }

    /// When the first line came that holds every one of `words`.
    pub fn when(&self, words: &[&str]) -> Option<Duration> {
        self.stderr.iter().find(|(_, line)| words.iter().all(|word| line.contains(word))).map(|(at, _)| *at)
    }

    #[track_caller]
    pub fn ok(self, what: &str) -> Self {
        if self.exit != 0 {
            let last: Vec<&str> = self.stderr.iter().rev().take(12).rev().map(|(_, line)| line.as_str()).collect();
            panic!("{what} ended with {}\n{}\n{}", self.exit, self.stdout, last.join("\n"));
        }
        self
    }
}

/// Runs a program to its end. Its arguments and environment are `command`'s.
pub fn cost(command: &Command) -> Cost {
    let report = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut timed = Command::new(TIME);
    timed.args(["-q", "-f", "%U %S %M", "-o"]).arg(report.path()).arg("--");
    timed.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        timed.current_dir(dir);
    }
    timed.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = timed.spawn().unwrap_or_else(|error| panic!("{TIME} (package time): {error}"));
    let (mut out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let stdout = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        text
    });
    let lines = BufReader::new(err).lines().map_while(Result::ok);
    let stderr = lines.map(|line| (begun.elapsed(), line)).collect();
    let status = child.wait().expect("wait");
    let wall = begun.elapsed();
    let text = std::fs::read_to_string(report.path()).expect("what it cost");
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [user, system, peak] = numbers[..] else { panic!("{text:?}") };
    Cost {
        exit: status.code().unwrap_or(-1),
        wall,
        cpu: user + system,
        peak_kib: peak as u64,
        stdout: stdout.join().expect("read"),
        stderr,
    }
}

/// A rehearsed production in a process of its own; ended when dropped.
pub struct World {
    child: Child,
    pub manifest: Value,
    home: tempfile::TempDir,
}

impl World {
    /// `rehearse serve` with these arguments.
    pub fn serve(args: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut child = Command::new(BIN)
            .args(["--output", "json", "rehearse", "serve"])
            .args(args)
            .env("HOME", home.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start rehearse serve");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a manifest");
        Self { child, manifest: serde_json::from_str(&line).expect("a manifest"), home }
    }

    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// The world's own checkout of its repository.
    pub fn checkout(&self) -> PathBuf {
        Path::new(self.manifest["config"].as_str().expect("config")).with_file_name("checkout")
    }

    /// Any program, in the world's environment.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, value) in self.manifest["environment"].as_object().expect("environment") {
            command.env(name, value.as_str().expect("a string"));
        }
        command.env("HOME", self.home.path()).env("XDG_STATE_HOME", self.home.path().join("state")).env("USER", "tess");
        command
    }

    /// The tool in this world.
    pub fn tool(&self, args: &[&str]) -> Command {
        let mut command = self.program(BIN);
        command.arg("--config").arg(self.manifest["config"].as_str().expect("config")).args(args);
        command
    }

    pub fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = self.program("kubectl");
        command.args(args);
        command
    }

    pub fn url(&self, name: &str) -> &str {
        self.manifest["urls"][name].as_str().expect("a url")
    }

    /// What the Kubernetes API was asked so far, by verb and resource.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let address = self.url("control").trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the control address");
        write!(stream, "GET /requests HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).expect("a body");
        let value: Value = serde_json::from_str(body).expect("JSON");
        let counts = value["requests"].as_object().expect("counts").iter();
        counts.map(|(what, count)| (what.clone(), count.as_u64().unwrap_or(0))).collect()
    }

    /// What was asked since `before`.
    pub fn requests_since(&self, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let newer = |(what, count): (String, u64)| {
            let more = count - before.get(&what).copied().unwrap_or(0);
            (more > 0).then_some((what, more))
        };
        self.requests().into_iter().filter_map(newer).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

pub fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Smallest and median.
pub fn spread<T: Copy + PartialOrd>(mut all: Vec<T>) -> (T, T) {
    all.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    (all[0], all[all.len() / 2])
}

/// A table in Markdown, as docs/performance.md has it.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
    println!();
}

pub fn verdict(good: bool) -> String {
    if good { "met" } else { "missed" }.to_owned()
}
