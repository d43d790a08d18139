//! Automated sync, paused while production differs from Git, and taken up again when it does not.

use crate::adapters::cluster::Applications;
use crate::domain::printable;
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};

/// Sees to it that Argo CD's self-heal does not undo what is applied directly.
pub struct PauseSync {
    pub applications: Applications,
    pub application: String,
    /// `--pause-sync`: consent.
    pub consent: bool,
}

impl Step for PauseSync {
    fn id(&self) -> &'static str {
        "pause-sync"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Self-heal of {} does not undo it", self.application)
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<std::time::Duration> {
        Some(std::time::Duration::from_secs(600))
    }

    fn probe<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            // A resumed run looks again: once the commit is there, a sync would change nothing.
            if facts.overlay_commit.is_some() {
                return Ok(Probe::Done(Done::said("Git says the same by now")));
            }
            let app = match self.applications.application(&self.application).await {
                Ok(app) => app,
                // Nobody can be asked to pause: go on, and watch for what comes back.
                Err(error) => {
                    return Ok(Probe::Done(Done::said(format!(
                        "Argo CD cannot be asked ({}); the images are watched instead",
                        printable(&error.to_string())
                    ))));
                }
            };
            if !app.auto_sync {
                return Ok(Probe::Done(Done::said("automated sync is off")));
            }
            if !self.consent {
                let how = if app.self_heal {
                    "self-heal would undo it within seconds"
                } else {
                    "the next sync would undo it"
                };
                return Err(Error::new(Kind::Waiting, format!("{} syncs by itself: {how}", app.name))
                    .class(Class::NeedsHuman)
                    .hint("gospel-release resume --pause-sync pauses it (a debt until Git and production agree)"));
            }
            Ok(Probe::NotYet("automated sync is on".to_owned()))
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let app = self.applications.application(&self.application).await?;
            self.applications.pause(&app).await?;
            Ok(Act::Waiting { note: "automated sync to be off".to_owned() })
        })
    }
}

/// Takes automated sync up again, once the commit is on main; before that it stays a debt.
pub struct ResumeSync {
    pub applications: Applications,
    pub application: String,
}

impl Step for ResumeSync {
    fn id(&self) -> &'static str {
        "resume-sync"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("{} syncs by itself again", self.application)
    }

    fn effect(&self) -> Effect {
        Effect::OneWay
    }

    fn probe<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let Ok(app) = self.applications.application(&self.application).await else {
                return Ok(Probe::Done(Done::said("Argo CD cannot be asked; see gospel-release status")));
            };
            if app.auto_sync {
                return Ok(Probe::Done(Done::said("automated sync is on")));
            }
            if facts.overlay_commit.is_none() {
                return Ok(Probe::Done(Done::said("stays paused until Git agrees: a debt, see gospel-release status")));
            }
            Ok(Probe::NotYet("automated sync is paused".to_owned()))
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let app = self.applications.application(&self.application).await?;
            Ok(Act::Done(if self.applications.unpause(&app).await? {
                Done::said("as it was before")
            } else {
                Done::said("it was not paused by us, and stays off")
            }))
        })
    }
}
