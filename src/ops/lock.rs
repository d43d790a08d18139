//! Whose turn it is: the Lease in the production namespace, held and renewed while a run goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::adapters::cluster::{LeaseState, LeaseWrite, Leases};
use crate::clock::{Clock, Stopwatch};
use crate::domain::RunId;
use crate::error::{Error, Kind, Result};

/// The Lease, held. Dropping it stops renewing; [`Lock::release`] gives it back.
pub struct Lock {
    held: Arc<Held>,
    _renewer: AbortOnDropHandle<()>,
}

struct Held {
    leases: Leases,
    clock: Clock,
    who: String,
    run: RunId,
    duration: Duration,
    /// The Lease as we last wrote or saw it; `None` once it is somebody else's.
    now: Mutex<Option<LeaseState>>,
}

/// Takes the Lease for `run`. `takeover`: also from a holder that does not renew it for a whole lease duration.
///
/// # Errors
/// [`Kind::Locked`] naming holder and run.
pub async fn acquire(
    leases: Leases,
    clock: &Clock,
    who: String,
    run: &RunId,
    duration: Duration,
    takeover: bool,
) -> Result<Lock> {
    let held = Held { leases, clock: clock.clone(), who, run: run.clone(), duration, now: Mutex::new(None) };
    let state = held.take(takeover).await?;
    *held.now.lock().await = Some(state);
    let held = Arc::new(held);
    let renewer = AbortOnDropHandle::new(tokio::spawn(renew(Arc::clone(&held))));
    Ok(Lock { held, _renewer: renewer })
}

impl Lock {
    /// Asks the cluster again: before every act.
    pub async fn still_ours(&self) -> Result<()> {
        let mut now = self.held.now.lock().await;
        let taken = now.as_ref().map(|state| state.transitions);
        let seen = self.held.leases.get().await?;
        match seen {
            Some(state) if self.held.is_ours(&state, taken) => {
                *now = Some(state);
                Ok(())
            }
            other => {
                *now = None;
                Err(lost(other.as_ref()))
            }
        }
    }

    /// What was looked at under the lock; where that failed, nothing begins and the Lease is given back.
    pub async fn under<T>(self, found: Result<T>) -> Result<(Self, T)> {
        match found {
            Ok(found) => Ok((self, found)),
            Err(error) => {
                self.release().await?;
                Err(error)
            }
        }
    }

    /// Gives the Lease back, if it is still ours.
    pub async fn release(self) -> Result<()> {
        let mut now = self.held.now.lock().await;
        let Some(state) = now.take() else { return Ok(()) };
        let free = LeaseWrite {
            holder: None,
            run: None,
            renewed_at: self.held.clock.wall(),
            duration: self.held.duration,
            transitions: state.transitions,
        };
        match self.held.leases.update(&free, &state.resource_version).await {
            // Somebody took it over: it is theirs to give back.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Held {
    fn is_ours(&self, state: &LeaseState, taken: Option<u32>) -> bool {
        taken.is_some_and(|taken| state.is_held_by(&self.who, self.run.as_str(), taken))
    }

    fn write(&self, transitions: u32) -> LeaseWrite {
        LeaseWrite {
            holder: Some(self.who.clone()),
            run: Some(self.run.to_string()),
            renewed_at: self.clock.wall(),
            duration: self.duration,
            transitions,
        }
    }

    async fn take(&self, takeover: bool) -> Result<LeaseState> {
        let mut observed: Option<(LeaseState, Stopwatch)> = None;
        loop {
            let Some(state) = self.leases.get().await? else {
                match self.leases.create(&self.write(0)).await {
                    Err(error) if error.is_conflict() => continue,
                    other => return other,
                }
            };
            let free = state.holder.as_deref().unwrap_or_default().is_empty();
            if !free && !takeover {
                return Err(locked(&state));
            }
            if !free && !self.looks_dead(&state, &mut observed)? {
                tokio::time::sleep(self.duration / 10).await;
                continue;
            }
            match self.leases.update(&self.write(state.transitions + 1), &state.resource_version).await {
                Err(error) if error.is_conflict() || error.is_not_found() => observed = None,
                other => return other,
            }
        }
    }

    /// A holder is dead when *we* saw its Lease unchanged for a full duration; clocks of two machines are not compared.
    fn looks_dead(&self, state: &LeaseState, observed: &mut Option<(LeaseState, Stopwatch)>) -> Result<bool> {
        match observed {
            Some((before, since)) if before == state => Ok(since.elapsed() >= state.duration.max(self.duration)),
            Some((before, _)) if before.run == state.run && before.holder == state.holder => Err(alive(state)),
            _ => {
                *observed = Some((state.clone(), Stopwatch::start()));
                Ok(false)
            }
        }
    }

    /// One renewal; an unreachable cluster is tried again, and noticed by [`Lock::still_ours`] before the next act.
    async fn renew_once(&self) {
        let mut now = self.now.lock().await;
        let Some(state) = now.clone() else { return };
        match self.leases.update(&self.write(state.transitions), &state.resource_version).await {
            Ok(state) => *now = Some(state),
            Err(error) if error.is_conflict() || error.is_not_found() => {
                *now = match self.leases.get().await {
                    Ok(Some(newer)) if self.is_ours(&newer, Some(state.transitions)) => Some(newer),
                    _ => None,
                };
            }
            Err(error) => tracing::warn!("could not renew the lease: {error}"),
        }
    }
}

async fn renew(held: Arc<Held>) {
    loop {
        tokio::time::sleep(held.duration / 3).await;
        held.renew_once().await;
    }
}

fn holder(state: &LeaseState) -> String {
    let who = state.holder.as_deref().unwrap_or("somebody");
    state.run.as_ref().map_or(who.to_owned(), |run| format!("{who} (run {run})"))
}

fn locked(state: &LeaseState) -> Error {
    let error = Error::new(Kind::Locked, format!("production is locked by {}", holder(state)));
    let error = match &state.renewed_at {
        Some(at) => error.seen(format!("renewed at {at} by its own clock, for {} s", state.duration.as_secs())),
        None => error,
    };
    error
        .hint("what it does: gospel-release status")
        .hint("if its process is dead, to go on with its run: gospel-release resume --takeover")
        .hint("or the same command with --takeover takes its place")
}

/// The holder works: taking over is not for that.
fn alive(state: &LeaseState) -> Error {
    Error::new(Kind::Locked, format!("production is locked by {}", holder(state)))
        .seen("it was renewed while we looked: its process is alive, and it may be changing production now")
        .hint("ask its holder to press Ctrl-C once: it stops at the next safe point and gives the lock back")
        .hint("where nobody is there: end that process (kill -TERM), then the same command again")
}

fn lost(now: Option<&LeaseState>) -> Error {
    let whose = now.map_or("nobody holds it".to_owned(), |state| format!("{} holds it", holder(state)));
    Error::new(Kind::Locked, format!("the lock on production is no longer ours: {whose}"))
        .seen("Nothing further was changed.")
        .hint("gospel-release status")
}
