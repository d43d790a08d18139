//! What is remembered beside a plan, so that it can be told later whether applying it is still what was reviewed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{CommitSha, RunId};

/// The record of one plan: `record.json` beside `plan.tfplan` and `plan.json`.
///
/// Applying compares each part with the world of that moment; a difference means: plan again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Form of the record; this is 1.
    pub v: u32,
    /// Names the plan's directory; sorts by time.
    pub id: RunId,
    /// When the plan was made (wall time: a plan ages on the machine's clock).
    pub made: Timestamp,
    /// `user@host`.
    pub by: String,
    /// `terraform` or `tofu`, or the path that was configured.
    pub program: String,
    /// The program's version.
    pub version: String,
    /// The root module, relative to the checkout.
    pub directory: String,
    /// The workspace that was planned.
    pub workspace: String,
    /// SHA-256 of `plan.tfplan`, in hexadecimal. It names the plan: a hash is applied once.
    pub plan_sha256: String,
    /// SHA-256 of `plan.json`, in hexadecimal: what is shown before apply is what was judged.
    #[serde(default)]
    pub json_sha256: String,
    /// SHA-256 of `.terraform.lock.hcl`; `None` where no provider needs one.
    pub lock_sha256: Option<String>,
    /// The AWS account that the credentials were of; `None` where none is pinned.
    pub account: Option<String>,
    /// The checkout's commit; `None` where the directory is in no Git repository.
    pub commit: Option<CommitSha>,
    /// Whether files below the directory had changes that no commit has.
    pub uncommitted: bool,
    /// The state that was planned against; `None` where there was none yet.
    pub state: Option<StateId>,
    /// Whether there is anything to apply.
    pub changes: bool,
    /// Addresses that must be named before this is applied: data or an address would be lost, or something opened.
    pub confirm: Vec<String>,
    /// Rules that refuse this plan.
    pub denied: Vec<String>,
}

impl PlanRecord {
    /// The form that this code writes. A record in a newer form is refused.
    pub const FORM: u32 = 1;

    /// The beginning of the plan's hash: what people call it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.plan_sha256.get(..12).unwrap_or(&self.plan_sha256)
    }
}

/// That a plan's hash was used: written before Terraform starts, and never taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanUse {
    /// Form of the record; this is 1.
    pub v: u32,
    /// The plan.
    pub plan: RunId,
    /// The run that applied it.
    pub run: RunId,
    /// Wall time.
    pub at: Timestamp,
    /// `user@host`.
    pub by: String,
}

/// A state's identity: it is another state, or a later one, when either differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateId {
    /// A UUID that a state keeps for its life.
    pub lineage: String,
    /// Counts the writes of a state.
    pub serial: u64,
}
