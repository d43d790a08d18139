//! The workflow's own jobs, to their end: regression suite, images, overlay.

use std::sync::Arc;
use std::time::Duration;

use super::approval::{or_past, reviewers};
use crate::adapters::git::Git;
use crate::adapters::github::{GitHub, Job, Run};
use crate::config::Config;
use crate::domain::Evidence;
use crate::engine::{BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Result};
use crate::monitor::agreement::named_on_main;

/// Waits until the run has succeeded.
pub struct Pipeline {
    pub github: GitHub,
    pub git: Arc<Git>,
    pub config: Arc<Config>,
    /// The command that goes on without this run, if one does.
    pub past: Option<String>,
}

impl Pipeline {
    /// Whether main's overlay names the new version: what fails after that fails beside a rollout.
    async fn reached(&self, facts: &Facts) -> bool {
        let Some(version) = facts.version.as_ref().map(ToString::to_string) else { return false };
        if self.git.fetch().await.is_err() {
            return false;
        }
        let named = named_on_main(&self.config, &self.git).unwrap_or_default();
        named.values().any(|image| image.tag.as_ref() == Some(&version))
    }

    /// What a job that was run again asks for: the approval of the attempt before does not count for it.
    async fn asked(&self, run: u64) -> Result<Option<String>> {
        let pending = self.github.pending_deployments(run).await?;
        let ours = pending.into_iter().find(|asked| asked.environment == self.config.workflow.environment);
        Ok(ours.map(|asked| reviewers(&asked)))
    }

    async fn failed(&self, run: &Run, jobs: &[Job], facts: &Facts) -> Error {
        let failed: Vec<&Job> = jobs.iter().filter(|job| job.failed()).collect();
        // Where one fails, GitHub cancels those beside it: they are no cause.
        let own = |job: &&&Job| job.conclusion.as_deref() != Some("cancelled");
        let causes: Vec<&Job> = failed.iter().filter(own).copied().collect();
        let failed = if causes.is_empty() { failed } else { causes };
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
        let again = format!("re-run the failed jobs at {}, then: gospel-release resume", run.url);
        if self.reached(facts).await {
            let main = &self.config.repository.main;
            let said =
                format!("The overlay on {main} names the new version: Argo CD may be bringing it to production now.");
            return error.seen(said).hint("gospel-release rollback").hint(format!("or {again}"));
        }
        error.seen(super::still_serves(facts)).hint(again)
    }
}

impl Step for Pipeline {
    fn id(&self) -> &'static str {
        "workflow"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("{} builds the images and writes the overlay", self.config.workflow.file)
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.config.workflow.finishes_within)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let id = super::workflow_run(facts)?.id;
            let (run, jobs) = futures::try_join!(self.github.run(id), self.github.jobs(id))?;
            if jobs.iter().any(Job::failed) || (run.is_completed() && !run.succeeded()) {
                return Err(or_past(self.failed(&run, &jobs, facts).await, self.past.as_ref()));
            }
            if run.succeeded() {
                let evidence = Evidence::new(format!("{} of {} jobs succeeded", passed(&jobs), jobs.len()))
                    .at(io.now())
                    .link(run.url);
                return Ok(Probe::Done(Done::new(evidence)));
            }
            if !jobs.iter().any(|job| job.status == "in_progress")
                && let Some(reviewers) = self.asked(id).await?
            {
                return Ok(Probe::NotYet(format!("{reviewers} to approve once more at {}", run.url)));
            }
            Ok(Probe::NotYet(progress(&jobs)))
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(crate::Kind::TimedOut, format!("the workflow is still at {waited_for}"))
            .hint("to go on waiting: gospel-release resume")
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
