//! A run of `provision apply` that was left open: found on this machine alone, looked at, and closed.

use serde_json::{Value, json};

use crate::adapters::terraform::{Standing, Trace};
use crate::domain::{RunId, printable};
use crate::engine::{Journal, RunDir, RunState, fold};
use crate::error::{Error, Kind, Result};
use crate::ops::drive::{self, Start};
use crate::ops::{Invocation, Report, runs};

use super::apply::{Stored, VERB, drive, plan, read_changes, world};
use super::plan::plans;
use super::reviewed::Reviewed;

/// A run that was left open, and where Terraform stands in it.
pub struct Open {
    pub state: RunState,
    /// In words, a line each.
    pub said: Vec<String>,
    standing: Standing,
}

/// The open runs of `provision apply` on this machine, oldest first. One that never came to its apply left nothing.
pub fn open(invocation: &Invocation) -> Result<Vec<Open>> {
    let state_dir = invocation.state_dir()?;
    let mut open = Vec::new();
    for run in state_dir.runs() {
        let dir = state_dir.run(&run);
        // What cannot be read is told by `runs list`.
        let Ok(Some((_, state))) = dir.load() else { continue };
        if state.header.command == VERB.command && state.is_open() && state.changed_the_world() {
            open.push(Open::of(&dir, state)?);
        }
    }
    Ok(open)
}

impl Open {
    fn of(dir: &RunDir, state: RunState) -> Result<Self> {
        let trace = Trace::of(dir.path());
        let standing = trace.standing()?;
        // Without them nothing can be counted; what stands is told all the same.
        let expected = read_changes(dir).unwrap_or_default();
        let mut said = Vec::new();
        let applied = (standing != Standing::NotStarted).then(|| trace.read()).transpose()?;
        let (made, all) = applied.as_ref().map_or((0, expected.len()), |applied| applied.course.progress(&expected));
        match (standing, &applied) {
            (Standing::Running(pid), Some(applied)) => {
                let process = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
                said.push(format!("Terraform works{process}: {made} of {all} changes are made"));
                let now = applied.course.under_way();
                said.extend(now.map(|part| format!("  {} {}", part.doing.now(), part.address)));
            }
            (_, Some(applied)) if applied.complete() => {
                said.push("everything was applied; what comes after it is to be done".to_owned());
            }
            (_, Some(applied)) => {
                let how = if applied.killed() { "was killed" } else { "ended with an error" };
                said.push(format!("Terraform {how}: {made} of {all} changes were made"));
            }
            (_, None) => said.push("Terraform was not started".to_owned()),
        }
        Ok(Self { state, said, standing })
    }

    fn run(&self) -> &RunId {
        &self.state.header.run
    }

    /// For `status --output json`.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = runs::brief(&self.state);
        document["said"] = json!(self.said);
        document
    }
}

/// One apply at a time, and one that was left open comes first.
pub(super) fn none_unfinished(invocation: &Invocation) -> Result<()> {
    let Some(open) = open(invocation)?.into_iter().next_back() else { return Ok(()) };
    let run = open.run().clone();
    let error =
        Error::new(Kind::Locked, format!("run {run} of provision apply by {} is unfinished", open.state.header.by));
    let error = open.said.into_iter().fold(error, Error::seen);
    Err(error.hint(format!("to look on, or to hear what it left and close it: gospel-release resume {run}")))
}

/// The run that is meant, where it is one of `provision apply`.
fn find(invocation: &Invocation, run: Option<&RunId>) -> Result<Option<RunState>> {
    let Some(run) = run else { return Ok(open(invocation)?.pop().map(|open| open.state)) };
    let loaded = invocation.state_dir()?.run(run).load()?;
    Ok(loaded.map(|(_, state)| state).filter(|state| state.header.command == VERB.command))
}

/// Goes on with a run of `provision apply`; `None` where another verb's run is meant.
pub async fn resume(invocation: &mut Invocation, run: Option<&RunId>) -> Option<Report> {
    let state = match find(invocation, run) {
        Ok(state) => state?,
        Err(error) => return Some(Report::early("resume", None, error)),
    };
    let world = state.header.world.clone();
    Some(match go_on(invocation, state).await {
        Ok(report) => report,
        Err(error) => Report::early("resume", Some(world), error),
    })
}

async fn go_on(invocation: &mut Invocation, state: RunState) -> Result<Report> {
    let run = state.header.run.clone();
    over(&state)?;
    if state.confirmed.is_none() {
        return Err(Error::usage(format!("run {run} was not confirmed: nothing was changed"))
            .hint("gospel-release provision apply"));
    }
    let dir = invocation.state_dir()?.run(&run);
    let (journal, lines) = Journal::open(&dir.journal())?;
    let state = fold(&lines)?.unwrap_or(state);
    over(&state)?;
    let stored: Stored = serde_json::from_value(state.header.options.clone()).map_err(|error| {
        Error::config(format!("run {run} names no plan that this gospel-release reads")).because(error)
    })?;
    let kept = plans(invocation)?.named(&stored.plan);
    let record = kept.record()?;
    let here = world(invocation, &record);
    runs::same_world(&state, &here)?;
    let reviewed = Reviewed::of(invocation, kept, record).await?;
    let plan = plan(invocation, reviewed, read_changes(&dir)?, run, &dir, String::new())?;
    runs::same_plan(&state, &plan)?;
    if invocation.dry_run {
        // Its journal is only looked at.
        drop(journal);
        return Ok(drive::dry_run_in(&here, invocation, VERB, state.facts, &plan).await);
    }
    Ok(drive(invocation, &here, &plan, journal, Start::Again(Box::new(state)), &dir).await)
}

fn over(state: &RunState) -> Result<()> {
    if state.is_open() {
        return Ok(());
    }
    Err(Error::usage(format!("run {} is over ({})", state.header.run, runs::outcome(state)))
        .hint("to begin anew: gospel-release provision plan"))
}

/// The run to be closed, where it is one of `provision apply`: its state, and what stands of it, in lines.
///
/// # Errors
/// [`Kind::Locked`] while Terraform works: closing the run would not stop it.
pub fn abort(invocation: &Invocation, run: Option<&RunId>) -> Result<Option<RunState>> {
    let Some(state) = find(invocation, run)? else { return Ok(None) };
    over(&state)?;
    let run = state.header.run.clone();
    let open = Open::of(&invocation.state_dir()?.run(&run), state)?;
    let Standing::Running(pid) = open.standing else { return Ok(Some(open.state)) };
    let error = Error::new(Kind::Locked, format!("run {run} cannot be closed: Terraform works in it"));
    let error = open.said.iter().map(|line| printable(line)).fold(error, Error::seen);
    let error = error.hint(format!("to look on (Ctrl-C there asks Terraform to stop): gospel-release resume {run}"));
    Err(match pid {
        Some(pid) => error.hint(format!("or ask it to stop from here: kill -INT {pid}")),
        None => error,
    })
}
