//! What an apply that did not come to its end left behind: told from its events, the state and the lock.

use std::collections::BTreeMap;

use crate::adapters::terraform::{Applied, Diagnostic, Held, LockHolder, Terraform};
use crate::domain::provision::{Became, Expected, Fate, StateId, became};
use crate::error::{Error, Kind, Result};
use crate::process::Exit;

use super::reviewed::{PLAN_AGAIN, state_said};

/// Addresses of one fate that are named; the rest is counted.
const NAMED: usize = 10;
/// Errors of Terraform that are told.
const ERRORS: usize = 12;

/// The error of an apply that ended without having applied everything. `asked`: we had interrupted it.
pub(super) async fn unfinished(
    terraform: &Terraform,
    expected: &[Expected],
    applied: &Applied,
    planned: Option<&StateId>,
    asked: bool,
) -> Error {
    let (made, all) = applied.course.progress(expected);
    let errors: Vec<&Diagnostic> = applied.errors().collect();
    // A backend that could not even ask speaks of the lock too, and names no holder.
    let locked = errors
        .iter()
        .any(|error| error.summary.contains("acquiring the state lock") && LockHolder::read(&error.detail).is_some());
    let stale = errors.iter().any(|error| error.summary.contains("plan is stale"));
    let of = format!("{made} of {all} changes were made");
    let name = terraform.name();
    let error = match applied.exit {
        _ if asked => Error::new(Kind::Interrupted, format!("{name} stopped as asked: {of}")),
        _ if locked => Error::new(Kind::Locked, "somebody else holds the state's lock: nothing was applied"),
        _ if stale => Error::new(Kind::GateBlocked, format!("{name} finds the plan stale: nothing was applied")),
        Some(Exit::Signal(signal)) => {
            Error::outside(format!("{name} was killed in the middle of the apply (signal {signal}): {of}"))
        }
        _ if applied.killed() => Error::outside(format!("{name} was killed in the middle of the apply: {of}")),
        _ => Error::outside(format!("{name} could not apply everything: {of}")),
    };
    // What follows from the interruption is no news; who holds the lock is told below.
    let told = errors.iter().filter(|one| one.summary != "execution halted" && !locked).take(ERRORS);
    let error = told.map(|one| one.line()).fold(error, Error::seen);
    let error = if errors.is_empty() { applied.stderr.iter().cloned().fold(error, Error::seen) } else { error };
    let error = match left(terraform, expected, applied, planned).await {
        Ok(lines) => lines.into_iter().fold(error, Error::seen),
        Err(cannot) => error.seen(format!("what it left cannot be told, since the state cannot be read: {cannot}")),
    };
    let holder = errors.iter().find_map(|one| LockHolder::read(&one.detail));
    let error = match holder {
        Some(holder) => terraform.held(error, &holder),
        // Who ends by himself gives the lock back.
        None if applied.killed() || locked => lock(terraform, error).await,
        None => error,
    };
    error.hint(format!("{PLAN_AGAIN} (this plan is used up)"))
}

/// What became of the changes, by their fate, and where the state is.
async fn left(
    terraform: &Terraform,
    expected: &[Expected],
    applied: &Applied,
    planned: Option<&StateId>,
) -> Result<Vec<String>> {
    let state = terraform.whole_state().await?;
    let holdings = state.as_ref().map(|state| state.holdings.as_slice()).unwrap_or_default();
    let mut fates: BTreeMap<Fate, Vec<Became>> = BTreeMap::new();
    for one in became(expected, &applied.course, holdings) {
        fates.entry(one.fate).or_default().push(one);
    }
    let mut lines = Vec::new();
    for (fate, all) in &fates {
        lines.push(format!("{} {}", all.len(), fate.said()));
        for one in all.iter().take(NAMED) {
            let id = one.id.as_ref().map_or(String::new(), |id| format!(", id {id}"));
            lines.push(format!("  {} ({}{id})", one.address, one.action.word()));
        }
        if all.len() > NAMED {
            lines.push(format!("  and {} more", all.len() - NAMED));
        }
    }
    let now = state_said(state.as_ref().map(|state| &state.id));
    lines.push(format!("state: {now}; planned against {}", state_said(planned)));
    Ok(lines)
}

async fn lock(terraform: &Terraform, error: Error) -> Error {
    match terraform.lock_holder().await {
        Held::Free => error.seen("the state's lock is free"),
        Held::Unknown(why) => error.seen(format!("whether the state's lock is held cannot be told: {why}")),
        Held::By(holder) => terraform.held(error, &holder),
    }
}
