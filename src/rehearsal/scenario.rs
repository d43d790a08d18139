//! A scenario is data: an incident with a name, what breaks, and what a good engineer does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One YAML file under `scenarios/`, compiled in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    /// One line for `rehearse list`.
    pub summary: String,
    /// What breaks, and when.
    pub breaks: String,
    /// What a good engineer does.
    pub engineer: String,
    /// Documented exit code of each command in this scenario (`promote: 15`).
    pub exit: BTreeMap<String, u8>,
    #[serde(default)]
    pub world: Knobs,
}

/// What differs from a clean world. Durations are world time in config's form (`24h`, `8m`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    pub ci: Ci,
    pub soak: Soak,
    /// The workflow builds the images again: production digests differ from the soaked ones.
    pub rebuild: bool,
    /// This staging service answers 503 on `/ready`.
    pub staging_unhealthy: Option<String>,
    /// This staging service fails 8 % of its requests.
    pub staging_errors: Option<String>,
    pub approval: Approval,
    pub workflow: WorkflowFault,
    /// A production pod of the new version that does not come up.
    pub pod: Option<PodFault>,
    pub argo: ArgoFault,
    /// Others push to main while we work, and a push of ours is refused once.
    pub git_race: bool,
    /// The configured cluster ARN is not the one that answers.
    pub wrong_cluster: bool,
    pub lock: Option<LockHeld>,
    /// Every API answers 429, 500, resets or slowly, this share of the time (0 to 1).
    pub flaky: f64,
}

/// The checks of the candidate's commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ci {
    #[default]
    Green,
    /// One required check failed.
    Red,
    /// Nothing ran at all.
    None,
    /// A required check was skipped.
    RequiredSkipped,
}

/// How long the candidate has run on staging.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Soak {
    /// Hours since the candidate reached staging.
    pub hours: f64,
    /// Another digest ran for half an hour, ending this many hours ago.
    pub interrupted_hours_ago: Option<f64>,
}

impl Default for Soak {
    fn default() -> Self {
        Self { hours: 26.0, interrupted_hours_ago: None }
    }
}

/// The rehearsed reviewer, and the rule that asks for one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// Whether the environment has required reviewers at all.
    pub rule: bool,
    pub answer: Answer,
    /// World time from the question to the answer.
    pub after: String,
}

impl Default for Approval {
    fn default() -> Self {
        Self { rule: true, answer: Answer::Approve, after: "8m".into() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Approve,
    Reject,
    /// Nobody ever answers; the wait expires after 30 days (GitHub's limit).
    Never,
}

/// What goes wrong in the workflow.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkflowFault {
    /// This job concludes `failure`.
    pub fails: Option<String>,
    /// The image of this service is never pushed, though the job says success.
    pub loses_image: Option<String>,
}

/// A pod that does not come up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodFault {
    pub service: String,
    pub kind: PodFaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodFaultKind {
    /// The container exits 1 a second after it starts.
    CrashLoop,
    /// The image cannot be pulled.
    ImagePull,
    /// It runs, and its readiness probe never passes.
    NeverReady,
}

/// What Argo CD does beside its work.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArgoFault {
    /// World time for which it goes on saying Healthy and Synced at the old revision.
    pub stale_for: Option<String>,
    /// An older operation hangs from the start, and blocks every sync until it is terminated.
    pub stuck: bool,
}

/// Somebody else's run holds the Lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockHeld {
    /// `user@host`.
    pub by: String,
    pub run: String,
    /// Whether the holder still renews it.
    pub alive: bool,
}
