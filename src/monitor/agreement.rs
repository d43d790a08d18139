//! Whether production is what Git says: Deployments beside main's overlay.

use std::collections::BTreeMap;

use crate::adapters::cluster::{DeploymentState, Workloads};
use crate::adapters::git::Git;
use crate::config::Config;
use crate::domain::{ImageRef, OverlayImage, ServiceName, overlay_images};
use crate::error::Result;

/// What main's overlay of production says of each image, by the name that the base uses; nothing where there is none.
pub fn named_on_main(config: &Config, git: &Git) -> Result<BTreeMap<String, OverlayImage>> {
    let yaml = git.file_at(&git.main_tip()?, &config.production.kustomization())?;
    overlay_images(&yaml.unwrap_or_default())
}

/// The services whose Deployment names another image than main's overlay: a sync would bring them to what it says.
pub async fn differing(config: &Config, git: &Git, workloads: &Workloads) -> Result<Vec<ServiceName>> {
    let named = named_on_main(config, git)?;
    let deployments = workloads.deployments().await?;
    Ok(config
        .services
        .iter()
        .filter(|service| {
            let live = live(&deployments, &config.deployment_of(service), service.name.as_str());
            matches!((live, named.get(&config.image_of(service))), (Some(live), Some(named)) if !agree(live, named))
        })
        .map(|service| service.name.clone())
        .collect())
}

/// The same as people read it; `None` where production is what main says.
pub async fn differing_said(config: &Config, git: &Git, workloads: &Workloads) -> Result<Option<String>> {
    let differing = differing(config, git, workloads).await?;
    let names: Vec<&str> = differing.iter().map(ServiceName::as_str).collect();
    Ok((!names.is_empty()).then(|| names.join(", ")))
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
