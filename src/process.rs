//! The one module that spawns programs. Never through a shell; arguments are passed as they are.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this is the room that spawns programs")]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use crate::error::{Class, Error, Kind, Result};

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
}

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

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
    pub async fn streamed(self, mut hear: impl FnMut(&str) + Send) -> Result<Finished> {
        let shown = self.shown();
        let mut child = self.command().process_group(0).spawn().map_err(|error| self.cannot_start(error))?;
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
}
