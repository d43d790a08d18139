//! A program that outlives us: what it does must come to its end whatever becomes of us.

use std::fs::File;
use std::process::Stdio;

use rustix::process::{Pid, Signal};

use super::Program;
use crate::error::{Error, Result};

/// A running program in a process group of its own, which writes to files. Nobody kills it when this is dropped.
#[derive(Debug)]
pub struct Detached {
    child: tokio::process::Child,
    pid: u32,
}

/// How such a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// The number of the signal that ended it.
    Signal(i32),
}

impl Program {
    /// Starts it with its streams in files. A pipe would break with us, and a program that writes to a broken pipe dies of it. A
    /// closed terminal, and a Ctrl-C there, reach us alone.
    ///
    /// The time limit of other ways to run a program does not hold here.
    pub fn detach(self, stdout: File, stderr: File) -> Result<Detached> {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0).kill_on_drop(false);
        let child = command.spawn().map_err(|error| self.cannot_start(error))?;
        let pid = child.id().ok_or_else(|| Error::internal(format!("{} ended before it began", self.shown())))?;
        Ok(Detached { child, pid })
    }
}

impl Detached {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended; may be dropped and asked again.
    pub async fn ended(&mut self) -> Result<Exit> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().await.map_err(|error| Error::outside("wait for the program").because(error))?;
        Ok(status.code().map_or_else(|| Exit::Signal(status.signal().unwrap_or_default()), Exit::Code))
    }
}

/// Asks a process to stop (SIGINT), once; whether there was one.
#[must_use]
pub fn interrupt(pid: u32) -> bool {
    known(pid).is_some_and(|pid| rustix::process::kill_process(pid, Signal::INT).is_ok())
}

/// Whether there is a process of this number, whosever it is.
#[must_use]
pub fn exists(pid: u32) -> bool {
    known(pid).is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn known(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_writes_to_files_and_lives_on_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(dir.path().join(name)).unwrap();
        let script = "trap 'echo asked; exit 3' INT; echo one; echo two >&2; while :; do sleep 0.05; done";
        let program = Program::new("sh").args(["-c", script]);
        let mut asked = program.clone().detach(file("out"), file("err")).unwrap();
        let said = || std::fs::read_to_string(dir.path().join("out")).unwrap();
        while said() != "one\n" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(exists(asked.pid()) && interrupt(asked.pid()));
        assert_eq!(asked.ended().await.unwrap(), Exit::Code(3));
        assert_eq!(said(), "one\nasked\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("err")).unwrap(), "two\n");

        let left = program.detach(file("out"), file("err")).unwrap();
        let pid = left.pid();
        drop(left);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(exists(pid));
        rustix::process::kill_process(known(pid).unwrap(), Signal::KILL).unwrap();
    }
}
