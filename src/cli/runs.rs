//! `status`, `resume`, `abort` and `runs`: what was begun, and how it goes on.

use clap::{Args, Subcommand};

use super::promote::Consent;
use crate::domain::RunId;

/// Say who holds the lock, which runs are open, and which debts; ends 17 while one is overdue or cannot be read
#[derive(Debug, Clone, Args)]
pub struct Status {}

/// Go on with a run that stopped
#[derive(Debug, Clone, Args)]
pub struct Resume {
    /// The run [default: the last unfinished one]
    pub run: Option<RunId>,

    #[command(flatten)]
    pub consent: Consent,

    /// Pause automated sync, where the run changes production past Git
    #[arg(long)]
    pub pause_sync: bool,
}

/// Close a run without finishing it; what it changed stays as it is
///
/// A run that goes on elsewhere is asked to stop at its next safe point first, if it is named.
#[derive(Debug, Clone, Args)]
pub struct Abort {
    /// The run [default: the last unfinished one]
    pub run: Option<RunId>,

    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Look at runs: those recorded on this machine, and their shared copies in the cluster
///
/// Where the cluster does not answer, a warning says so, and what this machine knows is shown.
#[derive(Debug, Clone, Args)]
pub struct Runs {
    #[command(subcommand)]
    pub action: RunsAction,
}

#[derive(Debug, Clone, Subcommand)]
pub enum RunsAction {
    /// List them, newest first; with --output json as one array
    List,
    /// Replay a run's journal, on the machine that it ran on
    Log {
        /// The run [default: the last one on this machine]
        run: Option<RunId>,
    },
    /// Show a run: what, by whom, how it ended, its steps, what is left open, and what is next
    Show {
        /// The run [default: the last one]
        run: Option<RunId>,
    },
}
