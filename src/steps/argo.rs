//! Argo CD at our revision. `Healthy` and `Synced` alone may describe the old one (akuity/kargo#2196).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::adapters::cluster::{AppState, Applications, Operation, Refresh};
use crate::adapters::git::Git;
use crate::config::model::Argo;
use crate::domain::{CommitSha, Evidence, duration};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};

/// Waits until the Application has synced a revision that contains the overlay commit.
pub struct ArgoSync {
    applications: Applications,
    git: Arc<Git>,
    argo: Argo,
    terminate: bool,
    past: Option<String>,
    /// The failed sync of our revision that the first look found, if it did: somebody may have mended its cause since, and Argo CD does
    /// not try a failed revision again by itself.
    failed_before: OnceLock<Option<Operation>>,
}

/// What stands between the Application and our revision.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Synced,
    /// Another revision, or none yet.
    Behind(String),
    /// A sync of ours is under way.
    Syncing(String),
    /// An operation of somebody else has run for so long that it will not end by itself.
    Stuck(String),
    /// The sync of our revision failed; auto-sync does not try a failed revision again.
    Failed(String),
}

impl ArgoSync {
    /// `terminate`: `--terminate-sync`, consent to end another's operation that hangs. `past`: the command that goes past Argo CD,
    /// where there is one.
    #[must_use]
    pub fn new(applications: Applications, git: Arc<Git>, argo: Argo, terminate: bool, past: Option<String>) -> Self {
        Self { applications, git, argo, terminate, past, failed_before: OnceLock::new() }
    }

    async fn standing(&self, app: &AppState, ours: &CommitSha, now: Timestamp) -> Result<Standing> {
        if let Some(operation) = app.operation.as_ref().filter(|operation| operation.running()) {
            return Ok(self.running(operation, covers(&self.git, operation.revision.as_deref(), ours).await?, now));
        }
        if !covers(&self.git, app.revision.as_deref(), ours).await? {
            // First what a narrow screen must show.
            let deaf = "Argo CD has not taken our refresh: is its application controller running? ";
            let deaf = if app.refresh_requested { deaf } else { "" };
            let synced = short(app.revision.as_deref());
            return Ok(Standing::Behind(format!(
                "{deaf}{} at {} (revision {synced} is synced)",
                app.name,
                ours.short()
            )));
        }
        // Other objects may differ for ever (a field that somebody else owns): our sync is over, and pods are looked at next.
        let over = match &app.operation {
            Some(operation) => covers(&self.git, operation.revision.as_deref(), ours).await?,
            None => false,
        };
        if let Some(operation) = app.operation.as_ref().filter(|operation| over && !operation.succeeded()) {
            let said = format!("{}: {}", operation.phase, operation.message);
            return Ok(if app.operation_requested { Standing::Syncing(said) } else { Standing::Failed(said) });
        }
        if app.sync_status != "Synced" && !over {
            // Where automated sync is off, nobody begins: it was seen at our revision, and that is all.
            let asked = app.auto_sync || app.operation_requested;
            let said = format!("{} at {} (sync status is {})", app.name, ours.short(), app.sync_status);
            return Ok(if asked { Standing::Syncing(said) } else { Standing::Behind(said) });
        }
        Ok(Standing::Synced)
    }

    /// Whether that sync had failed before this step began.
    fn failed_before(&self, app: &AppState) -> bool {
        self.failed_before.get().is_some_and(|failed| failed.is_some() && *failed == app.operation)
    }

    async fn sync(&self, app: &AppState, ours: &CommitSha) -> Result<Act> {
        match self.applications.sync(&app.name, ours.as_str()).await {
            // Its controller was writing, or somebody's sync began: the next look says which.
            Err(error) if error.is_conflict() => {}
            other => other?,
        }
        Ok(Act::Waiting { note: String::new() })
    }

    fn failed(&self, app: &AppState, why: &str, facts: &Facts) -> Error {
        let error = Error::outside(format!("Argo CD could not sync {}: {why}", app.name));
        let error = app
            .conditions
            .iter()
            .fold(error, |error, condition| error.seen(format!("{}: {}", condition.kind, condition.message)))
            .seen(super::still_serves(facts));
        match &self.past {
            // What brings production back cannot itself be rolled back to get there.
            Some(past) => error
                .hint(format!("past Argo CD, at once: {past}"))
                .hint("or mend what it names, and then: gospel-release resume"),
            None => error.hint("gospel-release rollback"),
        }
    }

    fn running(&self, operation: &Operation, ours: bool, now: Timestamp) -> Standing {
        let (age, about) = about(operation, now);
        if ours {
            Standing::Syncing("the sync of our revision to finish".to_owned())
        } else if age >= self.argo.stuck_after {
            Standing::Stuck(about)
        } else {
            Standing::Syncing(about)
        }
    }
}

/// Whether `revision` is our commit or a later one that contains it.
pub(super) async fn covers(git: &Git, revision: Option<&str>, ours: &CommitSha) -> Result<bool> {
    let Some(revision) = revision.and_then(|text| text.parse::<CommitSha>().ok()) else { return Ok(false) };
    if revision == *ours {
        return Ok(true);
    }
    if !git.has(&revision) {
        git.fetch().await?;
    }
    if git.has(&revision) { git.is_ancestor(ours, &revision) } else { Ok(false) }
}

impl Step for ArgoSync {
    fn id(&self) -> &'static str {
        "argo"
    }

    fn title(&self, facts: &Facts) -> String {
        let at = facts.overlay_commit.as_ref().map_or(String::new(), |commit| format!(" at {}", commit.short()));
        format!("Argo CD syncs {}{at}", self.argo.application)
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.argo.syncs_within)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let ours = super::overlay_commit(facts)?;
            let app = self.applications.application(&self.argo.application).await?;
            app.must_be_clear()?;
            let standing = self.standing(&app, ours, io.now()).await?;
            self.failed_before
                .get_or_init(|| app.operation.clone().filter(|_| matches!(standing, Standing::Failed(_))));
            match standing {
                Standing::Synced => {
                    let evidence = Evidence::new(format!("{} and {}", app.sync_status, app.health))
                        .from(format!("Application {}/{}", self.argo.namespace, app.name))
                        .at(io.now())
                        .fact("revision", app.revision.unwrap_or_default(), None);
                    Ok(Probe::Done(Done::new(evidence)))
                }
                Standing::Behind(why) | Standing::Syncing(why) => Ok(Probe::NotYet(why)),
                Standing::Stuck(_) if self.terminate => Ok(Probe::NotYet("the stuck operation to end".to_owned())),
                Standing::Stuck(about) => Err(in_the_way(&app, &about, facts)),
                Standing::Failed(why) if self.failed_before(&app) => {
                    Ok(Probe::NotYet(format!("another sync of {}; the last one failed: {why}", app.name)))
                }
                Standing::Failed(why) => Err(self.failed(&app, &why, facts)),
            }
        })
    }

    /// Asks Argo CD to look at Git now; ends a stuck operation, with consent, and sees to it that ours can start.
    fn act<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let ours = super::overlay_commit(facts)?;
            let app = self.applications.application(&self.argo.application).await?;
            match self.standing(&app, ours, io.now()).await? {
                Standing::Stuck(about) if self.terminate => {
                    io.say(format!("ending {about}"));
                    self.applications.terminate(&app.name).await?;
                    Ok(Act::Waiting { note: format!("{about} to end") })
                }
                // Nobody syncs by itself where that is switched off, or where this revision has failed.
                Standing::Behind(_) if !app.auto_sync && !app.operation_requested => self.sync(&app, ours).await,
                Standing::Failed(_) if !app.operation_requested => self.sync(&app, ours).await,
                Standing::Behind(_) => {
                    self.applications.refresh(&app.name, Refresh::Normal).await?;
                    Ok(Act::Waiting { note: String::new() })
                }
                _ => Ok(Act::Waiting { note: String::new() }),
            }
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        let error = Error::new(Kind::TimedOut, format!("Argo CD did not sync: still waiting for {waited_for}"));
        self.past
            .iter()
            .fold(error, |error, past| error.hint(format!("past Argo CD, at once: {past}")))
            .hint(format!("kubectl describe application {} -n {}", self.argo.application, self.argo.namespace))
            .hint("gospel-release resume")
    }
}

/// How old an operation under way is, and what to call it.
pub(super) fn about(operation: &Operation, now: Timestamp) -> (Duration, String) {
    let age = operation.started_at.and_then(|at| Duration::try_from(now.duration_since(at)).ok()).unwrap_or_default();
    let about = format!(
        "an operation of {} at {} runs since {}{}",
        if operation.initiated_by.is_empty() { "somebody" } else { &operation.initiated_by },
        short(operation.revision.as_deref()),
        duration(age),
        if operation.message.is_empty() { String::new() } else { format!(" ({})", operation.message) },
    );
    (age, about)
}

/// Another's operation, which only a person may end.
pub(super) fn in_the_way(app: &AppState, about: &str, facts: &Facts) -> Error {
    Error::new(Kind::Waiting, format!("{}: {about}, and is in the way of ours", app.name))
        .class(Class::NeedsHuman)
        .seen(super::still_serves(facts))
        .hint("to end that operation and go on: gospel-release resume --terminate-sync")
}

fn short(revision: Option<&str>) -> &str {
    revision.map_or("no revision", |revision| revision.get(..7).unwrap_or(revision))
}
