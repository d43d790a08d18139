//! A step: one change of the world, or one wait for a change that others make.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::Evidence;
use crate::error::Result;

use super::{Fact, Facts, SeenEvent};

pub use futures::future::BoxFuture;

/// What acting may do to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing: it only waits for others.
    ReadOnly,
    /// Acting twice is the same as acting once.
    Repeatable,
    /// Acting twice would be two effects: only after a probe that says "not yet".
    OneWay,
}

/// Can look at the world and say whether it is done; can make it so.
pub trait Step: Send + Sync {
    /// Stable name: `tag`, `rollout`.
    fn id(&self) -> &'static str;
    /// For people: "Tag release/v1.2.0 on a1b2c3d".
    fn title(&self, facts: &Facts) -> String;
    fn effect(&self) -> Effect;
    /// World time after which a wait is given up (exit 12); `None` for steps that do not wait.
    fn deadline(&self) -> Option<Duration> {
        None
    }
    /// World time between two looks while waiting.
    fn every(&self) -> Duration {
        Duration::from_secs(5)
    }
    /// Resolves when another look may find something else: ends a pause early. It may resolve for nothing, and need not
    /// resolve at all: [`Step::every`] stays the longest pause.
    fn changed(&self) -> Option<BoxFuture<'_, ()>> {
        None
    }
    /// Looks; changes nothing.
    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>>;
    /// Changes the world. Called only after a probe said [`Probe::NotYet`], with the intent journalled: a
    /// [`Effect::Repeatable`] step after every such probe, a [`Effect::OneWay`] step once a process.
    fn act<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        let (_, _) = (facts, io);
        Box::pin(async { Ok(Act::Waiting { note: String::new() }) })
    }
    /// What a passed deadline means, in the field's exit codes: [`crate::Kind::TimedOut`] unless told.
    fn overdue(&self, waited_for: &str) -> crate::Error {
        crate::Error::new(crate::Kind::TimedOut, format!("still waiting for {waited_for}"))
    }
}

/// What a look found.
#[derive(Debug, Clone)]
pub enum Probe {
    /// It is as it should be.
    Done(Done),
    /// It is not; the note says what is missing ("2 of 6 services ready: search 0/2").
    NotYet(String),
    /// Something else is there instead, and only a person can say what is right.
    Conflict(String),
}

/// What acting did.
#[derive(Debug, Clone)]
pub enum Act {
    /// The effect is there.
    Done(Done),
    /// It is under way; a probe will tell.
    Waiting { note: String },
}

/// Evidence of a finished step, and the choices that it made.
#[derive(Debug, Clone, Default)]
pub struct Done {
    pub evidence: Evidence,
    pub facts: Vec<Fact>,
}

impl Done {
    #[must_use]
    pub fn new(evidence: Evidence) -> Self {
        Self { evidence, facts: Vec::new() }
    }

    /// Done, with one line.
    pub fn said(summary: impl Into<String>) -> Self {
        Self::new(Evidence::new(summary))
    }

    /// Over, and not done: the run goes on without it, and somebody must still do it.
    pub fn left(summary: impl Into<String>) -> Self {
        Self::new(Evidence::new(summary).left_open())
    }

    #[must_use]
    pub fn learn(mut self, fact: Fact) -> Self {
        self.facts.push(fact);
        self
    }
}

/// What a step or gate may use of the engine: progress, the clock, cancellation. Nothing else.
#[derive(Debug, Clone)]
pub struct StepIo {
    pub clock: Clock,
    /// Set when a person or the system asked us to stop.
    pub cancel: CancellationToken,
    /// Whether an earlier look of this run already meant to act: the effect may be there without a trace.
    pub intended: bool,
    pub(super) id: &'static str,
    pub(super) events: UnboundedSender<SeenEvent>,
}

impl StepIo {
    /// Tells what must stay on the screen: a link that somebody needs, a question that was asked.
    pub fn announce(&self, note: &str) {
        self.tell(SeenEvent::Note { text: format!("{:<12} {note}", self.id) });
    }

    /// Tells what is going on, in one line; shown, never journalled.
    pub fn say(&self, note: impl Into<String>) {
        self.tell(SeenEvent::Progress { id: self.id, note: note.into() });
    }

    /// Tells of one of several things that the step does at once.
    pub fn part_started(&self, part: impl Into<String>, note: impl Into<String>) {
        self.tell(SeenEvent::PartStarted { id: self.id, part: part.into(), note: note.into() });
    }

    /// Tells how that part ended.
    pub fn part_ended(&self, part: impl Into<String>, ok: bool, note: impl Into<String>) {
        self.tell(SeenEvent::PartEnded { id: self.id, part: part.into(), ok, note: note.into() });
    }

    /// Tells something that people should know; nothing stops.
    pub fn warn(&self, text: impl Into<String>) {
        self.tell(SeenEvent::Warning { text: text.into() });
    }

    fn tell(&self, event: SeenEvent) {
        // The receiver lives as long as the step; after that nobody listens, and nothing is lost.
        let _ = self.events.send(event);
    }

    /// World time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
