//! Plain lines for CI and pipes: one a transition, and "still waiting for …" every 30 s.

use std::time::Duration;

use crate::clock::Stopwatch;
use crate::engine::{Answer, Event, Listener, Question, RunState, SeenEvent};
use crate::error::Result;

use super::ask::Asking;
use super::style::{Style, Tone};
use super::{stderr_line, words};

/// How often a wait is told again.
const STILL: Duration = Duration::from_secs(30);

/// How long a told wait stands before a change of it is told.
const SETTLED: Duration = Duration::from_secs(5);

/// The wait before a run.
const LOOKING: &str = "looking";

/// The plain renderer.
pub struct Lines {
    style: Style,
    asking: Asking,
    waiting: Option<Wait>,
}

struct Wait {
    id: &'static str,
    line: String,
    told: Stopwatch,
}

impl Lines {
    #[must_use]
    pub fn new(style: Style, asking: Asking) -> Self {
        Self { style, asking, waiting: None }
    }

    /// A wait is told when it begins, and when what it waits for changes; but not every few moments.
    fn wait(&mut self, id: &'static str, line: String) {
        match &mut self.waiting {
            Some(wait) if wait.id == id && (wait.line == line || wait.told.elapsed() < SETTLED) => wait.line = line,
            _ => {
                stderr_line(&format!("  {}", self.style.paint(Tone::Dim, &line)));
                self.waiting = Some(Wait { id, line, told: Stopwatch::start() });
            }
        }
    }
}

impl Listener for Lines {
    fn hear(&mut self, event: &Event, state: Option<&RunState>) {
        if let Event::Seen(SeenEvent::Waiting { id, note, since, until }) = event {
            self.wait(id, words::waiting(note, *since, *until));
            return;
        }
        if let Event::Seen(SeenEvent::Looking { whom }) = event {
            match whom.as_slice() {
                [] => self.waiting = None,
                whom => self.wait(LOOKING, words::looking(whom)),
            }
            return;
        }
        for (mark, text) in words::lines(event, state) {
            match mark {
                Some(mark) => stderr_line(&format!("{} {text}", mark.painted(self.style))),
                None => stderr_line(&format!("    {text}")),
            }
        }
        if matches!(event, Event::Recorded(_)) {
            self.waiting = None;
        }
    }

    fn ask(&mut self, question: &Question) -> Result<Answer> {
        self.asking.ask(question)
    }

    fn tick(&mut self, _waited: Duration) {
        let Some(wait) = &mut self.waiting else { return };
        if wait.told.elapsed() >= STILL {
            wait.told = Stopwatch::start();
            stderr_line(&format!("  still {}", wait.line));
        }
    }
}
