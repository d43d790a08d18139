//! What is journalled, and the state that it folds into. Only legal transitions fold.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{Evidence, RunId, Verdict, Version, WorldId};
use crate::error::{Error, Kind, Result};

use super::{Answer, Effect, Fact, Facts};

/// One transition of a run: one line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Record {
    /// The first record of a run.
    RunStarted {
        header: Arc<Header>,
        facts: Vec<Fact>,
    },
    /// Another process goes on.
    RunResumed {
        by: String,
    },
    /// The first record of a journal that continues a run from its shared copy.
    RunAdopted {
        state: Box<RunState>,
        by: String,
    },
    GateDecided {
        gate: String,
        title: String,
        #[serde(flatten)]
        verdict: Verdict,
        evidence: Evidence,
        #[serde(default)]
        facts: Vec<Fact>,
    },
    Confirmed {
        answer: Answer,
        by: String,
    },
    /// Written before a step acts.
    StepIntent {
        step: String,
    },
    StepDone {
        step: String,
        title: String,
        evidence: Evidence,
        #[serde(default)]
        facts: Vec<Fact>,
    },
    /// The process ends; the run is over unless `open`.
    RunEnded(Ended),
}

/// What a run was started with. It never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub run: RunId,
    pub command: String,
    pub project: String,
    pub world: WorldId,
    /// The tool's version.
    pub tool: String,
    pub steps: Vec<PlannedStep>,
    pub plan_hash: String,
    /// `user@host`.
    pub by: String,
    /// World time.
    pub started_at: Timestamp,
    /// The resolved configuration; it holds no secret.
    pub config: serde_json::Value,
    /// The flags that shape the plan.
    #[serde(default)]
    pub options: serde_json::Value,
}

/// A step as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub id: String,
    pub title: String,
    pub effect: Effect,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    pub header: Arc<Header>,
    /// Shared with the step that looks at them just now.
    pub facts: Arc<Facts>,
    #[serde(default)]
    pub gates: BTreeMap<String, GateState>,
    #[serde(default)]
    pub confirmed: Option<Confirmed>,
    #[serde(default)]
    pub steps: BTreeMap<String, StepState>,
    #[serde(default)]
    pub ended: Option<Ended>,
    /// How many records were folded.
    pub seq: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateState {
    pub title: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub evidence: Evidence,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    pub answer: Answer,
    pub by: String,
}

/// A step that has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum StepState {
    /// It was about to act; only a probe can tell whether it did.
    Intended,
    Done {
        title: String,
        evidence: Evidence,
    },
}

/// How a process left a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// `released`, `blocked`, `failed`, `waiting`, `timed-out`, `interrupted`, `aborted`, …
    pub outcome: String,
    /// The process exit code.
    pub exit: u8,
    /// Whether the run can be resumed.
    pub open: bool,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What was advised then, as it was printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

impl RunState {
    /// The state after a journal's first record.
    pub fn begin(first: &Record) -> Result<Self> {
        match first {
            Record::RunStarted { header, facts } => {
                let mut state = Self {
                    header: header.clone(),
                    facts: Arc::default(),
                    gates: BTreeMap::new(),
                    confirmed: None,
                    steps: BTreeMap::new(),
                    ended: None,
                    seq: 1,
                };
                Facts::learn(&mut state.facts, facts);
                Ok(state)
            }
            Record::RunAdopted { state, .. } => {
                let mut state = (**state).clone();
                state.ended = None;
                state.seq += 1;
                Ok(state)
            }
            other => Err(illegal(&format!("a journal begins with a run, not with {}", other.name()))),
        }
    }

    /// Folds a record in, or refuses it; a refused one leaves the state as it was.
    pub fn apply(&mut self, record: &Record) -> Result<()> {
        let over = self.ended.as_ref().is_some_and(|ended| !ended.open);
        if over {
            return Err(illegal(&format!("{} after the run was over", record.name())));
        }
        if self.ended.is_some() && !matches!(record, Record::RunResumed { .. } | Record::RunEnded(_)) {
            return Err(illegal(&format!("{} in a run that nobody resumed", record.name())));
        }
        match record {
            Record::RunStarted { .. } | Record::RunAdopted { .. } => {
                return Err(illegal("a run begins only once"));
            }
            Record::RunResumed { .. } => self.ended = None,
            Record::GateDecided { gate, title, verdict, evidence, facts } => {
                if self.changed_the_world() {
                    return Err(illegal(&format!("gate {gate} decided after a step began")));
                }
                let gate_state =
                    GateState { title: title.clone(), verdict: verdict.clone(), evidence: evidence.clone() };
                self.gates.insert(gate.clone(), gate_state);
                Facts::learn(&mut self.facts, facts);
            }
            Record::Confirmed { answer, by } => {
                if let Some((id, _)) = self.gates.iter().find(|(_, gate)| !gate.verdict.lets_through()) {
                    return Err(illegal(&format!("confirmed although gate {id} does not let through")));
                }
                self.confirmed = Some(Confirmed { answer: answer.clone(), by: by.clone() });
            }
            Record::StepIntent { step } => {
                self.known(step)?;
                // A step that was done may be begun again: a resumed run found that the world has lost it.
                self.steps.insert(step.clone(), StepState::Intended);
            }
            Record::StepDone { step, title, evidence, facts } => {
                self.known(step)?;
                Facts::learn(&mut self.facts, facts);
                let done = StepState::Done { title: title.clone(), evidence: evidence.clone() };
                self.steps.insert(step.clone(), done);
            }
            Record::RunEnded(ended) => self.ended = Some(ended.clone()),
        }
        self.seq += 1;
        Ok(())
    }

    /// Whether these choices are the ones that were made already.
    #[must_use]
    pub fn knows(&self, facts: &[Fact]) -> bool {
        let mut after = self.facts.clone();
        Facts::learn(&mut after, facts);
        facts.is_empty() || after == self.facts
    }

    fn known(&self, step: &str) -> Result<()> {
        if self.header.steps.iter().any(|planned| planned.id == step) {
            Ok(())
        } else {
            Err(illegal(&format!("step {step} is not in the plan")))
        }
    }

    /// Whether any step that changes something has at least been about to act.
    #[must_use]
    pub fn changed_the_world(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Whether it can be resumed: it has not ended, or was left open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ended.as_ref().is_none_or(|ended| ended.open)
    }

    #[must_use]
    pub fn is_done(&self, step: &str) -> bool {
        matches!(self.steps.get(step), Some(StepState::Done { .. }))
    }

    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        self.facts.version.as_ref()
    }

    /// The step that comes next, as planned.
    #[must_use]
    pub fn next_step(&self) -> Option<&PlannedStep> {
        self.header.steps.iter().find(|planned| !self.is_done(&planned.id))
    }
}

impl Record {
    /// The event's name, as written in the journal.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "run-started",
            Self::RunResumed { .. } => "run-resumed",
            Self::RunAdopted { .. } => "run-adopted",
            Self::GateDecided { .. } => "gate-decided",
            Self::Confirmed { .. } => "confirmed",
            Self::StepIntent { .. } => "step-intent",
            Self::StepDone { .. } => "step-done",
            Self::RunEnded(_) => "run-ended",
        }
    }

    /// Name and object: `step-intent:tag`. What the crash matrix calls a cell.
    #[must_use]
    pub fn cell(&self) -> String {
        match self {
            Self::GateDecided { gate: object, .. }
            | Self::StepIntent { step: object }
            | Self::StepDone { step: object, .. } => format!("{}:{object}", self.name()),
            _ => self.name().to_owned(),
        }
    }
}

fn illegal(why: &str) -> Error {
    Error::new(Kind::Config, format!("the journal is not a possible one: {why}"))
}
