//! GitHub's REST API, as narrow as a release needs it. octocrab is the transport; the answers are our own small
//! structs with the fields that are used, so that a new field or a new word of GitHub's breaks nothing.

mod answer;
mod checks;
mod client;
mod compare;
mod environments;
mod pulls;
mod releases;
mod required;
mod rulesets;
mod user;
mod workflow;

#[cfg(test)]
mod tests;

pub use checks::{CheckRun, Checks, Outcome, Status, Workflow, newest_runs, newest_statuses};
pub use client::{GitHub, Token, encode, token_from_gh};
pub use compare::Compare;
pub use environments::{BranchPolicy, Environment, Reviewer};
pub use pulls::{NewPull, Pull};
pub use releases::{NewRelease, Release};
pub use required::{Required, RequiredCheck};
pub use rulesets::{TagRules, matches_ref};
pub use user::{RepositoryInfo, User};
pub use workflow::{Approval, Job, JobStep, PendingDeployment, Run};
