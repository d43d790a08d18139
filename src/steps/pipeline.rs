//! The workflow's own jobs, to their end: regression suite, images, overlay.

use std::time::Duration;

use crate::adapters::github::{GitHub, Job};
use crate::config::model::Workflow;
use crate::domain::Evidence;
use crate::engine::{BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Result};

/// Waits until the run has succeeded.
pub struct Pipeline {
    pub github: GitHub,
    pub workflow: Workflow,
}

impl Step for Pipeline {
    fn id(&self) -> &'static str {
        "workflow"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("{} builds the images and writes the overlay", self.workflow.file)
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.workflow.finishes_within)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let id = super::workflow_run(facts)?.id;
            let (run, jobs) = futures::try_join!(self.github.run(id), self.github.jobs(id))?;
            if jobs.iter().any(Job::failed) || (run.is_completed() && !run.succeeded()) {
                return Err(failed(&run, &jobs, facts));
            }
            if run.succeeded() {
                let evidence = Evidence::new(format!("{} of {} jobs succeeded", passed(&jobs), jobs.len()))
                    .at(io.now())
                    .link(run.url);
                return Ok(Probe::Done(Done::new(evidence)));
            }
            Ok(Probe::NotYet(progress(&jobs)))
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(crate::Kind::TimedOut, format!("the workflow is still at {waited_for}"))
            .hint("gospel-release resume goes on waiting")
    }
}

fn passed(jobs: &[Job]) -> usize {
    jobs.iter().filter(|job| job.conclusion.as_deref() == Some("success")).count()
}

fn progress(jobs: &[Job]) -> String {
    let running: Vec<&str> =
        jobs.iter().filter(|job| job.status == "in_progress").map(|job| job.name.as_str()).take(4).collect();
    let at = if running.is_empty() { "the next job to start".to_owned() } else { running.join(", ") };
    format!("{at} ({} of {} jobs done)", passed(jobs), jobs.len())
}

fn failed(run: &crate::adapters::github::Run, jobs: &[Job], facts: &Facts) -> Error {
    let failed: Vec<&Job> = jobs.iter().filter(|job| job.failed()).collect();
    let names: Vec<&str> = failed.iter().map(|job| job.name.as_str()).collect();
    let what = if names.is_empty() {
        format!("the workflow run ended: {}", run.conclusion.as_deref().unwrap_or("unknown"))
    } else {
        format!("the workflow failed at {}", names.join(", "))
    };
    let mut error = Error::outside(what);
    for job in failed {
        let step = job.steps.iter().find(|step| step.conclusion.as_deref() == Some("failure"));
        let at = step.map_or(String::new(), |step| format!(", step {:?}", step.name));
        error = error.seen(format!("job {}{at}: {}", job.name, job.url.as_deref().unwrap_or(&run.url)));
    }
    error
        .seen(super::still_serves(facts))
        .hint(format!("re-run the failed jobs at {}, then: gospel-release resume", run.url))
}
