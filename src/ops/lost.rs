//! What production runs and another build lacks would be taken out by that one: it is neither promoted nor tagged.

use std::collections::BTreeMap;

use crate::adapters::cluster::{ConfigMaps, Register};
use crate::config::Config;
use crate::domain::{CommitSha, Debt, DebtKind, Digest, ServiceName};
use crate::error::{Error, Kind, Result};

use super::connect::Connected;
use super::debt::DEBTS;
use super::live::{Live, hotfix_commit};

/// Something that production runs, and the commit that it was built from.
struct Runs {
    /// `v1.1.2`, or `hotfix-0123456789ab of gateway`.
    what: String,
    /// `None` where this repository does not know it: then main, which was fetched, has not got it.
    commit: Option<CommitSha>,
}

/// Refuses a candidate that lacks a commit which production runs.
///
/// # Errors
/// [`Kind::GateBlocked`], with what would be lost and the ways on.
pub(super) async fn refuse(
    connected: &Connected,
    config: &Config,
    live: &BTreeMap<ServiceName, Digest>,
    candidate: &CommitSha,
) -> Result<()> {
    let lost = lacking(connected, config, live, candidate).await?;
    if lost.is_empty() {
        return Ok(());
    }
    let what = names(&lost);
    let error = Error::new(Kind::GateBlocked, format!("the build on staging, {}, lacks {what}", candidate.short()))
        .seen(format!("Production runs {what}. Promoting that build would take it out again. Nothing was changed."));
    Err(error
        .hint("gospel-release hotfix finish NAME merges it to main; then let a build that has it soak")
        .hint("or, where the build has it in other commits, or it is to go: promote --despite-lost --reason TEXT"))
}

/// Refuses to make a hotfix a release that lacks something which production runs: the tag's run builds every service from it.
///
/// # Errors
/// [`Kind::GateBlocked`], with what is missing and the commands that bring it in.
pub(super) async fn refuse_tag(
    connected: &Connected,
    config: &Config,
    live: &BTreeMap<ServiceName, Digest>,
    branch: &str,
    commit: &CommitSha,
) -> Result<()> {
    let lost = lacking(connected, config, live, commit).await?;
    if lost.is_empty() {
        return Ok(());
    }
    let what = names(&lost);
    let error = Error::new(Kind::GateBlocked, format!("{branch} ({}) lacks {what}", commit.short()))
        .seen(format!("Production runs {what}. A release made of this one would not have it. Nothing was changed."))
        .hint(format!("git switch {branch}"));
    let error = lost.iter().fold(error, |error, runs| error.hint(bring(runs.commit.as_ref())));
    Err(error.hint("then: gospel-release hotfix ship --reason TEXT").hint("and: gospel-release hotfix finish"))
}

/// How a hotfix comes into the branch that is checked out.
pub(super) fn bring(commit: Option<&CommitSha>) -> String {
    match commit {
        Some(commit) => format!("bring it in: git merge {}", commit.short()),
        None => {
            "bring it in: git fetch, and merge the branch of that hotfix (gospel-release status names it)".to_owned()
        }
    }
}

fn names(lost: &[Runs]) -> String {
    lost.iter().map(|runs| runs.what.as_str()).collect::<Vec<_>>().join(", ")
}

/// What production runs, and a commit has neither in its history nor squashed.
async fn lacking(
    connected: &Connected,
    config: &Config,
    live: &BTreeMap<ServiceName, Digest>,
    candidate: &CommitSha,
) -> Result<Vec<Runs>> {
    let mut lost = Vec::new();
    for runs in running(connected, config, live).await? {
        let within = match &runs.commit {
            Some(commit) => {
                connected.git.is_ancestor(commit, candidate)? || squashed(connected, config, commit, candidate).await?
            }
            None => false,
        };
        if !within {
            lost.push(runs);
        }
    }
    Ok(lost)
}

async fn running(connected: &Connected, config: &Config, live: &BTreeMap<ServiceName, Digest>) -> Result<Vec<Runs>> {
    let git = &connected.git;
    let live = Live::of(config, &connected.production.aws, git, live).await?;
    let release = live.release.or(live.highest);
    let tags = git.release_tags()?;
    let tag = release.and_then(|version| tags.into_iter().find(|tag| tag.version == version));
    let release = tag.map(|tag| Runs { what: tag.version.to_string(), commit: Some(tag.commit) });
    let hotfixes = live.by_hotfix.into_iter().map(|(service, tag)| {
        let commit = hotfix_commit(git, &tag);
        Runs { what: format!("{tag} of {service}"), commit }
    });
    // The hotfix that the release was made of is named once.
    let of_release = release.as_ref().and_then(|runs| runs.commit.clone());
    let hotfixes = hotfixes.filter(|runs| of_release.is_none() || runs.commit != of_release);
    Ok(release.into_iter().chain(hotfixes).collect())
}

/// Whether the candidate has the commit under another name: GitHub squashed it into main.
async fn squashed(connected: &Connected, config: &Config, commit: &CommitSha, candidate: &CommitSha) -> Result<bool> {
    let maps = ConfigMaps::new(&connected.production.cluster, &config.production.namespace);
    let debts = Register::new(maps, DEBTS).all::<Debt>().await?;
    let branch = debts.into_values().find_map(|debt| match debt.kind {
        DebtKind::NotMerged { branch, commit: its } if its == *commit => Some(branch),
        _ => None,
    });
    let Some(branch) = branch else { return Ok(false) };
    let pull = connected.github.merged_pull(&branch, &config.repository.main, commit).await?;
    let merged: Option<CommitSha> = pull.and_then(|pull| pull.merge_commit?.parse().ok());
    match merged {
        Some(merged) if connected.git.has(&merged) => connected.git.is_ancestor(&merged, candidate),
        _ => Ok(false),
    }
}
