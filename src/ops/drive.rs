//! A run of any verb, from its lock to its report: begin, drive, close.

use std::sync::Arc;

use serde_json::Value;

use crate::adapters::cluster::ConfigMaps;
use crate::domain::{RunId, WorldId};
use crate::engine::{Ended, Engine, Fact, Facts, Header, Journal, Plan, Record, RunDir, RunState, SeenEvent, Shared};
use crate::error::{Error, Kind, Result};

use super::connect::Connected;
use super::lock::{Ask, Taker};
use super::shared::{Claim, Runs};
use super::{Invocation, Report, credentials, debt, evidence, lock, report};

/// How a verb is called, and how it reads when it succeeded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verb {
    pub command: &'static str,
    /// `released`, `rolled-back`, …
    pub success: &'static str,
    /// Whether it has a live run of somebody else stopped, if asked, rather than wait for it.
    pub goes_first: bool,
}

/// What to do about a run that was left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// It comes first.
    Refuse,
    /// The plan closes it: going back does not wait for what went wrong.
    Allow,
}

/// A run that holds the lock and has its journal open.
struct Begun {
    claim: Claim,
    dir: RunDir,
    journal: Journal,
    header: Header,
    facts: Facts,
}

/// Takes the lock, looks for unfinished runs, and makes the journal.
async fn begin(
    invocation: &mut Invocation,
    connected: &Connected,
    verb: Verb,
    options: Value,
    facts: &Facts,
    (takeover, beside): (bool, Beside),
) -> Result<Begun> {
    let run = invocation.new_run_id()?;
    let cluster = &connected.production.cluster;
    let taker = Taker { goes_first: verb.goes_first, ..Taker::of(invocation, cluster, &run) };
    if takeover {
        lock::make_way(&taker, Ask::Nobody, |text| invocation.note(text)).await?;
    }
    let lock = lock::acquire(taker).await?;
    let runs = Runs::new(ConfigMaps::new(cluster, &invocation.config.production.namespace));
    let claim = runs.claim(lock, None);
    let started = async {
        if beside == Beside::Refuse {
            refuse_beside(&runs).await?;
        }
        let dir = invocation.state_dir()?.run(&run);
        dir.make()?;
        Journal::create(&dir.journal()).map(|journal| (dir, journal))
    };
    match started.await {
        Ok((dir, journal)) => {
            let header = header(invocation, run, verb, connected.world.clone(), options);
            Ok(Begun { claim, dir, journal, header, facts: facts.clone() })
        }
        Err(error) => {
            claim.release().await?;
            Err(error)
        }
    }
}

/// Has the run of somebody else stopped that is in the way of going back, dead or alive; whether there was one. What it brings to its
/// next safe point still changes the world: that is looked at afterwards.
pub(super) async fn make_way(invocation: &mut Invocation, connected: &Connected, verb: Verb) -> Result<bool> {
    if invocation.dry_run {
        return Ok(false);
    }
    invocation.listener.can_ask()?;
    let taker = Taker::of(invocation, &connected.production.cluster, &invocation.new_run_id()?);
    lock::make_way(&taker, Ask::Anybody(verb.command), |text| invocation.note(text)).await
}

/// What a run is started with, but for its plan.
pub(super) fn header(invocation: &Invocation, run: RunId, verb: Verb, world: WorldId, options: Value) -> Header {
    Header {
        run,
        command: verb.command.to_owned(),
        project: invocation.config.project.clone(),
        world,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        steps: Vec::new(),
        plan_hash: String::new(),
        by: invocation.who(),
        started_at: invocation.clock.now(),
        config: serde_json::to_value(&invocation.config).unwrap_or_default(),
        options,
    }
}

/// A run that was left open comes first: it is resumed or aborted before another begins.
pub(super) async fn refuse_beside(runs: &Runs) -> Result<()> {
    let open = runs.open().await?;
    let Some(state) = open.last() else { return Ok(()) };
    let version = state.version().map_or(String::new(), |version| format!(" of {version}"));
    let next = state.next_step().map_or(String::new(), |step| format!(", stopped before: {}", step.title));
    Err(Error::new(
        Kind::Locked,
        format!("run {}{version} by {} is unfinished{next}", state.header.run, state.header.by),
    )
    .hint(format!("gospel-release resume {}", state.header.run))
    .hint(format!("or give it up: gospel-release abort {}", state.header.run)))
}

impl Begun {
    /// The first record, with the plan in its header.
    fn first(&self, plan: &Plan) -> Record {
        let mut header = self.header.clone();
        header.steps = plan.steps(&self.facts);
        header.plan_hash = plan.hash();
        let facts = &self.facts;
        let facts = [
            facts.version.clone().map(Fact::Version),
            facts.previous.clone().map(Fact::Previous),
            facts.candidate.clone().map(Fact::Candidate),
            facts.change.clone().map(Fact::Change),
            (!facts.quarantined.is_empty()).then(|| Fact::Quarantined(facts.quarantined.clone())),
            (!facts.shipped.is_empty()).then(|| Fact::Shipped(facts.shipped.clone())),
        ];
        Record::RunStarted { header: Arc::new(header), facts: facts.into_iter().flatten().collect() }
    }

    /// Gives up what was never begun: nothing is there but the lock and an empty journal.
    async fn give_up(self, verb: Verb, world: WorldId, error: Error) -> Report {
        // An empty directory that stays is no harm.
        let _ = std::fs::remove_dir_all(self.dir.path());
        let released = self.claim.release().await;
        let error = match released {
            Ok(()) => error,
            Err(stuck) => error.seen(format!("and the lock could not be given back: {stuck}")),
        };
        Report::early(verb.command, Some(world), error)
    }
}

/// A verb from its beginning: everything looked at and nothing changed on a dry run; else the lock, the plan, and its run.
///
/// `options` are kept with the run; `plan` is asked for the plan of a run, which is none on a dry run.
pub(super) async fn from_the_start(
    invocation: &mut Invocation,
    connected: &Connected,
    verb: Verb,
    options: &impl serde::Serialize,
    facts: Facts,
    consent: (bool, Beside),
    plan: impl AsyncFnOnce(&Invocation, &Facts, Option<&RunId>) -> Result<Plan>,
) -> Report {
    let world = connected.world.clone();
    if invocation.dry_run {
        return match plan(invocation, &facts, None).await {
            Ok(plan) => dry_run(invocation, connected, verb, facts.into(), &plan).await,
            Err(error) => Report::early(verb.command, Some(world), error),
        };
    }
    let options = serde_json::to_value(options).unwrap_or_default();
    match begin(invocation, connected, verb, options, &facts, consent).await {
        Ok(begun) => match plan(invocation, &facts, Some(&begun.header.run)).await {
            Ok(plan) => run(invocation, connected, verb, begun, &plan).await,
            Err(error) => begun.give_up(verb, world, error).await,
        },
        Err(error) => Report::early(verb.command, Some(world), error),
    }
}

/// Runs a plan that begins now, and gives the lock back.
async fn run(invocation: &mut Invocation, connected: &Connected, verb: Verb, begun: Begun, plan: &Plan) -> Report {
    let first = begun.first(plan);
    let Begun { claim, dir, journal, .. } = begun;
    let report = drive(invocation, verb, plan, journal, &claim, Start::New(Box::new(first)), &dir, connected).await;
    if report.failure.is_none() {
        // Old runs in the cluster are tidied while we hold the lock; what cannot be tidied now can be next time.
        if let Err(error) = claim.prune().await {
            invocation.warn(format!("old runs were not tidied away: {error}"));
        }
    }
    give_back(invocation, claim).await;
    report
}

/// Gives the lock back; the report stands whatever becomes of it.
pub(super) async fn give_back(invocation: &mut Invocation, claim: Claim) {
    if let Err(error) = claim.release().await {
        invocation.warn(format!("the lock could not be given back, and the next command needs --takeover: {error}"));
    }
}

/// Whether the run's first record is yet to be written, or it is taken up again.
pub(super) enum Start {
    New(Box<Record>),
    Again(Box<RunState>),
}

impl Start {
    fn is_done(&self, step: &str) -> bool {
        matches!(self, Self::Again(state) if state.is_done(step))
    }
}

/// Runs the plan and closes the run: as done, or as far as it came.
#[allow(clippy::too_many_arguments, reason = "everything that a run is made of, each of another kind")]
pub(super) async fn drive(
    invocation: &mut Invocation,
    verb: Verb,
    plan: &Plan,
    journal: Journal,
    shared: &dyn Shared,
    start: Start,
    dir: &RunDir,
    connected: &Connected,
) -> Report {
    credentials::warn(invocation, connected, plan, |step| start.is_done(step));
    let closing = |error: &Error, state: &RunState| report::ended(error, state.changed_the_world());
    let config = invocation.config.clone();
    let at_last = debt::strike_out(connected, &config);
    drive_in(&connected.world, invocation, verb, plan, journal, shared, start, dir, closing, at_last).await
}

/// As [`drive`], in a world that nobody is connected to; `closing` says how an error leaves the run, and `at_last` strikes out
/// the debts that are closed before one that succeeded is.
#[allow(clippy::too_many_arguments, reason = "everything that a run is made of, each of another kind")]
pub(super) async fn drive_in(
    world: &WorldId,
    invocation: &mut Invocation,
    verb: Verb,
    plan: &Plan,
    journal: Journal,
    shared: &dyn Shared,
    start: Start,
    dir: &RunDir,
    closing: impl Fn(&Error, &RunState) -> Ended,
    at_last: impl Future<Output = Result<()>>,
) -> Report {
    let (clock, cancel, by) = (invocation.clock.clone(), invocation.cancel.clone(), invocation.who());
    let listener = invocation.listener.as_mut();
    let engine = match start {
        Start::New(first) => Engine::begin(clock, cancel, listener, journal, shared, *first, by).await,
        Start::Again(state) => Engine::go_on(clock, cancel, listener, journal, shared, *state, by).await,
    };
    let mut engine = match engine {
        Ok(engine) => engine,
        Err(error) => return Report::early(verb.command, Some(world.clone()), error),
    };
    let result = engine.run(plan).await;
    let tidied = async {
        // The last steps may only have been looked at.
        shared.still_ours().await?;
        at_last.await
    };
    if result.is_ok()
        && let Err(error) = tidied.await
    {
        engine.tell(SeenEvent::Warning { text: format!("debts that are closed were not struck out: {error}") });
    }
    let changed = engine.state().is_some_and(RunState::changed_the_world);
    let ended = match &result {
        Ok(()) => Ended { outcome: verb.success.into(), exit: 0, open: false, why: String::new(), next: Vec::new() },
        Err(error) => engine.state().map_or_else(|| report::ended(error, changed), |state| closing(error, state)),
    };
    let goes_on = changed && ended.open;
    let failure = result.err().map(|error| resumable(error, goes_on));
    // A journal that cannot be written is the failure itself, or comes after one: the first one is told.
    let closing = engine.end(ended).await;
    let failure = failure.or(closing.err());
    finish(engine, verb, dir, failure)
}

fn finish(mut engine: Engine<'_>, verb: Verb, dir: &RunDir, failure: Option<Error>) -> Report {
    let Some(state) = engine.state().cloned() else {
        let error = failure.unwrap_or_else(|| Error::internal("a run without a state"));
        return Report::early(verb.command, None, error);
    };
    let mut report = Report::of(verb.command, &state, verb.success, failure);
    match evidence::write(dir, &state, &report) {
        Ok(path) => report.evidence = Some(path.display().to_string()),
        Err(error) => engine.tell(SeenEvent::Warning { text: format!("no evidence bundle: {error}") }),
    }
    report
}

/// An error that leaves the run open names the command that goes on.
fn resumable(error: Error, goes_on: bool) -> Error {
    let says = error.hints().iter().any(|hint| hint.contains("gospel-release resume") || hint.contains("rollback"));
    if goes_on && !says { error.hint("gospel-release resume") } else { error }
}

/// All gates and all probes, no lock, no journal, no act.
pub(super) async fn dry_run(
    invocation: &mut Invocation,
    connected: &Connected,
    verb: Verb,
    facts: Arc<Facts>,
    plan: &Plan,
) -> Report {
    credentials::warn(invocation, connected, plan, |_| false);
    dry_run_in(&connected.world, invocation, verb, facts, plan).await
}

/// As [`dry_run`], in a world that nobody is connected to.
pub(super) async fn dry_run_in(
    world: &WorldId,
    invocation: &mut Invocation,
    verb: Verb,
    facts: Arc<Facts>,
    plan: &Plan,
) -> Report {
    let world = Some(world.clone());
    let version = facts.version.clone();
    let (clock, cancel) = (invocation.clock.clone(), invocation.cancel.clone());
    let mut engine = Engine::dry(clock, cancel, invocation.listener.as_mut(), facts);
    let failure = engine.run(plan).await.err();
    let mut report = match failure {
        Some(error) => Report::early(verb.command, world, error),
        None => Report { outcome: "planned".into(), ..Report::empty(verb.command, world) },
    };
    report.version = version.map(|version| version.to_string());
    report.gates = report::gates(engine.verdicts());
    report
}
