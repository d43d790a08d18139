//! Whether production is what Git says: Deployments beside main's overlay.

use std::collections::BTreeMap;

use crate::adapters::cluster::{DeploymentState, Workloads};
use crate::adapters::git::Git;
use crate::config::Config;
use crate::domain::{CommitSha, ImageRef, OverlayImage, ServiceName, overlay_images};
use crate::error::Result;

/// What main's overlay of production says of each image, by the name that the base uses; nothing where there is none.
pub fn named_on_main(config: &Config, git: &Git) -> Result<BTreeMap<String, OverlayImage>> {
    named_at(config, git, &git.main_tip()?)
}

fn named_at(config: &Config, git: &Git, commit: &CommitSha) -> Result<BTreeMap<String, OverlayImage>> {
    overlay_images(&git.file_at(commit, &config.production.kustomization())?.unwrap_or_default())
}

/// The services whose Deployment names another image than main's overlay: a sync would bring them to what it says.
pub async fn differing(config: &Config, git: &Git, workloads: &Workloads) -> Result<Vec<ServiceName>> {
    differing_at(config, git, &workloads.deployments().await?, &git.main_tip()?)
}

/// The services whose Deployment names another image than the overlay at this commit.
pub fn differing_at(
    config: &Config,
    git: &Git,
    deployments: &[DeploymentState],
    commit: &CommitSha,
) -> Result<Vec<ServiceName>> {
    let named = named_at(config, git, commit)?;
    Ok(config
        .services
        .iter()
        .filter(|service| {
            let live = live(deployments, &config.deployment_of(service), service.name.as_str());
            matches!((live, named.get(&config.image_of(service))), (Some(live), Some(named)) if !agree(live, named))
        })
        .map(|service| service.name.clone())
        .collect())
}

/// The same as people read it; `None` where production is what main says.
pub async fn differing_said(config: &Config, git: &Git, workloads: &Workloads) -> Result<Option<String>> {
    Ok(said(&differing(config, git, workloads).await?))
}

/// Services as people read them; `None` where there is none.
#[must_use]
pub fn said(services: &[ServiceName]) -> Option<String> {
    let names: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn live<'a>(deployments: &'a [DeploymentState], name: &str, container: &str) -> Option<&'a ImageRef> {
    deployments.iter().find(|found| found.name == name)?.image(container)
}

/// Whether a Deployment's image is what an overlay entry stands for: by digest where there is one, else by tag.
fn agree(live: &ImageRef, named: &OverlayImage) -> bool {
    match (&named.digest, &named.tag) {
        (Some(digest), _) => live.digest.as_ref() == Some(digest),
        (None, tag) => live.digest.is_none() && live.tag == *tag,
    }
}
