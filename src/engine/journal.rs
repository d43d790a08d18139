//! The journal: one JSON record a line, synced to disk before the next thing happens.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

use super::{Record, RunState, failpoint};

/// Major version of the journal's form; a newer one is refused (exit 3).
pub const FORMAT: u32 = 1;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Form of the journal.
    pub v: u32,
    /// Counts from 1 within the run.
    pub seq: u64,
    /// World time.
    pub at: Timestamp,
    #[serde(flatten)]
    pub record: Record,
}

/// An open journal; the process that has it holds the file's lock.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Makes a new journal in a directory that exists; mode 0600.
    pub fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| cannot("create", path, error))?;
        let journal = Self { file, path: path.to_owned() };
        journal.lock()?;
        if let Some(dir) = path.parent() {
            // The directory entry must survive a power failure too.
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| cannot("sync", dir, error))?;
        }
        Ok(journal)
    }

    /// Opens an existing one to go on with it. A torn last line (a crash in the middle of a write) is cut off.
    pub fn open(path: &Path) -> Result<(Self, Vec<Line>)> {
        let file =
            OpenOptions::new().read(true).append(true).open(path).map_err(|error| cannot("open", path, error))?;
        let mut journal = Self { file, path: path.to_owned() };
        journal.lock()?;
        let mut bytes = Vec::new();
        journal.file.seek(SeekFrom::Start(0)).map_err(|error| cannot("read", path, error))?;
        journal.file.read_to_end(&mut bytes).map_err(|error| cannot("read", path, error))?;
        let (lines, whole) = parse(&bytes, path)?;
        if whole < bytes.len() {
            journal.file.set_len(whole as u64).map_err(|error| cannot("cut the torn end of", path, error))?;
        }
        Ok((journal, lines))
    }

    /// Reads a journal without opening it for writing.
    pub fn read(path: &Path) -> Result<Vec<Line>> {
        let bytes = std::fs::read(path).map_err(|error| cannot("read", path, error))?;
        parse(&bytes, path).map(|(lines, _)| lines)
    }

    /// Writes one record and waits until it is on disk. An error here stops the run.
    pub fn append(&mut self, line: &Line) -> Result<()> {
        let cell = line.record.cell();
        failpoint::reached(&cell, "before");
        let mut text = serde_json::to_vec(line)
            .map_err(|error| Error::internal("write a journal record as JSON").because(error))?;
        text.push(b'\n');
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.map_err(|error| {
            cannot("write to", &self.path, error).hint("free space on that disk, then: gospel-release resume")
        })?;
        failpoint::reached(&cell, "after");
        Ok(())
    }

    fn lock(&self) -> Result<()> {
        use rustix::fs::{FlockOperation, flock};
        flock(&self.file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            Error::new(Kind::Locked, format!("another process on this machine has {} open", self.path.display()))
                .because(std::io::Error::from(error))
        })
    }
}

/// The whole lines of a journal, and how many bytes they take.
fn parse(bytes: &[u8], path: &Path) -> Result<(Vec<Line>, usize)> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut lines = Vec::new();
    for (index, text) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
        if text.is_empty() {
            continue;
        }
        lines.push(parse_line(text, path, index + 1)?);
    }
    Ok((lines, whole))
}

fn parse_line(text: &[u8], path: &Path, number: usize) -> Result<Line> {
    #[derive(Deserialize)]
    struct Form {
        v: u32,
    }
    let broken = |error: serde_json::Error| {
        Error::config(format!("{}:{number}: not a journal record", path.display()))
            .because(error)
            .hint("the shared copy in the cluster may be whole: gospel-release status")
    };
    let form: Form = serde_json::from_slice(text).map_err(broken)?;
    if form.v > FORMAT {
        return Err(Error::config(format!(
            "{} was written in journal format {}; this gospel-release knows {FORMAT}",
            path.display(),
            form.v
        ))
        .hint("use the gospel-release that wrote it, or a newer one"));
    }
    serde_json::from_slice(text).map_err(broken)
}

/// Folds a journal's lines into the run's state.
pub fn fold(lines: &[Line]) -> Result<Option<RunState>> {
    let Some((first, rest)) = lines.split_first() else { return Ok(None) };
    let mut state = RunState::begin(&first.record)?;
    for line in rest {
        state.apply(&line.record)?;
    }
    Ok(Some(state))
}

fn cannot(verb: &str, path: &Path, error: std::io::Error) -> Error {
    Error::config(format!("cannot {verb} the journal {}", path.display())).because(error)
}
