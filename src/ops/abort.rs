//! `abort`: what was begun is closed as it stands.

use serde_json::json;

use crate::adapters::cluster::{Cluster, ConfigMaps};
use crate::domain::RunId;
use crate::engine::{FORMAT, Journal, Line, Record, RunState, Shared, StepState, fold};
use crate::error::{Error, Result};
use crate::ui::out::Out;

use super::connect::production;
use super::lock::{Ask, Taker};
use super::runs::{Found, aborted, find, outcome};
use super::shared::Runs;
use super::{Invocation, lock, provision};

/// Closes a run for good: the world stays as it is, and is told. One that goes on elsewhere, and is named, is asked to stop first.
pub async fn abort(
    invocation: &mut Invocation,
    run: Option<&RunId>,
    reason: Option<&str>,
    out: &mut Out,
    json: bool,
) -> Result<u8> {
    let why = reason.map_or_else(
        || format!("aborted by {}", invocation.who()),
        |reason| format!("aborted by {}: {reason}", invocation.who()),
    );
    let ended = aborted(why);
    if let Some(state) = provision::abort(invocation, run)? {
        if invocation.dry_run {
            return would_abort(&state.header.run, out, json);
        }
        note_abort_here(invocation, &state.header.run, &ended)?;
        return tell_abort(&state, out, json);
    }
    let (place, world) = production(invocation).await?;
    let cluster = place.cluster;
    let runs = Runs::new(ConfigMaps::new(&cluster, &world));
    let ask = run.map_or(Ask::Nobody, Ask::Run);
    if let Some(run) = run
        && runs.is_unread(run).await?
    {
        return abort_unread(invocation, &cluster, &runs, run, out, json).await;
    }
    let found = find(invocation, &runs, run).await?;
    still_open(&found)?;
    let run = found.state.header.run.clone();
    if invocation.dry_run {
        return would_abort(&run, out, json);
    }
    let taker = Taker::of(invocation, &cluster, &run);
    let again = async |invocation: &Invocation| {
        let found = find(invocation, &runs, Some(&run)).await?;
        still_open(&found).map(|()| found)
    };
    let (lock, found) = lock::under_lock(invocation, taker, Some(ask), again).await?;
    let Found { mut state, version, .. } = found;
    let claim = runs.claim(lock, version);
    let over = !state.is_open();
    let saved = async {
        // One that is over here, and could not say so, ended as it did.
        if !over {
            state.apply(&ended)?;
        }
        claim.save(&state).await
    };
    let saved = saved.await;
    claim.release().await?;
    saved?;
    if over {
        return tell_over(&state, out, json);
    }
    note_abort_here(invocation, &run, &ended)?;
    tell_abort(&state, out, json)
}

/// Closes a run that nobody can read here: who names it wants it out of the way.
async fn abort_unread(
    invocation: &mut Invocation,
    cluster: &Cluster,
    runs: &Runs,
    run: &RunId,
    out: &mut Out,
    json: bool,
) -> Result<u8> {
    if invocation.dry_run {
        return would_abort(run, out, json);
    }
    let taker = Taker::of(invocation, cluster, run);
    let close = async |_: &Invocation| runs.close_unread(run).await;
    let (lock, ()) = lock::under_lock(invocation, taker, Some(Ask::Run(run)), close).await?;
    lock.release().await?;
    if json {
        out.json(&json!({"run": run, "outcome": "aborted", "exit": 0, "steps": null}))?;
    } else {
        out.line(&format!("run {run} is closed, and could not be read"))?;
        out.line("  what it changed is not known here: look at production")?;
    }
    Ok(0)
}

/// Refuses a run that is over, here and in the cluster.
fn still_open(found: &Found) -> Result<()> {
    let state = &found.state;
    if state.is_open() || found.open_there {
        return Ok(());
    }
    Err(Error::usage(format!("run {} is over ({})", state.header.run, outcome(state))))
}

/// The cluster had not learned how it ended.
fn tell_over(state: &RunState, out: &mut Out, json: bool) -> Result<u8> {
    let run = &state.header.run;
    if json {
        let outcome = state.ended.as_ref().map(|ended| &ended.outcome);
        out.json(&json!({"run": run, "outcome": outcome, "exit": 0, "steps": state.steps.keys().collect::<Vec<_>>()}))?;
    } else {
        out.line(&format!("run {run} is over ({}); its shared copy says so now", outcome(state)))?;
    }
    Ok(0)
}

fn would_abort(run: &RunId, out: &mut Out, json: bool) -> Result<u8> {
    if json {
        out.json(&json!({"run": run, "outcome": "planned", "exit": 0}))?;
    } else {
        out.line(&format!("run {run} would be aborted; nothing was changed"))?;
    }
    Ok(0)
}

fn tell_abort(state: &RunState, out: &mut Out, json: bool) -> Result<u8> {
    let run = &state.header.run;
    let begun: Vec<&String> = state.steps.keys().collect();
    if json {
        out.json(&json!({"run": run, "outcome": "aborted", "exit": 0, "steps": begun}))?;
    } else {
        out.line(&format!("run {run} is aborted"))?;
        for line in left_behind(state) {
            out.line(&format!("  {line}"))?;
        }
    }
    Ok(0)
}

/// The journal here, if this machine has one, learns of it too.
fn note_abort_here(invocation: &Invocation, run: &RunId, ended: &Record) -> Result<()> {
    let path = invocation.state_dir()?.run(run).journal();
    if !path.is_file() {
        return Ok(());
    }
    // A journal that cannot be read has nothing to learn.
    let Ok((mut journal, lines)) = Journal::open(&path) else { return Ok(()) };
    let Ok(Some(mut local)) = fold(&lines) else { return Ok(()) };
    if !local.is_open() {
        return Ok(());
    }
    local.apply(ended)?;
    journal.append(&Line { v: FORMAT, seq: local.seq, at: invocation.clock.now(), record: ended.clone() })
}

/// What an aborted run leaves in the world: nothing is undone by itself.
fn left_behind(state: &RunState) -> Vec<String> {
    if !state.changed_the_world() {
        return vec!["nothing was changed".to_owned()];
    }
    let mut lines = vec!["nothing is undone; what it did stays:".to_owned()];
    for planned in &state.header.steps {
        match state.steps.get(&planned.id) {
            Some(StepState::Done { title, .. }) => lines.push(format!("done     {title}")),
            Some(StepState::Intended) => lines.push(format!("begun    {} (look whether it happened)", planned.title)),
            None => {}
        }
    }
    if let Some(run) = &state.facts.workflow_run {
        lines.push(format!("a workflow run may still wait or go on: {}", run.url));
    }
    lines
}
