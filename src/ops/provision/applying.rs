//! The step that applies a plan: at most once, and found again by its events when we died meanwhile.

use crate::adapters::terraform::{Applied, Standing, Told, Trace};
use crate::domain::provision::{Doing, Expected, Part, PlanUse};
use crate::domain::{Evidence, RunId, duration};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Result};
use crate::ops::Manner;

use super::explain::unfinished;
use super::reviewed::{PLAN_AGAIN, Reviewed};

/// The step's name.
pub(super) const ID: &str = "terraform";

/// Applies a reviewed plan.
pub(super) struct Applying {
    pub reviewed: Reviewed,
    pub expected: Vec<Expected>,
    pub trace: Trace,
    pub run: RunId,
    pub by: String,
    pub manner: Manner,
}

impl Step for Applying {
    fn id(&self) -> &'static str {
        ID
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Apply plan {}", self.reviewed.record.short())
    }

    fn effect(&self) -> Effect {
        Effect::OneWay
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            match self.trace.standing()? {
                Standing::Running(_) => Ok(Probe::NotYet("Terraform applies it".to_owned())),
                Standing::Ended => {
                    let applied = self.trace.read()?;
                    if applied.complete() {
                        return Ok(Probe::Done(self.done(&applied)));
                    }
                    // What it left is asked of Terraform, which must not be dropped half way: the act does that.
                    Ok(Probe::NotYet("it ended, and not everything was applied".to_owned()))
                }
                Standing::NotStarted => match self.plans_use()? {
                    Some(by) if by.run == self.run => Err(never_started(self.reviewed.record.short())),
                    // Whatever changed since the question was asked: it is asked again before anything is done.
                    _ => {
                        self.reviewed.still_fits(io.clock.wall()).await?;
                        Ok(Probe::NotYet("it is not applied yet".to_owned()))
                    }
                },
            }
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            self.manner.goes_on_by_itself(
                "Terraform goes on without us and writes its state. To look again:\ngospel-release status; gospel-release resume",
            );
            let process = match self.trace.standing()? {
                Standing::NotStarted => {
                    self.mark(io)?;
                    Some(self.reviewed.terraform.start_apply(&self.reviewed.kept.plan(), &self.trace)?)
                }
                Standing::Running(_) | Standing::Ended => None,
            };
            let mut asked = false;
            let told = |told: &Told<'_>| {
                asked |= matches!(told, Told::Asked(_));
                tell(io, &self.expected, told);
            };
            let applied = self.trace.follow(process, &io.cancel, told).await?;
            if applied.complete() {
                return Ok(Act::Done(self.done(&applied)));
            }
            Err(self.unfinished(&applied, asked).await)
        })
    }
}

impl Applying {
    fn plans_use(&self) -> Result<Option<PlanUse>> {
        self.reviewed.plans.used(&self.reviewed.record.plan_sha256)
    }

    fn mark(&self, io: &StepIo) -> Result<()> {
        let record = &self.reviewed.record;
        let (plan, run, at, by) = (record.id.clone(), self.run.clone(), io.clock.wall(), self.by.clone());
        self.reviewed.plans.mark_used(&record.plan_sha256, &PlanUse { v: 1, plan, run, at, by })
    }

    /// The plan's files are secrets, and of no more use.
    fn done(&self, applied: &Applied) -> Done {
        self.reviewed.kept.forget();
        let summary = applied.course.summary.unwrap_or_default().text();
        let slowest = applied.course.parts.iter().max_by_key(|part| part.seconds);
        let evidence = Evidence::new(summary).fact("plan", self.reviewed.record.plan_sha256.clone(), None);
        let took = |part: &Part| format!("{} ({})", part.address, seconds(part.seconds));
        Done::new(slowest.map(took).into_iter().fold(evidence, |evidence, part| evidence.fact("slowest", part, None)))
    }

    async fn unfinished(&self, applied: &Applied, asked: bool) -> Error {
        self.reviewed.kept.forget();
        let planned = self.reviewed.record.state.as_ref();
        unfinished(&self.reviewed.terraform, &self.expected, applied, planned, asked).await
    }
}

/// It was to start, and something came between: whether it did cannot matter any more, since it left no trace.
fn never_started(short: &str) -> Error {
    Error::outside(format!("plan {short} was used up, and Terraform was not started: nothing was changed"))
        .hint(PLAN_AGAIN)
}

/// From what Terraform says to what people see.
fn tell(io: &StepIo, expected: &[Expected], told: &Told<'_>) {
    let (message, course) = match told {
        Told::Asked(course) => {
            let now: Vec<&str> = course.under_way().map(|part| part.address.as_str()).collect();
            let now = if now.is_empty() { "nothing yet".to_owned() } else { now.join(", ") };
            return io.warn(format!(
                "Terraform is asked to stop: it finishes or breaks off what it is at, and writes its state; a second Ctrl-C \
                 leaves it to that. In flight: {now}"
            ));
        }
        Told::Message(message, course) => (message, course),
    };
    let Some(hook) = &message.hook else { return };
    let (address, doing) = (&hook.resource.addr, Doing::of(&hook.action));
    if doing == Doing::Other {
        return;
    }
    let part = format!("{address} {}", doing.past());
    let took = seconds(hook.elapsed_seconds.unwrap_or(0));
    let (made, all) = course.progress(expected);
    match message.kind.as_str() {
        "apply_start" => io.part_started(part, format!("{} {address}", doing.now())),
        "apply_complete" => io.part_ended(part, true, format!("{made}/{all} {address}: {} in {took}", doing.past())),
        "apply_errored" => io.part_ended(part, false, format!("{made}/{all} {address}: not {} ({took})", doing.past())),
        _ => {}
    }
}

fn seconds(seconds: u64) -> String {
    if seconds == 0 { "less than 1 s".to_owned() } else { duration(std::time::Duration::from_secs(seconds)) }
}
