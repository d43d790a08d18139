//! `runs`: those of this machine and of the cluster: listed, shown, replayed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::runs::RunsAction;
use crate::domain::{Evidence, RunId, Verdict, duration, printable};
use crate::engine::{Answer, Event, Journal, Line, Record, RunState, StepState};
use crate::error::{Error, Result};
use crate::ui::out::Out;
use crate::ui::words::{Mark, clock_time};
use jiff::Timestamp;

use super::known::{self, Everywhere, Known};
use super::runs::outcome;
use super::{Invocation, provision};

/// Lists, shows, or replays.
pub async fn runs(invocation: &mut Invocation, action: &RunsAction, out: &mut Out, json: bool) -> Result<u8> {
    match action {
        RunsAction::List => list(&known::everywhere(invocation).await?, out, json)?,
        RunsAction::Log { run } => log(invocation, run.as_ref()).await?,
        RunsAction::Show { run } => {
            let Everywhere { mut runs, asked } = known::everywhere(invocation).await?;
            let found = match run {
                Some(run) => runs.remove_entry(run),
                None => runs.pop_last(),
            };
            let (run, known) = found.ok_or_else(|| unknown(run.as_ref(), asked))?;
            one(invocation, &run, known, asked, out, json)?;
        }
    }
    Ok(0)
}

fn unknown(run: Option<&RunId>, asked: bool) -> Error {
    let place = if asked { ", neither here nor in the cluster" } else { " on this machine" };
    match run {
        Some(run) => Error::usage(format!("there is no run {run}{place}")).hint("gospel-release runs list"),
        None => Error::usage(format!("no run is kept{place}")),
    }
}

fn list(known: &Everywhere, out: &mut Out, json: bool) -> Result<()> {
    let newest_first = || known.runs.iter().rev();
    if json {
        return out.json(&newest_first().map(|(run, known)| known.document(run)).collect::<Vec<_>>());
    }
    newest_first().try_for_each(|(run, known)| out.line(&printable(&known.line(run))))
}

fn one(invocation: &Invocation, run: &RunId, known: Known, asked: bool, out: &mut Out, json: bool) -> Result<()> {
    let Known { state, lines, here, there } = known;
    let state = state?;
    if json {
        return out.json(&state);
    }
    show(&lines, &state, out)?;
    let kept = invocation.state_dir()?.run(run);
    if kept.path().join("evidence.json").is_file() {
        out.line(&format!("evidence  {}", kept.path().display()))?;
    }
    let alone = !asked && !there;
    next(&state, alone, out)?;
    let last = if here {
        format!("all of it, as it went: gospel-release runs log {run}")
    } else {
        format!("its journal is where it ran: {}", state.header.by)
    };
    tell(out, &format!("next      {last}"))
}

/// Replays the journal of a run, which is nowhere but on the machine that it ran on.
async fn log(invocation: &mut Invocation, run: Option<&RunId>) -> Result<()> {
    let dir = invocation.state_dir()?;
    let last = || dir.runs().pop().ok_or_else(|| Error::usage("no run is kept on this machine"));
    let run = run.cloned().map_or_else(last, Ok)?;
    if dir.run(&run).journal().is_file() {
        return replay(invocation, &run);
    }
    let Everywhere { runs, asked } = known::everywhere(invocation).await?;
    let Some(known) = runs.get(&run) else { return Err(unknown(Some(&run), asked)) };
    let by = known.by().map_or(String::new(), |by| format!(": it was begun by {}", printable(by)));
    Err(Error::usage(format!("the journal of run {run} is not on this machine, but where it ran{by}"))
        .hint(format!("what the cluster knows of it: gospel-release runs show {run}")))
}

/// Replays a journal through the same renderer that drew the run.
fn replay(invocation: &mut Invocation, run: &RunId) -> Result<()> {
    let lines = Journal::read(&invocation.state_dir()?.run(run).journal())?;
    let mut state: Option<RunState> = None;
    for line in &lines {
        match &mut state {
            None => state = Some(RunState::begin(&line.record)?),
            Some(state) => state.apply(&line.record)?,
        }
        invocation.listener.hear(&Event::Recorded(line.record.clone()), state.as_ref());
    }
    if let Some(state) = &state {
        invocation.note(format!("{} records; {}", lines.len(), outcome(state)));
    }
    Ok(())
}

/// When things were recorded last.
#[derive(Default)]
struct Times<'a> {
    begun: BTreeMap<&'a str, Timestamp>,
    done: BTreeMap<&'a str, Timestamp>,
    confirmed: Option<Timestamp>,
    ended: Option<Timestamp>,
}

impl<'a> Times<'a> {
    fn of(lines: &'a [Line]) -> Self {
        let mut times = Self::default();
        for line in lines {
            match &line.record {
                Record::StepIntent { step } => drop(times.begun.insert(step, line.at)),
                Record::StepDone { step, .. } => drop(times.done.insert(step, line.at)),
                Record::Confirmed { .. } => times.confirmed = Some(line.at),
                Record::RunEnded(_) => times.ended = Some(line.at),
                _ => {}
            }
        }
        times
    }
}

/// A run as people read it.
fn show(lines: &[Line], state: &RunState, out: &mut Out) -> Result<()> {
    let (header, times) = (&state.header, Times::of(lines));
    let start = header.started_at;
    let time = |at: Option<Timestamp>| at.map(|at| clock_time(at, start)).unwrap_or_default();
    let version = state.version().map_or(String::new(), |version| format!(" {version}"));
    let previous = state.facts.previous.as_ref().map_or(String::new(), |version| format!(" (before: {version})"));
    tell(out, &format!("run       {}", header.run))?;
    tell(out, &format!("what      {}{version}{previous}", header.command))?;
    tell(out, &format!("world     {}", header.world))?;
    tell(out, &format!("by        {}", header.by))?;
    tell(out, &format!("started   {}", start.strftime("%-d %b %Y %H:%M UTC")))?;
    let after = times.ended.and_then(|end| took(start, end)).map_or(String::new(), |took| format!(", after {took}"));
    match &state.ended {
        None => tell(out, &format!("ended     not yet: {}", outcome(state)))?,
        Some(ended) => {
            let open = if ended.open { " (left open)" } else { "" };
            tell(out, &format!("ended     {}{after}: {}{open}", time(times.ended), outcome(state)))?;
        }
    }
    if let Some(confirmed) = &state.confirmed {
        let how = match confirmed.answer {
            Answer::Typed => "typed",
            Answer::Flag => "--yes",
            Answer::Rehearsal => "by the rehearsal",
            Answer::Refused => "refused",
        };
        tell(out, &format!("confirmed {} by {} ({how})", time(times.confirmed), confirmed.by))?;
    }
    gates(state, out)?;
    if !header.steps.is_empty() {
        tell(out, "steps")?;
    }
    for planned in &header.steps {
        let (begun, done) = (times.begun.get(planned.id.as_str()), times.done.get(planned.id.as_str()));
        match state.steps.get(&planned.id) {
            Some(StepState::Done { title, evidence }) => {
                let took = begun.zip(done).and_then(|(begun, done)| took(*begun, *done));
                let took = took.map_or(String::new(), |took| format!(", {took}"));
                let when = done.map_or(String::new(), |at| format!(" ({}{took})", clock_time(*at, start)));
                let mark = if evidence.left_open { Mark::Warn } else { Mark::Good };
                row(out, mark, &planned.id, &format!("{title}: {}{when}", evidence.summary))?;
                wrong(evidence, out)?;
            }
            Some(StepState::Intended) => {
                let when = begun.map_or(String::new(), |at| format!(" {}", clock_time(*at, start)));
                row(out, Mark::Doing, &planned.id, &format!("{}: begun{when}, and not seen done", planned.title))?;
            }
            None => row(out, Mark::Note, &planned.id, &format!("{}: not begun", planned.title))?,
        }
    }
    if let Some(run) = &state.facts.workflow_run {
        tell(out, &format!("workflow  {}", run.url))?;
    }
    Ok(())
}

fn took(from: Timestamp, to: Timestamp) -> Option<String> {
    let took = Duration::try_from(to.duration_since(from)).ok()?;
    // A clock's second is no duration to speak of.
    (took >= Duration::from_secs(1)).then(|| duration(took))
}

/// How many gates let through, and those that did not simply pass.
fn gates(state: &RunState, out: &mut Out) -> Result<()> {
    if state.gates.is_empty() {
        return Ok(());
    }
    let through = state.gates.values().filter(|gate| gate.verdict.lets_through()).count();
    tell(out, &format!("gates     {through} of {} let it through", state.gates.len()))?;
    for (id, gate) in &state.gates {
        let (mark, said) = match &gate.verdict {
            Verdict::Pass => continue,
            Verdict::Fail => (Mark::Bad, gate.evidence.summary.clone()),
            Verdict::Unknown => (Mark::Unknown, format!("cannot tell: {}", gate.evidence.summary)),
            Verdict::Waived { who, why, .. } => (Mark::Warn, format!("waived by {who}: {why}")),
        };
        row(out, mark, id, &format!("{}: {said}", gate.title))?;
        wrong(&gate.evidence, out)?;
    }
    Ok(())
}

/// The commands that go on from here. `alone`: only this machine was asked.
fn next(state: &RunState, alone: bool, out: &mut Out) -> Result<()> {
    let run = &state.header.run;
    let left_open =
        state.steps.values().any(|step| matches!(step, StepState::Done { evidence, .. } if evidence.left_open));
    let mut next: Vec<String> = match &state.ended {
        Some(ended) if ended.open => ended.next.clone(),
        _ => Vec::new(),
    };
    if state.is_open() {
        // Another machine may have gone on with it, or closed it; an apply's run is nowhere else.
        if alone && state.header.command != provision::VERB.command {
            next.insert(0, "as this machine knows it; what the cluster knows: gospel-release status".to_owned());
        }
        if !next.iter().any(|line| line.contains("gospel-release resume")) {
            let takeover = if state.ended.is_none() { " --takeover (if its process is dead)" } else { "" };
            next.push(format!("gospel-release resume {run}{takeover}"));
        }
        if !next.iter().any(|line| line.contains("gospel-release abort")) {
            next.push(format!("or give it up: gospel-release abort {run}"));
        }
    } else if left_open {
        next.push("what is left open: gospel-release status".to_owned());
    }
    next.iter().try_for_each(|line| tell(out, &format!("next      {line}")))
}

/// What evidence says is not as it should be.
fn wrong(evidence: &Evidence, out: &mut Out) -> Result<()> {
    evidence.wrong().try_for_each(|fact| tell(out, &format!("    {}: {}", fact.of, fact.seen)))
}

fn row(out: &mut Out, mark: Mark, id: &str, text: &str) -> Result<()> {
    let style = out.style();
    let lines = style.lines(&printable(&format!("  {id:<12} {text}")), 15);
    let mut lines = lines.iter();
    let first = lines.next().map_or("", |line| &line[2..]);
    out.line(&format!("{} {first}", mark.painted(style)))?;
    lines.try_for_each(|line| out.line(line))
}

/// A line, broken at a terminal's width below its value.
fn tell(out: &mut Out, line: &str) -> Result<()> {
    out.labelled(&printable(line))
}
