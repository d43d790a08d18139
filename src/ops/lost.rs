//! A hotfix that the build on staging lacks would be taken out of production by a promotion: it is refused.

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
    let mut lost = Vec::new();
    for runs in running(connected, config, live).await? {
        let within = match &runs.commit {
            Some(commit) => {
                connected.git.is_ancestor(commit, candidate)? || squashed(connected, config, commit, candidate).await?
            }
            None => false,
        };
        if !within {
            lost.push(runs.what);
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    let what = lost.join(", ");
    let error = Error::new(Kind::GateBlocked, format!("the build on staging, {}, lacks {what}", candidate.short()))
        .seen(format!("Production runs {what}. Promoting that build would take it out again. Nothing was changed."));
    Err(error
        .hint("gospel-release hotfix finish NAME merges it to main; then let a build that has it soak")
        .hint("or, where the build has it in other commits, or it is to go: promote --despite-lost --reason TEXT"))
}

async fn running(connected: &Connected, config: &Config, live: &BTreeMap<ServiceName, Digest>) -> Result<Vec<Runs>> {
    let git = &connected.git;
    let live = Live::of(config, &connected.production.aws, git, live).await?;
    let release = live.release.or(live.highest);
    let tags = git.release_tags()?;
    let tag = release.and_then(|version| tags.into_iter().find(|tag| tag.version == version));
    let release = tag.map(|tag| Runs { what: tag.version.to_string(), commit: Some(tag.commit) });
    let hotfixes = live.hotfixed.into_iter().map(|(service, tag)| {
        let commit = hotfix_commit(git, &tag);
        Runs { what: format!("{tag} of {service}"), commit }
    });
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
