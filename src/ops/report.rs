//! The result of a verb that runs a plan: one JSON document, or a few lines.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::{WorldId, duration, printable};
use crate::engine::{Ended, Facts, GateState, RunState, StepState};
use crate::error::{Error, Kind};

/// What `--output json` prints, and what the evidence bundle begins with.
#[derive(Debug, Serialize)]
pub struct Report {
    pub run: Option<String>,
    pub command: &'static str,
    pub version: Option<String>,
    /// `released`, `rolled-back`, `shipped`, `finished`, `applied`, `nothing-to-do`, `blocked`, `failed`, `waiting`, `timed-out`, `interrupted`, `locked`, `planned`, …
    pub outcome: String,
    /// The process exit code.
    pub exit: u8,
    pub world: Option<WorldId>,
    pub gates: Vec<Value>,
    pub steps: Vec<Value>,
    pub images: Vec<Value>,
    /// The services that were changed, where not all were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    pub rollback: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    #[serde(skip)]
    pub failure: Option<Error>,
}

/// The word for how it ended.
#[must_use]
pub fn outcome(kind: Kind) -> &'static str {
    match kind {
        Kind::GateBlocked => "blocked",
        Kind::Waiting => "waiting",
        Kind::TimedOut => "timed-out",
        Kind::Locked => "locked",
        Kind::WrongWorld => "wrong-world",
        Kind::Interrupted => "interrupted",
        Kind::Regression => "regression",
        Kind::Usage | Kind::Config => "refused",
        Kind::Drift => "drifted",
        Kind::Internal | Kind::Outside | Kind::Debt => "failed",
    }
}

/// How a run is closed after `error`: left open where it can be taken up again.
#[must_use]
pub fn ended(error: &Error, changed_the_world: bool) -> Ended {
    let kind = error.kind();
    let resumable = matches!(kind, Kind::Waiting | Kind::TimedOut | Kind::Interrupted);
    Ended {
        outcome: outcome(kind).to_owned(),
        exit: kind.exit_code(),
        // Before anything was changed there is nothing to resume: start again with fresh gates.
        open: changed_the_world || (resumable && kind != Kind::Interrupted),
        why: error.to_string(),
        next: error.hints().to_vec(),
    }
}

/// The services of a change that left others as they were.
fn only(facts: &Facts) -> Vec<String> {
    let partial = facts.change.iter().filter(|change| !change.whole);
    partial.flat_map(|change| change.images.keys()).map(ToString::to_string).collect()
}

/// Each gate as a document of its own.
#[must_use]
pub fn gates(decided: &BTreeMap<String, GateState>) -> Vec<Value> {
    let values = decided.iter().map(|(id, gate)| {
        let mut value = serde_json::to_value(gate).unwrap_or_default();
        value["id"] = json!(id);
        value
    });
    values.collect()
}

impl Report {
    /// A report of nothing yet.
    #[must_use]
    pub fn empty(command: &'static str, world: Option<WorldId>) -> Self {
        Self {
            run: None,
            command,
            version: None,
            outcome: String::new(),
            exit: 0,
            world,
            gates: Vec::new(),
            steps: Vec::new(),
            images: Vec::new(),
            only: Vec::new(),
            rollback: Value::Null,
            evidence: None,
            error: None,
            failure: None,
        }
    }

    /// A report of something that ended before a run began.
    #[must_use]
    pub fn early(command: &'static str, world: Option<WorldId>, error: Error) -> Self {
        Self {
            outcome: outcome(error.kind()).to_owned(),
            exit: error.kind().exit_code(),
            error: Some(crate::ui::error::json(&error)["error"].clone()),
            failure: Some(error),
            ..Self::empty(command, world)
        }
    }

    /// A report of a run as it stands.
    #[must_use]
    pub fn of(command: &'static str, state: &RunState, success: &str, failure: Option<Error>) -> Self {
        let facts = &state.facts;
        let steps = state.header.steps.iter().map(|planned| match state.steps.get(&planned.id) {
            Some(StepState::Done { title, evidence }) => {
                json!({"id": planned.id, "title": title, "state": "done", "evidence": evidence})
            }
            Some(StepState::Intended) => json!({"id": planned.id, "title": planned.title, "state": "begun"}),
            None => json!({"id": planned.id, "title": planned.title, "state": "not-begun"}),
        });
        let images = facts
            .shipped
            .iter()
            .map(|(service, image)| json!({"service": service, "digest": image.digest, "soaked": image.soaked}));
        Self {
            run: Some(state.header.run.to_string()),
            command,
            version: facts.version.as_ref().map(ToString::to_string),
            outcome: failure.as_ref().map_or(success, |error| outcome(error.kind())).to_owned(),
            exit: failure.as_ref().map_or(0, |error| error.kind().exit_code()),
            world: Some(state.header.world.clone()),
            gates: gates(&state.gates),
            steps: steps.collect(),
            images: images.collect(),
            only: only(facts),
            rollback: serde_json::to_value(&facts.rollback).unwrap_or_default(),
            evidence: None,
            error: failure.as_ref().map(|error| crate::ui::error::json(error)["error"].clone()),
            failure,
        }
    }

    /// What a step says of its end.
    fn said_of(&self, step: &str) -> &str {
        let step = self.steps.iter().find(|one| one["id"] == step);
        step.and_then(|step| step["evidence"]["summary"].as_str()).unwrap_or("done")
    }

    /// The lines for people that end a successful run.
    #[must_use]
    pub fn text(&self, started: Option<std::time::Duration>) -> String {
        let version = self.version.as_deref().unwrap_or("the release");
        let mut out = match self.outcome.as_str() {
            "released" => format!("{version} is in production"),
            "rolled-back" if !self.only.is_empty() => format!("{} runs {version} again", self.only.join(", ")),
            "rolled-back" => format!("production runs {version} again"),
            "shipped" if self.only.is_empty() => "the hotfix of every service is in production".to_owned(),
            "shipped" => format!("the hotfix of {} is in production", self.only.join(", ")),
            "applied" => format!("the plan is applied: {}", self.said_of("terraform")),
            "finished" => format!("the hotfix is {version}, and main has it"),
            "nothing-to-do" => "nothing was changed".to_owned(),
            "planned" => "dry run: nothing was changed".to_owned(),
            other => format!("{version}: {other}"),
        };
        if let Some(took) = started {
            out.push_str(&format!(" ({})", duration(took)));
        }
        let soaked = self.images.iter().filter(|image| image["soaked"] == true).count();
        if !self.images.is_empty() && self.outcome == "released" {
            out.push_str(&format!("; {soaked} of {} images are the soaked bytes", self.images.len()));
        }
        if self.outcome == "shipped" {
            out.push_str("\nnext: gospel-release hotfix finish (release tag, merge to main)");
        }
        let open: Vec<&Value> = self.steps.iter().filter(|step| step["evidence"]["left_open"] == true).collect();
        for step in &open {
            let text = |value: &Value| printable(value.as_str().unwrap_or_default());
            out.push_str(&format!("\nleft open: {}: {}", text(&step["title"]), text(&step["evidence"]["summary"])));
        }
        if !open.is_empty() {
            out.push_str("\nnext: gospel-release status");
        }
        if let Some(path) = &self.evidence {
            out.push_str(&format!("\nevidence: {path}"));
        }
        out
    }
}
