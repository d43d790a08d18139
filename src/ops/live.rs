//! What production runs, told by the tags of its images: a release, or a release with hotfixes on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapters::aws::Aws;
use crate::adapters::git::{Git, ReleaseTag};
use crate::config::Config;
use crate::domain::{CommitSha, Digest, ServiceName, Version};
use crate::error::Result;

use super::candidate::tags_of;

/// What production runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// The one release that all of it is, if it is one. A hotfix that has its own release tag is one, too.
    pub release: Option<Version>,
    /// The highest release among the images.
    pub highest: Option<Version>,
    /// Services whose image a hotfix built that no release tag stands for yet, with the image's tag.
    pub hotfixed: BTreeMap<ServiceName, String>,
    /// Services whose image a hotfix built, tagged since or not, with the image's tag.
    pub by_hotfix: BTreeMap<ServiceName, String>,
    /// What each service runs, in words.
    pub said: BTreeMap<ServiceName, String>,
}

/// What one service's image is.
enum Built {
    /// Of these releases: an image may carry the tags of several.
    Released(BTreeSet<Version>),
    /// Of a hotfix, with the release that was tagged on its commit since.
    Hotfix(String, Option<Version>),
    Unknown,
}

impl Live {
    /// Asks ECR for the tags of the `images`.
    pub async fn of(config: &Config, aws: &Aws, git: &Git, images: &BTreeMap<ServiceName, Digest>) -> Result<Self> {
        let tags = tags_of(config, aws, images).await?;
        let releases = git.release_tags()?;
        let built = images.keys().map(|name| (name, built(tags.get(name).map_or(&[], Vec::as_slice), &releases)));
        let built: BTreeMap<&ServiceName, Built> = built.collect();
        let said = |name: &ServiceName| match tags.get(name) {
            Some(tags) if !tags.is_empty() => tags.join(", "),
            _ => images.get(name).map_or("nothing", Digest::short).to_owned(),
        };
        let versions = built.values().filter_map(|built| match built {
            Built::Released(versions) => versions.iter().next_back(),
            Built::Hotfix(_, version) => version.as_ref(),
            Built::Unknown => None,
        });
        let hotfixed = built.iter().filter_map(|(name, built)| match built {
            Built::Hotfix(tag, None) => Some(((*name).clone(), tag.clone())),
            _ => None,
        });
        let by_hotfix = built.iter().filter_map(|(name, built)| match built {
            Built::Hotfix(tag, _) => Some(((*name).clone(), tag.clone())),
            _ => None,
        });
        Ok(Self {
            release: one_release(config, git, &releases, &built)?,
            highest: versions.max().cloned(),
            hotfixed: hotfixed.collect(),
            by_hotfix: by_hotfix.collect(),
            said: images.keys().map(|name| (name.clone(), said(name))).collect(),
        })
    }
}

/// The commit that a hotfix's image tag names, where this repository has it.
pub(super) fn hotfix_commit(git: &Git, tag: &str) -> Option<CommitSha> {
    tag.strip_prefix(CommitSha::HOTFIX_TAG).and_then(|short| git.expand(short))
}

/// The release whose tag stands on the commit that a hotfix's image tag names.
pub(super) fn released_hotfix(tag: &str, releases: &[ReleaseTag]) -> Option<Version> {
    let at = releases.iter().filter(|release| release.commit.hotfix_tag() == tag);
    at.map(|release| release.version.clone()).max()
}

fn built(tags: &[String], releases: &[ReleaseTag]) -> Built {
    let versions: BTreeSet<Version> = tags.iter().filter_map(|tag| tag.parse().ok()).collect();
    if !versions.is_empty() {
        return Built::Released(versions);
    }
    match tags.iter().find(|tag| tag.starts_with(CommitSha::HOTFIX_TAG)) {
        Some(tag) => Built::Hotfix(tag.clone(), released_hotfix(tag, releases)),
        None => Built::Unknown,
    }
}

/// All services on one release; or on a hotfix's release where they were built from it, and on an older one where it did not change
/// their code.
fn one_release(
    config: &Config,
    git: &Git,
    releases: &[ReleaseTag],
    built: &BTreeMap<&ServiceName, Built>,
) -> Result<Option<Version>> {
    let sets: Option<Vec<BTreeSet<Version>>> = built
        .values()
        .map(|built| match built {
            Built::Released(versions) => Some(versions.clone()),
            Built::Hotfix(_, Some(version)) => Some(BTreeSet::from([version.clone()])),
            _ => None,
        })
        .collect();
    let Some(sets) = sets else { return Ok(None) };
    let common = sets.iter().cloned().reduce(|all, one| all.intersection(&one).cloned().collect());
    if let Some(version) = common.unwrap_or_default().into_iter().next_back() {
        return Ok(Some(version));
    }
    let hotfixes = built.values().filter_map(|built| match built {
        Built::Hotfix(_, version) => version.clone(),
        _ => None,
    });
    let Some(newest) = hotfixes.max() else { return Ok(None) };
    let commit_of = |version: &Version| releases.iter().find(|tag| tag.version == *version).map(|tag| &tag.commit);
    let Some(head) = commit_of(&newest) else { return Ok(None) };
    let by_name = config.service_map();
    for (name, built) in built {
        let own = match built {
            Built::Released(versions) => versions.iter().next_back(),
            Built::Hotfix(_, version) => version.as_ref(),
            Built::Unknown => None,
        };
        let Some(own) = own.and_then(commit_of) else { return Ok(None) };
        let Some(service) = by_name.get(name) else { return Ok(None) };
        let dir = format!("{}/", config.path_of(service));
        if !git.is_ancestor(own, head)? || git.changed_paths(own, head)?.iter().any(|path| path.starts_with(&dir)) {
            return Ok(None);
        }
    }
    Ok(Some(newest))
}
