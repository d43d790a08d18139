//! The one module that spawns programs. Never through a shell; arguments are passed as they are.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this is the room that spawns programs")]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::error::{Class, Error, Kind, Result};

mod detached;

pub use detached::{Detached, Exit, exists, interrupt};

/// A program to run, its arguments and its surroundings.
#[derive(Debug, Clone)]
pub struct Program {
    name: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    cwd: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    timeout: Duration,
    clean_env: bool,
    apart: bool,
}

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// What is heard of a program while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line of its standard output, without the line break.
    Line(&'a str),
    /// A second went by.
    Second,
}

/// Longest line that is handed over whole; the rest of a longer one is dropped.
const LONGEST_LINE: usize = 1024 * 1024;
/// How long an interrupted program may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(120);

impl Finished {
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The last `n` lines of standard error that are not blank, for a message.
    #[must_use]
    pub fn last_errors(&self, n: usize) -> Vec<String> {
        let text = self.error_text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(n)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

impl Program {
    /// `name` is looked up on PATH, unless it is a path.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        Self {
            name: name.as_ref().into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: None,
            timeout: Duration::from_secs(120),
            clean_env: false,
            apart: false,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().into(), Some(value.as_ref().into())));
        self
    }

    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().into(), None));
        self
    }

    /// Removes every variable whose name begins with `prefix`.
    #[must_use]
    pub fn env_remove_all(self, prefix: &str) -> Self {
        let names = std::env::vars_os().map(|(name, _)| name);
        names.filter(|name| name.to_string_lossy().starts_with(prefix)).fold(self, Self::env_remove)
    }

    /// Starts from an empty environment but for PATH.
    #[must_use]
    pub fn clean_env(mut self) -> Self {
        self.clean_env = true;
        self
    }

    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = Some(dir.as_ref().into());
        self
    }

    /// Gives it a process group of its own: a Ctrl-C at the terminal reaches us alone, and it works on to its end. Not for what
    /// may ask a person at the terminal (ssh for a passphrase): a terminal stops readers of other groups.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// What the program reads on standard input; without it, standard input is closed.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Wall time after which the program is killed. 120 s unless told.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it to its end and collects what it printed. An exit code other than 0 is not an error here.
    pub async fn output(self) -> Result<Finished> {
        let shown = self.shown();
        let mut child = self.command().spawn().map_err(|error| self.cannot_start(error))?;
        let feed = feed(self.stdin, child.stdin.take());
        let run = async { tokio::join!(feed, child.wait_with_output()).1 };
        match tokio::time::timeout(self.timeout, run).await {
            Ok(Ok(output)) => Ok(Finished { code: output.status.code(), stdout: output.stdout, stderr: output.stderr }),
            Ok(Err(error)) => Err(Error::outside(format!("run {shown}")).because(error)),
            Err(_) => Err(too_long(&shown, self.timeout)),
        }
    }

    /// As [`Program::output`], and `hear` gets each line of both streams as it comes. Dropped half way, the program is killed with
    /// everything that it started.
    pub async fn streamed(mut self, mut hear: impl FnMut(&str) + Send) -> Result<Finished> {
        let shown = self.shown();
        self.apart = true;
        let mut child = self.command().spawn().map_err(|error| self.cannot_start(error))?;
        let mut group = Group(child.id());
        let feed = feed(self.stdin, child.stdin.take());
        let mut out = lines(child.stdout.take());
        let mut err = lines(child.stderr.take());
        let mut finished = Finished { code: None, stdout: Vec::new(), stderr: Vec::new() };
        let read = async {
            let (mut out_ended, mut err_ended) = (false, false);
            while !(out_ended && err_ended) {
                let (line, ended, kept) = tokio::select! {
                    line = out.next_segment(), if !out_ended => (line?, &mut out_ended, &mut finished.stdout),
                    line = err.next_segment(), if !err_ended => (line?, &mut err_ended, &mut finished.stderr),
                };
                let Some(line) = line else {
                    *ended = true;
                    continue;
                };
                hear(String::from_utf8_lossy(&line).trim_end());
                kept.extend_from_slice(&line);
                kept.push(b'\n');
            }
            child.wait().await
        };
        let run = async { tokio::join!(feed, read).1 };
        match tokio::time::timeout(self.timeout, run).await {
            Ok(Ok(status)) => {
                group.0 = None;
                Ok(Finished { code: status.code(), ..finished })
            }
            Ok(Err(error)) => Err(Error::outside(format!("run {shown}")).because(error)),
            Err(_) => Err(too_long(&shown, self.timeout)),
        }
    }

    fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.name);
        command.args(&self.args).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        if self.apart {
            command.process_group(0);
        }
        if self.clean_env {
            command.env_clear();
            if let Some(path) = std::env::var_os("PATH") {
                command.env("PATH", path);
            }
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command
    }

    /// As [`Program::output`]; an exit code other than 0 is an error with the last lines of standard error.
    pub async fn succeed(self) -> Result<Finished> {
        let shown = self.shown();
        let finished = self.output().await?;
        if finished.success() {
            return Ok(finished);
        }
        let ended = finished.code.map_or("was ended by a signal".to_owned(), |code| format!("ended with {code}"));
        let error = Error::outside(format!("{shown} {ended}"));
        Err(finished.last_errors(5).into_iter().fold(error, Error::seen))
    }

    /// As [`Program::output`], with standard output written to a file.
    pub async fn output_to(self, file: std::fs::File) -> Result<Finished> {
        let shown = self.shown();
        let mut command = self.command();
        command.stdout(file);
        let child = command.spawn().map_err(|error| self.cannot_start(error))?;
        match tokio::time::timeout(self.timeout, child.wait_with_output()).await {
            Ok(Ok(output)) => Ok(Finished { code: output.status.code(), stdout: Vec::new(), stderr: output.stderr }),
            Ok(Err(error)) => Err(Error::outside(format!("run {shown}")).because(error)),
            Err(_) => Err(too_long(&shown, self.timeout)),
        }
    }

    /// Runs it to its end and hands over each line of its standard output as it comes; `stdout` stays empty.
    ///
    /// It has a process group of its own, so that a Ctrl-C at the terminal reaches us alone. When `cancel` is set, or its time is
    /// over, it is interrupted (SIGINT), once, and waited for: a program that holds a lock elsewhere must be able to give it back.
    pub async fn follow(mut self, cancel: &CancellationToken, mut hear: impl FnMut(Heard<'_>)) -> Result<Finished> {
        let shown = self.shown();
        self.apart = true;
        let mut child = self.command().spawn().map_err(|error| self.cannot_start(error))?;
        let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        let interrupt = || {
            if let Some(pid) = pid {
                // It may have ended meanwhile; then there is nobody to tell.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
            }
        };
        let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::internal(format!("{shown} was started without its streams")));
        };
        let collect = tokio::spawn(async move {
            let mut bytes = Vec::new();
            // What could be read until it broke off is still worth telling.
            let _ = err.read_to_end(&mut bytes).await;
            bytes
        });
        let failed = |error: std::io::Error| Error::outside(format!("run {shown}")).because(error);
        let (mut lines, mut chunk) = (Lines::default(), vec![0_u8; 64 * 1024]);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let limit = tokio::time::sleep(self.timeout);
        tokio::pin!(limit);
        let (mut asked, mut late) = (false, false);
        loop {
            tokio::select! {
                read = out.read(&mut chunk) => match read.map_err(failed)? {
                    0 => break,
                    count => lines.take(&chunk[..count], &mut |line| hear(Heard::Line(line))),
                },
                _ = second.tick() => hear(Heard::Second),
                () = cancel.cancelled(), if !asked => {
                    asked = true;
                    limit.set(tokio::time::sleep(GRACE));
                    interrupt();
                }
                () = &mut limit => {
                    if asked || late {
                        break;
                    }
                    late = true;
                    limit.set(tokio::time::sleep(GRACE));
                    interrupt();
                }
            }
        }
        lines.end(&mut |line| hear(Heard::Line(line)));
        // Its output is at its end: so is it, or it is past waiting for and killed when dropped.
        let status = tokio::time::timeout(GRACE, child.wait()).await;
        if late {
            return Err(Error::new(
                Kind::TimedOut,
                format!("{shown} did not finish within {} s", self.timeout.as_secs()),
            ));
        }
        let status = status
            .map_err(|_| Error::outside(format!("{shown} does not end though it was interrupted")))?
            .map_err(failed)?;
        let stderr = collect.await.unwrap_or_default();
        Ok(Finished { code: status.code(), stdout: Vec::new(), stderr })
    }

    /// Runs it on our own terminal and streams, to its end; its exit code, or 128 and the signal's number.
    ///
    /// Signals that reach us are its business too: a terminal sends Ctrl-C to both; SIGTERM and SIGHUP are passed on.
    pub async fn attached(self) -> Result<u8> {
        use std::os::unix::process::ExitStatusExt;
        use tokio::signal::unix::{SignalKind, signal};
        let mut command = tokio::process::Command::new(&self.name);
        command.args(&self.args).kill_on_drop(true);
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let listen = |kind| signal(kind).map_err(|error| Error::internal("listen for signals").because(error));
        let (mut interrupt, mut term, mut hang_up) =
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
        let mut child = command.spawn().map_err(|error| self.cannot_start(error))?;
        let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        let pass_on = |signal| {
            if let Some(pid) = pid {
                // It may have ended meanwhile; then there is nobody to tell.
                let _ = rustix::process::kill_process(pid, signal);
            }
        };
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = interrupt.recv() => {}
                _ = term.recv() => pass_on(rustix::process::Signal::TERM),
                _ = hang_up.recv() => pass_on(rustix::process::Signal::HUP),
            }
        };
        let status = status.map_err(|error| Error::outside("wait for the program").because(error))?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(u8::try_from(code).unwrap_or(1))
    }

    /// The program and its first argument: enough to recognise, and never a secret.
    fn shown(&self) -> String {
        let first = self.args.iter().find(|arg| !arg.to_string_lossy().starts_with('-'));
        let name = Path::new(&self.name).file_name().unwrap_or(&self.name).to_string_lossy();
        first.map_or(name.to_string(), |arg| format!("{name} {}", arg.to_string_lossy()))
    }

    fn cannot_start(&self, error: std::io::Error) -> Error {
        let name = self.name.to_string_lossy();
        if error.kind() == std::io::ErrorKind::NotFound && self.cwd.as_ref().is_none_or(|dir| dir.is_dir()) {
            Error::new(Kind::Outside, format!("the program {name} is not on PATH"))
                .class(Class::NotFound)
                .hint(format!("install {name}, or put it on PATH"))
        } else {
            Error::outside(format!("start {name}")).because(error)
        }
    }
}

/// Writes the input and closes it.
async fn feed(input: Option<Vec<u8>>, pipe: Option<tokio::process::ChildStdin>) {
    if let Some((bytes, mut pipe)) = input.zip(pipe) {
        // A program that stops reading early is judged by its exit code, not by our broken pipe.
        let _ = pipe.write_all(&bytes).await;
    }
}

type Segments = tokio::io::Split<tokio::io::BufReader<Box<dyn tokio::io::AsyncRead + Send + Unpin>>>;

/// The lines of a stream; none where there is no stream.
fn lines(stream: Option<impl tokio::io::AsyncRead + Send + Unpin + 'static>) -> Segments {
    let stream: Box<dyn tokio::io::AsyncRead + Send + Unpin> = match stream {
        Some(stream) => Box::new(stream),
        None => Box::new(tokio::io::empty()),
    };
    tokio::io::BufReader::new(stream).split(b'\n')
}

fn too_long(shown: &str, limit: Duration) -> Error {
    Error::outside(format!("{shown} did not finish within {} s", limit.as_secs()))
        .class(Class::Transient { retry_after: None })
}

/// A process group that ends with its owner, unless it was told that it has ended.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            // Nobody is left to be killed: that is what was wanted.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

/// Bytes gathered into lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, bytes: &[u8], each: &mut dyn FnMut(&str)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = LONGEST_LINE.saturating_sub(self.0.len());
            self.0.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.end(each);
            }
        }
    }

    fn end(&mut self, each: &mut dyn FnMut(&str)) {
        if !self.0.is_empty() {
            each(&String::from_utf8_lossy(&self.0));
            self.0.clear();
        }
    }
}

/// Where a program is on PATH; `None` when it is not there.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_apart_leads_a_group_of_its_own() {
        // A group is named after its leader; `kill -0` asks whether there is one.
        let leads = Program::new("sh").args(["-c", "kill -0 -$$"]);
        assert!(leads.clone().apart().output().await.unwrap().success());
        assert!(!leads.output().await.unwrap().success());
    }

    #[tokio::test]
    async fn a_missing_program_is_not_found() {
        let error = Program::new("no-such-program-here").output().await.unwrap_err();
        assert!(error.is_not_found());
    }

    #[tokio::test]
    async fn lines_come_as_they_are_printed_and_a_dropped_program_is_dead() {
        let mut heard = Vec::new();
        let script = "echo one; echo two >&2; echo three; exit 3";
        let run = Program::new("sh").args(["-c", script]).streamed(|line| heard.push(line.to_owned())).await.unwrap();
        heard.sort();
        assert_eq!((heard, run.code), (["one", "three", "two"].map(str::to_owned).to_vec(), Some(3)));
        assert_eq!((run.text(), run.error_text()), ("one\nthree\n".to_owned(), "two\n".to_owned()));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("late");
        let script = format!("(sleep 1; touch {}) & wait", file.display());
        let run = Program::new("sh").args(["-c", &script]).timeout(Duration::from_millis(200)).streamed(|_| ()).await;
        assert!(run.unwrap_err().is_transient());
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert!(!file.exists(), "what it started is killed with it");
    }

    #[tokio::test]
    async fn input_output_and_failure() {
        let echoed = Program::new("cat").stdin("hello").succeed().await.unwrap();
        assert_eq!(echoed.text(), "hello");
        let error = Program::new("ls").arg("/no/such/place").succeed().await.unwrap_err();
        assert!(!error.evidence().is_empty());
        let error = Program::new("sleep").arg("5").timeout(Duration::from_millis(50)).output().await.unwrap_err();
        assert!(error.is_transient());
    }

    #[tokio::test]
    async fn lines_are_handed_over_and_an_interrupt_is_waited_for() {
        let script = "trap 'echo; echo interrupted; exit 3' INT; printf 'one\\ntwo'; while :; do sleep 0.05; done";
        let (cancel, mut heard) = (CancellationToken::new(), Vec::new());
        let program = Program::new("sh").args(["-c", script]);
        let finished = program
            .follow(&cancel, |what| match what {
                Heard::Line(line) => {
                    heard.push(line.to_owned());
                    cancel.cancel();
                }
                Heard::Second => {}
            })
            .await
            .unwrap();
        assert_eq!(finished.code, Some(3));
        assert_eq!(heard, ["one", "two", "interrupted"]);
        let late = Program::new("sleep").arg("30").timeout(Duration::from_millis(50));
        let error = late.follow(&CancellationToken::new(), |_| {}).await.unwrap_err();
        assert_eq!(error.kind(), Kind::TimedOut);
    }

    #[tokio::test]
    async fn output_goes_to_a_file() {
        let mut file = tempfile::tempfile().unwrap();
        let finished = Program::new("echo").arg("hello").output_to(file.try_clone().unwrap()).await.unwrap();
        assert!(finished.success() && finished.stdout.is_empty());
        let mut text = String::new();
        std::io::Seek::rewind(&mut file).unwrap();
        std::io::Read::read_to_string(&mut file, &mut text).unwrap();
        assert_eq!(text, "hello\n");
    }
}
