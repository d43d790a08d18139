//! `promote`: from what soaked on staging to what production runs, with evidence at every step.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapters::cluster::{ConfigMaps, Events, Logs};
use crate::adapters::git::ReleaseTag;
use crate::adapters::http;
use crate::config::Config;
use crate::config::model::Announce;
use crate::domain::{Digest, ServiceName, Version, WorldKind};
use crate::engine::{Facts, Plan, Question};
use crate::error::{Error, Kind, Result};
use crate::monitor::databases::Database;
use crate::monitor::endpoints::Endpoints;
use crate::monitor::metrics::Metrics;
use crate::steps;

use super::connect::{Connected, connect, is_loopback};
use super::drive::{self, Beside, Verb};
use super::prepare::{Prepared, choose_version, pending_migrations};
use super::shared::Runs;
use super::sheet::Sheet;
use super::{Invocation, Report, candidate, checklist, debt, guards, lost};

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
    /// Release although images of it are in quarantine.
    pub despite_quarantine: bool,
    /// Release although production runs commits that the build lacks.
    pub despite_lost: bool,
    pub reason: Option<String>,
}

pub(super) const VERB: Verb = Verb { command: "promote", success: "released", goes_first: false };

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
        Err(error) => {
            // A run that was left open explains most of what is in the way, and comes first.
            let runs = Runs::new(ConfigMaps::new(&connected.production.cluster, &connected.world.namespace));
            let beside = drive::refuse_beside(&runs).await.err().filter(|error| error.kind() == Kind::Locked);
            return Report::early("promote", Some(world), beside.unwrap_or(error));
        }
    };
    let consent = (options.takeover, Beside::Refuse);
    drive::from_the_start(invocation, &connected, VERB, options, facts, consent, async |invocation, facts, _| {
        plan(invocation, &connected, options, facts, &live).await
    })
    .await
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
    let (candidate, live, approval, tags, ()) = futures::try_join!(
        candidate::find(&config, &staging.workloads, &production.aws, &connected.git),
        live(&config, connected, options),
        guards::approval_rule(&connected.github, &config),
        guards::tag_rule(&connected.github, &config),
        guards::followed(&connected.applications, &config),
    )?;
    approval.demand()?;
    if !tags.ok {
        invocation.warn(format!("{}; {}", tags.said, tags.fix));
    }
    let running = candidate::live_version(&config, &production.aws, &connected.git, &live).await?;
    let released = connected.git.release_tags()?;
    if released.is_empty() && !options.first_release {
        return Err(Error::new(Kind::GateBlocked, "there is no release tag, so nothing to go back to")
            .hint("gospel-release promote --first-release waives, by name, what a first release cannot have"));
    }
    if options.first_release && !live.is_empty() {
        refuse_second_first(&released)?;
    }
    let mut facts = Facts { candidate: Some(candidate.clone()), previous: running.clone(), ..Facts::default() };
    let prepared = Prepared::of(&config, &connected.git, &facts)?;
    if prepared.previous.as_ref().is_some_and(|tag| tag.commit == candidate.commit) || live == candidate.images {
        let what = running.map_or("that build".to_owned(), |version| version.to_string());
        return Err(Error::usage(format!("nothing to release: production runs {what}, which is what staging runs")));
    }
    refuse_quarantined(connected, &config, &candidate.images, options).await?;
    if let Err(error) = lost::refuse(connected, &config, &live, &candidate.commit).await {
        match (error.kind(), options.despite_lost, &options.reason) {
            (Kind::GateBlocked, true, Some(reason)) => {
                invocation.warn(format!("{error}; released despite it: {reason}"));
            }
            (Kind::GateBlocked, true, None) => return Err(Error::usage("--despite-lost needs --reason TEXT")),
            _ => return Err(error),
        }
    }
    let version = choose_version(options.version.as_ref(), &config, &released, running.as_ref(), &prepared.changes)?;
    facts.version = Some(version);
    Ok((facts, live))
}

/// `--first-release` waives what a first release cannot have; where production runs and a release is tagged, it is not the first.
fn refuse_second_first(released: &[ReleaseTag]) -> Result<()> {
    let Some(last) = released.last() else { return Ok(()) };
    Err(Error::usage(format!("this is not the first release: there is {}, and production runs", last.version))
        .seen("What there is to go back to, and to compare with, is known; nothing is waived.")
        .hint("gospel-release promote"))
}

/// Images that were rolled back do not come again unseen.
async fn refuse_quarantined(
    connected: &Connected,
    config: &Config,
    images: &BTreeMap<ServiceName, Digest>,
    options: &Options,
) -> Result<()> {
    let maps = ConfigMaps::new(&connected.production.cluster, &config.production.namespace);
    let mut seen = Vec::new();
    for entry in debt::quarantined(&maps).await?.values() {
        let hits: Vec<&str> = entry.hits(images).map(ServiceName::as_str).collect();
        if !hits.is_empty() {
            let reason = if entry.reason.is_empty() { String::new() } else { format!(": {}", entry.reason) };
            seen.push(format!("{} of {}, rolled back by {}{reason}", hits.join(", "), entry.name(), entry.who));
        }
    }
    match (seen.is_empty(), options.despite_quarantine, &options.reason) {
        (true, ..) | (false, true, Some(_)) => Ok(()),
        (false, true, None) => Err(Error::usage("--despite-quarantine needs --reason TEXT")),
        (false, false, _) => {
            let error = Error::new(Kind::GateBlocked, "staging runs images that are in quarantine");
            let error = seen.into_iter().fold(error, Error::seen);
            Err(error
                .seen("Nothing was changed.")
                .hint("mend it on main, and let the new build soak")
                .hint("or, knowing why: gospel-release promote --despite-quarantine --reason TEXT"))
        }
    }
}

async fn live(config: &Config, connected: &Connected, options: &Options) -> Result<BTreeMap<ServiceName, Digest>> {
    match candidate::running(config, &connected.production.aws, &connected.production.workloads).await {
        // Before the first release nothing runs, or not one image for each service.
        Err(error) if options.first_release && error.kind() == Kind::GateBlocked => Ok(BTreeMap::new()),
        other => other,
    }
}

/// What production runs, for the sheet of a run that is taken up: in the middle of a rollout it is no one thing.
pub(super) async fn live_or_nothing(invocation: &Invocation, connected: &Connected) -> BTreeMap<ServiceName, Digest> {
    candidate::running(&invocation.config, &connected.production.aws, &connected.production.workloads)
        .await
        .unwrap_or_default()
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
    let databases = Database::all(&config, &config.production, false, &production.cluster, &invocation.env)?;
    let prepared = Prepared::of(&config, git, facts)?;
    let candidate = facts.candidate.as_ref().ok_or_else(|| Error::internal("no candidate"))?;
    let migrations = pending_migrations(git, &databases, &candidate.commit).await;
    let debts = debt::open(connected, &config, invocation.clock.now()).await;
    let summary = prepared.summary();
    let notes = prepared.changes.notes(Some(&config.repository.page()));
    let world = connected.world.clone();
    let question = {
        let (config, live) = (Arc::clone(&config), live.clone());
        move |facts: &Facts| Question {
            sheet: Sheet {
                world: &world,
                config: &config,
                prepared: &prepared,
                live: &live,
                migrations: &migrations,
                debts: &debts,
            }
            .text(facts),
            phrase: facts.version.as_ref().map(ToString::to_string).unwrap_or_default(),
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
        });
    let plan = deployed(plan, connected, &config, options.approve, options.terminate_sync, None)?
        .step_if(config.announce.github_release.then(|| steps::AnnounceRelease {
            github: github.clone(),
            repository: config.repository.clone(),
            notes,
        }))
        .step_if(webhook(invocation, &config, steps::News::Released)?);
    Ok(plan)
}

/// From the workflow run that a tag started to a production that was watched. `past` is the command that goes on without that run, where
/// production has what is wanted already.
pub(super) fn deployed(
    plan: Plan,
    connected: &Connected,
    config: &Config,
    approve: bool,
    terminate_sync: bool,
    past: Option<String>,
) -> Result<Plan> {
    let (git, github, production) = (&connected.git, &connected.github, &connected.production);
    let namespace = &config.production.namespace;
    Ok(plan
        .step(steps::Approval::new(github.clone(), config.workflow.clone(), approve).past(past.clone()))
        .step(steps::Pipeline {
            github: github.clone(),
            git: Arc::clone(&connected.git),
            config: Arc::new(config.clone()),
            past,
        })
        .step(steps::ImagesShipped { aws: production.aws.clone(), config: config.clone() })
        .step(steps::OverlayCommit { git: Arc::clone(git), config: config.clone() })
        .step(steps::ArgoSync::new(
            connected.applications.clone(),
            Arc::clone(git),
            config.argo.clone(),
            terminate_sync,
            None,
        ))
        .step(steps::Rollout::new(
            production.workloads.clone(),
            Events::new(&production.cluster, namespace),
            Logs::new(&production.cluster, namespace),
            production.aws.clone(),
            config.clone(),
        ))
        .step(steps::ProductionHealth {
            endpoints: Endpoints::new(config, &config.production, &production.cluster)?,
            http: http::client()?,
            urls: config.production.urls.clone(),
            within: config.rollout.within,
        })
        .step(steps::Watch::new(
            Metrics::new(config, &config.production, &production.cluster)?,
            production.workloads.clone(),
            config.clone(),
        )))
}

/// The configuration with this call's flags over it.
fn effective(config: &Config, options: &Options) -> Config {
    let mut config = config.clone();
    if let Some(wait) = options.wait_approval {
        config.workflow.wait_approval = wait;
    }
    config
}

/// Where the team is told, or why it cannot be; `None` where nobody is to be told. Whether there is a step is a matter of the
/// configuration: a run goes on where the variable is not set, too.
pub(super) fn webhook_url(invocation: &Invocation, announce: &Announce) -> Option<Result<String, String>> {
    let url = match (&announce.webhook_env, &announce.webhook) {
        (Some(name), url) => invocation.env.get(name).or(url.as_deref()).ok_or_else(|| format!("{name} is not set")),
        (None, Some(url)) => Ok(url.as_str()),
        (None, None) => return None,
    };
    Some(match url {
        Ok(url) if invocation.kind == WorldKind::Rehearsal && !is_loopback(url) => {
            Err("a rehearsal tells nobody outside this machine".to_owned())
        }
        other => other.map(str::to_owned),
    })
}

pub(super) fn webhook(
    invocation: &Invocation,
    config: &Config,
    news: steps::News,
) -> Result<Option<steps::AnnounceWebhook>> {
    let Some(url) = webhook_url(invocation, &config.announce) else { return Ok(None) };
    Ok(Some(steps::AnnounceWebhook { http: http::client()?, url, project: config.project.clone(), news }))
}
