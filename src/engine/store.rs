//! Where runs are kept on this machine: `$XDG_STATE_HOME/gospel-release/<project>/<run>/`.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::domain::RunId;
use crate::error::{Error, Result};

use super::journal::fold;
use super::{Journal, Line, RunState};

/// The state directory of a project.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

/// The directory of a run.
#[derive(Debug, Clone)]
pub struct RunDir(PathBuf);

impl StateDir {
    /// `base` is `$XDG_STATE_HOME/gospel-release`; nothing is made yet.
    #[must_use]
    pub fn new(base: &Path, project: &str) -> Self {
        Self(base.join(project))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    #[must_use]
    pub fn run(&self, run: &RunId) -> RunDir {
        RunDir(self.0.join(run.as_str()))
    }

    /// The runs kept here, oldest first by name (a run's id begins with its time). Unreadable entries are skipped.
    #[must_use]
    pub fn runs(&self) -> Vec<RunId> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Vec::new() };
        let mut runs: Vec<RunId> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok())
            .filter(|run| self.run(run).journal().is_file())
            .collect();
        runs.sort();
        runs
    }
}

impl RunDir {
    /// Makes the directory, mode 0700.
    pub fn make(&self) -> Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(|error| {
            Error::config(format!("cannot make the state directory {}", self.0.display()))
                .because(error)
                .hint("set XDG_STATE_HOME to a directory that can be written")
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }

    /// The journal's lines and the state that they fold into; `None` for a run that is not here.
    pub fn load(&self) -> Result<Option<(Vec<Line>, RunState)>> {
        let path = self.journal();
        if !path.is_file() {
            return Ok(None);
        }
        let lines = Journal::read(&path)?;
        let state = fold(&lines).map_err(|error| error.context(format!("read {}", path.display())))?;
        Ok(state.map(|state| (lines, state)))
    }
}
