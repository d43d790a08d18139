//! `hotfix ship`: the branch's commit, built, pushed, and brought to production past the checklist, by name and with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapters::aws::ImageId;
use crate::adapters::builder::Builder;
use crate::adapters::cluster::{ConfigMaps, ExternalSecrets, Register};
use crate::adapters::git::Git;
use crate::config::Config;
use crate::config::model::BuilderName;
use crate::domain::{CommitSha, Debt, DebtKind, Digest, HotfixName, RunId, ServiceName, Version};
use crate::engine::{Candidate, Change, Facts, Gate, Plan, Question, RunState};
use crate::error::{Error, Kind, Result};
use crate::gates::{self, hotfix as checklist};
use crate::monitor::agreement;
use crate::monitor::databases::Database;
use crate::ops::connect::{Connected, Outages, connect_despite};
use crate::ops::drive::{self, Verb};
use crate::ops::live::{Live, hotfix_commit};
use crate::ops::way::Way;
use crate::ops::{Invocation, Report, candidate, debt, lost, promote, rollback};
use crate::steps;

use super::ship_sheet::Sheet;
use super::work::{self, Shared, Work};

pub(in crate::ops) const VERB: Verb = Verb { command: "hotfix ship", success: "shipped", goes_first: false };

/// What was asked, and what was found of the branch: a resumed run ships the same.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub reason: Option<String>,
    /// As asked; after the look, the affected ones.
    pub services: Vec<ServiceName>,
    /// As asked, for the commands that are told; found at the start.
    pub asked: Vec<ServiceName>,
    /// Past Git: images are applied first, the commit follows when it can.
    pub direct: bool,
    /// Consent to pause automated sync while production differs from Git.
    pub pause_sync: bool,
    /// Consent to end another's Argo CD operation.
    pub terminate_sync: bool,
    pub builder: Option<BuilderName>,
    /// The hotfix's branch; found at the start.
    pub branch: String,
    /// Migration files that it changes; found at the start.
    pub migrations: Vec<String>,
    /// An earlier, open run of the same hotfix, which this one takes the place of.
    pub gives_up: Option<RunId>,
    /// Take the lock from a dead holder.
    #[serde(skip)]
    pub takeover: bool,
}

/// What was found before anything is asked.
pub(super) struct Found {
    pub work: Work,
    pub live: Option<Live>,
    pub elsewhere: Vec<String>,
    pub shared: Shared,
    /// Changed services that are left out, as asked.
    pub left_out: Vec<ServiceName>,
    pub builder: Option<BuilderName>,
    /// What else is paused with the Application.
    pub paused_with: Option<String>,
    /// The debts that are open already.
    pub owed: Vec<Debt>,
}

/// Ships from its beginning.
pub async fn ship(invocation: &mut Invocation, options: &Options) -> Report {
    invocation.note("looking at the branch and at production");
    let (connected, outages) = match connect_despite(invocation, options.direct).await {
        Ok(connected) => connected,
        Err(error) => return Report::early(VERB.command, None, error),
    };
    let world = connected.world.clone();
    match looked(invocation, &connected, &outages, options).await {
        Err(error) => Report::early(VERB.command, Some(world), error),
        Ok(None) => Report { outcome: "nothing-to-do".into(), ..Report::empty(VERB.command, Some(world)) },
        Ok(Some((found, options))) => {
            let facts = facts(&invocation.config, &found.work, &options);
            let consent = (options.takeover, work::beside(options.gives_up.as_ref()));
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
) -> Result<Option<(Found, Options)>> {
    let work = Work::look(connected, &invocation.config).await?;
    if options.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
        return Err(Error::usage("a hotfix goes past the checklist, and needs --reason TEXT")
            .hint("gospel-release hotfix ship --reason 'what is broken, and how this mends it'"));
    }
    let past = past_git(&options.services);
    outages.go_without(invocation, options.direct, "a hotfix", &past)?;
    let config = invocation.config.clone();
    let (services, left_out) = affected(&config, &work, &options.services)?;
    let live = live(invocation, connected).await?;
    if let Some(live) = &live {
        refuse_backwards(live, &work, &connected.git)?;
        refuse_another(live, &work, &services, &connected.git)?;
    }
    let application = connected.applications.application(&config.argo.application).await;
    if let Ok(app) = &application
        && !options.direct
    {
        app.must_be_clear().map_err(|error| error.hint(format!("past Argo CD, at once: {past}")))?;
    }
    let paused_with = match &application {
        Ok(app) if options.direct && app.auto_sync => steps::paused_with(&connected.applications, app).await,
        _ => None,
    };
    let branch = work.name.branch();
    let gives_up = work::open_run(&work::runs(connected, &config), VERB.command, &branch).await?;
    // Sync that is paused may be taken up again. And an earlier try that is open has seen something fail after the pods were new: what
    // it waited for is looked at again.
    let paused = options.direct && application.is_ok_and(|app| !app.auto_sync);
    if !paused && gives_up.is_none() && serves_it(&config, connected, &work, &services).await? {
        invocation.note(format!("production runs {} of {branch} already; nothing was changed", work.commit.short()));
        return Ok(None);
    }
    if !work.unknown.is_empty() {
        let some: Vec<&str> = work.unknown.iter().take(5).map(String::as_str).collect();
        invocation.warn(format!("not in the hotfix, because Git does not know them: {}", some.join(", ")));
    }
    rollback::warn_of_put_back(invocation, connected, options.direct, |name| services.contains(name)).await?;
    let builder = builder(&config, connected, &work, &services, options).await?;
    let dirs = config.services.iter().filter(|service| services.contains(&service.name));
    let dirs = dirs.filter_map(|service| Some(service.database.as_ref()?.migrations.clone())).collect();
    let options = Options {
        asked: options.services.clone(),
        services: services.into_iter().collect(),
        branch,
        migrations: checklist::migration_files(&dirs, &work.changed),
        gives_up,
        ..options.clone()
    };
    let (elsewhere, shared) = work.elsewhere(&config);
    let owed = debt::open_as_far_as_known(connected, &config, invocation.clock.now()).await;
    Ok(Some((Found { work, live, elsewhere, shared, left_out, builder, paused_with, owed }, options)))
}

/// The services to ship, and those that are changed and left out.
fn affected(config: &Config, work: &Work, asked: &[ServiceName]) -> Result<(BTreeSet<ServiceName>, Vec<ServiceName>)> {
    let changed = work.services(config);
    let known: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
    if let Some(unknown) = asked.iter().find(|name| !known.contains(&name.as_str())) {
        let error = Error::usage(format!("there is no service {unknown}"));
        return Err(error.hint(format!("services: {}", known.join(", "))));
    }
    if !asked.is_empty() {
        let asked: BTreeSet<ServiceName> = asked.iter().cloned().collect();
        let left_out = changed.difference(&asked).cloned().collect();
        return Ok((asked, left_out));
    }
    if changed.is_empty() {
        let error =
            Error::usage(format!("{} changes no service's code since {}", work.name.branch(), work.base.version));
        let error = work.changed.iter().take(10).fold(error, |error, path| error.seen(format!("it changes {path}")));
        let (_, shared) = work.elsewhere(config);
        let error =
            shared.services.iter().fold(error, |error, name| error.seen(format!("the build of {name} sees it")));
        return Err(error.hint("name what is to be built: --service NAME"));
    }
    Ok((changed, Vec::new()))
}

/// What production runs, as far as its pods agree; `None` where ECR cannot be asked.
async fn live(invocation: &mut Invocation, connected: &Connected) -> Result<Option<Live>> {
    let config = &invocation.config;
    let seen = candidate::seen(config, &connected.production.aws, &connected.production.workloads).await?;
    let agreed = seen.iter().filter_map(|(name, digests)| Some((name.clone(), candidate::agreed(digests)?.clone())));
    let images: BTreeMap<ServiceName, Digest> = agreed.collect();
    match Live::of(config, &connected.production.aws, &connected.git, &images).await {
        Ok(live) => Ok(Some(live)),
        Err(error) => {
            invocation.warn(format!("what production runs is not known: {error}"));
            Ok(None)
        }
    }
}

/// A hotfix of an older release would take services back.
fn refuse_backwards(live: &Live, work: &Work, git: &Git) -> Result<()> {
    let newer = |runs: &&Version| **runs > work.base.version && work.finished.as_ref() != Some(*runs);
    let Some(newer) = live.release.as_ref().or(live.highest.as_ref()).filter(newer) else { return Ok(()) };
    let tag = git.release_tags()?.into_iter().find(|tag| tag.version == *newer).map(|tag| tag.commit);
    Err(Error::new(
        Kind::GateBlocked,
        format!("production runs {newer}, and {} is on top of {}", work.name.branch(), work.base.version),
    )
    .seen("Shipping it would take its services back.")
    .hint(lost::bring(tag.as_ref()))
    .hint("or gospel-release hotfix start ANOTHER-NAME, and there: git cherry-pick the fix"))
}

/// A hotfix that lacks another one which is live would take that one out of its services.
fn refuse_another(live: &Live, work: &Work, services: &BTreeSet<ServiceName>, git: &Git) -> Result<()> {
    for (service, tag) in live.by_hotfix.iter().filter(|(service, _)| services.contains(*service)) {
        let commit = hotfix_commit(git, tag);
        let within = commit.as_ref().map(|commit| git.is_ancestor(commit, &work.commit)).transpose()?;
        if within == Some(true) {
            continue;
        }
        let what = format!("{service} runs {tag}, which {} ({}) lacks", work.name.branch(), work.commit.short());
        return Err(Error::new(Kind::GateBlocked, what)
            .seen("Shipping this one would take that one out of production. Nothing was changed.")
            .hint(lost::bring(commit.as_ref()))
            .hint("or take it out on purpose first: gospel-release rollback"));
    }
    Ok(())
}

/// Whether pods and main's overlay have this commit's images already.
async fn serves_it(
    config: &Config,
    connected: &Connected,
    work: &Work,
    services: &BTreeSet<ServiceName>,
) -> Result<bool> {
    let production = &connected.production;
    let overlay = agreement::named_on_main(config, &connected.git)?;
    let affected = || config.services.iter().filter(|service| services.contains(&service.name));
    let tag = ImageId::Tag(work.commit.hotfix_tag());
    let wanted: Vec<_> = affected().map(|service| (config.image_of(service), tag.clone())).collect();
    let (live, images) = futures::try_join!(
        candidate::seen(config, &production.aws, &production.workloads),
        production.aws.images(&wanted)
    )?;
    Ok(affected().all(|service| {
        let key = (config.image_of(service), tag.clone());
        let digest = images.get(&key).and_then(Option::as_ref).map(|image| &image.digest);
        let named = overlay.get(&key.0).and_then(|entry| entry.digest.as_ref());
        digest.is_some_and(|digest| {
            named == Some(digest) && live.get(&service.name) == Some(&BTreeSet::from([digest.clone()]))
        })
    }))
}

/// The builder that will be used; `None` where everything is in ECR already. Found before anybody is asked: without one, nothing
/// begins.
async fn builder(
    config: &Config,
    connected: &Connected,
    work: &Work,
    services: &BTreeSet<ServiceName>,
    options: &Options,
) -> Result<Option<BuilderName>> {
    let aws = &connected.production.aws;
    let tag = ImageId::Tag(work.commit.hotfix_tag());
    let affected = config.services.iter().filter(|service| services.contains(&service.name));
    let wanted: Vec<_> = affected.map(|service| (config.image_of(service), tag.clone())).collect();
    if aws.images(&wanted).await?.values().all(Option::is_some) {
        return Ok(None);
    }
    let asked = options.builder.or(config.hotfix.builder);
    let chosen = Builder::choose(asked, config.hotfix.build_within).await;
    chosen.map(|builder| Some(builder.name)).map_err(|error| error.seen("Nothing was changed."))
}

/// The choices that the run is made of. The images are not known before they are built.
fn facts(config: &Config, work: &Work, options: &Options) -> Facts {
    Facts {
        version: Some(work.base.version.clone()),
        previous: Some(work.base.version.clone()),
        candidate: Some(Candidate { commit: work.commit.clone(), images: BTreeMap::new() }),
        change: Some(Change {
            images: BTreeMap::new(),
            reason: options.reason.clone().unwrap_or_default(),
            whole: options.services.len() == config.services.len(),
        }),
        ..Facts::default()
    }
}

/// The plan. `found` is there when it begins, and not when it is taken up again: gates and question are history then.
fn plan(
    invocation: &Invocation,
    connected: &Connected,
    options: &Options,
    facts: &Facts,
    run: Option<&RunId>,
    found: Option<Found>,
) -> Result<Plan> {
    let config = Arc::new(invocation.config.clone());
    let lost = || Error::internal("a hotfix without a branch, a commit or a release beneath it");
    let name = HotfixName::of_branch(&options.branch).ok_or_else(lost)?;
    let commit = &facts.candidate.as_ref().ok_or_else(lost)?.commit;
    let base = facts.version.as_ref().ok_or_else(lost)?;
    let owed = found.as_ref().map(|found| found.owed.clone()).unwrap_or_default();
    let question = {
        let sheet = found.map(|found| Sheet { found: &found, options, config: &config }.text(&connected.world));
        let phrase = name.to_string();
        move |_: &Facts| Question { sheet: sheet.clone().unwrap_or_default(), phrase: phrase.clone() }
    };
    let gates = gates(invocation, connected, options, commit)?;
    let mut plan = Plan::new(VERB.command).gates(gates).confirm(question);
    let maps = ConfigMaps::new(&connected.production.cluster, &config.production.namespace);
    plan = plan.step_if(work::give_up(maps.clone(), options.gives_up.as_ref(), &invocation.who(), &options.branch));
    let git = &connected.git;
    let mut affected = Config::clone(&config);
    affected.services.retain(|service| options.services.contains(&service.name));
    plan = plan
        .step(steps::PushBranch { git: Arc::clone(git), branch: options.branch.clone(), later: options.direct })
        .step(steps::BuildImages {
            git: Arc::clone(git),
            aws: connected.production.aws.clone(),
            workloads: connected.production.workloads.clone(),
            config: affected.clone(),
            builder: options.builder.or(config.hotfix.builder),
            docker: invocation.env.docker_config(),
        })
        .step(steps::ScanFindings { aws: connected.production.aws.clone(), config: affected })
        .step(debts(invocation, options, &maps, run, commit, owed));
    let way = Way {
        connected,
        config: &config,
        commit: steps::ChangeOverlay {
            git: Arc::clone(git),
            config: Config::clone(&config),
            run: run.cloned(),
            subject: format!("fix(production): hotfix {name} on {base}"),
            later: options.direct,
            by_pull: steps::ByPull {
                github: connected.github.clone(),
                branch: format!("gospel-release/{name}-{}", commit.hotfix_tag()),
            },
            last: steps::LastEdit::default(),
        },
        direct: options.direct,
        pause_sync: options.pause_sync,
        terminate_sync: options.terminate_sync,
        past: past_git(&options.asked),
    };
    plan = way.arrived(|name| options.services.contains(name), way.changed(plan))?;
    plan = way.made_good(plan);
    Ok(plan.step_if(promote::webhook(invocation, &config, steps::News::Hotfixed)?))
}

/// What can be asked is asked; the rest is waived by name.
fn gates(
    invocation: &Invocation,
    connected: &Connected,
    options: &Options,
    commit: &CommitSha,
) -> Result<Vec<Box<dyn Gate>>> {
    let config = &invocation.config;
    let production = &connected.production;
    let waiver = gates::Waiver { who: invocation.who(), why: options.reason.clone().unwrap_or_default(), until: None };
    let way_back = gates::Rollback {
        config: config.clone(),
        aws: production.aws.clone(),
        workloads: production.workloads.clone(),
        secrets: ExternalSecrets::new(&production.cluster, &config.production.namespace),
        git: Arc::clone(&connected.git),
        databases: Database::all(config, &config.production, false, &production.cluster, &invocation.env)
            .unwrap_or_default(),
        first_release: None,
    };
    let mut gates: Vec<Box<dyn Gate>> = vec![
        Box::new(checklist::HotfixCi {
            github: connected.github.clone(),
            commit: commit.clone(),
            branch: config.repository.main.clone(),
            limits: config.gates.clone(),
            waiver: waiver.clone(),
        }),
        Box::new(checklist::NoMigrations { files: options.migrations.clone() }),
        Box::new(checklist::OrWaived {
            gate: gates::waived(Box::new(checklist::WayBack { looks: way_back }), waiver.clone()),
        }),
    ];
    for (id, title) in checklist::WITHOUT {
        gates.push(Box::new(checklist::WentWithout { id, title: title.to_owned(), waiver: waiver.clone() }));
    }
    Ok(gates)
}

/// The command that goes past Git, for the services that were asked for.
fn past_git(asked: &[ServiceName]) -> String {
    let mut past = "gospel-release hotfix ship --direct --pause-sync --reason TEXT".to_owned();
    for name in asked {
        past.push_str(&format!(" --service {name}"));
    }
    past
}

/// What stays open once production runs it: written down before it does.
fn debts(
    invocation: &Invocation,
    options: &Options,
    maps: &ConfigMaps,
    run: Option<&RunId>,
    commit: &CommitSha,
    open: Vec<Debt>,
) -> steps::RecordDebts {
    let run = run.cloned().unwrap_or_else(|| "dry-run".parse().expect("a DNS label"));
    let debt = |kind| Debt {
        kind,
        owner: invocation.who(),
        reason: options.reason.clone().unwrap_or_default(),
        run: run.clone(),
        opened: jiff::Timestamp::UNIX_EPOCH,
        due: jiff::Timestamp::UNIX_EPOCH,
        closed_by: None,
    };
    let past_git = |kind| Debt {
        closed_by: Some(format!("git switch {}; {}", options.branch, past_git(&options.asked))),
        ..debt(kind)
    };
    let mut debts = vec![debt(DebtKind::NotMerged { branch: options.branch.clone(), commit: commit.clone() })];
    debts.extend(options.direct.then(|| past_git(DebtKind::LiveDiffers)));
    debts.extend((options.direct && options.pause_sync).then(|| past_git(DebtKind::SyncPaused)));
    steps::RecordDebts {
        register: Register::new(maps.clone(), debt::DEBTS),
        debts,
        open,
        waived: Some(debt(DebtKind::Waived { gate: String::new() })),
        due_after: invocation.config.debt.due_after,
    }
}

/// A run of this verb, taken up again.
pub(in crate::ops) fn plan_again(
    invocation: &Invocation,
    connected: &Connected,
    options: &Options,
    state: &RunState,
) -> Result<Plan> {
    plan(invocation, connected, options, &state.facts, Some(&state.header.run), None)
}

/// The release beneath a hotfix, for people.
pub(super) fn runs_now(live: Option<&Live>) -> String {
    let Some(live) = live else { return "not known".to_owned() };
    let release = live.release.as_ref().or(live.highest.as_ref()).map_or("no release".to_owned(), Version::to_string);
    let hotfixes: Vec<String> = live.hotfixed.iter().map(|(name, tag)| format!("{name} {tag}")).collect();
    if hotfixes.is_empty() { release } else { format!("{release} with {}", hotfixes.join(", ")) }
}
