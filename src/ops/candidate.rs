//! What staging runs, by digest and commit; and what production runs.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};

use crate::adapters::aws::{Aws, ImageId};
use crate::adapters::cluster::Workloads;
use crate::adapters::git::Git;
use crate::config::Config;
use crate::config::model::Service;
use crate::domain::{CommitSha, Digest, ServiceName, Version, count};
use crate::engine::Candidate;
use crate::error::{Error, Kind, Result};
use crate::monitor::running::digests_of;

use super::live::Live;

/// How many services' images are looked up at a time.
const CONCURRENCY: usize = 32;

/// The digest that each service's pods run; a service whose pods disagree, or that has none, is in the error.
pub async fn running(config: &Config, aws: &Aws, workloads: &Workloads) -> Result<BTreeMap<ServiceName, Digest>> {
    let mut images = BTreeMap::new();
    let mut unclear = Vec::new();
    for (service, digests) in seen(config, aws, workloads).await? {
        match digests.into_iter().collect::<Vec<_>>().as_slice() {
            [digest] => drop(images.insert(service, digest.clone())),
            [] => unclear.push(format!("{service}: no running pod")),
            several => {
                let list: Vec<&str> = several.iter().map(Digest::short).collect();
                unclear.push(format!("{service}: its pods run {}", list.join(" and ")));
            }
        }
    }
    if unclear.is_empty() {
        return Ok(images);
    }
    let what = format!("{} does not run one image per service", workloads.namespace());
    let error = Error::new(Kind::GateBlocked, what).hint("wait until its rollout has finished, then try again");
    Err(unclear.into_iter().fold(error, Error::seen))
}

/// The digests that each service's pods run: one if all is well, several in a rollout, none if it is down.
pub async fn seen(
    config: &Config,
    aws: &Aws,
    workloads: &Workloads,
) -> Result<BTreeMap<ServiceName, BTreeSet<Digest>>> {
    let pods = workloads.pods(None).await?;
    let look = async |service: &Service| Ok((service.name.clone(), digests_of(config, aws, service, &pods).await?));
    let looked: Vec<_> = config.services.iter().map(look).collect();
    stream::iter(looked).buffer_unordered(CONCURRENCY).try_collect().await
}

/// The one digest of a service whose pods agree.
pub(super) fn agreed(digests: &BTreeSet<Digest>) -> Option<&Digest> {
    digests.first().filter(|_| digests.len() == 1)
}

/// The candidate: staging's digests, and the newest commit that any of them was built from.
pub async fn find(config: &Config, staging: &Workloads, aws: &Aws, git: &Git) -> Result<Candidate> {
    let images = running(config, aws, staging).await?;
    let tags = tags_of(config, aws, &images).await?;
    let mut commits: BTreeMap<CommitSha, Vec<&ServiceName>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for service in images.keys() {
        match tags.get(service).and_then(|tags| commit_of(tags, git)) {
            Some(commit) => commits.entry(commit).or_default().push(service),
            None => unknown.push(format!("{service}: tagged {}", listed(tags.get(service)))),
        }
    }
    if !unknown.is_empty() {
        let error = Error::new(Kind::GateBlocked, "cannot tell which commit staging's images were built from")
            .hint("tag images with their commit when they are built: sha-<commit>");
        return Err(unknown.into_iter().fold(error, Error::seen));
    }
    let commit = newest(&commits.keys().cloned().collect::<Vec<_>>(), git)?;
    Ok(Candidate { commit, images })
}

/// ECR's tags of each digest.
pub(super) async fn tags_of(
    config: &Config,
    aws: &Aws,
    images: &BTreeMap<ServiceName, Digest>,
) -> Result<BTreeMap<ServiceName, Vec<String>>> {
    let by_name = config.service_map();
    let key = |service: &ServiceName, digest: &Digest| {
        let repository = by_name.get(service).map(|service| config.image_of(service)).unwrap_or_default();
        (repository, ImageId::Digest(digest.clone()))
    };
    let wanted: Vec<(String, ImageId)> = images.iter().map(|(service, digest)| key(service, digest)).collect();
    let found = aws.images(&wanted).await?;
    let tags =
        |service, digest| found.get(&key(service, digest)).and_then(Option::as_ref).map(|image| image.tags.clone());
    Ok(images.iter().filter_map(|(service, digest)| Some((service.clone(), tags(service, digest)?))).collect())
}

/// The commit behind a tag of the form `sha-<hex>`, or a whole SHA.
fn commit_of(tags: &[String], git: &Git) -> Option<CommitSha> {
    let hex = tags.iter().map(|tag| tag.strip_prefix("sha-").unwrap_or(tag));
    hex.filter(|hex| hex.len() >= 7 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).find_map(|hex| git.expand(hex))
}

/// The commit that all others are ancestors of.
fn newest(commits: &[CommitSha], git: &Git) -> Result<CommitSha> {
    for head in commits {
        let mut all = true;
        for other in commits {
            all = all && git.is_ancestor(other, head)?;
        }
        if all {
            return Ok(head.clone());
        }
    }
    let list: Vec<&str> = commits.iter().map(CommitSha::short).collect();
    Err(Error::new(
        Kind::GateBlocked,
        format!(
            "staging runs builds of {} that are not on one line: {}",
            count(commits.len(), "commit"),
            list.join(", ")
        ),
    )
    .hint("deploy one commit's build to staging, and let it soak"))
}

/// The release that production runs: the one of all its images, or the highest among them, if any is of a release.
pub async fn live_version(
    config: &Config,
    aws: &Aws,
    git: &Git,
    images: &BTreeMap<ServiceName, Digest>,
) -> Result<Option<Version>> {
    let live = Live::of(config, aws, git, images).await?;
    Ok(live.release.or(live.highest))
}

fn listed(tags: Option<&Vec<String>>) -> String {
    match tags {
        None => "nothing (not in ECR)".to_owned(),
        Some(tags) if tags.is_empty() => "nothing".to_owned(),
        Some(tags) => tags.join(", "),
    }
}
