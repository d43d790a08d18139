//! Break glass: the images, written to the Deployments past Git.

use std::borrow::Borrow;
use std::sync::OnceLock;
use std::time::Duration;

use futures::{StreamExt, stream};

use crate::adapters::cluster::{DeploymentState, Live, Workloads};
use crate::config::Config;
use crate::domain::{Evidence, ImageRef, ServiceName, count};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, NewImage, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result};

/// Writes at a time: the API server's own limit on one client is higher, a rollout is the floor anyway.
const CONCURRENCY: usize = 32;
/// Refusals that are told beside the first one.
const TOLD: usize = 4;

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

/// What is to be written, and why some of it cannot be: one that is missing keeps no other from going back.
#[derive(Default)]
struct ToDo {
    behind: Vec<Behind>,
    missing: Vec<Error>,
}

impl ApplyImages {
    /// What each affected Deployment shall name; as Kustomize would render it, so that the commit that follows changes nothing.
    async fn to_do(&self, facts: &Facts) -> Result<ToDo> {
        self.to_do_of(facts, &self.workloads.deployments().await?)
    }

    /// Asserts that nothing has put an old image back.
    ///
    /// # Errors
    /// Says that something does, and how it is stopped.
    pub fn must_stay(&self, facts: &Facts, deployments: &[impl Borrow<DeploymentState>]) -> Result<()> {
        let ToDo { behind, missing } = self.to_do_of(facts, deployments)?;
        if let Some(first) = behind.first() {
            let application = &self.config.argo.application;
            return Err(Error::outside(format!(
                "{} names its old image again ({} in all): something puts it back",
                first.deployment,
                count(behind.len(), "Deployment")
            ))
            .seen("Argo CD's self-heal does so, and so does anybody who applies the manifests of main.")
            .hint("pause automated sync and go on: gospel-release resume --pause-sync")
            .hint(format!(
                "where Argo CD cannot be asked from here, have it paused first: argocd app set {application} --sync-policy none"
            )));
        }
        missing.into_iter().next().map_or(Ok(()), Err)
    }

    fn to_do_of(&self, facts: &Facts, deployments: &[impl Borrow<DeploymentState>]) -> Result<ToDo> {
        let by_name = self.config.service_map();
        let mut to_do = ToDo::default();
        for (name, new) in &super::change(facts)?.images {
            let Some(service) = by_name.get(name) else { continue };
            match self.behind(name, &self.config.deployment_of(service), new, deployments) {
                Ok(behind) => to_do.behind.extend(behind),
                Err(error) => to_do.missing.push(error),
            }
        }
        Ok(to_do)
    }

    fn behind(
        &self,
        service: &ServiceName,
        deployment: &str,
        new: &NewImage,
        deployments: &[impl Borrow<DeploymentState>],
    ) -> Result<Option<Behind>> {
        let found = deployments.iter().map(Borrow::borrow).find(|found: &&DeploymentState| found.name == deployment);
        let found = found.ok_or_else(|| {
            Error::outside(format!("there is no Deployment {deployment} in {}", self.workloads.namespace()))
        })?;
        let current = found
            .image(service.as_str())
            .ok_or_else(|| Error::outside(format!("the Deployment {deployment} has no container {service}")))?;
        let image = rendered(current, new);
        let differs = *current != image;
        Ok(differs.then(|| Behind { deployment: found.name.clone(), container: container_of(found, service), image }))
    }
}

/// What was refused, where the rest was written: all of it is told, and the rest rolls out.
fn refused(written: usize, refused: Vec<Error>) -> Error {
    let total = written + refused.len();
    let what = format!("{} of {} not changed", refused.len(), count(total, "Deployment"));
    let mut refused = refused.into_iter();
    let mut error = match refused.next() {
        Some(first) => first.context(what),
        None => Error::internal(what),
    };
    let left = refused.len();
    for one in refused.by_ref().take(TOLD) {
        error = error.seen(crate::error::chain(&one));
    }
    if left > TOLD {
        error = error.seen(format!("and {} more", left - TOLD));
    }
    if written > 0 {
        error = error.seen(format!("{} changed, and roll out meanwhile", count(written, "Deployment")));
    }
    error.hint("mend what it names, and then: gospel-release resume")
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
            let ToDo { behind, missing } = self.to_do(facts).await?;
            if !behind.is_empty() {
                return Ok(Probe::NotYet(format!("{} to change", count(behind.len(), "Deployment"))));
            }
            if !missing.is_empty() {
                let written = super::change(facts)?.images.len().saturating_sub(missing.len());
                return Err(refused(written, missing));
            }
            let evidence = Evidence::new("every affected Deployment names its image")
                .from(format!("Deployments of {}", self.workloads.namespace()))
                .at(io.now());
            Ok(Probe::Done(Done::new(evidence)))
        })
    }

    /// Every one is tried: what one refuses says nothing about the others.
    fn act<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let ToDo { behind, missing } = self.to_do(facts).await?;
            let applied =
                behind.iter().map(|one| self.workloads.apply_image(&one.deployment, &one.container, &one.image));
            let applied: Vec<_> = applied.collect();
            let applied: Vec<Result<()>> = stream::iter(applied).buffer_unordered(CONCURRENCY).collect().await;
            let failed: Vec<Error> = applied.into_iter().filter_map(Result::err).chain(missing).collect();
            if !failed.is_empty() {
                let affected = super::change(facts)?.images.len();
                return Err(refused(affected.saturating_sub(failed.len()), failed));
            }
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
            if held < self.lasts {
                self.apply.must_stay(facts, &live.deployments().await?)?;
            } else {
                self.apply.must_stay(facts, &self.apply.workloads.deployments().await?)?;
            }
            if held < self.lasts {
                return Ok(Probe::NotYet(format!("{} more", crate::domain::duration(self.lasts.saturating_sub(held)))));
            }
            Ok(Probe::Done(Done::said(format!("they stayed for {}", crate::domain::duration(self.lasts)))))
        })
    }
}
