//! The GitHub Release of a rolled-back version says so.

use crate::adapters::github::GitHub;
use crate::config::model::Repository;
use crate::domain::{Evidence, Version};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::Result;

/// Words by which a marked Release is known.
const MARK: &str = "**Rolled back**";

/// Marks the Release. The rollback is done by now: a GitHub that does not answer is told, and is no failure.
pub struct MarkRelease {
    pub github: GitHub,
    pub repository: Repository,
    /// The version that was rolled back.
    pub bad: Version,
    pub target: Version,
    pub reason: String,
}

impl MarkRelease {
    async fn release(&self) -> std::result::Result<Option<crate::adapters::github::Release>, Done> {
        let found = self.github.release_by_tag(&self.repository.tags.tag(&self.bad)).await;
        found.map_err(|error| not_marked(&error))
    }
}

fn not_marked(error: &crate::Error) -> Done {
    Done::new(Evidence::new("not marked: GitHub does not answer").fact("GitHub", error.to_string(), false).left_open())
}

impl Step for MarkRelease {
    fn id(&self) -> &'static str {
        "mark-release"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Mark the GitHub Release {} as rolled back", self.bad)
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<std::time::Duration> {
        Some(std::time::Duration::from_secs(600))
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            Ok(match self.release().await {
                Err(done) => Probe::Done(done),
                Ok(None) => Probe::Done(Done::said(format!("{} has none", self.bad))),
                Ok(Some(release)) if release.body.as_deref().unwrap_or_default().starts_with(MARK) => {
                    Probe::Done(Done::new(Evidence::new("marked").link(release.url)))
                }
                Ok(Some(_)) => Probe::NotYet("not marked".to_owned()),
            })
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let release = match self.release().await {
                Err(done) => return Ok(Act::Done(done)),
                Ok(None) => return Ok(Act::Waiting { note: String::new() }),
                Ok(Some(release)) => release,
            };
            let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
            let when = io.now().strftime("%Y-%m-%d %H:%M UTC");
            let body = release.body.unwrap_or_default();
            let body = format!("{MARK} to {} on {when}{reason}\n\n{body}", self.target);
            let name = release.name.unwrap_or_else(|| self.bad.to_string());
            Ok(match self.github.update_release(release.id, &name, &body).await {
                Ok(_) => Act::Waiting { note: String::new() },
                Err(error) => Act::Done(not_marked(&error)),
            })
        })
    }
}
