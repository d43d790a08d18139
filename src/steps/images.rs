//! The released images in ECR, by digest, and whether they are the bytes that soaked.

use std::collections::BTreeMap;

use crate::adapters::aws::{Aws, ImageId};
use crate::config::Config;
use crate::domain::{Digest, Evidence, ServiceName};
use crate::engine::{BoxFuture, Candidate, Done, Effect, Fact, Facts, Probe, Shipped, Step, StepIo};
use crate::error::{Error, Kind, Result};

/// Looks up each service's image of the version and compares it with what soaked.
pub struct ImagesShipped {
    pub aws: Aws,
    pub config: Config,
}

impl ImagesShipped {
    /// The version's digest by service; `None` where the registry has no such tag.
    async fn digests(&self, tag: &str) -> Result<BTreeMap<ServiceName, Option<Digest>>> {
        let wanted: Vec<(String, ImageId)> = self
            .config
            .services
            .iter()
            .map(|service| (self.config.image_of(service), ImageId::Tag(tag.to_owned())))
            .collect();
        let found = self.aws.images(&wanted).await?;
        let digest = |service| {
            let key = (self.config.image_of(service), ImageId::Tag(tag.to_owned()));
            found.get(&key).and_then(|image| image.as_ref()).map(|image| image.digest.clone())
        };
        Ok(self.config.services.iter().map(|service| (service.name.clone(), digest(service))).collect())
    }

    /// Whether `shipped` is what soaked: the same digest, or a platform of the same index.
    async fn soaked(&self, service: &ServiceName, shipped: &Digest, candidate: &Candidate) -> Result<bool> {
        let Some(soaked) = candidate.images.get(service) else { return Ok(false) };
        if soaked == shipped {
            return Ok(true);
        }
        let by_name = self.config.service_map();
        let Some(service) = by_name.get(service) else { return Ok(false) };
        let repository = self.config.image_of(service);
        Ok(self.aws.equivalents(&repository, shipped).await?.contains(soaked))
    }

    async fn shipped(
        &self,
        digests: BTreeMap<ServiceName, Digest>,
        candidate: &Candidate,
    ) -> Result<BTreeMap<ServiceName, Shipped>> {
        let judged = digests.into_iter().map(|(service, digest)| self.judge(service, digest, candidate));
        Ok(futures::future::try_join_all(judged).await?.into_iter().collect())
    }

    async fn judge(
        &self,
        service: ServiceName,
        digest: Digest,
        candidate: &Candidate,
    ) -> Result<(ServiceName, Shipped)> {
        let soaked = self.soaked(&service, &digest, candidate).await?;
        Ok((service, Shipped { digest, soaked }))
    }
}

impl Step for ImagesShipped {
    fn id(&self) -> &'static str {
        "images"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Images in ECR".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let tag = super::version(facts)?.to_string();
            let candidate = super::candidate(facts)?;
            let mut present = BTreeMap::new();
            let mut absent = Vec::new();
            for (service, digest) in self.digests(&tag).await? {
                match digest {
                    Some(digest) => drop(present.insert(service, digest)),
                    None => absent.push(service),
                }
            }
            if !absent.is_empty() {
                return Err(self.lost(&absent, &tag, facts));
            }
            let shipped = self.shipped(present, candidate).await?;
            if self.config.images.require_soaked_bytes && shipped.values().any(|image| !image.soaked) {
                return Err(not_the_soaked_bytes(&shipped, facts));
            }
            let evidence = evidence(&shipped, candidate).at(io.now()).from(format!("ECR, tag {tag}"));
            Ok(Probe::Done(Done::new(evidence).learn(Fact::Shipped(shipped))))
        })
    }
}

impl ImagesShipped {
    fn lost(&self, absent: &[ServiceName], tag: &str, facts: &Facts) -> Error {
        let by_name = self.config.service_map();
        let names: Vec<String> = absent
            .iter()
            .filter_map(|service| by_name.get(service))
            .map(|service| format!("{}:{tag}", self.config.image_of(service)))
            .collect();
        let error = Error::outside(format!("the workflow succeeded, but ECR has no {}", names.join(", ")));
        let error = match &facts.workflow_run {
            Some(run) => error.seen(format!("workflow run {}", run.url)),
            None => error,
        };
        error
            .seen("Argo CD may already be syncing the overlay that names it: its old pods keep serving until the new are ready.")
            .hint("re-run the build job of that service in GitHub, then: gospel-release resume")
            .hint("or go back: gospel-release rollback")
    }
}

fn evidence(shipped: &BTreeMap<ServiceName, Shipped>, candidate: &Candidate) -> Evidence {
    let soaked = shipped.values().filter(|image| image.soaked).count();
    let mut evidence = Evidence::new(format!("{soaked} of {} are the soaked bytes", shipped.len()));
    for (service, image) in shipped {
        let seen = match candidate.images.get(service) {
            _ if image.soaked => format!("{} (soaked)", image.digest.short()),
            Some(soaked) => format!("{} was rebuilt; {} soaked", image.digest.short(), soaked.short()),
            None => format!("{} was never on staging", image.digest.short()),
        };
        evidence = evidence.fact(service.as_str(), seen, image.soaked);
    }
    evidence
}

fn not_the_soaked_bytes(shipped: &BTreeMap<ServiceName, Shipped>, facts: &Facts) -> Error {
    let other: Vec<&str> =
        shipped.iter().filter(|(_, image)| !image.soaked).map(|(service, _)| service.as_str()).collect();
    let error =
        Error::new(Kind::GateBlocked, format!("production gets images that never soaked: {}", other.join(", ")))
            .seen("The workflow has pushed them and written the overlay: Argo CD may already be rolling them out.");
    let back = facts
        .previous
        .as_ref()
        .map_or("gospel-release rollback".to_owned(), |version| format!("gospel-release rollback --to {version}"));
    error.hint(back).hint("or make the workflow deploy by digest and set workflow.deploys_by_digest")
}
