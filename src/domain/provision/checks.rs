//! Checks of a plan's document that did not pass.

use serde::{Deserialize, Serialize};

/// A check that did not pass: a `check` block, or a condition of a resource or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub address: String,
    /// `fail`, `error`, or `unknown` until apply.
    pub status: String,
    /// What the configuration says about it.
    pub problems: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct RawCheck {
    #[serde(default)]
    address: RawAddress,
    #[serde(default)]
    status: String,
    #[serde(default)]
    instances: Vec<RawInstance>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawAddress {
    to_display: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawInstance {
    address: RawAddress,
    status: String,
    problems: Vec<RawProblem>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawProblem {
    message: String,
}

/// Those that did not pass, one entry an instance where instances are known.
pub(super) fn checks(all: Vec<RawCheck>) -> Vec<Check> {
    let failed = |status: &str| matches!(status, "fail" | "error" | "unknown");
    let mut out = Vec::new();
    for check in all.into_iter().filter(|check| failed(&check.status)) {
        if check.instances.is_empty() {
            out.push(Check { address: check.address.to_display, status: check.status, problems: Vec::new() });
            continue;
        }
        for instance in check.instances.into_iter().filter(|instance| failed(&instance.status)) {
            let problems = instance.problems.into_iter().map(|problem| problem.message).collect();
            let address = if instance.address.to_display.is_empty() {
                check.address.to_display.clone()
            } else {
                instance.address.to_display
            };
            out.push(Check { address, status: instance.status, problems });
        }
    }
    out
}
