//! The hotfix in the checkout: its branch, its commit, the release beneath it, and what it changes.

use std::collections::BTreeSet;

use crate::adapters::cluster::{ConfigMaps, Register};
use crate::adapters::git::{Git, ReleaseTag};
use crate::config::Config;
use crate::config::model::Service;
use crate::domain::{CommitSha, Debt, DebtKind, HotfixName, RunId, ServiceName, Version};
use crate::engine::RunState;
use crate::error::{Error, Result};
use crate::ops::connect::Connected;
use crate::ops::debt::DEBTS;
use crate::ops::drive::Beside;
use crate::ops::runs::GiveUp;
use crate::ops::shared::Runs;

/// What HEAD has.
pub(super) struct Work {
    pub name: HotfixName,
    pub commit: CommitSha,
    /// The newest release below it.
    pub base: ReleaseTag,
    /// The release that `finish` made of it already: what was left for later may still be done.
    pub finished: Option<Version>,
    /// Paths that differ from the base.
    pub changed: Vec<String>,
    /// Files that Git does not know: not in the hotfix.
    pub unknown: Vec<String>,
}

impl Work {
    /// Looks at HEAD.
    ///
    /// # Errors
    /// Usage, with the command that mends it: another branch, changes that no commit has, nothing on top of a release.
    pub async fn look(connected: &Connected, config: &Config) -> Result<Self> {
        let git = &connected.git;
        git.ensure_work_tree()?;
        let branch = git.head_branch()?.unwrap_or_else(|| "no branch".to_owned());
        let Some(name) = HotfixName::of_branch(&branch) else {
            return Err(Error::usage(format!("the checkout is on {branch}, and not on a hotfix branch"))
                .hint("gospel-release hotfix start NAME begins one")
                .hint("or go to it: git switch hotfix/NAME"));
        };
        let uncommitted = git.uncommitted().await?;
        if !uncommitted.changed.is_empty() {
            let error = Error::usage("the work tree has changes that no commit has; what ships is a commit");
            let error = uncommitted.changed.iter().take(10).fold(error, |error, path| error.seen(path.clone()));
            return Err(error.hint("git commit -a").hint("or, if they are not part of it: git stash"));
        }
        let Some(commit) = git.branch(&branch)? else {
            return Err(Error::usage(format!("{branch} has no commit")).hint("gospel-release hotfix start NAME"));
        };
        let finished = finished(connected, config, &name, &commit).await?;
        let base = base(git, &name, &commit)?;
        let changed = git.changed_paths(&base.commit, &commit)?;
        Ok(Self { name, commit, base, finished, changed, unknown: uncommitted.unknown })
    }

    /// The services whose code it changes.
    pub fn services(&self, config: &Config) -> BTreeSet<ServiceName> {
        services(config, &self.changed)
    }

    /// Paths that belong to no service: those that no build sees, and those that the builds of some services see.
    pub fn elsewhere(&self, config: &Config) -> (Vec<String>, Shared) {
        let (mut outside, mut shared) = (Vec::new(), Shared::default());
        let of_none = |path: &&String| !config.services.iter().any(|service| is_of(config, service, path));
        for path in self.changed.iter().filter(of_none) {
            let see = config.services.iter().filter(|service| within(&config.context_of(service), path));
            let see: BTreeSet<ServiceName> = see.map(|service| service.name.clone()).collect();
            if see.is_empty() {
                outside.push(path.clone());
            } else {
                shared.files.push(path.clone());
                shared.services.extend(see);
            }
        }
        (outside, shared)
    }
}

/// Changed files of no service's own, and the services whose images may hold them: they lie in what their builds see.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    pub files: Vec<String>,
    pub services: BTreeSet<ServiceName>,
}

/// Whether a path is of a service's own: its code, or what its image is built by.
fn is_of(config: &Config, service: &Service, path: &str) -> bool {
    within(&config.path_of(service), path) || config.dockerfile_of(service).trim_start_matches("./") == path
}

fn within(dir: &str, path: &str) -> bool {
    let dir = dir.trim_start_matches("./").trim_end_matches('/');
    dir.is_empty() || dir == "." || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// The services whose code is among these paths.
pub(super) fn services(config: &Config, changed: &[String]) -> BTreeSet<ServiceName> {
    let touched = |service: &&Service| changed.iter().any(|path| is_of(config, service, path));
    config.services.iter().filter(touched).map(|service| service.name.clone()).collect()
}

/// The runs kept in production's namespace.
pub(super) fn runs(connected: &Connected, config: &Config) -> Runs {
    Runs::new(ConfigMaps::new(&connected.production.cluster, &config.production.namespace))
}

/// The last unfinished run, where it is of this verb and branch: another try takes its place.
pub(super) async fn open_run(runs: &Runs, command: &str, branch: &str) -> Result<Option<RunId>> {
    let own = |run: &RunState| run.header.command == command && run.header.options["branch"] == branch;
    // A record that nobody can read is no try of this one.
    Ok(runs.open_and_readable().await?.into_iter().next_back().filter(own).map(|run| run.header.run.clone()))
}

/// Whether another open run is in the way: not the one whose place this takes.
pub(super) fn beside(gives_up: Option<&RunId>) -> Beside {
    if gives_up.is_some() { Beside::Allow } else { Beside::Refuse }
}

/// The step that closes such a run.
pub(super) fn give_up(maps: ConfigMaps, open: Option<&RunId>, who: &str, branch: &str) -> Option<GiveUp> {
    let why = format!("given up by {who} for another try of {branch}");
    open.map(|run| GiveUp { runs: Runs::new(maps), run: run.clone(), why })
}

/// Brings the hotfix's commit to this machine, where a run is taken up that began on another one. `despite`: a Git that does not answer
/// is left alone.
pub(in crate::ops) async fn fetch_branch(connected: &Connected, branch: &str, despite: bool) -> Result<()> {
    match connected.git.fetch_branch(branch).await {
        Err(error) if !despite => Err(error),
        _ => Ok(()),
    }
}

/// The commit of a branch that was shipped last: it is written down before production runs it.
pub(super) async fn shipped(connected: &Connected, config: &Config, branch: &str) -> Result<Option<CommitSha>> {
    let maps = ConfigMaps::new(&connected.production.cluster, &config.production.namespace);
    let debts = Register::new(maps, DEBTS).all::<Debt>().await?;
    Ok(debts.into_values().find_map(|debt| match debt.kind {
        DebtKind::NotMerged { branch: its, commit } if its == branch => Some(commit),
        _ => None,
    }))
}

/// The release whose tag stands on the commit. A commit that this branch never shipped is the release which it began at.
async fn finished(
    connected: &Connected,
    config: &Config,
    name: &HotfixName,
    commit: &CommitSha,
) -> Result<Option<Version>> {
    let tags = connected.git.release_tags()?;
    let Some(tag) = tags.into_iter().rev().find(|tag| tag.commit == *commit) else { return Ok(None) };
    if shipped(connected, config, &name.branch()).await?.as_ref() == Some(commit) {
        return Ok(Some(tag.version));
    }
    Err(Error::usage(format!("{} has nothing on top of {}", name.branch(), tag.tag))
        .hint("commit the fix first: git commit -a"))
}

/// The newest release that lies below the commit.
fn base(git: &Git, name: &HotfixName, commit: &CommitSha) -> Result<ReleaseTag> {
    below(git, &git.release_tags()?, commit)?.ok_or_else(|| {
        Error::usage(format!("{} is not on top of a release", name.branch()))
            .hint("gospel-release hotfix start NAME begins a branch at what production runs")
            .hint("then: git cherry-pick the commits of this one")
    })
}

/// The newest release strictly below a commit.
pub(super) fn below(git: &Git, tags: &[ReleaseTag], commit: &CommitSha) -> Result<Option<ReleaseTag>> {
    for tag in tags.iter().rev() {
        if tag.commit != *commit && git.is_ancestor(&tag.commit, commit)? {
            return Ok(Some(tag.clone()));
        }
    }
    Ok(None)
}
