//! Which image a service's pods really run.

use std::collections::BTreeSet;

use crate::adapters::aws::{Aws, ImageId};
use crate::adapters::cluster::PodState;
use crate::config::Config;
use crate::config::model::Service;
use crate::domain::{Digest, ImageRef};
use crate::error::Result;

/// The digests that a service's live pods run. A node may name an index or the platform's image in it; here it is always the index,
/// which is what tags and overlays name.
pub async fn digests_of(config: &Config, aws: &Aws, service: &Service, pods: &[PodState]) -> Result<BTreeSet<Digest>> {
    let name = config.deployment_of(service);
    let live = pods.iter().filter(|pod| pod.app() == Some(name.as_str()) && !pod.deleting && pod.phase == "Running");
    let live = live.filter_map(|pod| pod.main(service.name.as_str()));
    let images: BTreeSet<(&str, &Digest)> =
        live.filter_map(|container| Some((container.image.as_str(), container.digest.as_ref()?))).collect();
    let mut digests = BTreeSet::new();
    for (named, running) in images {
        let whole = match asked_for(named) {
            Some(ImageId::Digest(digest)) if digest == *running => digest,
            Some(named) => aws.whole(&config.image_of(service), &named, running).await?,
            None => running.clone(),
        };
        digests.insert(whole);
    }
    Ok(digests)
}

/// The image that a pod's spec asks for: by digest where there is one.
fn asked_for(image: &str) -> Option<ImageId> {
    let image: ImageRef = image.parse().ok()?;
    image.digest.map(ImageId::Digest).or(image.tag.map(ImageId::Tag))
}
