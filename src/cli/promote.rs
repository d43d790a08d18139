//! `promote`.

use std::time::Duration;

use clap::Args;

use super::args::duration;
use crate::domain::Version;

/// Bring what soaked on staging to production: checklist, tag, approval, rollout, watch, announcement
#[derive(Debug, Clone, Args)]
pub struct Promote {
    /// The version to release [default: the next one, from the conventional commits since the last]
    pub version: Option<Version>,

    #[command(flatten)]
    pub consent: Consent,

    /// Waive what a first release cannot have: last tag, baseline, rollback target
    #[arg(long)]
    pub first_release: bool,

    /// Release although images of it are in quarantine (needs --reason)
    #[arg(long)]
    pub despite_quarantine: bool,

    /// Release a build that lacks a hotfix which production runs; needs --reason
    #[arg(long)]
    pub despite_lost: bool,

    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What a person allows a run beside the release itself; `promote` and `resume` take the same.
#[derive(Debug, Clone, Default, Args)]
pub struct Consent {
    /// Approve the deployment on GitHub, where the caller may
    #[arg(long)]
    pub approve: bool,

    /// How long to wait for the approval before the run is left waiting (exit 11) [default: workflow.wait_approval]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait_approval: Option<Duration>,

    /// End an older Argo CD operation that blocks this release
    #[arg(long)]
    pub terminate_sync: bool,

    /// Take over the lock of a run whose holder is dead
    #[arg(long)]
    pub takeover: bool,
}
