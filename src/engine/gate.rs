//! A gate: one line of the checklist, answered with evidence.

use crate::domain::{Evidence, Verdict};
use crate::error::Result;

use super::{BoxFuture, Fact, Facts, StepIo};

/// Evidence that it is safe to change the world. An error is the verdict `Unknown`, and unknown blocks.
pub trait Gate: Send + Sync {
    /// Stable name: `ci`, `soak`.
    fn id(&self) -> &'static str;
    /// The runbook's words: "All CI checks pass".
    fn title(&self) -> String;
    /// Asks the world.
    fn check<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>>;
}

/// A gate's answer.
#[derive(Debug, Clone)]
pub struct Checked {
    pub verdict: Verdict,
    pub evidence: Evidence,
    /// What to do when it does not let through: a command or a sentence.
    pub fix: Option<String>,
    /// What it found that later stages need.
    pub facts: Vec<Fact>,
}

impl Checked {
    #[must_use]
    pub fn pass(evidence: Evidence) -> Self {
        Self { verdict: Verdict::Pass, evidence, fix: None, facts: Vec::new() }
    }

    #[must_use]
    pub fn fail(evidence: Evidence) -> Self {
        Self { verdict: Verdict::Fail, evidence, fix: None, facts: Vec::new() }
    }

    #[must_use]
    pub fn unknown(evidence: Evidence) -> Self {
        Self { verdict: Verdict::Unknown, evidence, fix: None, facts: Vec::new() }
    }

    /// `pass` when `holds`, else `fail`.
    #[must_use]
    pub fn when(holds: bool, evidence: Evidence) -> Self {
        if holds { Self::pass(evidence) } else { Self::fail(evidence) }
    }

    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    #[must_use]
    pub fn learn(mut self, fact: Fact) -> Self {
        self.facts.push(fact);
        self
    }
}
