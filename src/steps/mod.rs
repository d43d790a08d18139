//! What changes the world, and waiting for what others change. One file a step, in the runbook's order.

mod announce;
mod approval;
mod argo;
mod health;
mod images;
mod migrate;
mod overlay;
mod pipeline;
mod rollout;
mod tag;
mod watch;
mod workflow_run;

pub use announce::{AnnounceRelease, AnnounceWebhook};
pub use approval::Approval;
pub use argo::ArgoSync;
pub use health::ProductionHealth;
pub use images::ImagesShipped;
pub use migrate::Migrate;
pub use overlay::OverlayCommit;
pub use pipeline::Pipeline;
pub use rollout::Rollout;
pub use tag::Tag;
pub use watch::Watch;
pub use workflow_run::WorkflowRunAppears;

use crate::domain::{CommitSha, Version};
use crate::engine::{Candidate, Facts, WorkflowRun};
use crate::error::{Error, Result};

/// The chosen version; a plan that has steps has one.
fn version(facts: &Facts) -> Result<&Version> {
    facts.version.as_ref().ok_or_else(|| missing("version"))
}

/// The candidate; as above.
fn candidate(facts: &Facts) -> Result<&Candidate> {
    facts.candidate.as_ref().ok_or_else(|| missing("candidate"))
}

fn workflow_run(facts: &Facts) -> Result<&WorkflowRun> {
    facts.workflow_run.as_ref().ok_or_else(|| missing("workflow run"))
}

fn overlay_commit(facts: &Facts) -> Result<&CommitSha> {
    facts.overlay_commit.as_ref().ok_or_else(|| missing("overlay commit"))
}

fn missing(what: &str) -> Error {
    Error::internal(format!("a step needs the {what}, and no earlier step chose one"))
}

/// What production serves while a release is under way, in a sentence.
fn still_serves(facts: &Facts) -> String {
    match &facts.previous {
        Some(previous) => format!("Production still serves {previous}."),
        None => "Production serves no earlier release.".to_owned(),
    }
}
