//! The one stream of events. Order: journal, fold into the run's state, then the listener, synchronously.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;

use super::{Record, RunState};

/// What a listener hears.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// A transition, as it stands in the journal.
    Recorded(Record),
    /// Seen but not journalled.
    Seen(SeenEvent),
}

/// What is shown and forgotten.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum SeenEvent {
    /// Before a run: who was asked and has not answered yet; nobody any more when it is empty.
    Looking { whom: Vec<&'static str> },
    /// A gate's question is under way.
    GateStarted { id: &'static str, title: String },
    /// A step is looked at.
    StepStarted { id: &'static str, title: String },
    /// It acts now.
    StepActing { id: &'static str },
    /// It waits: for what, since when, until when (world time).
    Waiting { id: &'static str, note: String, since: Timestamp, until: Option<Timestamp> },
    /// One line about what goes on.
    Progress { id: &'static str, note: String },
    /// A step that does several things at once began one of them: `creating aws_eks_cluster.main`.
    PartStarted { id: &'static str, part: String, note: String },
    /// That part came to its end.
    PartEnded { id: &'static str, part: String, ok: bool, note: String },
    /// Something before, after or beside the steps.
    Note { text: String },
    /// Something that people should know; nothing stops.
    Warning { text: String },
    /// `--dry-run`: the sheet that a person would be shown.
    Sheet { text: String },
    /// `--dry-run`: what would be done.
    WouldAct { id: &'static str, title: String, note: String },
    /// A failed question is asked again.
    Retrying { id: &'static str, what: String, attempt: u32 },
    /// A stop was asked for; it comes at the next safe point.
    Stopping { in_flight: String },
}

/// A listener draws events, and asks people. It never changes a run.
pub trait Listener: Send {
    /// Something happened; `state` already includes it. `None` before a run exists.
    fn hear(&mut self, event: &Event, state: Option<&RunState>);
    /// Asks a person, or answers by itself where it may; fails with exit 2 where nobody can be asked.
    fn ask(&mut self, question: &Question) -> Result<Answer>;
    /// Fails with exit 2 where nobody could be asked, before anything is done for the sake of the question.
    fn can_ask(&self) -> Result<()> {
        Ok(())
    }
    /// Asks a person to type each of these, one by one, after `sheet`; no flag answers for them. Fails with exit 2 where nobody can
    /// be asked.
    fn ask_for_each(&mut self, sheet: &str, phrases: &[String]) -> Result<Answer>;
    /// Called every second or so of wall time, for spinners and "still waiting for …".
    fn tick(&mut self, waited: Duration);
}

/// A question before something is changed.
#[derive(Debug, Clone, Serialize)]
pub struct Question {
    /// What will happen, for people: the release sheet.
    pub sheet: String,
    /// What must be typed to go on: the version.
    pub phrase: String,
}

/// Who said yes, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// A person typed the phrase.
    Typed,
    /// `--yes`.
    Flag,
    /// The rehearsal confirmed for the person.
    Rehearsal,
    /// A person said no, or typed something else.
    Refused,
}
