//! Automated sync, paused while production differs from Git, and taken up again when it does not.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::argo::covers;
use super::patience::Patience;
use crate::adapters::cluster::{AppState, Applications, Refresh, Workloads};
use crate::adapters::git::Git;
use crate::config::Config;
use crate::domain::printable;
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};
use crate::monitor::agreement;

/// What else a pause of the Application reaches, for people: an ApplicationSet's template is that of all that it makes. `None`: nothing.
pub async fn paused_with(applications: &Applications, app: &AppState) -> Option<String> {
    let set = app.owner.as_deref()?.strip_prefix("ApplicationSet/")?;
    let made = applications.made_by(set).await;
    let set = printable(set);
    match made {
        Ok(names) => {
            let others: Vec<String> =
                names.iter().filter(|name| **name != app.name).map(|name| printable(name)).collect();
            (!others.is_empty()).then(|| format!("{} too: ApplicationSet {set} makes them all", others.join(", ")))
        }
        Err(error) => Some(format!(
            "whatever else ApplicationSet {set} makes too; it cannot be listed: {}",
            printable(&error.to_string())
        )),
    }
}

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
        Some(Duration::from_secs(600))
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
                let error = Error::new(Kind::Waiting, format!("{} syncs by itself: {how}", app.name));
                let with = paused_with(&self.applications, &app).await;
                return Err(with
                    .into_iter()
                    .fold(error, |error, with| error.seen(format!("a pause reaches {with}")))
                    .class(Class::NeedsHuman)
                    .hint("to pause it (a debt until Git and production agree): gospel-release resume --pause-sync"));
            }
            Ok(Probe::NotYet("automated sync is on".to_owned()))
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let app = self.applications.application(&self.application).await?;
            if let Some(with) = paused_with(&self.applications, &app).await {
                io.say(format!("this pauses {with}"));
            }
            self.applications.pause(&app).await?;
            Ok(Act::Waiting { note: "automated sync to be off".to_owned() })
        })
    }
}

/// How long Argo CD is given to see the commit (world time); its refresh takes seconds.
const SEES_WITHIN: SignedDuration = SignedDuration::from_mins(3);

/// Takes automated sync up again, once the commit is on main, Argo CD has seen it, and nothing else in production differs from main;
/// before that it stays a debt. An Argo CD that still takes the commit before for main's tip (its repo-server believes an answer for
/// 3 minutes) would deploy that one, and what differs it would put back.
pub struct ResumeSync {
    applications: Applications,
    workloads: Workloads,
    git: Arc<Git>,
    config: Config,
    patience: Patience,
}

impl ResumeSync {
    #[must_use]
    pub fn new(applications: Applications, workloads: Workloads, git: Arc<Git>, config: Config) -> Self {
        Self { applications, workloads, git, config, patience: Patience::default() }
    }

    async fn application(&self) -> Result<AppState> {
        self.applications.application(&self.config.argo.application).await
    }

    /// Why automated sync stays off although Argo CD is up to date; `None` where production is what main says.
    async fn would_put_back(&self) -> Result<Option<String>> {
        let differing = agreement::differing_said(&self.config, &self.git, &self.workloads).await?;
        Ok(differing.map(|differing| {
            format!("stays paused: it would put back {differing}, which differs from main; see gospel-release status")
        }))
    }
}

impl Step for ResumeSync {
    fn id(&self) -> &'static str {
        "resume-sync"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("{} syncs by itself again", self.config.argo.application)
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let Ok(app) = self.application().await else {
                return Ok(Probe::Done(Done::left("Argo CD cannot be asked; see gospel-release status")));
            };
            if app.auto_sync {
                return Ok(Probe::Done(Done::said("automated sync is on")));
            }
            if let Some(why) = &app.unclear {
                return Ok(Probe::Done(Done::left(format!(
                    "stays paused: what {} deploys cannot be followed ({}); compare it with main, then take sync up by hand",
                    app.name,
                    printable(why)
                ))));
            }
            let Some(commit) = &facts.overlay_commit else {
                return Ok(Probe::Done(Done::left("stays paused until Git agrees: a debt, see gospel-release status")));
            };
            if covers(&self.git, app.revision.as_deref(), commit).await? {
                return Ok(Probe::NotYet("automated sync is paused".to_owned()));
            }
            if self.patience.is_over(SEES_WITHIN, io) {
                let unseen = || {
                    format!("stays paused: Argo CD has not seen {}; a debt, see gospel-release status", commit.short())
                };
                return Ok(Probe::Done(Done::left(self.would_put_back().await?.unwrap_or_else(unseen))));
            }
            Ok(Probe::NotYet(format!("Argo CD to see {}", commit.short())))
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let app = self.application().await?;
            let commit = super::overlay_commit(facts)?;
            if !covers(&self.git, app.revision.as_deref(), commit).await? {
                if !app.refresh_requested {
                    self.applications.refresh(&app.name, Refresh::Normal).await?;
                }
                return Ok(Act::Waiting { note: format!("Argo CD to see {}", commit.short()) });
            }
            // Compared here and not by the look, which may have been before Argo CD saw the commit.
            if let Some(why) = self.would_put_back().await? {
                return Ok(Act::Done(Done::left(why)));
            }
            Ok(Act::Done(if self.applications.unpause(&app).await? {
                Done::said("as it was before")
            } else {
                Done::said("it was not paused by us, and stays off")
            }))
        })
    }
}
