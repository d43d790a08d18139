//! The stream of events for machines: one JSON object a line on standard error.

use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::domain::RunId;
use crate::engine::{Answer, Event, Listener, Question, RunState};
use crate::error::Result;

use super::ask::Asking;
use super::stderr_line;

/// The JSON Lines renderer.
pub struct Jsonl {
    clock: Clock,
    asking: Asking,
}

#[derive(Serialize)]
struct Told<'a> {
    at: jiff::Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunId>,
    #[serde(flatten)]
    event: &'a Event,
}

#[derive(Serialize)]
struct Asked<'a> {
    event: &'static str,
    #[serde(flatten)]
    question: &'a Question,
}

impl Jsonl {
    #[must_use]
    pub fn new(clock: Clock, asking: Asking) -> Self {
        Self { clock, asking }
    }
}

fn write(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        stderr_line(&text);
    }
}

impl Listener for Jsonl {
    fn hear(&mut self, event: &Event, state: Option<&RunState>) {
        write(&Told { at: self.clock.now(), run: state.map(|state| &state.header.run), event });
    }

    fn ask(&mut self, question: &Question) -> Result<Answer> {
        write(&Asked { event: "question", question });
        // The sheet went out as JSON; only the answer is left to get.
        self.asking.answer(question)
    }

    fn can_ask(&self) -> Result<()> {
        self.asking.can_ask()
    }

    fn ask_for_each(&mut self, sheet: &str, phrases: &[String]) -> Result<Answer> {
        for phrase in phrases {
            let question = Question { sheet: sheet.to_owned(), phrase: phrase.clone() };
            write(&Asked { event: "question", question: &question });
        }
        self.asking.answer_each(phrases)
    }

    fn tick(&mut self, _waited: Duration) {}
}
