//! Plain lines for CI and pipes: one a transition, and "still waiting for …" every 30 s.

use std::time::Duration;

use crate::clock::Stopwatch;
use crate::domain::printable;
use crate::engine::{Answer, Event, Listener, Question, RunState, SeenEvent};
use crate::error::Result;

use super::ask::Asking;
use super::style::{Style, Tone};
use super::{stderr_line, words};

/// How often a wait is told again.
const STILL: Duration = Duration::from_secs(30);

/// How long a told wait stands before a change of it is told.
const SETTLED: Duration = Duration::from_secs(5);

/// How many parts that go on are named; the others are counted.
const PARTS: usize = 6;

/// The wait before a run.
const LOOKING: &str = "looking";

/// The plain renderer.
pub struct Lines {
    style: Style,
    asking: Asking,
    waiting: Option<Wait>,
    /// The parts that a step has begun and not ended.
    parts: Vec<Part>,
    parts_told: Stopwatch,
}

struct Part {
    name: String,
    note: String,
    since: Stopwatch,
}

struct Wait {
    id: &'static str,
    line: String,
    told: Stopwatch,
}

impl Lines {
    #[must_use]
    pub fn new(style: Style, asking: Asking) -> Self {
        Self { style, asking, waiting: None, parts: Vec::new(), parts_told: Stopwatch::start() }
    }

    /// What goes on is told after a while, and again every 30 s; what is done soon is told once.
    fn tell_parts(&mut self) {
        let settled = self.parts.iter().any(|part| part.since.elapsed() >= STILL);
        if !settled || self.parts_told.elapsed() < STILL {
            return;
        }
        self.parts_told = Stopwatch::start();
        let shown = self.parts.iter().take(PARTS);
        let mut said: Vec<String> =
            shown.map(|part| format!("{} ({})", part.note, words::elapsed(part.since.elapsed()))).collect();
        if self.parts.len() > PARTS {
            said.push(format!("and {} more", self.parts.len() - PARTS));
        }
        stderr_line(&format!("  still {}", said.join(", ")));
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
        if let Event::Seen(SeenEvent::Sheet { text }) = event {
            text.lines().for_each(stderr_line);
            return;
        }
        if let Event::Seen(SeenEvent::Looking { whom }) = event {
            match whom.as_slice() {
                [] => self.waiting = None,
                whom => self.wait(LOOKING, words::looking(whom)),
            }
            return;
        }
        match event {
            Event::Seen(SeenEvent::PartStarted { part, note, .. }) => {
                let (name, note) = (part.clone(), printable(note));
                self.parts.push(Part { name, note, since: Stopwatch::start() });
            }
            Event::Seen(SeenEvent::PartEnded { part, .. }) => self.parts.retain(|open| open.name != *part),
            Event::Recorded(_) => self.parts.clear(),
            Event::Seen(_) => {}
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

    fn can_ask(&self) -> Result<()> {
        self.asking.can_ask()
    }

    fn ask_for_each(&mut self, sheet: &str, phrases: &[String]) -> Result<Answer> {
        self.asking.ask_for_each(sheet, phrases)
    }

    fn tick(&mut self, _waited: Duration) {
        self.tell_parts();
        let Some(wait) = &mut self.waiting else { return };
        if wait.told.elapsed() >= STILL {
            wait.told = Stopwatch::start();
            stderr_line(&format!("  still {}", wait.line));
        }
    }
}
