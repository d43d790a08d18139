//! The workflow run that a hotfix's tag started is cancelled: what it would build and deploy is live already.

use std::time::Duration;

use jiff::SignedDuration;

use super::patience::Patience;
use crate::adapters::github::{GitHub, Run};
use crate::config::model::{Repository, Workflow};
use crate::domain::Evidence;
use crate::engine::{Act, BoxFuture, Done, Effect, Fact, Facts, Probe, Step, StepIo, WorkflowRun};
use crate::error::{Error, Kind, Result};

/// Finds the run that the tag started, cancels it, and sees it end. A tag that starts none is said, and is no failure: nothing waits.
pub struct CancelRun {
    github: GitHub,
    workflow: Workflow,
    repository: Repository,
    patience: Patience,
}

impl CancelRun {
    #[must_use]
    pub fn new(github: GitHub, workflow: Workflow, repository: Repository) -> Self {
        Self { github, workflow, repository, patience: Patience::default() }
    }

    async fn run(&self, facts: &Facts) -> Result<Option<Run>> {
        if let Some(run) = &facts.workflow_run {
            return self.github.run(run.id).await.map(Some);
        }
        let tag = self.repository.tags.tag(super::version(facts)?);
        self.github.run_for(&self.workflow.file, &super::candidate(facts)?.commit, &tag).await
    }

    /// Whether none will appear any more.
    fn gives_up(&self, io: &StepIo) -> bool {
        let within = SignedDuration::try_from(self.workflow.appears_within).unwrap_or(SignedDuration::MAX);
        self.patience.is_over(within, io)
    }
}

impl Step for CancelRun {
    fn id(&self) -> &'static str {
        "cancel-run"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Cancel the run of {} that the tag starts", self.workflow.file)
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.workflow.appears_within + self.workflow.finishes_within)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let Some(run) = self.run(facts).await? else {
                if !self.gives_up(io) {
                    return Ok(Probe::NotYet(format!("GitHub to show a run of {} for the tag", self.workflow.file)));
                }
                io.warn("the tag started no run that GitHub shows; look at the Actions page");
                return Ok(Probe::Done(Done::said("the tag started no run: there is nothing to cancel")));
            };
            if !run.is_completed() {
                let status = run.status.as_deref().unwrap_or("unknown");
                return Ok(Probe::NotYet(format!("run {} to end ({status})", run.number)));
            }
            let fact = Fact::WorkflowRun(WorkflowRun { id: run.id, url: run.url.clone() });
            let evidence = Evidence::new(ended(&run)).at(io.now()).link(run.url);
            Ok(Probe::Done(Done::new(evidence).learn(fact)))
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let Some(run) = self.run(facts).await? else { return Ok(Act::Waiting { note: String::new() }) };
            self.github.cancel(run.id).await?;
            Ok(Act::Waiting { note: "GitHub to end the run".to_owned() })
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(Kind::TimedOut, format!("still waiting for {waited_for}, though it was cancelled"))
            .seen("Until it ends, somebody may approve it: it would build and deploy again what is live.")
            .hint("end it on GitHub's page of the run, then: gospel-release resume")
    }
}

fn ended(run: &Run) -> String {
    match run.conclusion.as_deref() {
        Some("cancelled") => format!("run {} is cancelled", run.number),
        // Somebody approved it before we came: it deployed the same commit, in other bytes.
        Some("success") => {
            format!("run {} succeeded before it could be cancelled: production runs what it built", run.number)
        }
        other => format!("run {} ended by itself ({})", run.number, other.unwrap_or("unknown")),
    }
}
