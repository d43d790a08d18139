//! The commit that puts the version into the production overlay. The workflow makes it; we only observe.

use std::sync::Arc;
use std::time::Duration;

use crate::adapters::git::Git;
use crate::config::Config;
use crate::domain::{CommitSha, Evidence, OverlayImage, ServiceName, overlay_images};
use crate::engine::{BoxFuture, Done, Effect, Fact, Facts, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result};

/// How many commits back the overlay's history is read: others may commit to it too.
const HISTORY: usize = 50;

/// Waits for the overlay commit on the main branch.
pub struct OverlayCommit {
    pub git: Arc<Git>,
    pub config: Config,
}

impl OverlayCommit {
    /// The services whose entry in this overlay is not the released image.
    fn behind(&self, yaml: &[u8], facts: &Facts) -> Result<Vec<ServiceName>> {
        let images = overlay_images(yaml)?;
        let version = super::version(facts)?.to_string();
        let ours = |service: &crate::config::model::Service, image: &OverlayImage| match &image.digest {
            Some(digest) => facts.shipped.get(&service.name).is_some_and(|shipped| shipped.digest == *digest),
            None => image.tag.as_deref() == Some(version.as_str()),
        };
        let behind = |service: &&crate::config::model::Service| {
            !images.get(&self.config.image_of(service)).is_some_and(|image| ours(service, image))
        };
        Ok(self.config.services.iter().filter(behind).map(|service| service.name.clone()).collect())
    }

    /// The oldest commit of the newest stretch of commits in which the overlay names all released images.
    fn find(&self, facts: &Facts) -> Result<std::result::Result<CommitSha, Vec<ServiceName>>> {
        let tip = self.git.main_tip()?;
        let mut found = None;
        for change in self.git.path_history(&self.config.production.kustomization(), &tip, HISTORY)? {
            let behind = match &change.content {
                Some(yaml) => self.behind(yaml, facts)?,
                None => self.config.services.iter().map(|service| service.name.clone()).collect(),
            };
            match (behind.is_empty(), &found) {
                (true, _) => found = Some(change.commit.sha),
                (false, Some(_)) => break,
                (false, None) => return Ok(Err(behind)),
            }
        }
        Ok(found.ok_or_else(Vec::new))
    }
}

impl Step for OverlayCommit {
    fn id(&self) -> &'static str {
        "overlay"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Production overlay names the new images".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.config.workflow.appears_within)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            self.git.fetch().await?;
            Ok(match self.find(facts)? {
                Ok(commit) => {
                    let info = self.git.commit(&commit)?;
                    let evidence = Evidence::new(format!("{} {}", commit.short(), info.subject))
                        .from(format!("{} on {}", self.config.production.kustomization(), self.config.repository.main))
                        .at(io.now())
                        .fact("author", info.author, None);
                    Probe::Done(Done::new(evidence).learn(Fact::OverlayCommit(commit)))
                }
                Err(behind) => {
                    let names: Vec<&str> = behind.iter().map(ServiceName::as_str).collect();
                    Probe::NotYet(format!(
                        "a commit to {} that names {}",
                        self.config.production.kustomization(),
                        names.join(", ")
                    ))
                }
            })
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(Kind::TimedOut, format!("the workflow succeeded, but there is no {waited_for}"))
            .hint("look at the workflow's last job; then: gospel-release resume")
    }
}
