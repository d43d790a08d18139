//! The workflow run that a hotfix's tag started is cancelled: what it would build and deploy is live already.

use std::time::Duration;

use crate::adapters::github::{GitHub, Run};
use crate::config::model::Workflow;
use crate::domain::Evidence;
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result};

/// Cancels the run, and sees it end.
pub struct CancelRun {
    pub github: GitHub,
    pub workflow: Workflow,
}

impl Step for CancelRun {
    fn id(&self) -> &'static str {
        "cancel-run"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Cancel the run of {}", self.workflow.file)
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.workflow.finishes_within)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let run = self.github.run(super::workflow_run(facts)?.id).await?;
            if !run.is_completed() {
                return Ok(Probe::NotYet(format!(
                    "run {} to end ({})",
                    run.number,
                    run.status.as_deref().unwrap_or("unknown")
                )));
            }
            let evidence = Evidence::new(ended(&run)).at(io.now()).link(run.url);
            Ok(Probe::Done(Done::new(evidence)))
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            self.github.cancel(super::workflow_run(facts)?.id).await?;
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
