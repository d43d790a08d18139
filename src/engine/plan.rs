//! A plan: gates, one question, steps; in this order, from top to bottom.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::state::PlannedStep;
use super::{Facts, Gate, Question, Step};

/// What a verb wants to do. Parallelism lives inside a stage, not in a graph.
pub struct Plan {
    /// `promote`, `tag`, `rollback`, …
    pub command: &'static str,
    pub stages: Vec<Stage>,
}

/// One stage of a plan.
pub enum Stage {
    /// Checked at the same time; all must let through.
    Gates(Vec<Box<dyn Gate>>),
    /// Shown and asked, once; what came before has changed nothing.
    Confirm(Box<dyn Fn(&Facts) -> Question + Send + Sync>),
    Step(Box<dyn Step>),
}

impl Plan {
    #[must_use]
    pub fn new(command: &'static str) -> Self {
        Self { command, stages: Vec::new() }
    }

    #[must_use]
    pub fn gates(mut self, gates: Vec<Box<dyn Gate>>) -> Self {
        self.stages.push(Stage::Gates(gates));
        self
    }

    #[must_use]
    pub fn confirm(mut self, question: impl Fn(&Facts) -> Question + Send + Sync + 'static) -> Self {
        self.stages.push(Stage::Confirm(Box::new(question)));
        self
    }

    #[must_use]
    pub fn step(mut self, step: impl Step + 'static) -> Self {
        self.stages.push(Stage::Step(Box::new(step)));
        self
    }

    /// Adds a step where there is one.
    #[must_use]
    pub fn step_if(self, step: Option<impl Step + 'static>) -> Self {
        match step {
            Some(step) => self.step(step),
            None => self,
        }
    }

    /// The steps as people and the journal name them.
    #[must_use]
    pub fn steps(&self, facts: &Facts) -> Vec<PlannedStep> {
        let steps = self.stages.iter().filter_map(|stage| match stage {
            Stage::Step(step) => Some(step),
            _ => None,
        });
        steps
            .map(|step| PlannedStep { id: step.id().to_owned(), title: step.title(facts), effect: step.effect() })
            .collect()
    }

    /// The steps that may wait, in order, and for how long (world time).
    #[must_use]
    pub fn waits(&self) -> Vec<(&'static str, Duration)> {
        let waits = self.stages.iter().filter_map(|stage| match stage {
            Stage::Step(step) => Some((step.id(), step.deadline()?)),
            _ => None,
        });
        waits.collect()
    }

    /// Changes when the plan's shape does: a resumed run must have the same.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.command);
        for stage in &self.stages {
            match stage {
                Stage::Gates(gates) => gates.iter().for_each(|gate| hasher.update(format!("\ngate {}", gate.id()))),
                Stage::Confirm(_) => hasher.update("\nconfirm"),
                // Not the effect: a consent that came with the resume may turn a wait into an act.
                Stage::Step(step) => hasher.update(format!("\nstep {}", step.id())),
            }
        }
        let digest = hasher.finalize();
        let first: [u8; 8] = std::array::from_fn(|index| digest[index]);
        format!("{:016x}", u64::from_be_bytes(first))
    }
}
