//! `promote`: from what soaked on staging to what production runs, with evidence at every step.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapters::cluster::{ConfigMaps, Events, Leases, Logs};
use crate::adapters::http;
use crate::config::Config;
use crate::domain::{Digest, ServiceName, Version};
use crate::engine::{
    Engine, Fact, Facts, Header, Journal, Plan, Question, Record, RunDir, RunState, SeenEvent, Shared,
};
use crate::error::{Error, Kind, Result};
use crate::monitor::databases::Database;
use crate::monitor::endpoints::Endpoints;
use crate::monitor::metrics::Metrics;
use crate::steps;

use super::connect::{Connected, connect};
use super::prepare::{Prepared, choose_version, pending_migrations};
use super::shared::{Claim, Runs};
use super::sheet::Sheet;
use super::{Invocation, Report, candidate, checklist, evidence, guards, lock, report};

use std::collections::BTreeMap;

/// What a promotion was asked to do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub version: Option<Version>,
    /// Approve in GitHub where the caller may.
    pub approve: bool,
    /// How long to wait for the approval, over the configuration.
    #[serde(skip)]
    pub wait_approval: Option<std::time::Duration>,
    /// Consent to end another's Argo CD operation that hangs.
    pub terminate_sync: bool,
    /// Take the lock from a dead holder.
    #[serde(skip)]
    pub takeover: bool,
    /// Waive what a first release cannot have.
    pub first_release: bool,
    pub reason: Option<String>,
}

/// A run that holds the lock and has its journal open.
struct Begun {
    connected: Connected,
    facts: Facts,
    live: BTreeMap<ServiceName, Digest>,
    claim: Claim,
    dir: RunDir,
}

/// Runs a promotion from its beginning. The report is always there; `failure` in it is the error.
pub async fn promote(invocation: &mut Invocation, options: &Options) -> Report {
    let connected = match connect(invocation).await {
        Ok(connected) => connected,
        Err(error) => return Report::early("promote", None, error),
    };
    let world = connected.world.clone();
    let chosen = choose(invocation, &connected, options).await;
    let (facts, live) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => return Report::early("promote", Some(world), error),
    };
    if invocation.dry_run {
        return dry_run(invocation, &connected, options, facts, &live).await;
    }
    match begin(invocation, connected, options, facts, live).await {
        Ok((begun, journal, first)) => {
            let plan = plan(invocation, &begun.connected, options, &begun.facts, &begun.live).await;
            match plan {
                Ok(plan) => run(invocation, begun, journal, Start::New(Box::new(first)), &plan).await,
                Err(error) => give_up(begun, world, error).await,
            }
        }
        Err(error) => Report::early("promote", Some(world), error),
    }
}

/// Version and candidate, from the world and the arguments; refuses what cannot become a release.
async fn choose(
    invocation: &mut Invocation,
    connected: &Connected,
    options: &Options,
) -> Result<(Facts, BTreeMap<ServiceName, Digest>)> {
    let config = invocation.config.clone();
    guards::same_bytes(&config).demand()?;
    let (production, staging) = (&connected.production, &connected.staging);
    let (candidate, live, approval, tags) = futures::try_join!(
        candidate::find(&config, &staging.workloads, &production.aws, &connected.git),
        live(&config, connected, options),
        guards::approval_rule(&connected.github, &config),
        guards::tag_rule(&connected.github, &config),
    )?;
    approval.demand()?;
    if !tags.ok {
        invocation.warn(format!("{}; {}", tags.said, tags.fix));
    }
    let running = candidate::live_version(&config, &production.aws, &live).await?;
    let released = connected.git.release_tags()?;
    if released.is_empty() && !options.first_release {
        return Err(Error::new(Kind::GateBlocked, "there is no release tag, so nothing to go back to")
            .hint("gospel-release promote --first-release waives, by name, what a first release cannot have"));
    }
    let mut facts = Facts { candidate: Some(candidate.clone()), previous: running.clone(), ..Facts::default() };
    let prepared = Prepared::of(&config, &connected.git, &facts)?;
    if prepared.previous.as_ref().is_some_and(|tag| tag.commit == candidate.commit) || live == candidate.images {
        let what = running.map_or("that build".to_owned(), |version| version.to_string());
        return Err(Error::usage(format!("nothing to release: production runs {what}, which is what staging runs")));
    }
    let version = choose_version(options.version.as_ref(), &config, &released, running.as_ref(), &prepared.changes)?;
    facts.version = Some(version);
    Ok((facts, live))
}

async fn live(config: &Config, connected: &Connected, options: &Options) -> Result<BTreeMap<ServiceName, Digest>> {
    match candidate::running(config, &connected.production.workloads).await {
        Err(_) if options.first_release => Ok(BTreeMap::new()),
        other => other,
    }
}

/// What production runs, for the sheet of a run that is taken up: in the middle of a rollout it is no one thing.
pub(super) async fn live_or_nothing(invocation: &Invocation, connected: &Connected) -> BTreeMap<ServiceName, Digest> {
    candidate::running(&invocation.config, &connected.production.workloads).await.unwrap_or_default()
}

/// Takes the lock, refuses beside an unfinished run, and makes the journal.
async fn begin(
    invocation: &Invocation,
    connected: Connected,
    options: &Options,
    facts: Facts,
    live: BTreeMap<ServiceName, Digest>,
) -> Result<(Begun, Journal, Record)> {
    let run = invocation.new_run_id()?;
    let namespace = &invocation.config.production.namespace;
    let leases = Leases::new(&connected.production.cluster, namespace);
    let duration = invocation.config.lock.lease;
    let lock = lock::acquire(leases, &invocation.clock, invocation.who(), &run, duration, options.takeover).await?;
    let runs = Runs::new(ConfigMaps::new(&connected.production.cluster, namespace));
    let claim = runs.claim(lock, None);
    let started = async {
        refuse_beside(&runs).await?;
        let dir = invocation.state_dir()?.run(&run);
        dir.make()?;
        Journal::create(&dir.journal()).map(|journal| (dir, journal))
    };
    match started.await {
        Ok((dir, journal)) => {
            let first = first_record(invocation, &connected, options, &facts, run);
            Ok((Begun { connected, facts, live, claim, dir }, journal, first))
        }
        Err(error) => {
            claim.release().await?;
            Err(error)
        }
    }
}

/// A run that was left open comes first: it is resumed or aborted before another begins.
async fn refuse_beside(runs: &Runs) -> Result<()> {
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

fn first_record(
    invocation: &Invocation,
    connected: &Connected,
    options: &Options,
    facts: &Facts,
    run: crate::domain::RunId,
) -> Record {
    let header = Header {
        run,
        command: "promote".to_owned(),
        project: invocation.config.project.clone(),
        world: connected.world.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        steps: Vec::new(),
        plan_hash: String::new(),
        by: invocation.who(),
        started_at: invocation.clock.now(),
        config: serde_json::to_value(&invocation.config).unwrap_or_default(),
        options: serde_json::to_value(options).unwrap_or_default(),
    };
    let facts = [
        facts.version.clone().map(Fact::Version),
        facts.previous.clone().map(Fact::Previous),
        facts.candidate.clone().map(Fact::Candidate),
    ];
    Record::RunStarted { header: Box::new(header), facts: facts.into_iter().flatten().collect() }
}

/// The runbook, as a plan.
pub(super) async fn plan(
    invocation: &Invocation,
    connected: &Connected,
    options: &Options,
    facts: &Facts,
    live: &BTreeMap<ServiceName, Digest>,
) -> Result<Plan> {
    let config = Arc::new(effective(&invocation.config, options));
    let git = &connected.git;
    let github = &connected.github;
    let production = &connected.production;
    let namespace = &config.production.namespace;
    let databases = Database::all(&config, &config.production, false, &production.cluster, &invocation.env)?;
    let prepared = Prepared::of(&config, git, facts)?;
    let candidate = facts.candidate.as_ref().ok_or_else(|| Error::internal("no candidate"))?;
    let migrations = pending_migrations(git, &databases, &candidate.commit).await.unwrap_or_default();
    let summary = prepared.summary();
    let notes = prepared.changes.notes(Some(&format!("https://github.com/{}", config.repository.slug)));
    let question = {
        let (config, live) = (Arc::clone(&config), live.clone());
        move |state: &RunState| Question {
            sheet: Sheet { config: &config, prepared: &prepared, live: &live, migrations: &migrations }.text(state),
            phrase: state.version().map(ToString::to_string).unwrap_or_default(),
        }
    };
    let plan = Plan::new("promote")
        .gates(checklist::gates(invocation, connected, options.first_release)?)
        .confirm(question)
        .step(steps::Migrate {
            git: Arc::clone(git),
            databases,
            program: config.migrations.program.clone(),
            within: config.migrations.finish_within,
        })
        .step(steps::Tag { git: Arc::clone(git), repository: config.repository.clone(), summary })
        .step(steps::WorkflowRunAppears {
            github: github.clone(),
            workflow: config.workflow.clone(),
            repository: config.repository.clone(),
        })
        .step(steps::Approval::new(github.clone(), config.workflow.clone(), options.approve))
        .step(steps::Pipeline { github: github.clone(), workflow: config.workflow.clone() })
        .step(steps::ImagesShipped { aws: production.aws.clone(), config: Config::clone(&config) })
        .step(steps::OverlayCommit { git: Arc::clone(git), config: Config::clone(&config) })
        .step(steps::ArgoSync {
            applications: connected.applications.clone(),
            git: Arc::clone(git),
            argo: config.argo.clone(),
            terminate: options.terminate_sync,
        })
        .step(steps::Rollout {
            workloads: production.workloads.clone(),
            events: Events::new(&production.cluster, namespace),
            logs: Logs::new(&production.cluster, namespace),
            aws: production.aws.clone(),
            config: Config::clone(&config),
        })
        .step(steps::ProductionHealth {
            endpoints: Endpoints::new(&config, &config.production, &production.cluster)?,
            http: http::client()?,
            urls: config.production.urls.clone(),
            within: config.rollout.within,
        })
        .step(steps::Watch::new(
            Metrics::new(&config, &config.production, &production.cluster)?,
            production.workloads.clone(),
            Config::clone(&config),
        ))
        .step_if(config.announce.github_release.then(|| steps::AnnounceRelease {
            github: github.clone(),
            repository: config.repository.clone(),
            notes,
        }))
        .step_if(webhook(invocation, &config)?);
    Ok(plan)
}

/// The configuration with this call's flags over it.
fn effective(config: &Config, options: &Options) -> Config {
    let mut config = config.clone();
    if let Some(wait) = options.wait_approval {
        config.workflow.wait_approval = wait;
    }
    config
}

fn webhook(invocation: &Invocation, config: &Config) -> Result<Option<steps::AnnounceWebhook>> {
    let from_env = config.announce.webhook_env.as_ref().and_then(|name| invocation.env.get(name)).map(str::to_owned);
    let url = from_env.or_else(|| config.announce.webhook.clone());
    url.map(|url| Ok(steps::AnnounceWebhook { http: http::client()?, url, project: config.project.clone() }))
        .transpose()
}

/// Whether the run's first record is yet to be written, or it is taken up again.
pub(super) enum Start {
    New(Box<Record>),
    Again(Box<RunState>),
}

async fn run(invocation: &mut Invocation, begun: Begun, journal: Journal, start: Start, plan: &Plan) -> Report {
    let Begun { connected, claim, dir, facts, .. } = begun;
    let start = match start {
        Start::New(first) => Start::New(Box::new(with_plan(*first, plan, &facts))),
        Start::Again(state) => Start::Again(state),
    };
    let report = drive(invocation, plan, journal, &claim, start, &dir, &connected).await;
    if report.failure.is_none() {
        // Old runs in the cluster are tidied while we hold the lock; what cannot be tidied now can be next time.
        if let Err(error) = claim.prune().await {
            invocation.warn(format!("old runs were not tidied away: {error}"));
        }
    }
    // The report stands whatever becomes of the lock; a Lease that cannot be given back expires.
    if let Err(error) = claim.release().await {
        invocation.warn(format!("the lock could not be given back and expires by itself: {error}"));
    }
    report
}

/// The first record, with the plan in its header.
fn with_plan(mut first: Record, plan: &Plan, facts: &Facts) -> Record {
    if let Record::RunStarted { header, .. } = &mut first {
        header.steps = plan.steps(facts);
        header.plan_hash = plan.hash();
    }
    first
}

/// Runs the plan and closes the run: as released, or as far as it came.
pub(super) async fn drive(
    invocation: &mut Invocation,
    plan: &Plan,
    journal: Journal,
    shared: &dyn Shared,
    start: Start,
    dir: &RunDir,
    connected: &Connected,
) -> Report {
    let (clock, cancel, by) = (invocation.clock.clone(), invocation.cancel.clone(), invocation.who());
    let listener = invocation.listener.as_mut();
    let engine = match start {
        Start::New(first) => Engine::begin(clock, cancel, listener, journal, shared, *first, by).await,
        Start::Again(state) => Engine::go_on(clock, cancel, listener, journal, shared, *state, by).await,
    };
    let mut engine = match engine {
        Ok(engine) => engine,
        Err(error) => return Report::early("promote", Some(connected.world.clone()), error),
    };
    let result = engine.run(plan).await;
    let changed = engine.state().is_some_and(RunState::changed_the_world);
    let ended = match &result {
        Ok(()) => crate::engine::Ended { outcome: "released".into(), exit: 0, open: false, why: String::new() },
        Err(error) => report::ended(error, changed),
    };
    let failure = result.err().map(|error| resumable(error, changed));
    // A journal that cannot be written is the failure itself, or comes after one: the first one is told.
    let closing = engine.end(ended).await;
    let failure = failure.or(closing.err());
    finish(engine, dir, failure)
}

fn finish(mut engine: Engine<'_>, dir: &RunDir, failure: Option<Error>) -> Report {
    let Some(state) = engine.state().cloned() else {
        return Report::early("promote", None, failure.unwrap_or_else(|| Error::internal("a run without a state")));
    };
    let mut report = Report::of("promote", &state, "released", failure);
    match evidence::write(dir, &state, &report) {
        Ok(path) => report.evidence = Some(path.display().to_string()),
        Err(error) => engine.tell(SeenEvent::Warning { text: format!("no evidence bundle: {error}") }),
    }
    report
}

/// An error that leaves the run open names the command that goes on.
fn resumable(error: Error, changed: bool) -> Error {
    let says = error.hints().iter().any(|hint| hint.contains("gospel-release resume") || hint.contains("rollback"));
    if changed && !says { error.hint("gospel-release resume") } else { error }
}

async fn give_up(begun: Begun, world: crate::domain::WorldId, error: Error) -> Report {
    // Nothing was begun but the lock and an empty journal.
    let _ = std::fs::remove_dir_all(begun.dir.path());
    let released = begun.claim.release().await;
    let error = match released {
        Ok(()) => error,
        Err(stuck) => error.seen(format!("and the lock could not be given back: {stuck}")),
    };
    Report::early("promote", Some(world), error)
}

/// All gates and all probes, no lock, no journal, no act.
async fn dry_run(
    invocation: &mut Invocation,
    connected: &Connected,
    options: &Options,
    facts: Facts,
    live: &BTreeMap<ServiceName, Digest>,
) -> Report {
    let world = Some(connected.world.clone());
    let version = facts.version.clone();
    let plan = match plan(invocation, connected, options, &facts, live).await {
        Ok(plan) => plan,
        Err(error) => return Report::early("promote", world, error),
    };
    let (clock, cancel) = (invocation.clock.clone(), invocation.cancel.clone());
    let mut engine = Engine::dry(clock, cancel, invocation.listener.as_mut(), facts);
    let failure = engine.run(&plan).await.err();
    let mut report = match failure {
        Some(error) => Report::early("promote", world, error),
        None => {
            Report { outcome: "planned".into(), exit: 0, error: None, failure: None, ..Report::empty("promote", world) }
        }
    };
    report.version = version.map(|version| version.to_string());
    report
}
