//! The plan after an apply: it is empty, or the apply did not bring about what the configuration says.

use std::path::PathBuf;

use crate::adapters::terraform::{Mode, Terraform};
use crate::domain::count;
use crate::domain::provision::{Judgement, Measure};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result};

use super::measure::judged;
use super::reviewed::PLAN_AGAIN;
use super::sheet::counts;
use super::store::Kept;

/// Changes that are named; the rest is counted.
const NAMED: usize = 20;

/// Plans again. Nothing of that plan is kept.
pub(super) struct SecondPlan {
    pub terraform: Terraform,
    pub var_files: Vec<String>,
    pub measure: Measure,
    /// Where the plan is for the moment.
    pub dir: PathBuf,
}

impl Step for SecondPlan {
    fn id(&self) -> &'static str {
        "second-plan"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Plan again: nothing is left to change".to_owned()
    }

    /// A plan takes the state's lock, and must be able to give it back: it is no look that may be dropped half way.
    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move { Ok(Probe::NotYet("it is to be planned again".to_owned())) })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let kept = Kept::at(&self.dir)?;
            let judgement = self.plan(&kept, io).await;
            kept.remove();
            let judgement = judgement?;
            let unchanged = count(judgement.counts.unchanged, "resource");
            if judgement.counts.is_empty() && judgement.outputs.is_empty() {
                return Ok(Act::Done(Done::said(format!("{unchanged}, all as the configuration says"))));
            }
            Err(left(&judgement))
        })
    }
}

impl SecondPlan {
    async fn plan(&self, kept: &Kept, io: &StepIo) -> Result<Judgement> {
        drop(Kept::create(&kept.plan())?);
        let terraform = &self.terraform;
        terraform.plan(Mode::Normal, &self.var_files, &kept.plan(), &io.cancel, |_| {}).await?;
        terraform.show(&kept.plan(), Kept::create(&kept.json())?).await?;
        judged(&kept.json(), &self.measure)
    }
}

fn left(judgement: &Judgement) -> Error {
    let error = Error::new(
        Kind::Drift,
        format!("everything was applied, and the next plan is not empty: {}", counts(&judgement.counts)),
    );
    let changes = judgement.changes.iter();
    let changes =
        changes.map(|change| format!("{} {} ({})", change.action.sign(), change.address, change.action.word()));
    let outputs = judgement.outputs.iter().map(|output| format!("{} output {}", output.action.sign(), output.name));
    let lines: Vec<String> = changes.chain(outputs).collect();
    let more = lines.len().saturating_sub(NAMED);
    let error = lines.into_iter().take(NAMED).fold(error, Error::seen);
    let error = if more > 0 { error.seen(format!("and {more} more")) } else { error };
    error.hint(format!("{PLAN_AGAIN} shows it whole"))
}
