//! `rollback`: back to a release that ran before, as one commit that Argo CD syncs; or past Git, when Git or Argo CD is down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapters::cluster::{AppState, ConfigMaps, ExternalSecrets, Reading, Register};
use crate::config::Config;
use crate::domain::{Debt, DebtKind, Digest, Quarantined, RunId, ServiceName, Version, printable};
use crate::engine::{Change, Facts, NewImage, Plan, Question, RunState, Shipped};
use crate::error::{Error, Kind, Result};
use crate::gates;
use crate::monitor::agreement;
use crate::monitor::databases::Database;
use crate::steps;

use super::connect::{Connected, Outages, connect_despite, fetched};
use super::drive::{self, Beside, Verb};
use super::live::Live;
use super::rollback_sheet::Sheet;
use super::shared::Runs;
use super::way::Way;
use super::{Invocation, Report, candidate, debt, promote, runs, target};

pub(super) const VERB: Verb = Verb { command: "rollback", success: "rolled-back", goes_first: true };

/// What a rollback was asked to do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub to: Option<Version>,
    /// Only these services; all where it is empty.
    pub services: Vec<ServiceName>,
    pub reason: Option<String>,
    /// Past Git: images are applied first, the commit follows when it can.
    pub direct: bool,
    /// Consent to pause automated sync while production differs from Git.
    pub pause_sync: bool,
    /// Consent to end another's Argo CD operation.
    pub terminate_sync: bool,
    /// The old code is known to run on the schema that stays.
    pub accept_schema: bool,
    /// The open run that is given up first; found at the start.
    pub gives_up: Option<RunId>,
    /// What GitHub Actions may still do for it.
    pub ends: Option<steps::Started>,
    /// The quarantined release that it goes to, by its key; found at the start.
    pub lifts: Option<String>,
    /// Have the run that holds the lock stopped, and take its place.
    #[serde(skip)]
    pub takeover: bool,
}

/// What was found before anything is asked.
pub(super) struct Found {
    pub target: target::Past,
    /// What production runs by version, if it is one.
    pub runs: Option<Version>,
    /// What is taken out: what production runs, or what main names and no pod runs yet.
    pub bad: Option<Version>,
    /// The target is newer than all that runs: nothing is taken out.
    pub forward: bool,
    /// The images of a release that is on its way: main names it, and no pod runs it yet.
    pub coming: BTreeMap<ServiceName, Digest>,
    /// What pods run, by service; empty for a service whose pods do not say.
    pub live: BTreeMap<ServiceName, BTreeSet<Digest>>,
    /// The affected services, and the target's digests.
    pub digests: BTreeMap<ServiceName, Option<Digest>>,
    /// Services that stay as they are: asked so, or unknown to the target.
    pub untouched: Vec<ServiceName>,
    /// The target was taken out of production once.
    pub quarantined: Option<Quarantined>,
    pub app: Result<AppState>,
    /// What else is paused with it.
    pub paused_with: Option<String>,
    pub open: Option<RunState>,
    /// The debts that are open already, where it goes past Git.
    pub owed: Vec<Debt>,
    /// Quarantined releases of which nothing can be read here.
    pub unread: Vec<String>,
}

/// Runs a rollback from its beginning.
pub async fn rollback(invocation: &mut Invocation, options: &Options) -> Report {
    invocation.note("looking at production, Git and Argo CD");
    let (connected, outages) = match connect_despite(invocation, options.direct).await {
        Ok(connected) => connected,
        Err(error) => return Report::early(VERB.command, None, error),
    };
    let world = connected.world.clone();
    match looked(invocation, &connected, &outages, options).await {
        Err(error) => Report::early(VERB.command, Some(world), error),
        Ok(None) => Report { outcome: "nothing-to-do".into(), ..Report::empty(VERB.command, Some(world)) },
        Ok(Some((found, facts, options))) => {
            let consent = (options.takeover, Beside::Allow);
            drive::from_the_start(
                invocation,
                &connected,
                VERB,
                &options,
                facts,
                consent,
                async |invocation, facts, run| plan(invocation, &connected, &options, facts, run, Some(found)),
            )
            .await
        }
    }
}

async fn looked(
    invocation: &mut Invocation,
    connected: &Connected,
    outages: &Outages,
    options: &Options,
) -> Result<Option<(Found, Facts, Options)>> {
    let past = past_git(options, None);
    outages.go_without(invocation, options.direct, "a rollback", &past)?;
    if options.accept_schema && options.reason.is_none() {
        return Err(Error::usage("--accept-schema needs --reason TEXT: who reads this later must know why"));
    }
    let mut found = find(invocation, connected, options).await;
    // What was asked wrongly is said before anybody is stopped for it.
    let wrong = found.as_ref().is_err_and(|error| error.kind() == Kind::Usage);
    if options.takeover && !wrong && drive::make_way(invocation, connected, VERB).await? {
        // It may have brought something to main on its way to a safe point.
        match fetched(&connected.git, options.direct).await {
            Err(error) if !options.direct => return Err(error),
            _ => found = find(invocation, connected, options).await,
        }
    }
    let found = found?;
    if !found.unread.is_empty() {
        let which = printable(&found.unread.join(", "));
        invocation.warn(format!(
            "what is written of {which} in quarantine cannot be read, and is gone without: gospel-release status"
        ));
    }
    if let Ok(app) = &found.app
        && !options.direct
    {
        app.must_be_clear().map_err(|error| error.hint(format!("past Argo CD, at once: {past}")))?;
    }
    if let Some(said) = nothing_to_do(connected, &invocation.config, &found, options)? {
        invocation.note(said);
        return Ok(None);
    }
    warn_of_put_back(invocation, connected, options.direct, |name| found.digests.contains_key(name)).await?;
    let facts = facts(&found, options);
    let gives_up = found.open.as_ref().map(|run| run.header.run.clone());
    let ends = found.open.as_ref().and_then(started);
    let lifts = found.quarantined.as_ref().map(Quarantined::key);
    let options = Options { gives_up, ends, lifts, ..options.clone() };
    Ok(Some((found, facts, options)))
}

/// A sync brings every service to what main says, not only those that are meant: what somebody applied past Git goes, too.
pub(super) async fn warn_of_put_back(
    invocation: &mut Invocation,
    connected: &Connected,
    direct: bool,
    affected: impl Fn(&ServiceName) -> bool,
) -> Result<()> {
    if direct || invocation.config.services.iter().all(|service| affected(&service.name)) {
        return Ok(());
    }
    let differing = agreement::differing(&invocation.config, &connected.git, &connected.production.workloads).await?;
    for service in differing.iter().filter(|service| !affected(service)) {
        invocation.warn(format!(
            "{service} differs from {}, and this sync puts it back to what that says (--direct leaves it)",
            invocation.config.repository.main
        ));
    }
    Ok(())
}

/// What runs, where it can go back to, and what Argo CD and other runs are doing.
async fn find(invocation: &Invocation, connected: &Connected, options: &Options) -> Result<Found> {
    let config = &invocation.config;
    let production = &connected.production;
    let maps = ConfigMaps::new(&production.cluster, &config.production.namespace);
    let kept = Runs::new(maps.clone());
    let quarantine = Register::new(maps, debt::QUARANTINE);
    let (live, all, open, quarantined, app) = futures::join!(
        candidate::seen(config, &production.aws, &production.workloads),
        kept.all(),
        kept.open_and_readable(),
        quarantine.readable::<Quarantined>(),
        connected.applications.application(&config.argo.application),
    );
    let (live, all, open, Reading { records: quarantined, unread }) = (live?, all?, open?, quarantined?);
    let releases = target::releases(config, &connected.git, &all)?;
    let named = target::named_now(config, &connected.git)?;
    let (runs, hotfixed) = match one_each(&live) {
        Some(images) => {
            let runs = Live::of(config, &production.aws, &connected.git, &images).await?;
            // An unfinished hotfix has no version of its own: the release beneath it is what it goes back to.
            let hotfixed = runs.highest.clone().filter(|_| !runs.hotfixed.is_empty());
            let version = runs.release.or(runs.highest).filter(|_| runs.hotfixed.is_empty());
            (version, hotfixed)
        }
        // In the middle of a rollout, Git says better than pods where it was going.
        None => (named.clone(), None),
    };
    let coming = named.filter(|named| runs.as_ref().is_some_and(|runs| runs < named));
    let bad = coming.clone().or_else(|| runs.clone());
    // A rollback that was left open goes where it was going, and takes out what it was taking out.
    let open = open.into_iter().next_back();
    let going = open.as_ref().filter(|open| open.header.command == VERB.command).map(|open| &open.facts);
    let bad = going.map_or(bad, |going| going.previous.clone());
    // Where nothing of what is coming has arrived, what runs is what to go back to.
    let known = |version: &Version| releases.iter().any(|past| past.version == *version);
    // What cannot be read of a release is taken for the worst.
    let free = |version: &Version| !unread.contains(&version.to_string());
    let good = |version: &Version| known(version) && free(version) && !quarantined.contains_key(&version.to_string());
    let stays = runs.as_ref().filter(|runs| coming.is_some() && good(runs));
    let asked = options.to.as_ref().or(going.and_then(|going| going.version.as_ref())).or(stays);
    let before = |version: &Version| match (&bad, &hotfixed) {
        (Some(bad), _) => version < bad,
        (None, Some(base)) => version <= base,
        (None, None) => true,
    };
    if let (None, Some(runs)) = (asked, &runs) {
        target::must_be_named(runs, &unread)?;
    }
    let target = target::choose(&releases, asked, |version| before(version) && free(version), &quarantined)?;
    if asked.is_none()
        && let Some(runs) = &runs
    {
        must_be_meant(runs, &target.version, open.as_ref(), &quarantined)?;
    }
    // Said twice, it takes nothing out: what it went back to is good. Nor is what an older release ran, when it goes forward again.
    let bad = bad.filter(|bad| *bad > target.version);
    let forward = [&runs, &hotfixed].into_iter().flatten().all(|now| *now < target.version) && coming.is_none();
    let affected = affected(config, options, &target)?;
    let digests = target::digests(config, &production.aws, &target, &affected).await?;
    let coming = match releases.iter().find(|past| coming.as_ref() == Some(&past.version)) {
        Some(past) => target::digests(config, &production.aws, past, &affected).await?,
        None => BTreeMap::new(),
    };
    let coming = coming.into_iter().filter_map(|(name, digest)| Some((name, digest?))).collect();
    let untouched = config.services.iter().map(|service| service.name.clone());
    let untouched = untouched.filter(|name| !affected.contains(name)).collect();
    let paused_with = match &app {
        Ok(app) if options.direct && app.auto_sync => steps::paused_with(&connected.applications, app).await,
        _ => None,
    };
    let owed = async || debt::open_as_far_as_known(connected, config, invocation.clock.now()).await;
    let owed = if options.direct { owed().await } else { Vec::new() };
    let quarantined = quarantined.get(&target.version.to_string()).cloned();
    Ok(Found {
        target,
        runs,
        bad,
        forward,
        coming,
        live,
        digests,
        untouched,
        quarantined,
        app,
        paused_with,
        open,
        owed,
        unread,
    })
}

/// What production runs is mostly what is to be taken out. Where it was just gone back to, or a newer release has not reached it, one
/// who is tired may mean something else: he says where to go.
fn must_be_meant(
    runs: &Version,
    target: &Version,
    open: Option<&RunState>,
    quarantined: &BTreeMap<String, Quarantined>,
) -> Result<()> {
    let further = format!("gospel-release rollback --to {target}");
    let newer = open.and_then(|open| Some((open, open.version().filter(|version| *version > runs)?)));
    if let Some((open, version)) = newer {
        return Err(Error::usage(format!(
            "production runs {runs}: {version} has not reached it, and there is nothing to take out"
        ))
        .seen("Nothing was changed.")
        .hint(format!("gospel-release abort {}", open.header.run))
        .hint(format!("where {runs} is the bad one: {further}")));
    }
    let newer = |entry: &Quarantined| entry.version.as_ref().is_none_or(|version| version > runs);
    let gone_back = quarantined.values().find(|entry| entry.back_to == *runs && newer(entry));
    if let Some(entry) = gone_back {
        let (when, who) = (entry.at.strftime("%Y-%m-%d %H:%M UTC"), printable(&entry.who));
        return Err(Error::usage(format!(
            "production went back to {runs} already, from {}, at {when}, by {who}",
            entry.name()
        ))
        .seen("Nothing was changed.")
        .hint(format!("where {runs} is bad as well: {further}")));
    }
    Ok(())
}

/// The workflow that a run has started, or may have.
fn started(run: &RunState) -> Option<steps::Started> {
    if !run.steps.contains_key("tag") {
        return None;
    }
    Some(steps::Started {
        version: run.facts.version.clone()?,
        commit: run.facts.candidate.as_ref()?.commit.clone(),
        run: run.facts.workflow_run.as_ref().map(|run| run.id),
    })
}

/// One digest a service, where every service's pods agree.
fn one_each(live: &BTreeMap<ServiceName, BTreeSet<Digest>>) -> Option<BTreeMap<ServiceName, Digest>> {
    live.iter().map(|(name, digests)| Some((name.clone(), candidate::agreed(digests)?.clone()))).collect()
}

fn affected(config: &Config, options: &Options, target: &target::Past) -> Result<Vec<ServiceName>> {
    let known: Vec<ServiceName> = config.services.iter().map(|service| service.name.clone()).collect();
    if let Some(unknown) = options.services.iter().find(|name| !known.contains(name)) {
        let names: Vec<&str> = known.iter().map(ServiceName::as_str).collect();
        return Err(
            Error::usage(format!("there is no service {unknown}")).hint(format!("services: {}", names.join(", ")))
        );
    }
    let asked = |name: &ServiceName| options.services.is_empty() || options.services.contains(name);
    Ok(known.into_iter().filter(|name| asked(name) && target.has(name)).collect())
}

/// Production runs the target already, and main says so: a second call changes nothing.
fn nothing_to_do(connected: &Connected, config: &Config, found: &Found, options: &Options) -> Result<Option<String>> {
    let serves = found.digests.iter().all(|(name, digest)| match (digest, found.live.get(name)) {
        (Some(digest), Some(live)) => live.len() == 1 && live.contains(digest),
        _ => false,
    });
    // Sync that is paused may be taken up again.
    let paused = options.direct && found.app.as_ref().is_ok_and(|app| !app.auto_sync);
    if !serves || paused || found.open.is_some() {
        return Ok(None);
    }
    let overlay = agreement::named_on_main(config, &connected.git)?;
    let by_name = config.service_map();
    let agrees = found.digests.keys().all(|name| {
        let entry = by_name.get(name).and_then(|service| overlay.get(&config.image_of(service)));
        let wanted = found.target.entry(name);
        entry.is_some_and(|entry| entry.digest == wanted.digest && entry.tag == wanted.tag)
    });
    Ok(agrees.then(|| format!("production runs {} already; nothing was changed", found.target.version)))
}

/// The choices that the run is made of.
fn facts(found: &Found, options: &Options) -> Facts {
    let image = |(name, digest): (&ServiceName, &Option<Digest>)| {
        (name.clone(), NewImage { entry: found.target.entry(name), digest: digest.clone() })
    };
    let shipped = |(name, digest): (&ServiceName, &Option<Digest>)| {
        Some((name.clone(), Shipped { digest: digest.clone()?, soaked: true }))
    };
    Facts {
        version: Some(found.target.version.clone()),
        previous: found.bad.clone(),
        shipped: found.digests.iter().filter_map(shipped).collect(),
        change: Some(Change {
            images: found.digests.iter().map(image).collect(),
            reason: options.reason.clone().unwrap_or_default(),
            whole: found.untouched.is_empty(),
        }),
        quarantined: bad_images(found),
        ..Facts::default()
    }
}

/// What production runs of the affected services and the target is not: by its pods, by main, or by the run that was bringing it.
fn bad_images(found: &Found) -> BTreeMap<ServiceName, Digest> {
    if found.forward {
        return BTreeMap::new();
    }
    let going = found.open.as_ref().filter(|open| open.header.command == VERB.command);
    if let Some(going) = going {
        let mut bad = going.facts.quarantined.clone();
        bad.retain(|name, digest| found.digests.get(name).is_some_and(|target| target.as_ref() != Some(&*digest)));
        return bad;
    }
    let brought = found.open.as_ref().map(|open| &open.facts.shipped);
    let bad = |(name, target): (&ServiceName, &Option<Digest>)| {
        let shipped = brought.and_then(|shipped| shipped.get(name)).map(|image| &image.digest);
        let (coming, live) = (found.coming.get(name), found.live.get(name).into_iter().flatten());
        let bad = shipped.into_iter().chain(coming).chain(live).find(|digest| Some(*digest) != target.as_ref())?;
        Some((name.clone(), bad.clone()))
    };
    found.digests.iter().filter_map(bad).collect()
}

/// The plan. `found` is there when it begins, and not when it is taken up again: gates and question are history then.
pub(super) fn plan(
    invocation: &Invocation,
    connected: &Connected,
    options: &Options,
    facts: &Facts,
    run: Option<&RunId>,
    found: Option<Found>,
) -> Result<Plan> {
    let config = Arc::new(invocation.config.clone());
    let version = facts.version.clone().ok_or_else(|| Error::internal("a rollback without a target"))?;
    let ready = ready(invocation, connected, options, facts)?;
    let owed = found.as_ref().map(|found| found.owed.clone()).unwrap_or_default();
    let question = {
        let sheet = found.map(|found| Sheet { found: &found, options, config: &config }.text(&connected.world));
        let phrase = version.to_string();
        move |_: &Facts| Question { sheet: sheet.clone().unwrap_or_default(), phrase: phrase.clone() }
    };
    let mut plan = Plan::new(VERB.command).gates(vec![Box::new(ready)]).confirm(question);
    let maps = ConfigMaps::new(&connected.production.cluster, &config.production.namespace);
    if let Some(open) = &options.gives_up {
        let why = format!("given up by {} for a rollback to {version}", invocation.who());
        plan = plan.step(runs::GiveUp { runs: Runs::new(maps.clone()), run: open.clone(), why });
    }
    let stop = options.ends.clone().map(|started| {
        steps::StopRun::new(connected.github.clone(), config.workflow.clone(), config.repository.clone(), started)
    });
    let way = Way {
        connected,
        config: &config,
        commit: steps::ChangeOverlay {
            git: Arc::clone(&connected.git),
            config: Config::clone(&config),
            run: run.cloned(),
            subject: format!("revert(production): roll back to {version}"),
            later: options.direct,
            by_pull: steps::ByPull {
                github: connected.github.clone(),
                branch: format!("gospel-release/back-to-{version}"),
            },
            last: steps::LastEdit::default(),
        },
        direct: options.direct,
        pause_sync: options.pause_sync,
        terminate_sync: options.terminate_sync,
        past: past_git(options, Some(&version)),
    };
    plan = if options.direct {
        let register = Register::new(maps.clone(), debt::DEBTS);
        let debts = debts(invocation, options, run, &version);
        let record = steps::RecordDebts { register, debts, open: owed, waived: None, due_after: config.debt.due_after };
        // Written down first; what runs comes next, and what may come later is ended after it.
        way.changed(plan.step(record)).step_if(stop)
    } else {
        way.changed(plan.step_if(stop))
    };
    plan = way.arrived(|name| facts.shipped.contains_key(name), plan)?;
    let bad_images = !facts.quarantined.is_empty();
    plan = plan
        .step_if(bad_images.then(|| quarantine(invocation, &maps, facts, run, &version)))
        .step_if(options.lifts.clone().map(|key| lift(&maps, facts, key)));
    plan = way.made_good(plan);
    let whole = facts.change.as_ref().is_some_and(|change| change.whole);
    let mark = |version, mark| steps::MarkRelease {
        github: connected.github.clone(),
        repository: config.repository.clone(),
        version,
        mark,
    };
    let marks = whole && config.announce.github_release;
    let reason = options.reason.clone().unwrap_or_default();
    let bad = facts.previous.clone().filter(|_| marks);
    let again = (marks && options.lifts.is_some()).then(|| mark(version.clone(), steps::Mark::RunsAgain));
    Ok(plan
        .step_if(bad.map(|bad| mark(bad, steps::Mark::RolledBack { to: version.clone(), reason })))
        .step_if(again)
        .step_if(promote::webhook(invocation, &config, steps::News::RolledBack)?))
}

/// The command that goes past Git and Argo CD, for the services that were asked for.
fn past_git(options: &Options, to: Option<&Version>) -> String {
    let mut command = "gospel-release rollback --direct --pause-sync".to_owned();
    if let Some(version) = to.or(options.to.as_ref()) {
        command.push_str(&format!(" --to {version}"));
    }
    for name in &options.services {
        command.push_str(&format!(" --service {name}"));
    }
    command
}

fn debts(invocation: &Invocation, options: &Options, run: Option<&RunId>, target: &Version) -> Vec<Debt> {
    let again = past_git(options, Some(target));
    let run = run.cloned().unwrap_or_else(|| "dry-run".parse().expect("a DNS label"));
    let debt = |kind| Debt {
        kind,
        owner: invocation.who(),
        reason: options.reason.clone().unwrap_or_default(),
        run: run.clone(),
        opened: jiff::Timestamp::UNIX_EPOCH,
        due: jiff::Timestamp::UNIX_EPOCH,
        closed_by: Some(again.clone()),
    };
    let paused = options.pause_sync.then(|| debt(DebtKind::SyncPaused));
    std::iter::once(debt(DebtKind::LiveDiffers)).chain(paused).collect()
}

fn quarantine(
    invocation: &Invocation,
    maps: &ConfigMaps,
    facts: &Facts,
    run: Option<&RunId>,
    target: &Version,
) -> steps::Quarantine {
    steps::Quarantine {
        register: Register::new(maps.clone(), debt::QUARANTINE),
        entry: Quarantined {
            version: facts.previous.clone(),
            digests: facts.quarantined.clone(),
            who: invocation.who(),
            reason: facts.change.as_ref().map(|change| change.reason.clone()).unwrap_or_default(),
            run: run.cloned().unwrap_or_else(|| "dry-run".parse().expect("a DNS label")),
            at: jiff::Timestamp::UNIX_EPOCH,
            back_to: target.clone(),
        },
    }
}

/// What production runs again, verified, is in quarantine no more.
fn lift(maps: &ConfigMaps, facts: &Facts, key: String) -> steps::LiftQuarantine {
    let register = Register::new(maps.clone(), debt::QUARANTINE);
    steps::LiftQuarantine { register, key, services: facts.shipped.keys().cloned().collect() }
}

fn ready(invocation: &Invocation, connected: &Connected, options: &Options, facts: &Facts) -> Result<gates::Ready> {
    let config = &invocation.config;
    let production = &connected.production;
    let databases = Database::all(config, &config.production, false, &production.cluster, &invocation.env);
    let waiver = options.accept_schema.then(|| gates::Waiver {
        who: invocation.who(),
        why: options.reason.clone().unwrap_or_default(),
        until: None,
    });
    let version = facts.version.clone().ok_or_else(|| Error::internal("a rollback without a target"))?;
    let digest = |(name, image): (&ServiceName, &NewImage)| (name.clone(), image.digest.clone());
    Ok(gates::Ready {
        looks: gates::Rollback {
            config: config.clone(),
            aws: production.aws.clone(),
            workloads: production.workloads.clone(),
            secrets: ExternalSecrets::new(&production.cluster, &config.production.namespace),
            git: Arc::clone(&connected.git),
            databases: Vec::new(),
            first_release: None,
        },
        commit: connected.git.release_tags()?.into_iter().find(|tag| tag.version == version).map(|tag| tag.commit),
        target: version,
        head: connected.git.main_tip()?,
        digests: facts.change.iter().flat_map(|change| &change.images).map(digest).collect(),
        databases: databases.map_err(|error| error.to_string()),
        past_git: options.direct,
        accept_schema: waiver,
    })
}

/// A run of this verb, taken up again.
pub(super) async fn plan_again(
    invocation: &Invocation,
    connected: &Connected,
    options: &Options,
    state: &RunState,
) -> Result<Plan> {
    // Before the question was answered, the sheet is what the world says now; after it, nobody reads it.
    let mut found = None;
    if state.confirmed.is_none() {
        let partial = state.facts.change.iter().filter(|change| !change.whole);
        let services = partial.flat_map(|change| change.images.keys()).cloned().collect();
        let same = Options { to: state.facts.version.clone(), services, ..options.clone() };
        let mut now = find(invocation, connected, &same).await?;
        now.open = now.open.filter(|open| open.header.run != state.header.run);
        found = Some(now);
    }
    plan(invocation, connected, options, &state.facts, Some(&state.header.run), found)
}
