//! Everything that is known about a plan, gathered in one reading.

use std::io::Read;

use serde::Serialize;

use super::plan_json::{self, Check, OutputChange, RawChange, Section};
use super::{Action, Change};
use crate::error::Result;

/// How many resources each thing happens to. A move and an import count beside what else happens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub create: usize,
    pub update: usize,
    pub replace: usize,
    pub destroy: usize,
    pub forget: usize,
    pub import: usize,
    #[serde(rename = "move")]
    pub moved: usize,
    /// Data sources that are read while applying.
    pub read: usize,
    pub unchanged: usize,
}

impl Counts {
    fn count(&mut self, change: &Change) {
        match change.action {
            Action::Create => self.create += 1,
            Action::Update | Action::Unknown => self.update += 1,
            Action::Replace => self.replace += 1,
            Action::Destroy => self.destroy += 1,
            Action::Forget => self.forget += 1,
            Action::Read => self.read += 1,
            Action::Keep if change.is_worth_telling() => {}
            Action::Keep => self.unchanged += 1,
        }
        self.import += usize::from(change.imported.is_some());
        self.moved += usize::from(change.moved_from.is_some());
    }

    /// Whether applying would change nothing that Terraform manages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.create + self.update + self.replace + self.destroy + self.forget + self.import + self.moved == 0
    }
}

/// A plan, judged.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Judgement {
    /// Version of the program that made the plan.
    pub terraform: String,
    /// The plan ended with an error and is not whole.
    pub errored: bool,
    /// Applying it will leave something for another plan.
    pub partial: bool,
    pub counts: Counts,
    /// What happens, in the document's order (by address).
    pub changes: Vec<Change>,
    /// What changed outside Terraform.
    pub drift: Vec<Change>,
    pub outputs: Vec<OutputChange>,
    /// Checks that did not pass.
    pub checks: Vec<Check>,
}

/// Reads a plan's JSON and judges it.
///
/// # Errors
/// Those of [`plan_json::read`].
pub fn judge(from: impl Read) -> Result<Judgement> {
    let mut judgement = Judgement::default();
    let document = plan_json::read(from, &mut |section, raw| judgement.take(section, &raw))?;
    judgement.terraform = document.terraform;
    judgement.errored = document.errored;
    judgement.partial = document.complete == Some(false);
    judgement.outputs = document.outputs;
    judgement.checks = document.checks;
    Ok(judgement)
}

impl Judgement {
    fn take(&mut self, section: Section, raw: &RawChange) {
        if section == Section::Drift {
            let change = Change::drifted(raw);
            if change.is_worth_telling() {
                self.drift.push(change);
            }
            return;
        }
        let change = Change::of(raw);
        self.counts.count(&change);
        if raw.mode != "data" && change.is_worth_telling() {
            self.changes.push(change);
        }
    }
}
