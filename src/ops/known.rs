//! The runs that are known: those kept on this machine, and their shared copies in the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::adapters::cluster::ConfigMaps;
use crate::adapters::retry::within;
use crate::domain::{RunId, printable};
use crate::engine::{Line, RunState};
use crate::error::{Error, Result};

use super::Invocation;
use super::connect::production;
use super::runs::{brief, is_ahead, outcome};
use super::shared::Runs;

/// How long the cluster is waited for (wall time): what is kept here is told without it.
const PATIENCE: Duration = Duration::from_secs(8);

/// A run, as it is known best.
pub(super) struct Known {
    /// Or why it cannot be read.
    pub state: Result<RunState>,
    /// The journal's lines, where the journal is what is told.
    pub lines: Vec<Line>,
    /// Whether this machine has its journal.
    pub here: bool,
    /// Whether the cluster has a copy of it.
    pub there: bool,
}

/// All of them, by run.
pub(super) struct Everywhere {
    pub runs: BTreeMap<RunId, Known>,
    /// Whether the cluster said what it has.
    pub asked: bool,
}

/// What the shared copies say: the runs, and those that nobody can read here.
type Shared = (Vec<RunState>, Vec<RunId>);

/// The runs of this machine and of the cluster. Where the cluster does not say, a warning does, and those of this machine are told.
pub(super) async fn everywhere(invocation: &mut Invocation) -> Result<Everywhere> {
    let shared = shared(invocation).await;
    let mut runs = here(invocation)?;
    let asked = shared.is_some();
    let (states, unread) = shared.unwrap_or_default();
    for run in unread {
        let known = runs.entry(run).or_insert_with_key(|run| Known::of(Err(unreadable(run))));
        known.there = true;
    }
    for state in states {
        let run = state.header.run.clone();
        let kept = runs.remove(&run);
        runs.insert(run, Known::newest(kept, state));
    }
    Ok(Everywhere { runs, asked })
}

/// Those whose journal is on this machine.
fn here(invocation: &Invocation) -> Result<BTreeMap<RunId, Known>> {
    let dir = invocation.state_dir()?;
    let mut runs = BTreeMap::new();
    for run in dir.runs() {
        let known = match dir.run(&run).load() {
            Ok(Some((lines, state))) => Known { lines, here: true, ..Known::of(Ok(state)) },
            Ok(None) => continue,
            Err(error) => Known { here: true, ..Known::of(Err(error)) },
        };
        runs.insert(run, known);
    }
    Ok(runs)
}

/// What the cluster has. `None` where none is configured, and, with a warning, where it does not say.
async fn shared(invocation: &mut Invocation) -> Option<Shared> {
    let cluster = &invocation.config.production.cluster;
    if cluster.eks.is_none() && cluster.kubeconfig.is_none() && cluster.context.is_none() {
        return None;
    }
    let asked = async {
        let (place, namespace) = production(invocation).await?;
        Runs::new(ConfigMaps::new(&place.cluster, &namespace)).all_and_unread().await
    };
    match within("the cluster", PATIENCE, asked).await {
        Ok(found) => Some(found),
        Err(error) => {
            let why = printable(&error.to_string());
            invocation.warn(format!("what the cluster knows is not told, only what this machine does: {why}"));
            None
        }
    }
}

fn unreadable(run: &RunId) -> Error {
    Error::config(format!("the copy of run {run} in the cluster is not one of this gospel-release"))
        .hint(format!("with the gospel-release that began it: gospel-release runs show {run}"))
}

impl Known {
    fn of(state: Result<RunState>) -> Self {
        Self { state, lines: Vec::new(), here: false, there: false }
    }

    /// The journal, where it knows as much as the shared copy, which has no times; else that copy.
    fn newest(kept: Option<Self>, shared: RunState) -> Self {
        let here = kept.is_some();
        match kept {
            Some(Self { state: Ok(local), lines, .. }) if is_ahead(&local, &shared) || as_far(&local, &shared) => {
                Self { state: Ok(local), lines, here, there: true }
            }
            _ => Self { here, there: true, ..Self::of(Ok(shared)) },
        }
    }

    /// Who began it.
    pub fn by(&self) -> Option<&str> {
        self.state.as_ref().ok().map(|state| state.header.by.as_str())
    }

    /// For `runs list --output json`.
    pub fn document(&self, run: &RunId) -> Value {
        let mut document = match &self.state {
            Ok(state) => brief(state),
            Err(error) => json!({"run": run, "error": error.to_string()}),
        };
        let places = [("here", self.here), ("cluster", self.there)];
        document["known"] = places.iter().filter(|(_, known)| *known).map(|(place, _)| *place).collect();
        document
    }

    /// For `runs list`.
    pub fn line(&self, run: &RunId) -> String {
        let told = match &self.state {
            Ok(state) => {
                let version = state.version().map(ToString::to_string).unwrap_or_default();
                format!("{run}  {} {version}  {}", state.header.command, outcome(state))
            }
            Err(error) => format!("{run}  cannot be read: {error}"),
        };
        match self.by().filter(|_| !self.here) {
            Some(by) => format!("{told}  (by {by}, not on this machine)"),
            None => told,
        }
    }
}

/// Whether the journal has all that the shared copy says, and both say the same of its end.
fn as_far(local: &RunState, shared: &RunState) -> bool {
    local.seq >= shared.seq && local.ended == shared.ended
}
