//! The GitHub Release of a rolled-back version says so, until production runs it again.

use jiff::Timestamp;

use crate::adapters::github::{GitHub, Release};
use crate::config::model::Repository;
use crate::domain::{Evidence, Version};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::Result;

/// Words by which a marked Release is known.
const MARK: &str = "**Rolled back**";

/// What a Release shall say.
pub enum Mark {
    /// Production went back from it.
    RolledBack { to: Version, reason: String },
    /// Production runs it again: it is not marked any more.
    RunsAgain,
}

/// Marks a Release, or takes its mark away. The rollback is done by now: a GitHub that does not answer is told, and is no failure.
pub struct MarkRelease {
    pub github: GitHub,
    pub repository: Repository,
    pub version: Version,
    pub mark: Mark,
}

impl MarkRelease {
    async fn release(&self) -> std::result::Result<Option<Release>, Done> {
        let found = self.github.release_by_tag(&self.repository.tags.tag(&self.version)).await;
        found.map_err(|error| unchanged(&error))
    }

    /// Its text as it shall be; `None` where it is so.
    fn wanted(&self, release: &Release, now: Timestamp) -> Option<String> {
        let body = release.body.as_deref();
        match (&self.mark, unmarked(body)) {
            (Mark::RolledBack { .. }, Some(_)) | (Mark::RunsAgain, None) => None,
            (Mark::RunsAgain, Some(rest)) => Some(rest.to_owned()),
            (Mark::RolledBack { to, reason }, None) => {
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                let when = now.strftime("%Y-%m-%d %H:%M UTC");
                Some(format!("{MARK} to {to} on {when}{reason}\n\n{}", body.unwrap_or_default()))
            }
        }
    }
}

fn unchanged(error: &crate::Error) -> Done {
    Done::new(
        Evidence::new("left as it is: GitHub does not answer").fact("GitHub", error.to_string(), false).left_open(),
    )
}

/// A Release's text without the mark, where it has one.
fn unmarked(body: Option<&str>) -> Option<&str> {
    let marked = body?.strip_prefix(MARK)?;
    Some(marked.split_once("\n\n").map_or("", |(_, rest)| rest))
}

impl Step for MarkRelease {
    fn id(&self) -> &'static str {
        match self.mark {
            Mark::RolledBack { .. } => "mark-release",
            Mark::RunsAgain => "unmark-release",
        }
    }

    fn title(&self, _facts: &Facts) -> String {
        match self.mark {
            Mark::RolledBack { .. } => format!("Mark the GitHub Release {} as rolled back", self.version),
            Mark::RunsAgain => format!("The GitHub Release {} is not marked as rolled back", self.version),
        }
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<std::time::Duration> {
        Some(std::time::Duration::from_secs(600))
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let said = match self.mark {
                Mark::RolledBack { .. } => ("marked", "not marked"),
                Mark::RunsAgain => ("not marked", "marked"),
            };
            Ok(match self.release().await {
                Err(done) => Probe::Done(done),
                Ok(None) => Probe::Done(Done::said(format!("{} has none", self.version))),
                Ok(Some(release)) if self.wanted(&release, io.now()).is_none() => {
                    Probe::Done(Done::new(Evidence::new(said.0).link(release.url)))
                }
                Ok(Some(_)) => Probe::NotYet(said.1.to_owned()),
            })
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let release = match self.release().await {
                Err(done) => return Ok(Act::Done(done)),
                Ok(release) => release,
            };
            let wanted = release.and_then(|release| Some((self.wanted(&release, io.now())?, release)));
            let Some((body, release)) = wanted else { return Ok(Act::Waiting { note: String::new() }) };
            let name = release.name.unwrap_or_else(|| self.version.to_string());
            Ok(match self.github.update_release(release.id, &name, &body).await {
                Ok(_) => Act::Waiting { note: String::new() },
                Err(error) => Act::Done(unchanged(&error)),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_the_first_paragraph_and_nothing_else() {
        let body = "What is new\n\nA faster search.";
        assert_eq!(unmarked(Some(&format!("{MARK} to v1.1.1 on 2025-03-04 09:00 UTC: slow\n\n{body}"))), Some(body));
        assert_eq!(unmarked(Some(&format!("{MARK} to v1.1.1"))), Some(""));
        assert_eq!((unmarked(Some(body)), unmarked(None)), (None, None));
    }
}
