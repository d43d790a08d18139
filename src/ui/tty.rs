//! The live view: what is done scrolls up, what goes on stands below and moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::Stopwatch;
use crate::domain::wrapped_commands;
use crate::engine::{Answer, Event, Listener, Question, Record, RunState, SeenEvent};
use crate::error::Result;

use super::ask::Asking;
use super::screen::Screen;
use super::style::{Style, Tone};
use super::voice::Voice;
use super::words;

/// The live line before a run.
const LOOKING: &str = "looking";

/// What the name of a part's live line begins with; no step is called so.
const PART: char = ' ';

fn part_line(part: &str) -> String {
    format!("{PART}{part}")
}

/// The terminal renderer.
pub struct Tty {
    style: Style,
    asking: Asking,
    voice: Voice,
    area: MultiProgress,
    live: Vec<Live>,
    /// Their number, for the screen.
    count: Arc<AtomicUsize>,
}

/// One moving line.
struct Live {
    id: String,
    title: String,
    bar: ProgressBar,
    since: Stopwatch,
    note: String,
}

impl Tty {
    #[must_use]
    pub fn new(style: Style, asking: Asking, voice: Voice) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let screen = Screen::new(Term::buffered_stderr(), Arc::clone(&count));
        let area = MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(Box::new(screen), 12));
        voice.above(Some(area.clone()));
        Self { style, asking, voice, area, live: Vec::new(), count }
    }

    fn start(&mut self, id: &str, title: &str) {
        self.stop(id);
        let bar = self.area.add(ProgressBar::new_spinner());
        let look = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        bar.set_style(look);
        bar.enable_steady_tick(Duration::from_millis(120));
        let live = Live { id: id.into(), title: title.into(), bar, since: Stopwatch::start(), note: String::new() };
        self.count.fetch_add(1, Ordering::Relaxed);
        self.draw(&live);
        self.live.push(live);
    }

    fn stop(&mut self, id: &str) {
        self.live.retain(|live| {
            if live.id == id {
                live.bar.finish_and_clear();
            }
            live.id != id
        });
        self.count.store(self.live.len(), Ordering::Relaxed);
    }

    fn draw(&self, live: &Live) {
        let about = if live.note.is_empty() { &live.title } else { &live.note };
        // What a part is called stands in its note; a long one must not push out for how long it goes on.
        let name = if live.id.starts_with(PART) { "" } else { live.id.as_str() };
        let took = format!(" ({})", words::elapsed(live.since.elapsed()));
        let room = self.style.width.saturating_sub(3 + took.chars().count());
        live.bar.set_message(words::fit(&format!("{name:<12} {about}"), room) + &took);
    }

    fn note(&mut self, id: &str, note: String) {
        let Some(at) = self.live.iter().position(|live| live.id == id) else { return };
        self.live[at].note = note;
        self.draw(&self.live[at]);
    }

    /// Leaves the terminal to a question.
    fn aside<T>(&self, ask: impl FnOnce(Asking) -> T) -> T {
        self.voice.above(None);
        let answer = self.area.suspend(|| ask(self.asking));
        self.voice.above(Some(self.area.clone()));
        answer
    }

    fn print(&self, text: &str) {
        // A terminal that went away takes the view with it; the run goes on.
        let _ = self.area.println(text);
    }

    fn print_event(&self, event: &Event, state: Option<&RunState>) {
        for (mark, text) in words::lines(event, state) {
            let (margin, indent) = if mark.is_some() { (2, 13) } else { (4, 2) };
            for (index, line) in
                wrapped_commands(&text, self.style.width.saturating_sub(margin + 1), indent).into_iter().enumerate()
            {
                match mark {
                    Some(mark) if index == 0 => self.print(&format!("{} {line}", mark.painted(self.style))),
                    Some(_) => self.print(&format!("  {line}")),
                    None => self.print(&format!("    {}", self.style.paint(Tone::Dim, &line))),
                }
            }
        }
    }
}

impl Listener for Tty {
    fn hear(&mut self, event: &Event, state: Option<&RunState>) {
        match event {
            Event::Seen(SeenEvent::GateStarted { id, title } | SeenEvent::StepStarted { id, title }) => {
                self.start(id, title);
            }
            Event::Seen(SeenEvent::Sheet { text }) => text.lines().for_each(|line| self.print(line)),
            Event::Seen(SeenEvent::Looking { whom }) if whom.is_empty() => self.stop(LOOKING),
            Event::Seen(SeenEvent::Looking { whom }) => {
                let text = words::looking(whom);
                if self.live.iter().any(|live| live.id == LOOKING) {
                    self.note(LOOKING, text);
                } else {
                    self.start(LOOKING, &text);
                }
            }
            Event::Seen(SeenEvent::Waiting { id, note, since, until }) => {
                self.note(id, words::waiting(note, *since, *until));
            }
            Event::Seen(SeenEvent::Progress { id, note }) => self.note(id, crate::domain::printable(note)),
            Event::Seen(SeenEvent::PartStarted { part, note, .. }) => {
                self.start(&part_line(part), &crate::domain::printable(note));
            }
            _ => {
                if let Event::Recorded(Record::GateDecided { gate: id, .. } | Record::StepDone { step: id, .. }) = event
                {
                    self.stop(id);
                }
                if let Event::Seen(SeenEvent::PartEnded { part, .. }) = event {
                    self.stop(&part_line(part));
                }
                self.print_event(event, state);
            }
        }
    }

    fn ask(&mut self, question: &Question) -> Result<Answer> {
        self.aside(|asking| asking.ask(question))
    }

    fn can_ask(&self) -> Result<()> {
        self.asking.can_ask()
    }

    fn ask_for_each(&mut self, sheet: &str, phrases: &[String]) -> Result<Answer> {
        self.aside(|asking| asking.ask_for_each(sheet, phrases))
    }

    fn tick(&mut self, _waited: Duration) {
        self.live.iter().for_each(|live| self.draw(live));
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.voice.above(None);
        self.live.iter().for_each(|live| live.bar.finish_and_clear());
        let _ = self.area.clear();
    }
}
