//! The approval gate of the GitHub environment: a person's decision, waited for, and given only on request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::adapters::github::{GitHub, Job, PendingDeployment, Run};
use crate::config::model::Workflow;
use crate::domain::Evidence;
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};

/// Waits for the approval, or gives it.
pub struct Approval {
    github: GitHub,
    workflow: Workflow,
    /// `--approve`: approve as the caller, where GitHub lets the caller.
    approve: bool,
    /// The command that goes on without this run, if one does.
    past: Option<String>,
    /// The attempt that was seen asking; 0 is none.
    asked: AtomicU64,
}

impl Approval {
    #[must_use]
    pub fn new(github: GitHub, workflow: Workflow, approve: bool) -> Self {
        Self { github, workflow, approve, past: None, asked: AtomicU64::new(0) }
    }

    /// With the command that goes on without the run.
    #[must_use]
    pub fn past(self, past: Option<String>) -> Self {
        Self { past, ..self }
    }

    async fn ours(&self, run: u64) -> Result<Option<PendingDeployment>> {
        let pending = self.github.pending_deployments(run).await?;
        Ok(pending.into_iter().find(|deployment| deployment.environment == self.workflow.environment))
    }

    /// Who decided, once somebody has.
    async fn decided(&self, run: &Run) -> Result<Option<Probe>> {
        let mut ours = self.github.approvals(run.id).await?;
        ours.retain(|approval| approval.environments.contains(&self.workflow.environment));
        let Some(approval) = ours.last() else { return Ok(None) };
        let comment = if approval.comment.is_empty() { String::new() } else { format!(": {}", approval.comment) };
        if approval.state == "rejected" {
            let rejected = Error::outside(format!("{} rejected the deployment{comment}", approval.user))
                .seen(format!("workflow run {}", run.url))
                .seen("Nothing was deployed. The tag stays: a release tag is never moved or reused.");
            if self.past.is_some() {
                return Err(or_past(rejected, self.past.as_ref()));
            }
            return Err(rejected
                .hint("this release is over: gospel-release abort")
                .hint("fix what the reviewer found on main, let it soak, and promote a new version"));
        }
        // GitHub does not tell of which attempt an approval is: where each may have its own, this one has been asked. Jobs that
        // were run again may ask again; a run that kept the approved job never does, and goes on to its end.
        let attempt = attempt(run);
        let has_asked = self.asked.load(Ordering::Relaxed) == attempt;
        if !has_asked && !run.is_completed() && u64::try_from(ours.len()).is_ok_and(|given| given < attempt) {
            let jobs = self.github.jobs(run.id).await?;
            if !jobs.iter().any(Job::failed) {
                return Ok(Some(Probe::NotYet(format!(
                    "attempt {attempt} of the run: it may ask again ({})",
                    run.url
                ))));
            }
        }
        let evidence = Evidence::new(format!("approved by {}{comment}", approval.user)).link(run.url.clone());
        Ok(Some(Probe::Done(Done::new(evidence))))
    }
}

impl Step for Approval {
    fn id(&self) -> &'static str {
        "approval"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Approval for the environment {}", self.workflow.environment)
    }

    fn effect(&self) -> Effect {
        if self.approve { Effect::Repeatable } else { Effect::ReadOnly }
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.workflow.wait_approval)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let run = self.github.run(super::workflow_run(facts)?.id).await?;
            // First what is asked now: jobs that were run again ask again, and the answer of the attempt before does not count.
            if let Some(deployment) = self.ours(run.id).await?.filter(|_| !run.is_completed()) {
                let question = ask(&deployment, &run, facts);
                if self.asked.swap(attempt(&run), Ordering::Relaxed) != attempt(&run) {
                    io.announce(&format!("asks {question}"));
                }
                return Ok(Probe::NotYet(question));
            }
            if let Some(decided) = self.decided(&run).await? {
                return Ok(decided);
            }
            if run.is_completed() {
                let ended = ended_undecided(&run, &self.github.jobs(run.id).await?, facts);
                return ended.map_err(|error| or_past(error, self.past.as_ref()));
            }
            Ok(Probe::NotYet(format!("the jobs before the approval ({})", run.url)))
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let run = super::workflow_run(facts)?;
            let Some(deployment) = self.ours(run.id).await? else {
                return Ok(Act::Waiting { note: "the jobs before the approval".to_owned() });
            };
            if !deployment.current_user_can_approve {
                return Err(Error::new(Kind::Waiting, "GitHub does not let you approve this deployment")
                    .class(Class::NeedsHuman)
                    .seen(format!("reviewers: {}", reviewers(&deployment)))
                    .hint(format!("ask a reviewer to approve {}, then: gospel-release resume", run.url)));
            }
            let comment = format!("gospel-release: {}", super::version(facts)?);
            self.github.approve(run.id, &[deployment.environment_id], &comment).await?;
            Ok(Act::Waiting { note: "GitHub to take the approval in".to_owned() })
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(Kind::Waiting, format!("still waiting for {waited_for}"))
            .class(Class::NeedsHuman)
            .hint("when it is approved: gospel-release resume")
    }
}

/// An error of a run that need not succeed.
pub(super) fn or_past(error: Error, past: Option<&String>) -> Error {
    match past {
        Some(past) => error.hint(format!("to go on without this run, which production does not need: {past}")),
        None => error,
    }
}

fn attempt(run: &Run) -> u64 {
    run.attempt.unwrap_or(1)
}

/// A run that is over although nobody decided: it expired, was cancelled, or failed before the gate.
///
/// GitHub fails the waiting job after 30 days (docs.github.com, "Reviewing deployments"); such a job has run no step.
fn ended_undecided(run: &Run, jobs: &[Job], facts: &Facts) -> Result<Probe> {
    if run.succeeded() {
        let evidence = Evidence::new("the run went on without asking").link(run.url.clone());
        return Ok(Probe::Done(Done::new(evidence)));
    }
    let conclusion = run.conclusion.as_deref().unwrap_or("unknown");
    let step_failed = |job: &&Job| job.steps.iter().any(|step| step.conclusion.as_deref() == Some("failure"));
    if let Some(job) = jobs.iter().filter(|job| job.failed()).find(step_failed) {
        return Err(Error::outside(format!("the workflow failed at {} before anybody was asked", job.name))
            .seen(format!("job {}", job.url.as_deref().unwrap_or(&run.url)))
            .seen(super::still_serves(facts))
            .hint(format!("re-run the failed jobs at {}, then: gospel-release resume", run.url)));
    }
    if conclusion == "cancelled" {
        return Err(Error::outside("the workflow run was cancelled before anybody approved it")
            .seen(format!("workflow run {}", run.url))
            .seen(super::still_serves(facts))
            .hint(format!("re-run it at {}, then: gospel-release resume", run.url)));
    }
    Err(Error::new(Kind::TimedOut, "nobody approved the deployment, and GitHub ended the wait")
        .seen(format!("workflow run {} ({conclusion})", run.url))
        .seen(super::still_serves(facts))
        .hint(format!("re-run it at {}, have a reviewer ready, then: gospel-release resume", run.url)))
}

fn ask(deployment: &PendingDeployment, run: &Run, facts: &Facts) -> String {
    let what = facts.version.as_ref().map_or_else(|| "the release".to_owned(), ToString::to_string);
    let you = if deployment.current_user_can_approve { " (you may: --approve)" } else { "" };
    format!("{} to approve {what}{you} at {}", reviewers(deployment), run.url)
}

pub(super) fn reviewers(deployment: &PendingDeployment) -> String {
    let names: Vec<&str> = deployment.reviewers.iter().map(|reviewer| reviewer.name.as_str()).collect();
    if names.is_empty() { "a reviewer".to_owned() } else { names.join(" or ") }
}
