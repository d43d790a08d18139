//! Telling people: the GitHub Release and the webhook.

use crate::adapters::github::{GitHub, NewRelease};
use crate::adapters::webhook;
use crate::config::model::Repository;
use crate::domain::Evidence;
use crate::engine::{Act, BoxFuture, Done, Effect, Fact, Facts, Probe, Step, StepIo};
use crate::error::Result;

/// Publishes the GitHub Release with its notes.
pub struct AnnounceRelease {
    pub github: GitHub,
    pub repository: Repository,
    /// Markdown: what changed.
    pub notes: String,
}

impl Step for AnnounceRelease {
    fn id(&self) -> &'static str {
        "release"
    }

    fn title(&self, facts: &Facts) -> String {
        facts
            .version
            .as_ref()
            .map_or_else(|| "GitHub Release".to_owned(), |version| format!("GitHub Release {version}"))
    }

    fn effect(&self) -> Effect {
        Effect::OneWay
    }

    fn probe<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let tag = self.repository.tags.tag(super::version(facts)?);
            Ok(match self.github.release_by_tag(&tag).await? {
                Some(release) => Probe::Done(published(release.url)),
                None => Probe::NotYet("not published".to_owned()),
            })
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let version = super::version(facts)?;
            let latest = self.github.latest_release().await?;
            let newer =
                latest.and_then(|latest| self.repository.tags.version(&latest.tag)).filter(|latest| latest > version);
            let release = self
                .github
                .create_release(&NewRelease {
                    tag: self.repository.tags.tag(version),
                    commit: super::candidate(facts)?.commit.clone(),
                    name: version.to_string(),
                    body: self.notes.clone(),
                    // A hotfix of an older release is not the latest one.
                    latest: newer.is_none(),
                })
                .await?;
            Ok(Act::Done(published(release.url)))
        })
    }
}

fn published(url: String) -> Done {
    Done::new(Evidence::new(url.clone()).link(url.clone())).learn(Fact::ReleaseUrl(url))
}

/// What the team is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Released,
    RolledBack,
    Hotfixed,
}

impl News {
    fn text(self, project: &str, facts: &Facts) -> Result<String> {
        let why = facts.change.as_ref().map(|change| change.reason.as_str()).filter(|reason| !reason.is_empty());
        let why = why.map_or(String::new(), |reason| format!(" Reason: {reason}."));
        Ok(match self {
            Self::Released => {
                let link = facts.release_url.as_ref().map_or(String::new(), |url| format!(" {url}"));
                format!("{project} {} is in production.{link}", super::version(facts)?)
            }
            Self::RolledBack => {
                let version = super::version(facts)?;
                let from = facts.previous.as_ref().map_or(String::new(), |bad| format!(" from {bad}"));
                let change = super::change(facts)?;
                if change.whole {
                    format!("{project} was rolled back{from} to {version}.{why}")
                } else {
                    let names: Vec<&str> = change.images.keys().map(crate::domain::ServiceName::as_str).collect();
                    format!("{project}: {} went back{from} to {version}.{why}", names.join(", "))
                }
            }
            Self::Hotfixed => {
                let names = super::change(facts)?.images.keys().map(ToString::to_string).collect::<Vec<_>>();
                format!("{project}: a hotfix of {} is in production.{why}", names.join(", "))
            }
        })
    }
}

/// Posts to the team's channel. Nobody can ask a webhook whether it was called, so it is called at most once.
pub struct AnnounceWebhook {
    pub http: reqwest::Client,
    /// Secret: whoever has it can post. Or why there is none here.
    pub url: Result<String, String>,
    pub project: String,
    pub news: News,
}

impl Step for AnnounceWebhook {
    fn id(&self) -> &'static str {
        "webhook"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Tell the team".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::OneWay
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            if io.intended {
                return Ok(Probe::Done(Done::said(
                    "an earlier process was about to post it; not posted twice (look at the channel)",
                )));
            }
            Ok(Probe::NotYet("not posted".to_owned()))
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let url = match &self.url {
                Ok(url) => url,
                Err(why) => return Ok(Act::Done(Done::left(format!("not posted: {why}")))),
            };
            let text = self.news.text(&self.project, facts)?;
            // The release is done; a channel that does not answer must not make it a failure.
            Ok(Act::Done(match webhook::post(&self.http, url, &text).await {
                Ok(()) => Done::said("posted"),
                Err(error) => {
                    Done::new(Evidence::new("not posted").fact("webhook", error.to_string(), false).left_open())
                }
            }))
        })
    }
}
