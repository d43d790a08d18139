//! `provision apply`: a plan that was reviewed, applied once, as a run with a journal of its own machine alone: the cluster that
//! others would see it in may be what it makes.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapters::terraform::{Standing, Trace};
use crate::domain::provision::{Expected, Judgement, PlanRecord};
use crate::domain::{RunId, WorldId, printable};
use crate::engine::{Answer, Ended, Facts, Journal, Local, Plan, Question, Record, RunDir, RunState, StepState};
use crate::error::{Error, Kind, Result};
use crate::ops::drive::{self, Start, Verb};
use crate::ops::{Invocation, Report, report};
use crate::ui::style::Style;

use super::after::AfterApply;
use super::again;
use super::applying::{self, Applying};
use super::measure::{denied, judged, measure};
use super::plan::{keep, plans};
use super::reviewed::{PLAN_AGAIN, Reviewed, choose};
use super::second::SecondPlan;
use super::sheet::{Sheet, counts};
use super::store::Kept;

pub(in crate::ops) const VERB: Verb = Verb { command: "provision apply", success: "applied", goes_first: false };

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Hash, beginning of a hash, or id; the newest plan unless told.
    pub plan: Option<String>,
    /// Plan before, and apply that.
    pub plan_first: bool,
    /// Addresses that were named.
    pub confirm: Vec<String>,
}

/// What a run keeps of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    pub plan: RunId,
    pub hash: String,
    /// Addresses that lose something, and were named one by one.
    pub named: Vec<String>,
}

/// A plan that may be applied, and what is shown of it.
struct Ready {
    reviewed: Reviewed,
    judgement: Judgement,
    sheet: String,
    /// Addresses that must be named.
    to_confirm: Vec<String>,
}

/// Shows a plan again, asks, and applies it.
pub async fn apply(invocation: &mut Invocation, options: &Options) -> Report {
    let ready = match ready(invocation, options).await {
        Ok(Some(ready)) => ready,
        Ok(None) => return Report { outcome: "nothing-to-do".into(), ..Report::empty(VERB.command, None) },
        Err(error) => return Report::early(VERB.command, None, error),
    };
    let world = world(invocation, &ready.reviewed.record);
    match begin(invocation, world.clone(), ready, options.confirm.clone()).await {
        Ok(report) => report,
        Err(error) => Report::early(VERB.command, Some(world), error),
    }
}

/// Everything that can be said against it before it is asked for; `None` where there is nothing to apply.
async fn ready(invocation: &mut Invocation, options: &Options) -> Result<Option<Ready>> {
    again::none_unfinished(invocation)?;
    let planned = if options.plan_first { Some(keep(invocation).await?.to_string()) } else { options.plan.clone() };
    let plans = plans(invocation)?;
    let (kept, record) = choose(&plans, planned.as_deref())?;
    Reviewed::usable(&plans, &kept, &record)?;
    let measure = measure(invocation)?;
    let judgement = judged(&kept.json(), &measure)?;
    let refused = denied(&judgement);
    if !refused.is_empty() {
        let error = Error::new(Kind::GateBlocked, format!("plan {} is refused by the rules of today", record.short()));
        return Err(refused.into_iter().take(20).fold(error, Error::seen).hint(PLAN_AGAIN));
    }
    if !record.changes {
        invocation.note(format!("plan {} has nothing to apply: {}", record.short(), counts(&judgement.counts)));
        return Ok(None);
    }
    let to_confirm = to_confirm(&record, &judgement);
    if let Some(wrong) = options.confirm.iter().find(|address| !to_confirm.contains(address)) {
        let error = Error::usage(format!("plan {} does not ask for {} to be named", record.short(), printable(wrong)));
        let error = to_confirm.iter().cloned().fold(error, Error::seen);
        return Err(error.hint("leave it out, or correct it: addresses are compared as they are written"));
    }
    let reviewed = Reviewed::of(invocation, kept, record).await?;
    reviewed.same_account(invocation).await?;
    reviewed.still_fits(invocation.clock.wall()).await?;
    let sheet = Sheet {
        judgement: &judgement,
        record: Some(&reviewed.record),
        warnings: &[],
        notes: &[],
        settings: &invocation.config.provision,
        prices: &measure.prices,
        region: invocation.config.production.aws.region.as_deref(),
    };
    let sheet = format!("\n{}\n", sheet.text(Style::plain()));
    Ok(Some(Ready { reviewed, judgement, sheet, to_confirm }))
}

/// What either judgement, that of the plan's day or today's, wants to be named.
fn to_confirm(record: &PlanRecord, judgement: &Judgement) -> Vec<String> {
    let mut addresses = judgement.to_confirm();
    addresses.extend(record.confirm.iter().filter(|address| !judgement.to_confirm().contains(address)).cloned());
    addresses
}

/// Which infrastructure is changed. Its cluster may not exist yet.
pub(super) fn world(invocation: &Invocation, record: &PlanRecord) -> WorldId {
    let config = &invocation.config;
    WorldId {
        kind: invocation.kind,
        account: record.account.clone(),
        cluster: format!("terraform:{}#{}", config.provision.directory, record.workspace),
        namespace: config.production.namespace.clone(),
        repository: config.repository.slug.clone(),
    }
}

async fn begin(invocation: &mut Invocation, world: WorldId, ready: Ready, named: Vec<String>) -> Result<Report> {
    let Ready { reviewed, judgement, mut sheet, to_confirm } = ready;
    let expected = Expected::of(&judgement.changes);
    let run = invocation.new_run_id()?;
    let dir = invocation.state_dir()?.run(&run);
    if invocation.dry_run {
        let plan = plan(invocation, reviewed, expected, run, &dir, sheet)?;
        return Ok(drive::dry_run_in(&world, invocation, VERB, Arc::default(), &plan).await);
    }
    let unnamed: Vec<String> = to_confirm.iter().filter(|address| !named.contains(address)).cloned().collect();
    if !unnamed.is_empty() {
        ask(invocation, &sheet, &unnamed)?;
        // It was shown.
        sheet.clear();
    }
    let stored =
        Stored { plan: reviewed.record.id.clone(), hash: reviewed.record.plan_sha256.clone(), named: to_confirm };
    dir.make()?;
    write_changes(&dir, &expected)?;
    let journal = Journal::create(&dir.journal())?;
    let options = serde_json::to_value(&stored).unwrap_or_default();
    let mut header = drive::header(invocation, run.clone(), VERB, world.clone(), options);
    let plan = plan(invocation, reviewed, expected, run, &dir, sheet)?;
    header.steps = plan.steps(&Facts::default());
    header.plan_hash = plan.hash();
    let first = Record::RunStarted { header: Arc::new(header), facts: Vec::new() };
    Ok(drive(invocation, &world, &plan, journal, Start::New(Box::new(first)), &dir).await)
}

/// Each address is typed: what is lost with it does not come back.
fn ask(invocation: &mut Invocation, sheet: &str, unnamed: &[String]) -> Result<()> {
    let asked = tokio::task::block_in_place(|| invocation.listener.ask_for_each(sheet, unnamed));
    let flags =
        |error| unnamed.iter().fold(error, |error: Error, address| error.hint(format!("--confirm '{address}'")));
    match asked {
        Ok(Answer::Refused) => Err(Error::usage("not confirmed; nothing was changed")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == Kind::Usage => {
            let what = match unnamed {
                [one] => format!("{one} must be named before this plan is applied"),
                more => format!("{} addresses must be named before this plan is applied", more.len()),
            };
            Err(flags(error.context(what)))
        }
        Err(error) => Err(error),
    }
}

/// The run's steps. What is checked afterwards follows the second plan.
pub(super) fn plan(
    invocation: &Invocation,
    reviewed: Reviewed,
    expected: Vec<Expected>,
    run: RunId,
    dir: &RunDir,
    sheet: String,
) -> Result<Plan> {
    let phrase = reviewed.record.short().chars().take(8).collect::<String>();
    let second = SecondPlan {
        terraform: reviewed.terraform.clone(),
        var_files: invocation.config.provision.var_files.clone(),
        measure: measure(invocation)?,
        dir: dir.path().join("second"),
    };
    let after = AfterApply::new(invocation, reviewed.terraform.clone());
    let applying = Applying {
        reviewed,
        expected,
        trace: Trace::of(dir.path()),
        run,
        by: invocation.who(),
        manner: invocation.manner.clone(),
    };
    let question = move |_: &Facts| Question { sheet: sheet.clone(), phrase: phrase.clone() };
    Ok(Plan::new(VERB.command).confirm(question).step(applying).step(second).step(after))
}

/// Runs the plan to its end and closes the run.
pub(super) async fn drive(
    invocation: &mut Invocation,
    world: &WorldId,
    plan: &Plan,
    journal: Journal,
    start: Start,
    dir: &RunDir,
) -> Report {
    let trace = Trace::of(dir.path());
    let closing = |error: &Error, state: &RunState| closing(error, state, &trace);
    drive::drive_in(world, invocation, VERB, plan, journal, &Local, start, dir, closing, async { Ok(()) }).await
}

/// A plan is never applied a second time: a run whose apply ended badly is over. It stays open while Terraform still works, and
/// while only what comes after the apply is not done.
fn closing(error: &Error, state: &RunState, trace: &Trace) -> Ended {
    let ended = report::ended(error, state.changed_the_world());
    match state.steps.get(applying::ID) {
        None => Ended { open: false, ..ended },
        Some(StepState::Intended) => {
            // Where it cannot be told whether it works, it may.
            let over = matches!(trace.standing(), Ok(Standing::Ended | Standing::NotStarted));
            Ended { open: !over, ..ended }
        }
        Some(StepState::Done { .. }) => Ended { open: error.kind() != Kind::Drift, ..ended },
    }
}

fn changes_file(dir: &RunDir) -> PathBuf {
    dir.path().join("changes.json")
}

fn write_changes(dir: &RunDir, expected: &[Expected]) -> Result<()> {
    let path = changes_file(dir);
    let text = serde_json::to_vec(expected)
        .map_err(|error| Error::internal("write the plan's changes as JSON").because(error))?;
    let written = Kept::create(&path)?.write_all(&text);
    written.map_err(|error| Error::config(format!("write {}", path.display())).because(error))
}

/// What the run's plan is to change.
pub(super) fn read_changes(dir: &RunDir) -> Result<Vec<Expected>> {
    let path = changes_file(dir);
    let failed = || format!("read the plan's changes in {}", path.display());
    let text = std::fs::read(&path).map_err(|error| Error::config(failed()).because(error))?;
    serde_json::from_slice(&text).map_err(|error| Error::config(failed()).because(error))
}
