//! `resume`: what was begun, and how it goes on.

use serde_json::json;

use crate::adapters::cluster::ConfigMaps;
use crate::cli::runs::Resume;
use crate::config::Config;
use crate::domain::{RunId, WorldId, printable};
use crate::engine::{
    Act, BoxFuture, Done, Effect, Ended, FORMAT, Facts, Journal, Line, Plan, Probe, Record, RunState, Step, StepIo,
    fold,
};
use crate::error::{Error, Kind, Result};

use super::connect::{Connected, Outages, connect_despite, hurried, production};
use super::drive::{self, Start, Verb};
use super::lock::{Ask, Taker};
use super::shared::Runs;
use super::{Invocation, Report, guards, hotfix, lock, promote, provision, rollback};

/// A run as it is known best, here or in the cluster.
pub(super) struct Found {
    pub state: RunState,
    /// The shared copy's resourceVersion, if it exists.
    pub version: Option<String>,
    /// Whether the shared copy says that it is open.
    pub open_there: bool,
}

/// The run to take up: the one named, or the last that was left open.
pub(super) async fn find(invocation: &Invocation, runs: &Runs, run: Option<&RunId>) -> Result<Found> {
    if let Some(run) = run {
        let shared = runs.get(run).await?;
        let local = match (invocation.state_dir()?.run(run).load(), &shared) {
            // The journal here cannot be read: the copy in the cluster is whole.
            (Err(_), Some(_)) => None,
            (loaded, _) => loaded?.map(|(_, state)| state),
        };
        return newest(shared, local).ok_or_else(|| {
            Error::usage(format!("there is no run {run}, neither here nor in the cluster"))
                .hint("gospel-release runs list")
        });
    }
    match runs.open().await?.pop() {
        Some(state) => {
            let run = state.header.run.clone();
            Box::pin(find(invocation, runs, Some(&run))).await
        }
        None => Err(Error::usage("no run was left open").hint("what there is: gospel-release runs list")),
    }
}

fn newest(shared: Option<(RunState, String)>, local: Option<RunState>) -> Option<Found> {
    let open_there = shared.as_ref().is_some_and(|(shared, _)| shared.is_open());
    let (state, version) = match (shared, local) {
        (Some((shared, version)), Some(local)) if is_ahead(&local, &shared) => (local, Some(version)),
        (Some((shared, version)), _) => (shared, Some(version)),
        (None, Some(local)) => (local, None),
        (None, None) => return None,
    };
    Some(Found { state, version, open_there })
}

/// Whether the journal here knows more than the shared copy: what could not be saved any more when the cluster did not answer, or the
/// process died. What was closed in the cluster is closed, whatever the journal has: somebody went on without it.
pub(super) fn is_ahead(local: &RunState, shared: &RunState) -> bool {
    shared.is_open() && local.seq > shared.seq
}

/// Goes on with a run, from this machine or another.
pub async fn resume(invocation: &mut Invocation, args: &Resume) -> Report {
    if let Some(report) = provision::resume(invocation, args.run.as_ref()).await {
        return report;
    }
    let connected = match goes_past_git(invocation, args).await {
        Ok(hurry) => connect_despite(invocation, hurry).await,
        Err(error) => Err(error),
    };
    let (connected, outages) = match connected {
        Ok(connected) => connected,
        Err(error) => return Report::early("resume", None, error),
    };
    let world = connected.world.clone();
    match take_up(invocation, &connected, outages, args).await {
        Ok(report) => report,
        Err(error) => Report::early("resume", Some(world), error),
    }
}

/// Whether the run goes past Git: that is known before Git is waited for. One that is not found is looked for again, and missed, later.
async fn goes_past_git(invocation: &mut Invocation, args: &Resume) -> Result<bool> {
    let (place, namespace) = production(invocation).await?;
    let runs = Runs::new(ConfigMaps::new(&place.cluster, &namespace));
    let found = find(invocation, &runs, args.run.as_ref()).await;
    Ok(found.is_ok_and(|found| past_git(&found.state)))
}

async fn take_up(
    invocation: &mut Invocation,
    connected: &Connected,
    outages: Outages,
    args: &Resume,
) -> Result<Report> {
    let (run, consent) = (args.run.as_ref(), &args.consent);
    let runs = Runs::new(ConfigMaps::new(&connected.production.cluster, &connected.world.namespace));
    let found = match find(invocation, &runs, run).await {
        // A process that died before it shared anything left only its Lease: nothing was changed.
        Err(error) if consent.takeover && run.is_none() && error.kind() == Kind::Usage => {
            if !invocation.dry_run {
                clear_dead_lock(invocation, connected).await?;
            }
            return Err(error);
        }
        other => other?,
    };
    let state = &found.state;
    let run = state.header.run.clone();
    same_world(state, &connected.world)?;
    if found.open_there && !state.is_open() {
        return Err(Error::usage(format!(
            "run {run} is over ({}), and its shared copy says that it is open",
            outcome(state)
        ))
        .hint(format!("to have that say so too: gospel-release abort {run}")));
    }
    if !past_git(state)
        && let Some(error) = needed(outages, state)
    {
        return Err(error);
    }
    if invocation.dry_run {
        let (verb, plan) = planned_again(invocation, connected, state, args).await?;
        return Ok(drive::dry_run(invocation, connected, verb, found.state.facts, &plan).await);
    }
    let taker = Taker::of(invocation, &connected.production.cluster, &run);
    let way = consent.takeover.then_some(Ask::Nobody);
    let again = async |invocation: &Invocation| find(invocation, &runs, Some(&run)).await;
    let (lock, found) = lock::under_lock(invocation, taker, way, again).await?;
    let claim = runs.claim(lock, found.version);
    let report = go_on(invocation, connected, &claim, found.state, args).await;
    drive::give_back(invocation, claim).await;
    report
}

/// What is out of reach and needed for the rest of a run: staging only as long as nobody has confirmed what is released, and
/// neither that nor the GitHub API by what may begin without them.
fn needed(outages: Outages, state: &RunState) -> Option<Error> {
    if [rollback::VERB, hotfix::ship::VERB].iter().any(|verb| verb.command == state.header.command) {
        return outages.git.or(outages.argo);
    }
    let staging = if state.confirmed.is_some() { None } else { outages.staging };
    Outages { staging, ..outages }.any()
}

async fn go_on(
    invocation: &mut Invocation,
    connected: &Connected,
    claim: &super::shared::Claim,
    state: RunState,
    args: &Resume,
) -> Result<Report> {
    let (verb, plan) = planned_again(invocation, connected, &state, args).await?;
    let dir = invocation.state_dir()?.run(&state.header.run);
    dir.make()?;
    let journal = journal(invocation, &dir, &state)?;
    let start = Start::Again(Box::new(state));
    Ok(drive::drive(invocation, verb, &plan, journal, claim, start, &dir, connected).await)
}

/// The plan of an open run, with its own settings; the same that it began with.
async fn planned_again(
    invocation: &mut Invocation,
    connected: &Connected,
    state: &RunState,
    args: &Resume,
) -> Result<(Verb, Plan)> {
    if !state.is_open() {
        return Err(Error::usage(format!("run {} is over ({})", state.header.run, outcome(state)))
            .hint("to begin a new one: gospel-release promote"));
    }
    settings_of(invocation, state)?;
    let (verb, plan) = plan_again(invocation, connected, state, args).await?;
    same_plan(state, &plan)?;
    Ok((verb, plan))
}

/// The plan of a run that is taken up, by the verb that began it.
async fn plan_again(
    invocation: &Invocation,
    connected: &Connected,
    state: &RunState,
    args: &Resume,
) -> Result<(Verb, Plan)> {
    let stored = || state.header.options.clone();
    match state.header.command.as_str() {
        command if command == promote::VERB.command => {
            let mut options: promote::Options = serde_json::from_value(stored()).unwrap_or_default();
            options.approve |= args.consent.approve;
            options.terminate_sync |= args.consent.terminate_sync;
            options.wait_approval = args.consent.wait_approval;
            if !state.is_done("tag") {
                guards::approval_rule(&connected.github, &invocation.config).await?.demand()?;
            }
            let live = promote::live_or_nothing(invocation, connected).await;
            Ok((promote::VERB, promote::plan(invocation, connected, &options, &state.facts, &live).await?))
        }
        command if command == rollback::VERB.command => {
            let mut options: rollback::Options = serde_json::from_value(stored()).unwrap_or_default();
            options.terminate_sync |= args.consent.terminate_sync;
            options.pause_sync |= args.pause_sync;
            Ok((rollback::VERB, rollback::plan_again(invocation, connected, &options, state).await?))
        }
        command if command == hotfix::ship::VERB.command => {
            let mut options: hotfix::ShipOptions = serde_json::from_value(stored()).unwrap_or_default();
            options.terminate_sync |= args.consent.terminate_sync;
            options.pause_sync |= args.pause_sync;
            let fetch = hotfix::fetch_branch(connected, &options.branch, options.direct);
            let fetched = hurried("Git", options.direct, fetch).await;
            // Past Git, what is known here goes.
            if !options.direct {
                fetched?;
            }
            Ok((hotfix::ship::VERB, hotfix::ship::plan_again(invocation, connected, &options, state)?))
        }
        command if command == hotfix::finish::VERB.command => {
            let mut options: hotfix::FinishOptions = serde_json::from_value(stored()).unwrap_or_default();
            options.approve |= args.consent.approve;
            options.terminate_sync |= args.consent.terminate_sync;
            options.wait_approval = args.consent.wait_approval;
            hotfix::fetch_branch(connected, &options.branch, false).await?;
            Ok((hotfix::finish::VERB, hotfix::finish::plan_again(invocation, connected, &options, state)?))
        }
        other => Err(Error::config(format!(
            "run {} is of a verb that this gospel-release does not know: {other}",
            state.header.run
        ))
        .hint(format!("use gospel-release {}", state.header.tool))),
    }
}

/// Whether a run changes production past Git, and so goes on without it.
fn past_git(state: &RunState) -> bool {
    state.header.options["direct"] == json!(true)
}

/// Closes another run that was left open: what replaces it goes on from what the world is.
pub(super) struct GiveUp {
    pub runs: Runs,
    pub run: RunId,
    pub why: String,
}

impl Step for GiveUp {
    fn id(&self) -> &'static str {
        "give-up"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Close run {} as it stands", self.run)
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<std::time::Duration> {
        Some(std::time::Duration::from_secs(600))
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            Ok(match self.runs.get(&self.run).await? {
                Some((state, _)) if state.is_open() => Probe::NotYet("it is open".to_owned()),
                _ => Probe::Done(Done::said("it is closed")),
            })
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            self.runs.close(&self.run, &aborted(self.why.clone())).await?;
            Ok(Act::Waiting { note: String::new() })
        })
    }
}

/// How a run ends that is given up.
pub(super) fn aborted(why: String) -> Record {
    Record::RunEnded(Ended { outcome: "aborted".into(), exit: 0, open: false, why, next: Vec::new() })
}

/// The journal here: gone on with where it is whole and as far as the shared copy, else begun from that copy.
fn journal(invocation: &Invocation, dir: &crate::engine::RunDir, state: &RunState) -> Result<Journal> {
    let path = dir.journal();
    if path.is_file() {
        // One that cannot be read is put aside as well: the shared copy goes on.
        if let Ok((journal, lines)) = Journal::open(&path)
            && let Ok(Some(local)) = fold(&lines)
            && local.seq == state.seq
        {
            return Ok(journal);
        }
        let aside = path.with_extension(format!("{}.jsonl", invocation.clock.wall().as_second()));
        std::fs::rename(&path, &aside)
            .map_err(|error| Error::config(format!("put the journal {} aside", path.display())).because(error))?;
    }
    let mut journal = Journal::create(&path)?;
    let adopted = Record::RunAdopted { state: Box::new(state.clone()), by: invocation.who() };
    journal.append(&Line { v: FORMAT, seq: state.seq, at: invocation.clock.now(), record: adopted })?;
    Ok(journal)
}

/// The run's own settings go on, over what is configured here now; only local paths, programs and ways in are taken from here.
fn settings_of(invocation: &mut Invocation, state: &RunState) -> Result<()> {
    let run = &state.header.run;
    let stored: Config = serde_json::from_value(state.header.config.clone()).map_err(|error| {
        Error::config(format!("run {run} was started with settings that this gospel-release does not read"))
            .because(error)
    })?;
    let here = &invocation.config;
    // The checkout is open by now, with this branch and this form of tags.
    for (key, then, now) in [
        ("repository.main", stored.repository.main.as_str(), here.repository.main.as_str()),
        ("repository.tags", stored.repository.tags.as_str(), here.repository.tags.as_str()),
    ] {
        if then != now {
            return Err(Error::config(format!("run {run} began with {key}: {then}, and here it is {now}"))
                .hint(format!("gospel-release resume --set {key}={then}")));
        }
    }
    let own = with_ways_of(stored, here);
    let changed = differing(&own, here)?;
    invocation.config = own;
    if !changed.is_empty() {
        invocation.warn(format!("settings differ from the run's own, which go on: {}", changed.join(", ")));
    }
    Ok(())
}

/// The settings of a run with this machine's paths, programs, sign-ins and ways in.
fn with_ways_of(run: Config, here: &Config) -> Config {
    let mut own = run;
    let here = here.clone();
    own.project = here.project;
    own.repository = here.repository;
    own.github = here.github;
    own.lock = here.lock;
    own.debt = here.debt;
    own.provision = here.provision;
    own.migrations.program = here.migrations.program;
    own.hotfix.builder = here.hotfix.builder;
    (own.argo.cluster, own.argo.aws) = (here.argo.cluster, here.argo.aws);
    for (own, here) in [(&mut own.staging, here.staging), (&mut own.production, here.production)] {
        (own.aws, own.cluster, own.namespace) = (here.aws, here.cluster, here.namespace);
        (own.health.reach, own.prometheus.reach) = (here.health.reach, here.prometheus.reach);
    }
    for service in &mut own.services {
        let same = here.services.iter().find(|other| other.name == service.name);
        if let (Some(own), Some(here)) = (&mut service.database, same.and_then(|same| same.database.clone())) {
            (own.url_env, own.staging_url_env, own.reach) = (here.url_env, here.staging_url_env, here.reach);
        }
    }
    own
}

/// The sections in which two configurations differ.
fn differing(one: &Config, other: &Config) -> Result<Vec<String>> {
    let document = |config| {
        serde_json::to_value(config).map_err(|error| Error::internal("write the settings as JSON").because(error))
    };
    let (one, other) = (document(one)?, document(other)?);
    let sections = one.as_object().into_iter().flatten();
    Ok(sections.filter(|(name, value)| other[name.as_str()] != **value).map(|(name, _)| name.clone()).collect())
}

/// Another world is refused (exit 14).
pub(super) fn same_world(state: &RunState, here: &WorldId) -> Result<()> {
    if state.header.world == *here {
        return Ok(());
    }
    Err(Error::new(Kind::WrongWorld, format!("run {} began in another world", state.header.run))
        .seen(format!("then: {}", state.header.world))
        .seen(format!("here: {here}")))
}

/// Other steps than the run was planned with are refused.
pub(super) fn same_plan(state: &RunState, plan: &Plan) -> Result<()> {
    if plan.hash() == state.header.plan_hash {
        return Ok(());
    }
    Err(Error::config(format!(
        "run {} was planned by gospel-release {} with other steps than this one has",
        state.header.run, state.header.tool
    ))
    .hint(format!("use gospel-release {}, or: gospel-release abort {}", state.header.tool, state.header.run)))
}

/// A Lease whose holder died before it shared a run is given back.
async fn clear_dead_lock(invocation: &mut Invocation, connected: &Connected) -> Result<()> {
    let taker = Taker::of(invocation, &connected.production.cluster, &invocation.new_run_id()?);
    lock::make_way(&taker, Ask::Nobody, |text| invocation.note(text)).await.map(drop)
}

pub(super) fn outcome(state: &RunState) -> String {
    match &state.ended {
        None => "running, or its process died".to_owned(),
        Some(ended) if ended.why.is_empty() => ended.outcome.clone(),
        Some(ended) => format!("{}: {}", ended.outcome, printable(&ended.why)),
    }
}

pub(super) fn brief(state: &RunState) -> serde_json::Value {
    json!({
        "run": state.header.run,
        "command": state.header.command,
        "version": state.version(),
        "by": state.header.by,
        "started": state.header.started_at,
        "outcome": state.ended.as_ref().map(|ended| &ended.outcome),
        "open": state.is_open(),
        "next": state.next_step().map(|step| &step.id),
    })
}
