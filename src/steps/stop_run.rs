//! The workflow run of a release that is given up is ended: it would build and deploy again what is taken out.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::patience::Patience;
use crate::adapters::github::{GitHub, Run};
use crate::config::model::{Repository, Workflow};
use crate::domain::{CommitSha, Evidence, Version};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::Result;

/// World time for which the run is waited for after it was asked to end.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// What a release has started, or may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub version: Version,
    pub commit: CommitSha,
    /// The workflow run's id, where it was seen.
    pub run: Option<u64>,
}

/// Asks the run to end, and waits a little. The way back does not depend on it: where GitHub does not answer, or the run does not
/// end, that is said.
pub struct StopRun {
    github: GitHub,
    workflow: Workflow,
    repository: Repository,
    started: Started,
    patience: Patience,
}

impl StopRun {
    #[must_use]
    pub fn new(github: GitHub, workflow: Workflow, repository: Repository, started: Started) -> Self {
        Self { github, workflow, repository, started, patience: Patience::default() }
    }

    async fn run(&self) -> Result<Option<Run>> {
        if let Some(id) = self.started.run {
            return self.github.run(id).await.map(Some);
        }
        let tag = self.repository.tags.tag(&self.started.version);
        self.github.run_for(&self.workflow.file, &self.started.commit, &tag).await
    }

    fn goes_on(&self, io: &StepIo, why: &str) -> Probe {
        let actions = format!("{}/actions", self.repository.page());
        io.warn(format!("{why}; it may deploy {} again: end it at {actions}", self.started.version));
        Probe::Done(Done::left(why.to_owned()))
    }
}

impl Step for StopRun {
    fn id(&self) -> &'static str {
        "stop-run"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("End the run of {} for {}", self.workflow.file, self.started.version)
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<Duration> {
        Some(Duration::from_mins(10))
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            Ok(match self.run().await {
                Err(error) => self.goes_on(io, &format!("whether it goes on is not known ({error})")),
                Ok(None) => Probe::Done(Done::said("GitHub shows no run for its tag")),
                Ok(Some(run)) if run.is_completed() => {
                    let how = run.conclusion.as_deref().unwrap_or("unknown");
                    let evidence = Evidence::new(format!("run {} has ended ({how})", run.number));
                    Probe::Done(Done::new(evidence.at(io.now()).link(run.url)))
                }
                Ok(Some(run)) if self.patience.is_over(PATIENCE, io) => {
                    self.goes_on(io, &format!("run {} was asked to end and goes on", run.number))
                }
                Ok(Some(run)) => Probe::NotYet(format!("run {} to end", run.number)),
            })
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            if let Ok(Some(run)) = self.run().await
                && let Err(error) = self.github.cancel(run.id).await
            {
                io.say(format!("run {} cannot be cancelled: {error}", run.number));
            }
            Ok(Act::Waiting { note: "GitHub to end the run".to_owned() })
        })
    }
}
