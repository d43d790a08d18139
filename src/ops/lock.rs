//! Whose turn it is: the Lease in the production namespace, held and renewed while a run goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::adapters::cluster::{Cluster, LeaseState, LeaseWrite, Leases};
use crate::clock::{Clock, Stopwatch};
use crate::domain::{RunId, printable};
use crate::error::{Error, Kind, Result};

use super::Invocation;

/// How long a holder that is alive is waited for, once it was asked to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who takes the Lease, and for what.
pub struct Taker {
    pub leases: Leases,
    pub clock: Clock,
    /// `user@host`.
    pub who: String,
    pub run: RunId,
    /// How long a renewal holds.
    pub duration: Duration,
    /// Whether `--takeover` has a live holder stopped, and not only a dead one's lock taken.
    pub goes_first: bool,
    /// Ends what we do at its next safe point: a signal sets it, and we do where somebody asks for it through the Lease.
    pub cancel: CancellationToken,
}

/// The Lease, held. Dropping it stops renewing; [`Lock::release`] gives it back.
pub struct Lock {
    held: Arc<Held>,
    _renewer: AbortOnDropHandle<()>,
}

struct Held {
    by: Taker,
    /// The Lease as we last wrote or saw it; `None` once it is not ours any more.
    now: Mutex<Option<LeaseState>>,
    /// Who asked us to stop.
    asked: OnceLock<String>,
    /// Nothing is in flight: a person is being asked something, and may be at lunch.
    resting: AtomicBool,
}

/// Takes the Lease, if nobody holds it.
///
/// # Errors
/// [`Kind::Locked`] naming holder and run.
pub async fn acquire(by: Taker) -> Result<Lock> {
    let state = take(&by).await?;
    let held = Held { by, now: Mutex::new(Some(state)), asked: OnceLock::new(), resting: AtomicBool::new(false) };
    let held = Arc::new(held);
    let renewer = AbortOnDropHandle::new(tokio::spawn(renew(Arc::clone(&held))));
    Ok(Lock { held, _renewer: renewer })
}

/// Takes the lock, where `way` says so after its holder has made way, and looks again under it: who had it may have gone on meanwhile.
/// It is given back where that look fails.
pub async fn under_lock<T>(
    invocation: &mut Invocation,
    by: Taker,
    way: Option<Ask<'_>>,
    look: impl AsyncFnOnce(&Invocation) -> Result<T>,
) -> Result<(Lock, T)> {
    if let Some(ask) = way {
        make_way(&by, ask, |text| invocation.note(text)).await?;
    }
    let lock = acquire(by).await?;
    lock.under(look(invocation).await).await
}

async fn take(by: &Taker) -> Result<LeaseState> {
    loop {
        let Some(state) = by.leases.get().await? else {
            match by.leases.create(&by.write(0)).await {
                Err(error) if error.is_conflict() => continue,
                other => return other,
            }
        };
        if state.holder.is_some() {
            return Err(locked(&state, by.goes_first));
        }
        match by.leases.update(&by.write(state.transitions + 1), &state.resource_version).await {
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            other => return other,
        }
    }
}

/// Who of those that hold the Lease is asked to stop, if he is alive.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    Nobody,
    /// Whoever it is, for this command.
    Anybody(&'a str),
    /// The holder for this run only, so that it can be aborted.
    Run(&'a RunId),
}

impl Ask<'_> {
    /// What the holder is asked to stop for.
    fn what(self, state: &LeaseState) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Anybody(command) => Some(command.to_owned()),
            Self::Run(run) => (state.run.as_deref() == Some(run.as_str())).then(|| format!("abort {run}")),
        }
    }
}

/// Clears the way for [`acquire`]. A holder is dead when *we* saw its Lease unchanged for a full duration (clocks of two machines
/// are not compared), and then the Lease is given back for it. One that is alive is asked to stop at its next safe point, if `ask` says
/// so, and waited for. Whether somebody was in the way.
///
/// # Errors
/// [`Kind::Locked`] where the holder is alive, and is not asked or does not stop.
pub async fn make_way(by: &Taker, ask: Ask<'_>, mut say: impl FnMut(String)) -> Result<bool> {
    let Some(first) = by.leases.get().await?.filter(|state| state.holder.is_some()) else { return Ok(false) };
    let ask = ask.what(&first);
    say(match ask {
        Some(_) => format!("{} has the lock: asked to stop at the next safe point, and waited for", holder(&first)),
        None => format!("{} has the lock: watched for {} s", holder(&first), first.duration.as_secs()),
    });
    let (begun, mut unchanged, mut seen) = (Stopwatch::start(), Stopwatch::start(), first.clone());
    loop {
        if let Some(what) = ask.as_ref().filter(|_| seen.stop_asked_by.is_none()) {
            by.ask(&seen, what).await?;
        }
        tokio::select! {
            () = by.cancel.cancelled() => return Err(given_up(&first, ask.is_some())),
            () = tokio::time::sleep(by.duration / 10) => {}
        }
        match by.leases.get().await? {
            // Given back, or somebody was faster: whoever wants it now is told so.
            Some(state) if !state.is_same_turn(&first) => return Ok(true),
            None => return Ok(true),
            Some(state) if state != seen => {
                // What we asked changed it as well, and says nothing about its holder.
                let renewed = state.renewed_at != first.renewed_at;
                if renewed && (ask.is_none() || begun.elapsed() >= PATIENCE) {
                    return Err(alive(&state));
                }
                (seen, unchanged) = (state, Stopwatch::start());
            }
            Some(state) if unchanged.elapsed() >= state.duration.max(by.duration) => match by.bury(&state).await {
                // It was alive after all.
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                buried => {
                    say(format!("{} does not renew the lock: its process is dead", holder(&state)));
                    return buried.map(|_| true);
                }
            },
            Some(_) => {}
        }
    }
}

impl Taker {
    /// Us, for `run`, in the production namespace.
    #[must_use]
    pub fn of(invocation: &Invocation, cluster: &Cluster, run: &RunId) -> Self {
        Self {
            leases: Leases::new(cluster, &invocation.config.production.namespace),
            clock: invocation.clock.clone(),
            who: invocation.who(),
            run: run.clone(),
            duration: invocation.config.lock.lease,
            goes_first: false,
            cancel: invocation.cancel.clone(),
        }
    }

    fn write(&self, transitions: u32) -> LeaseWrite {
        LeaseWrite {
            holder: Some(self.who.clone()),
            run: Some(self.run.to_string()),
            renewed_at: self.clock.wall(),
            duration: self.duration,
            transitions,
            stop_asked_by: None,
        }
    }

    /// Asks the holder to stop; one that wrote at the same moment is asked again.
    async fn ask(&self, state: &LeaseState, what: &str) -> Result<()> {
        let asking = LeaseWrite { stop_asked_by: Some(format!("{}, for {what}", self.who)), ..state.as_it_is() };
        match self.leases.update(&asking, &state.resource_version).await {
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            asked => asked.map(drop),
        }
    }

    /// Gives the Lease of a dead holder back.
    async fn bury(&self, state: &LeaseState) -> Result<LeaseState> {
        let free = LeaseWrite { holder: None, run: None, stop_asked_by: None, ..state.as_it_is() };
        self.leases.update(&free, &state.resource_version).await
    }
}

impl Lock {
    /// Asks the cluster again: before every act.
    pub async fn still_ours(&self) -> Result<()> {
        let mut now = self.held.now.lock().await;
        let taken = now.as_ref().map(|state| state.transitions);
        let seen = self.held.by.leases.get().await?;
        match seen {
            Some(state) if self.held.is_ours(&state, taken) => {
                self.held.hear(&state);
                *now = Some(state);
                Ok(())
            }
            other => {
                *now = None;
                Err(lost(other.as_ref()))
            }
        }
    }

    /// Who asked us to stop, and what for.
    #[must_use]
    pub fn stop_asked_by(&self) -> Option<&str> {
        self.held.asked.get().map(String::as_str)
    }

    /// Whether nothing is in flight just now: then who asks us to stop is given the Lease at once.
    pub fn rest(&self, resting: bool) {
        self.held.resting.store(resting, Ordering::SeqCst);
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
        self.held.give_back().await
    }
}

impl Held {
    fn is_ours(&self, state: &LeaseState, taken: Option<u32>) -> bool {
        taken.is_some_and(|taken| state.is_held_by(&self.by.who, self.by.run.as_str(), taken))
    }

    /// Stops what we do, where somebody asks for it.
    fn hear(&self, state: &LeaseState) {
        if let Some(by) = &state.stop_asked_by
            && self.asked.set(printable(by)).is_ok()
        {
            self.by.cancel.cancel();
        }
    }

    /// One renewal; an unreachable cluster is tried again, and noticed by [`Lock::still_ours`] before the next act.
    async fn renew_once(&self) {
        let mut now = self.now.lock().await;
        // Somebody who asks us something has written to it as well: then it is renewed on top of that.
        for _ in 0..2 {
            let Some(state) = now.clone() else { return };
            let ours = LeaseWrite { stop_asked_by: state.stop_asked_by.clone(), ..self.by.write(state.transitions) };
            let late = match self.by.leases.update(&ours, &state.resource_version).await {
                Ok(state) => return *now = Some(state),
                Err(error) if error.is_conflict() || error.is_not_found() => self.by.leases.get().await,
                Err(error) => Err(error),
            };
            match late {
                Ok(Some(newer)) if self.is_ours(&newer, Some(state.transitions)) => {
                    self.hear(&newer);
                    *now = Some(newer);
                }
                Ok(_) => *now = None,
                Err(error) => return tracing::warn!("could not renew the lease: {error}"),
            }
        }
    }

    async fn give_back(&self) -> Result<()> {
        let mut now = self.now.lock().await;
        let Some(mut state) = now.take() else { return Ok(()) };
        loop {
            let free = LeaseWrite { holder: None, run: None, stop_asked_by: None, ..self.by.write(state.transitions) };
            match self.by.leases.update(&free, &state.resource_version).await {
                Err(error) if error.is_conflict() || error.is_not_found() => match self.by.leases.get().await? {
                    // Somebody asked us something meanwhile.
                    Some(newer) if self.is_ours(&newer, Some(state.transitions)) => state = newer,
                    // Somebody took it over: it is theirs to give back.
                    _ => return Ok(()),
                },
                other => return other.map(drop),
            }
        }
    }
}

async fn renew(held: Arc<Held>) {
    loop {
        tokio::time::sleep(held.by.duration / 3).await;
        held.renew_once().await;
        if held.asked.get().is_some()
            && held.resting.load(Ordering::SeqCst)
            && let Err(error) = held.give_back().await
        {
            tracing::warn!("could not give the lease back: {error}");
        }
    }
}

/// We stop waiting; what was asked stays asked.
fn given_up(state: &LeaseState, asked: bool) -> Error {
    let said = if asked {
        format!("stopped as asked; {} was asked to stop, and will", holder(state))
    } else {
        "stopped as asked; nothing was changed".to_owned()
    };
    Error::new(Kind::Interrupted, said)
}

fn holder(state: &LeaseState) -> String {
    let who = printable(state.holder.as_deref().unwrap_or("somebody"));
    state.run.as_ref().map_or_else(|| who.clone(), |run| format!("{who} (run {})", printable(run)))
}

fn locked(state: &LeaseState, goes_first: bool) -> Error {
    let error = Error::new(Kind::Locked, format!("production is locked by {}", holder(state)));
    let error = match &state.renewed_at {
        Some(at) => error.seen(format!("renewed at {at} by its own clock, for {} s", state.duration.as_secs())),
        None => error,
    };
    let error = error.hint("what it does: gospel-release status");
    if goes_first {
        return error.hint("to have it stopped at its next safe point: the same command with --takeover");
    }
    let error = match &state.run {
        Some(run) => error.hint(abort(run)),
        None => error,
    };
    error.hint("if its process is dead, to go on with its run: gospel-release resume --takeover")
}

fn abort(run: &str) -> String {
    format!("to have it stopped at its next safe point, and closed: gospel-release abort {}", printable(run))
}

/// The holder works: taking over is not for that.
fn alive(state: &LeaseState) -> Error {
    let error = Error::new(Kind::Locked, format!("production is locked by {}", holder(state)))
        .seen("it was renewed while we looked: its process is alive, and it may be changing production now");
    match (&state.stop_asked_by, &state.run) {
        (Some(by), _) => error
            .seen(format!("it was asked to stop by {}, and has not within {} s", printable(by), PATIENCE.as_secs()))
            .hint("look at what it does, and wait for it: gospel-release status")
            .hint("or end that process (kill -TERM), then the same command again"),
        (None, Some(run)) => error.hint("its holder stops it at the next safe point with Ctrl-C").hint(abort(run)),
        (None, None) => error.hint("its holder stops it at the next safe point with Ctrl-C"),
    }
}

fn lost(now: Option<&LeaseState>) -> Error {
    let held = now.filter(|state| state.holder.is_some());
    let whose = held.map_or("nobody holds it".to_owned(), |state| format!("{} holds it", holder(state)));
    Error::new(Kind::Locked, format!("the lock on production is no longer ours: {whose}"))
        .seen("Nothing further was changed.")
        .hint("gospel-release status")
}
