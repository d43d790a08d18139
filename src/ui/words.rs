//! Events in words: one sentence an event, the same for the live view, plain lines and replays.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Evidence, Verdict, WorldKind, duration, printable};
use crate::engine::{Answer, Event, Record, RunState, SeenEvent};

use super::commands;
use super::style::{Style, Tone};

/// What a line says at its left edge. Never by colour alone: each has a sign of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Good,
    Bad,
    Unknown,
    Doing,
    Note,
    Warn,
}

impl Mark {
    const fn sign(self) -> (&'static str, Tone) {
        match self {
            Self::Good => ("✓", Tone::Good),
            Self::Bad => ("✗", Tone::Bad),
            Self::Unknown => ("?", Tone::Warn),
            Self::Doing => ("→", Tone::Accent),
            Self::Note => ("·", Tone::Dim),
            Self::Warn => ("!", Tone::Warn),
        }
    }

    /// The sign, painted.
    #[must_use]
    pub fn painted(self, style: Style) -> String {
        let (sign, tone) = self.sign();
        style.paint(tone, sign)
    }
}

/// An event's lines, if it has any: the first with a mark, the others beneath it.
#[must_use]
pub fn lines(event: &Event, state: Option<&RunState>) -> Vec<(Option<Mark>, String)> {
    let lines = match event {
        Event::Recorded(record) => recorded(record, state),
        Event::Seen(seen) => said(seen).into_iter().map(|(mark, text)| (Some(mark), text)).collect(),
    };
    lines.into_iter().map(|(mark, text)| (mark, commands::told(&text).into_owned())).collect()
}

fn recorded(record: &Record, state: Option<&RunState>) -> Vec<(Option<Mark>, String)> {
    match record {
        Record::RunStarted { header, .. } => {
            let mut out = vec![(Some(Mark::Note), format!("run {} on {}", header.run, header.world))];
            if header.world.kind != WorldKind::Real {
                out.push((None, format!("{} world: nothing here proves a real release", header.world.kind)));
            }
            out
        }
        Record::RunResumed { by } => {
            let next = state.and_then(RunState::next_step).map_or(String::new(), |step| format!(" at {}", step.id));
            vec![(Some(Mark::Note), format!("resumed by {}{next}", printable(by)))]
        }
        Record::RunAdopted { state, by } => {
            vec![(
                Some(Mark::Note),
                format!("run {} taken up from its shared copy by {}", state.header.run, printable(by)),
            )]
        }
        Record::GateDecided { gate, title, verdict, evidence, .. } => gate_lines(gate, title, verdict, evidence),
        Record::Confirmed { answer, by } => {
            let how = match answer {
                Answer::Typed => "typed",
                Answer::Flag => "--yes",
                Answer::Rehearsal => "by the rehearsal",
                Answer::Refused => "refused",
            };
            vec![(Some(Mark::Good), format!("confirmed by {} ({how})", printable(by)))]
        }
        // Shown as "→ …" when the step begins; the intent itself is for the journal.
        Record::StepIntent { .. } => Vec::new(),
        Record::StepDone { step, title, evidence, .. } => {
            let mark = if evidence.left_open { Mark::Warn } else { Mark::Good };
            let mut out = vec![(Some(mark), format!("{step:<12} {}", printable(&headline(title, evidence))))];
            out.extend(facts(evidence, false));
            out
        }
        Record::RunEnded(_) => Vec::new(),
    }
}

fn headline(title: &str, evidence: &Evidence) -> String {
    if evidence.summary.is_empty() { title.to_owned() } else { format!("{title}: {}", evidence.summary) }
}

fn gate_lines(gate: &str, title: &str, verdict: &Verdict, evidence: &Evidence) -> Vec<(Option<Mark>, String)> {
    let mark = match verdict {
        Verdict::Pass => Mark::Good,
        Verdict::Fail => Mark::Bad,
        Verdict::Unknown => Mark::Unknown,
        Verdict::Waived { .. } => Mark::Warn,
    };
    let summary = match verdict {
        Verdict::Waived { who, why, .. } => format!("waived by {who}: {why}"),
        Verdict::Unknown => format!("cannot tell: {}", evidence.summary),
        _ => evidence.summary.clone(),
    };
    let mut out = vec![(Some(mark), format!("{gate:<12} {title}: {}", printable(&summary)))];
    if !verdict.lets_through() {
        out.extend(facts(evidence, true));
        if let Some(link) = &evidence.link {
            out.push((None, printable(link)));
        }
    }
    out
}

/// The evidence beneath a line: only what is wrong when there is much of it.
fn facts(evidence: &Evidence, all: bool) -> Vec<(Option<Mark>, String)> {
    let wrong = evidence.facts.iter().filter(|fact| fact.ok == Some(false) || (all && fact.ok.is_none()));
    wrong.take(12).map(|fact| (None, format!("{}: {}", printable(&fact.of), printable(&fact.seen)))).collect()
}

fn said(seen: &SeenEvent) -> Option<(Mark, String)> {
    match seen {
        SeenEvent::Looking { .. } | SeenEvent::GateStarted { .. } | SeenEvent::StepActing { .. } => None,
        SeenEvent::StepStarted { id, title } => Some((Mark::Doing, format!("{id:<12} {}", printable(title)))),
        // Shown as it is, by each listener.
        SeenEvent::Waiting { .. } | SeenEvent::Sheet { .. } => None,
        SeenEvent::Progress { id, note } => Some((Mark::Note, format!("{id:<12} {}", printable(note)))),
        SeenEvent::PartStarted { .. } => None,
        SeenEvent::PartEnded { id, ok, note, .. } => {
            Some((if *ok { Mark::Good } else { Mark::Bad }, format!("{id:<12} {}", printable(note))))
        }
        SeenEvent::Note { text } => Some((Mark::Note, printable(text))),
        SeenEvent::Warning { text } => Some((Mark::Warn, printable(text))),
        SeenEvent::WouldAct { id, title, note } => {
            let note = if note.is_empty() { String::new() } else { format!(" ({})", printable(note)) };
            Some((Mark::Doing, format!("{id:<12} would: {}{note}", printable(title))))
        }
        SeenEvent::Retrying { id, what, attempt } => {
            Some((Mark::Warn, format!("{id:<12} {} (asking again, {attempt} of 5)", printable(what))))
        }
        SeenEvent::Stopping { in_flight } => {
            Some((Mark::Warn, format!("stopping at the next safe point; in flight: {}", printable(in_flight))))
        }
    }
}

/// "asking Git, GitHub".
#[must_use]
pub fn looking(whom: &[&str]) -> String {
    format!("asking {}", whom.join(", "))
}

/// "waiting for … (since 09:14 UTC, until 10:14 UTC)".
#[must_use]
pub fn waiting(note: &str, since: Timestamp, until: Option<Timestamp>) -> String {
    let until = until.map_or(String::new(), |until| format!(", until {}", clock_time(until, since)));
    format!("waiting: {} (since {}{until})", printable(note), clock_time(since, since))
}

/// `09:14 UTC`; with the date when it is not the day of `near`.
#[must_use]
pub fn clock_time(at: Timestamp, near: Timestamp) -> String {
    let same_day = at.strftime("%F").to_string() == near.strftime("%F").to_string();
    at.strftime(if same_day { "%H:%M UTC" } else { "%-d %b %H:%M UTC" }).to_string()
}

/// The elapsed part of a live line: `12 s`.
#[must_use]
pub fn elapsed(waited: Duration) -> String {
    duration(Duration::from_secs(waited.as_secs().max(1)))
}

/// Cuts a text to `width` columns, with `…` where something is missing.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}
