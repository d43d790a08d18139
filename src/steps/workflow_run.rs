//! The workflow run that our tag started: for exactly that commit and ref.

use std::time::Duration;

use crate::adapters::github::GitHub;
use crate::config::model::{Repository, Workflow};
use crate::domain::{Evidence, count};
use crate::engine::{BoxFuture, Done, Effect, Fact, Facts, Probe, Step, StepIo, WorkflowRun};
use crate::error::{Error, Kind, Result};

/// Waits until GitHub shows the run.
pub struct WorkflowRunAppears {
    pub github: GitHub,
    pub workflow: Workflow,
    pub repository: Repository,
}

impl Step for WorkflowRunAppears {
    fn id(&self) -> &'static str {
        "workflow-run"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("{} starts for the tag", self.workflow.file)
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.workflow.appears_within)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let tag = self.repository.tags.tag(super::version(facts)?);
            let commit = &super::candidate(facts)?.commit;
            let Some(run) = self.github.run_for(&self.workflow.file, commit, &tag).await? else {
                return Ok(Probe::NotYet(format!("a run of {} for {tag} at {}", self.workflow.file, commit.short())));
            };
            let ahead = self.github.queued_ahead(&self.workflow.file, run.id).await?;
            if !ahead.is_empty() {
                io.say(format!(
                    "{} of this workflow ahead of it: the first is {}",
                    count(ahead.len(), "run"),
                    ahead[0].url
                ));
            }
            let evidence = Evidence::new(format!("run {}", run.number))
                .from(format!("GitHub, {} at {}", self.workflow.file, commit.short()))
                .at(io.now())
                .link(run.url.clone());
            Ok(Probe::Done(Done::new(evidence).learn(Fact::WorkflowRun(WorkflowRun { id: run.id, url: run.url }))))
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(Kind::TimedOut, format!("GitHub did not show {waited_for}"))
            .seen(
                "A tag pushed with a workflow's own token starts no workflow; more than 3 tags in one push start none.",
            )
            .hint("look at the repository's Actions page; then: gospel-release resume")
    }
}
