//! An operation under way blocks the fixing commit (argo-cd#6494): seen gone before we commit.

use std::time::Duration;

use crate::adapters::cluster::Applications;
use crate::config::model::Argo;
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};

use super::argo::about;

/// Waits for a short operation, ends a hanging one with consent, and sees it gone.
pub struct FreeArgo {
    pub applications: Applications,
    pub argo: Argo,
    /// `--terminate-sync`: consent to end whatever operation is under way.
    pub terminate: bool,
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
            let app = self.applications.application(&self.argo.application).await?;
            let Some(operation) = app.operation.as_ref().filter(|operation| operation.running()) else {
                return Ok(Probe::Done(Done::said("none is under way")));
            };
            let (age, about) = about(operation, io.now());
            if !self.terminate && age >= self.argo.stuck_after {
                return Err(Error::new(Kind::Waiting, format!("{}: {about}, and blocks ours", app.name))
                    .class(Class::NeedsHuman)
                    .seen(super::still_serves(facts))
                    .hint("to end that operation and go on: gospel-release resume --terminate-sync"));
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
