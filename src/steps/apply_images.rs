//! Break glass: the images, written to the Deployments past Git.

use std::borrow::Borrow;
use std::sync::OnceLock;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use crate::adapters::cluster::{DeploymentState, Live, Workloads};
use crate::config::Config;
use crate::domain::{Evidence, ImageRef, ServiceName, count};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, NewImage, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result};

/// Writes at a time: the API server's own limit on one client is higher, a rollout is the floor anyway.
const CONCURRENCY: usize = 32;

/// Applies the images of [`Facts::change`], each with one request, all at once.
pub struct ApplyImages {
    pub workloads: Workloads,
    pub config: Config,
}

/// One Deployment that does not name its image yet.
struct Behind {
    deployment: String,
    container: String,
    image: ImageRef,
}

impl ApplyImages {
    /// What each affected Deployment shall name; as Kustomize would render it, so that the commit that follows changes nothing.
    async fn behind(&self, facts: &Facts) -> Result<Vec<Behind>> {
        self.behind_of(facts, &self.workloads.deployments().await?)
    }

    fn behind_of(&self, facts: &Facts, deployments: &[impl Borrow<DeploymentState>]) -> Result<Vec<Behind>> {
        let by_name = self.config.service_map();
        let mut behind = Vec::new();
        for (name, new) in &super::change(facts)?.images {
            let Some(service) = by_name.get(name) else { continue };
            let deployment = self.config.deployment_of(service);
            let found = deployments
                .iter()
                .map(Borrow::borrow)
                .find(|found: &&DeploymentState| found.name == deployment)
                .ok_or_else(|| {
                    Error::outside(format!("there is no Deployment {deployment} in {}", self.workloads.namespace()))
                })?;
            let current = found
                .image(name.as_str())
                .ok_or_else(|| Error::outside(format!("the Deployment {deployment} has no container {name}")))?;
            let image = rendered(current, new);
            if *current != image {
                let container = container_of(found, name);
                behind.push(Behind { deployment, container, image });
            }
        }
        Ok(behind)
    }
}

fn container_of(deployment: &DeploymentState, service: &ServiceName) -> String {
    let named = deployment.images.contains_key(service.as_str());
    let only = deployment.images.keys().next().cloned();
    if named { service.to_string() } else { only.unwrap_or_else(|| service.to_string()) }
}

/// Kustomize writes `newName:newTag@digest`, with what the entry has (kubernetes-sigs/kustomize, images transformer).
fn rendered(current: &ImageRef, new: &NewImage) -> ImageRef {
    let entry = &new.entry;
    let name = entry.name.clone().unwrap_or_else(|| current.name.clone());
    let neither = entry.tag.is_none() && entry.digest.is_none();
    let digest = if neither { new.digest.clone() } else { entry.digest.clone() };
    ImageRef { name, tag: entry.tag.clone(), digest }
}

impl Step for ApplyImages {
    fn id(&self) -> &'static str {
        "apply"
    }

    fn title(&self, facts: &Facts) -> String {
        match facts.change.as_ref().map_or(0, |change| change.images.len()) {
            // They are not built yet.
            0 => "Apply the images directly, past Git".to_owned(),
            images => format!("Apply {} directly, past Git", count(images, "image")),
        }
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.config.rollout.within)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let behind = self.behind(facts).await?;
            if behind.is_empty() {
                let evidence = Evidence::new("every affected Deployment names its image")
                    .from(format!("Deployments of {}", self.workloads.namespace()))
                    .at(io.now());
                return Ok(Probe::Done(Done::new(evidence)));
            }
            Ok(Probe::NotYet(format!("{} to change", count(behind.len(), "Deployment"))))
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let behind = self.behind(facts).await?;
            let applied =
                behind.iter().map(|one| self.workloads.apply_image(&one.deployment, &one.container, &one.image));
            let applied: Vec<_> = applied.collect();
            stream::iter(applied).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;
            let evidence = Evidence::new(count(behind.len(), "Deployment"))
                .from(format!("server-side apply in {}", self.workloads.namespace()))
                .at(io.now());
            Ok(Act::Done(Done::new(evidence)))
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(Kind::TimedOut, format!("the images were not taken: {waited_for}")).hint("gospel-release resume")
    }
}

/// Watches for something that puts the old images back: a self-heal that could not be paused, or a colleague.
pub struct Unreverted {
    apply: ApplyImages,
    lasts: Duration,
    since: OnceLock<jiff::Timestamp>,
    live: OnceLock<Live>,
}

impl Unreverted {
    /// `lasts`: world time for which the images must stay.
    #[must_use]
    pub fn new(apply: ApplyImages, lasts: Duration) -> Self {
        Self { apply, lasts, since: OnceLock::new(), live: OnceLock::new() }
    }
}

impl Step for Unreverted {
    fn id(&self) -> &'static str {
        "unreverted"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Nothing puts the old images back".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    fn every(&self) -> Duration {
        Duration::from_secs(3)
    }

    fn changed(&self) -> Option<BoxFuture<'_, ()>> {
        let live = self.live.get()?;
        Some(Box::pin(live.changed()))
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let live = self.live.get_or_init(|| self.apply.workloads.live_deployments());
            let since = *self.since.get_or_init(|| io.now());
            let held = Duration::try_from(io.now().duration_since(since)).unwrap_or_default();
            // The last look is at the cluster itself.
            let reverted = if held < self.lasts {
                self.apply.behind_of(facts, &live.deployments().await?)?
            } else {
                self.apply.behind(facts).await?
            };
            if let Some(first) = reverted.first() {
                return Err(Error::outside(format!(
                    "{} names its old image again ({} in all): something puts it back",
                    first.deployment,
                    count(reverted.len(), "Deployment")
                ))
                .seen("Argo CD's self-heal does so, and so does anybody who applies the manifests of main.")
                .hint("pause automated sync and go on: gospel-release resume --pause-sync"));
            }
            if held < self.lasts {
                return Ok(Probe::NotYet(format!("{} more", crate::domain::duration(self.lasts.saturating_sub(held)))));
            }
            Ok(Probe::Done(Done::said(format!("they stayed for {}", crate::domain::duration(self.lasts)))))
        })
    }
}
