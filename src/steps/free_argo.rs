//! An operation under way blocks the fixing commit (argo-cd#6494): seen gone before we commit.

use std::time::Duration;

use jiff::SignedDuration;

use crate::adapters::cluster::Applications;
use crate::config::model::Argo;
use crate::domain::printable;
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result};

use super::argo::{about, in_the_way};
use super::patience::Patience;

/// How long one who goes past Git waits for an operation to end (world time). A controller that is down ends none, and begins none.
const ENDS_WITHIN: SignedDuration = SignedDuration::from_mins(1);

/// Waits for a short operation, ends a hanging one with consent, and sees it gone.
pub struct FreeArgo {
    applications: Applications,
    argo: Argo,
    terminate: bool,
    /// Set where images are applied past Git: an operation under way could put the old ones back, and Argo CD may be down.
    past_git: Option<Patience>,
}

impl FreeArgo {
    /// `terminate`: `--terminate-sync`, consent to end whatever operation is under way.
    #[must_use]
    pub fn new(applications: Applications, argo: Argo, terminate: bool) -> Self {
        Self { applications, argo, terminate, past_git: None }
    }

    /// For who goes past Git: nothing is waited for that may never come.
    #[must_use]
    pub fn past_git(self) -> Self {
        Self { past_git: Some(Patience::default()), ..self }
    }
}

impl Step for FreeArgo {
    fn id(&self) -> &'static str {
        "argo-free"
    }

    fn title(&self, _facts: &Facts) -> String {
        "No other Argo CD operation is in the way".to_owned()
    }

    fn effect(&self) -> Effect {
        if self.terminate { Effect::Repeatable } else { Effect::ReadOnly }
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.argo.stuck_after.max(self.argo.syncs_within))
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            // A resumed run: what is under way may be the sync of our own commit, which the wait for it looks at.
            if facts.overlay_commit.is_some() {
                return Ok(Probe::Done(Done::said("the commit was made by then")));
            }
            let app = match self.applications.application(&self.argo.application).await {
                Err(error) if self.past_git.is_some() => {
                    let why = printable(&error.to_string());
                    return Ok(Probe::Done(Done::said(format!("Argo CD cannot be asked ({why})"))));
                }
                other => other?,
            };
            let Some(operation) = app.operation.as_ref().filter(|operation| operation.running()) else {
                return Ok(Probe::Done(Done::said("none is under way")));
            };
            let (age, about) = about(operation, io.now());
            if !self.terminate && (age >= self.argo.stuck_after || self.past_git.is_some()) {
                return Err(in_the_way(&app, &about, facts));
            }
            if self.past_git.as_ref().is_some_and(|patience| patience.is_over(ENDS_WITHIN, io)) {
                return Ok(Probe::Done(Done::left(format!("{about}, and does not end; the images are watched"))));
            }
            Ok(Probe::NotYet(format!("{about} to end")))
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            if self.applications.terminate(&self.argo.application).await? {
                io.say("asked Argo CD to end it");
            }
            Ok(Act::Waiting { note: String::new() })
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(Kind::TimedOut, format!("still waiting for {waited_for}"))
            .hint("is the Argo CD application controller running? Past it: the same command with --direct")
            .hint("gospel-release resume")
    }
}
