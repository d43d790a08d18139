//! `hotfix finish`: what production runs gets its release tag, and comes back to main.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapters::aws::ImageId;
use crate::adapters::cluster::ConfigMaps;
use crate::adapters::git::ReleaseTag;
use crate::config::Config;
use crate::config::model::TagRun;
use crate::domain::{Bump, Changes, CommitInfo, CommitSha, Digest, HotfixName, RunId, ServiceName, Version};
use crate::engine::{Candidate, Facts, Plan, Question, RunState};
use crate::error::{Error, Kind, Result};
use crate::ops::connect::{Connected, connect};
use crate::ops::drive::{self, Verb};
use crate::ops::{Invocation, Report, candidate, lost, promote};
use crate::steps;

use super::finish_sheet::Sheet;
use super::work::{self, below};

pub(in crate::ops) const VERB: Verb = Verb { command: "hotfix finish", success: "finished", goes_first: false };

/// What was asked, and what was found of the branch: a resumed run finishes the same.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The hotfix, where the checkout is not on its branch.
    pub name: Option<HotfixName>,
    /// Approve the followed run as the caller.
    pub approve: bool,
    /// Consent to end another's Argo CD operation.
    pub terminate_sync: bool,
    /// The hotfix's branch; found at the start.
    pub branch: String,
    /// An earlier, open run for the same hotfix, which this one takes the place of.
    pub gives_up: Option<RunId>,
    /// How long an approval is waited for; otherwise as configured.
    #[serde(skip)]
    pub wait_approval: Option<std::time::Duration>,
    /// Take the lock from a dead holder.
    #[serde(skip)]
    pub takeover: bool,
}

/// What was found before anything is asked.
pub(super) struct Found {
    pub commit: CommitSha,
    pub base: ReleaseTag,
    pub version: Version,
    /// Whether the release tag is there already.
    pub tagged: bool,
    /// The commits on top of the base.
    pub commits: Vec<CommitInfo>,
    /// Services whose code the hotfix changes, and that production runs without it.
    pub without: Vec<ServiceName>,
    /// Commits that main has and the hotfix has not.
    pub newer_on_main: usize,
}

/// Finishes from its beginning.
pub async fn finish(invocation: &mut Invocation, options: &Options) -> Report {
    invocation.note("looking at the branch and at production");
    let connected = match connect(invocation).await {
        Ok(connected) => connected,
        Err(error) => return Report::early(VERB.command, None, error),
    };
    let world = connected.world.clone();
    match looked(invocation, &connected, options).await {
        Err(error) => Report::early(VERB.command, Some(world), error),
        Ok(None) => Report { outcome: "nothing-to-do".into(), ..Report::empty(VERB.command, Some(world)) },
        Ok(Some((found, options))) => {
            let consent = (options.takeover, work::beside(options.gives_up.as_ref()));
            let facts = facts(&found);
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
    options: &Options,
) -> Result<Option<(Found, Options)>> {
    let name = hotfix(connected, options)?;
    let branch = name.branch();
    let runs = work::runs(connected, &invocation.config);
    let gives_up = work::open_run(&runs, VERB.command, &branch).await?;
    let found = find_or_begun(invocation, connected, &branch, gives_up.as_ref()).await?;
    // A run that is open is closed by a run that finds it all done.
    if found.tagged && gives_up.is_none() && over(&invocation.config, connected, &branch, &found).await? {
        invocation.note(format!(
            "{branch} is {}, its workflow run is over, and {} has it; nothing was changed",
            found.version, invocation.config.repository.main
        ));
        return Ok(None);
    }
    for service in &found.without {
        invocation.warn(format!("{branch} changes {service}, and production runs it without: the tag will have it"));
    }
    Ok(Some((found, Options { branch, gives_up, ..options.clone() })))
}

/// The hotfix that was named, or whose branch the checkout is on.
fn hotfix(connected: &Connected, options: &Options) -> Result<HotfixName> {
    if let Some(name) = &options.name {
        return Ok(name.clone());
    }
    let branch = connected.git.head_branch()?.unwrap_or_else(|| "no branch".to_owned());
    HotfixName::of_branch(&branch).ok_or_else(|| {
        Error::usage(format!("the checkout is on {branch}, and not on a hotfix branch"))
            .hint("gospel-release hotfix finish NAME")
    })
}

/// The commit of the branch: here, or on the remote where it is not here, or further there.
async fn commit(connected: &Connected, branch: &str) -> Result<CommitSha> {
    let git = &connected.git;
    let there = git.fetch_branch(branch).await?;
    let here = git.branch(branch)?;
    // A colleague may have shipped later commits of it.
    let newer = match (&here, &there) {
        (Some(here), Some(there)) => git.is_ancestor(here, there)?,
        _ => false,
    };
    let commit = if newer { there } else { here.or(there) };
    commit.ok_or_else(|| {
        Error::usage(format!("there is no {branch}, here or on the remote"))
            .hint("git branch --all --list '*hotfix/*' shows those that are there")
    })
}

/// What the branch's tip is; or, where nobody shipped that one, the commit below it that was tagged and is not finished: resolved
/// conflicts and a reviewer's commits come on top of it.
async fn find_or_begun(
    invocation: &mut Invocation,
    connected: &Connected,
    branch: &str,
    open: Option<&RunId>,
) -> Result<Found> {
    let config = invocation.config.clone();
    let tip = commit(connected, branch).await?;
    let error = match find(&config, connected, branch, tip.clone()).await {
        Err(error) if error.kind() == Kind::GateBlocked => error,
        found => return found,
    };
    let resume = |error: Error| match open {
        Some(run) => error.hint(format!("or go on with what was begun: gospel-release resume {run}")),
        None => error,
    };
    let Some(begun) = tagged_below(connected, &config, branch, &tip).await? else { return Err(resume(error)) };
    let found = find(&config, connected, branch, begun).await?;
    if open.is_none() && over(&config, connected, branch, &found).await? {
        return Err(error);
    }
    invocation.note(format!(
        "{branch} has gone on to {}, which is not in production; {} on {} is finished",
        tip.short(),
        found.version,
        found.commit.short()
    ));
    Ok(found)
}

/// The commit of the branch that was shipped and has its release tag, where it is below the tip.
async fn tagged_below(
    connected: &Connected,
    config: &Config,
    branch: &str,
    tip: &CommitSha,
) -> Result<Option<CommitSha>> {
    let git = &connected.git;
    let Some(shipped) = work::shipped(connected, config, branch).await? else { return Ok(None) };
    let tagged = git.release_tags()?.iter().any(|tag| tag.commit == shipped);
    Ok((tagged && shipped != *tip && git.is_ancestor(&shipped, tip)?).then_some(shipped))
}

async fn find(config: &Config, connected: &Connected, branch: &str, commit: CommitSha) -> Result<Found> {
    let git = &connected.git;
    let tags = git.release_tags()?;
    let Some(base) = below(git, &tags, &commit)? else {
        return Err(Error::usage(format!("{branch} is not on top of a release")));
    };
    let tagged = tags.iter().rev().find(|tag| tag.commit == commit);
    let changed = work::services(config, &git.changed_paths(&base.commit, &commit)?);
    let shipped = match tagged {
        // Its workflow run may have deployed it anew since, or a later release.
        Some(_) => changed.clone(),
        None => live(config, connected, branch, &commit).await?,
    };
    Ok(Found {
        version: tagged.map_or_else(|| next(&tags, &base.version), |tag| tag.version.clone()),
        tagged: tagged.is_some(),
        commits: git.commits_between(Some(&base.commit), &commit)?,
        without: changed.difference(&shipped).cloned().collect(),
        newer_on_main: git.ahead(&commit, &git.main_tip()?)?,
        base,
        commit,
    })
}

/// The first free patch above the release beneath.
fn next(tags: &[ReleaseTag], base: &Version) -> Version {
    let mut version = base.next(Bump::Patch);
    while tags.iter().any(|tag| tag.version == version) {
        version = version.next(Bump::Patch);
    }
    version
}

/// The services that run the commit's images.
///
/// # Errors
/// [`Kind::GateBlocked`] when production does not run them, or something else that the commit lacks: a release tag stands for what
/// production runs.
async fn live(
    config: &Config,
    connected: &Connected,
    branch: &str,
    commit: &CommitSha,
) -> Result<BTreeSet<ServiceName>> {
    let (aws, workloads) = (&connected.production.aws, &connected.production.workloads);
    let tag = ImageId::Tag(commit.hotfix_tag());
    let wanted: Vec<_> = config.services.iter().map(|service| (config.image_of(service), tag.clone())).collect();
    let (images, seen) = futures::try_join!(aws.images(&wanted), candidate::seen(config, aws, workloads))?;
    let agreed = seen.iter().filter_map(|(name, digests)| Some((name.clone(), candidate::agreed(digests)?.clone())));
    let agreed: BTreeMap<ServiceName, Digest> = agreed.collect();
    let mut shipped = BTreeSet::new();
    let mut other = Vec::new();
    for service in &config.services {
        let built = images.get(&(config.image_of(service), tag.clone())).and_then(Option::as_ref);
        let Some(image) = built else { continue };
        if seen.get(&service.name) == Some(&BTreeSet::from([image.digest.clone()])) {
            shipped.insert(service.name.clone());
        } else {
            other.push(format!("{} does not run {}", service.name, image.digest.short()));
        }
    }
    if other.is_empty() && !shipped.is_empty() {
        lost::refuse_tag(connected, config, &agreed, branch, commit).await?;
        return Ok(shipped);
    }
    let error = Error::new(Kind::GateBlocked, format!("production does not run {} of {branch}", commit.short()));
    let error = if other.is_empty() { error.seen(format!("ECR has no image {}", commit.hotfix_tag())) } else { error };
    Err(other
        .into_iter()
        .fold(error, Error::seen)
        .seen("A release tag stands for what production runs. Nothing was changed.")
        .hint("gospel-release hotfix ship --reason TEXT brings it there")
        .hint("or, if it is not wanted any more, leave it: what production does not run is owed to nobody"))
}

/// Whether a tagged hotfix has nothing left to finish.
async fn over(config: &Config, connected: &Connected, branch: &str, found: &Found) -> Result<bool> {
    let (git, github) = (&connected.git, &connected.github);
    let main = &config.repository.main;
    let merged = git.is_ancestor(&found.commit, &git.main_tip()?)?
        || github.merged_pull(branch, main, &found.commit).await?.is_some();
    let tag = config.repository.tags.tag(&found.version);
    let run = github.run_for(&config.workflow.file, &found.commit, &tag).await?;
    // A tag may have started none, and GitHub forgets old ones.
    Ok(merged && run.is_none_or(|run| run.is_completed()))
}

fn facts(found: &Found) -> Facts {
    Facts {
        version: Some(found.version.clone()),
        previous: Some(found.base.version.clone()),
        candidate: Some(Candidate { commit: found.commit.clone(), images: BTreeMap::new() }),
        ..Facts::default()
    }
}

/// The plan. `found` is there when it begins, and not when it is taken up again: the question is history then.
fn plan(
    invocation: &Invocation,
    connected: &Connected,
    options: &Options,
    facts: &Facts,
    run: Option<&RunId>,
    found: Option<Found>,
) -> Result<Plan> {
    let config = Arc::new(effective(&invocation.config, options));
    let lost = || Error::internal("a hotfix without a branch, a commit or a release beneath it");
    let name = HotfixName::of_branch(&options.branch).ok_or_else(lost)?;
    let commit = &facts.candidate.as_ref().ok_or_else(lost)?.commit;
    let base = facts.previous.as_ref().ok_or_else(lost)?;
    let (git, github) = (&connected.git, &connected.github);
    let changes = changes(connected, base, commit)?;
    let sheet = found.map(|found| Sheet { found: &found, options, config: &config }.text(&connected.world));
    let question = move |facts: &Facts| Question {
        sheet: sheet.clone().unwrap_or_default(),
        phrase: facts.version.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let maps = ConfigMaps::new(&connected.production.cluster, &config.production.namespace);
    let plan = Plan::new(VERB.command)
        .confirm(question)
        .step_if(work::give_up(maps, options.gives_up.as_ref(), &invocation.who(), &options.branch))
        .step(steps::PushBranch { git: Arc::clone(git), branch: options.branch.clone(), later: false })
        .step(steps::Tag {
            git: Arc::clone(git),
            repository: config.repository.clone(),
            summary: format!("hotfix {name} on {base}"),
        });
    let (workflow, repository) = (config.workflow.clone(), config.repository.clone());
    let plan = match config.hotfix.workflow {
        TagRun::Cancel => plan.step(steps::CancelRun::new(github.clone(), workflow, repository)),
        TagRun::Follow => {
            let plan = plan.step(steps::WorkflowRunAppears { github: github.clone(), workflow, repository });
            let past = format!("gospel-release hotfix finish {name} --set hotfix.workflow=cancel");
            promote::deployed(plan, connected, &config, options.approve, options.terminate_sync, Some(past))?
        }
    };
    Ok(plan
        .step_if(config.announce.github_release.then(|| steps::AnnounceRelease {
            github: github.clone(),
            repository: config.repository.clone(),
            notes: format!("A hotfix of {base}.\n\n{}", changes.notes(Some(&config.repository.page()))),
        }))
        .step(steps::MergeToMain {
            git: Arc::clone(git),
            github: github.clone(),
            repository: config.repository.clone(),
            branch: options.branch.clone(),
            run: run.cloned(),
        }))
}

/// The configuration of this call: what the tag's run builds never soaked, and a hotfix does not ask it to.
fn effective(config: &Config, options: &Options) -> Config {
    let mut config = config.clone();
    config.images.require_soaked_bytes = false;
    if let Some(wait) = options.wait_approval {
        config.workflow.wait_approval = wait;
    }
    config
}

fn changes(connected: &Connected, base: &Version, commit: &CommitSha) -> Result<Changes> {
    let tags = connected.git.release_tags()?;
    let base = tags.iter().find(|tag| tag.version == *base).map(|tag| &tag.commit);
    Ok(Changes::of(&connected.git.commits_between(base, commit)?))
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
