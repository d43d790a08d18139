//! `apply` of a plan's file. Terraform writes its events to a file and is not our child in anything but name: whatever becomes of
//! us, it comes to its end, and who looks later reads how it went.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::run::unframed;
use super::{Diagnostic, Message, Severity, Terraform};
use crate::domain::provision::Course;
use crate::error::{Error, Result};
use crate::process::{self, Detached, Exit};

/// How often the file of events is read on.
const LOOK: Duration = Duration::from_millis(100);

/// The files of one apply, in a directory that is there.
#[derive(Debug, Clone)]
pub struct Trace(PathBuf);

/// Where an apply stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Terraform was not started.
    NotStarted,
    /// It runs; its process, where that is known.
    Running(Option<u32>),
    Ended,
}

/// How an apply ended.
#[derive(Debug, Clone)]
pub struct Applied {
    /// `None` where Terraform was not our child any more.
    pub exit: Option<Exit>,
    pub course: Course,
    pub diagnostics: Vec<Diagnostic>,
    /// What it wrote to standard error: mostly nothing.
    pub stderr: Vec<String>,
}

/// What is heard of an apply.
#[derive(Debug)]
pub enum Told<'a> {
    /// Terraform said something; the course includes it.
    Message(&'a Message, &'a Course),
    /// It was asked to stop.
    Asked(&'a Course),
}

/// Which process it is: for people, and to ask it to stop.
#[derive(Debug, Serialize, Deserialize)]
struct Process {
    pid: u32,
}

impl Trace {
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    fn events(&self) -> PathBuf {
        self.0.join("terraform.jsonl")
    }

    fn stderr(&self) -> PathBuf {
        self.0.join("terraform.err")
    }

    fn process(&self) -> PathBuf {
        self.0.join("terraform.pid.json")
    }

    /// Where it stands. Terraform's own standard output is the locked file of events: the lock is there as long as its process.
    pub fn standing(&self) -> Result<Standing> {
        let file = match File::open(self.events()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::NotStarted),
            Err(error) => return Err(cannot("read", &self.events(), error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Standing::Ended),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = self.pid();
                // Something that Terraform started may have kept the file open.
                let gone = pid.is_some_and(|pid| !process::exists(pid));
                Ok(if gone { Standing::Ended } else { Standing::Running(pid) })
            }
            Err(error) => Err(cannot("lock", &self.events(), error.into())),
        }
    }

    fn pid(&self) -> Option<u32> {
        let text = std::fs::read(self.process()).ok()?;
        serde_json::from_slice::<Process>(&text).ok().map(|process| process.pid)
    }

    /// What was told so far.
    pub fn read(&self) -> Result<Applied> {
        let mut reading = Reading::of(self)?;
        reading.on(&mut |_| {})?;
        Ok(reading.applied(None))
    }

    /// Hears it to its end. When `cancel` is set, Terraform is interrupted, once: it finishes or breaks off what it is at, and
    /// writes its state. A second time would make it drop both.
    pub async fn follow(
        &self,
        mut process: Option<Detached>,
        cancel: &CancellationToken,
        mut hear: impl FnMut(&Told<'_>),
    ) -> Result<Applied> {
        let mut reading = Reading::of(self)?;
        let mut asked = false;
        loop {
            let (mut exit, mut ended, mut asking) = (None, false, false);
            tokio::select! {
                done = end(process.as_mut()), if process.is_some() => {
                    exit = done?;
                    ended = true;
                }
                () = cancel.cancelled(), if !asked => (asked, asking) = (true, true),
                () = tokio::time::sleep(LOOK) => {
                    ended = process.is_none() && self.standing()? == Standing::Ended;
                }
            }
            reading.on(&mut hear)?;
            if asking {
                // Told before it is done: what is in flight now is broken off at once.
                hear(&Told::Asked(&reading.course));
                let pid = process.as_ref().map(Detached::pid).or_else(|| self.pid());
                // It may have ended meanwhile; then there is nobody to tell.
                let _ = pid.is_some_and(process::interrupt);
            }
            if ended {
                return Ok(reading.applied(exit));
            }
        }
    }
}

async fn end(process: Option<&mut Detached>) -> Result<Option<Exit>> {
    match process {
        Some(process) => process.ended().await.map(Some),
        None => std::future::pending().await,
    }
}

impl Terraform {
    /// Starts `apply` of the plan at `plan`, with its files in `trace`.
    ///
    /// # Errors
    /// It was started there before; it cannot be started.
    pub fn start_apply(&self, plan: &Path, trace: &Trace) -> Result<Detached> {
        let fresh = |path: &Path| {
            let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path);
            file.map_err(|error| cannot("make", path, error))
        };
        let (events, stderr) = (fresh(&trace.events())?, fresh(&trace.stderr())?);
        flock(&events, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| cannot("lock", &trace.events(), error.into()))?;
        let timeout = format!("-lock-timeout={}s", self.lock_timeout.as_secs());
        let command = self.command(&["apply", "-input=false", "-json", &timeout]).arg(plan);
        let process = command.detach(events, stderr)?;
        let text = serde_json::to_vec(&Process { pid: process.pid() }).unwrap_or_default();
        // Without it Terraform goes on just the same, and is only harder to find.
        if let Err(error) = std::fs::write(trace.process(), text) {
            tracing::warn!(%error, "the process of terraform is not noted");
        }
        Ok(process)
    }
}

impl Applied {
    /// Whether everything was applied.
    #[must_use]
    pub fn complete(&self) -> bool {
        let failed = self.errors().next().is_some() || matches!(self.exit, Some(Exit::Code(1..) | Exit::Signal(_)));
        !failed && (self.course.summary.is_some() || self.exit == Some(Exit::Code(0)))
    }

    /// Whether it was killed: it ended without a word about how.
    #[must_use]
    pub fn killed(&self) -> bool {
        match self.exit {
            Some(Exit::Signal(_)) => true,
            Some(Exit::Code(_)) => false,
            None => !self.complete() && self.errors().next().is_none(),
        }
    }

    /// What it refused or failed at.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|one| one.severity == Severity::Error)
    }
}

/// The file of events, read as it grows.
struct Reading {
    file: File,
    path: PathBuf,
    /// The beginning of a line whose end is yet to come.
    rest: Vec<u8>,
    course: Course,
    diagnostics: Vec<Diagnostic>,
    stderr: PathBuf,
}

impl Reading {
    fn of(trace: &Trace) -> Result<Self> {
        let path = trace.events();
        let file = File::open(&path).map_err(|error| cannot("read", &path, error))?;
        let (rest, course, diagnostics) = (Vec::new(), Course::default(), Vec::new());
        Ok(Self { file, path, rest, course, diagnostics, stderr: trace.stderr() })
    }

    /// Reads what is new, line by line.
    fn on(&mut self, hear: &mut impl FnMut(&Told<'_>)) -> Result<()> {
        let mut new = Vec::new();
        self.file.read_to_end(&mut new).map_err(|error| cannot("read", &self.path, error))?;
        for part in new.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if self.rest.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                let Some(message) = Message::read(String::from_utf8_lossy(&line).trim()) else { continue };
                message.onto(&mut self.course);
                self.diagnostics.extend(message.diagnostic.clone());
                hear(&Told::Message(&message, &self.course));
            }
        }
        Ok(())
    }

    fn applied(self, exit: Option<Exit>) -> Applied {
        let said = std::fs::read(&self.stderr).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines = said.lines().map(unframed).filter(|line| !line.is_empty()).take(12);
        let stderr = lines.map(str::to_owned).collect();
        Applied { exit, course: self.course, diagnostics: self.diagnostics, stderr }
    }
}

fn cannot(verb: &str, path: &Path, error: io::Error) -> Error {
    Error::config(format!("cannot {verb} {}", path.display())).because(error)
}
