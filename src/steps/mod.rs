//! What changes the world, and waiting for what others change. One file a step, in the runbook's order.

mod announce;
mod apply_images;
mod approval;
mod argo;
mod build_images;
mod cancel_run;
mod change_overlay;
mod free_argo;
mod health;
mod images;
mod mark_release;
mod merge_to_main;
mod migrate;
mod overlay;
mod patience;
mod pause_sync;
mod pipeline;
mod push_branch;
mod records;
mod rollout;
mod scan;
mod stop_run;
mod tag;
mod watch;
mod workflow_run;

pub use announce::{AnnounceRelease, AnnounceWebhook, News};
pub use apply_images::{ApplyImages, Unreverted};
pub use approval::Approval;
pub use argo::ArgoSync;
pub use build_images::BuildImages;
pub use cancel_run::CancelRun;
pub use change_overlay::{ByPull, ChangeOverlay, LastEdit, TRAILER};
pub use free_argo::FreeArgo;
pub use health::ProductionHealth;
pub use images::ImagesShipped;
pub use mark_release::{Mark, MarkRelease};
pub use merge_to_main::MergeToMain;
pub use migrate::Migrate;
pub use overlay::OverlayCommit;
pub use pause_sync::{PauseSync, ResumeSync, paused_with};
pub use pipeline::Pipeline;
pub use push_branch::PushBranch;
pub use records::{LiftQuarantine, Quarantine, RecordDebts};
pub use rollout::Rollout;
pub use scan::ScanFindings;
pub use stop_run::{Started, StopRun};
pub use tag::Tag;
pub use watch::Watch;
pub use workflow_run::WorkflowRunAppears;

use crate::domain::{CommitSha, Version};
use crate::engine::{Candidate, Change, Facts, WorkflowRun};
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

fn change(facts: &Facts) -> Result<&Change> {
    facts.change.as_ref().ok_or_else(|| missing("change of images"))
}

fn missing(what: &str) -> Error {
    Error::internal(format!("a step needs the {what}, and no earlier step chose one"))
}

/// The command that goes back from here.
fn way_back(facts: &Facts) -> String {
    match &facts.previous {
        // Back from a rollback is another, older release: which one is a person's choice.
        _ if !facts.quarantined.is_empty() => "gospel-release rollback --to VERSION (another release)".to_owned(),
        Some(previous) => format!("gospel-release rollback --to {previous}"),
        None => "gospel-release rollback".to_owned(),
    }
}

/// What production serves while a release is under way, in a sentence.
fn still_serves(facts: &Facts) -> String {
    match &facts.previous {
        // What is taken out may never have arrived.
        _ if facts.change.is_some() => "Production serves what it did before.".to_owned(),
        Some(previous) => format!("Production still serves {previous}."),
        None => "Production serves no earlier release.".to_owned(),
    }
}
