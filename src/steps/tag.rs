//! The release tag: annotated, on the candidate's commit, pushed as one ref, never moved.

use std::sync::Arc;

use crate::adapters::git::{Git, Pushed, RemoteRef};
use crate::config::model::Repository;
use crate::domain::{CommitSha, Evidence, Version};
use crate::engine::{Act, BoxFuture, Candidate, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Result};

/// Makes and pushes the tag. Pushing it starts the production workflow: this is the release's one-way door.
pub struct Tag {
    pub git: Arc<Git>,
    pub repository: Repository,
    /// The annotation's text after "Release v1.2.0".
    pub summary: String,
}

impl Tag {
    fn done(&self, version: &Version, commit: &CommitSha, how: &str) -> Done {
        Done::new(
            Evidence::new(how)
                .from(format!("{} on {}", self.repository.tags.tag(version), self.repository.remote))
                .fact("commit", commit.as_str(), None),
        )
    }
}

impl Step for Tag {
    fn id(&self) -> &'static str {
        "tag"
    }

    fn title(&self, facts: &Facts) -> String {
        match (&facts.version, &facts.candidate) {
            (Some(version), Some(Candidate { commit, .. })) => {
                format!("Tag {} on {}", self.repository.tags.tag(version), commit.short())
            }
            _ => "Tag the release".to_owned(),
        }
    }

    fn effect(&self) -> Effect {
        Effect::OneWay
    }

    fn probe<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let version = super::version(facts)?;
            let commit = &super::candidate(facts)?.commit;
            Ok(match self.git.remote_tag(version).await? {
                None => Probe::NotYet("not tagged".to_owned()),
                Some(tag) if tag.commit() == commit.as_str() => {
                    Probe::Done(self.done(version, commit, "the tag is on the remote"))
                }
                Some(tag) => Probe::Conflict(elsewhere(&tag, commit)),
            })
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let version = super::version(facts)?;
            let commit = &super::candidate(facts)?.commit;
            self.tag_here(version, commit).await?;
            let pushed = self.push(version, commit).await?;
            let how = match pushed {
                Pushed::New | Pushed::Moved => "pushed",
                Pushed::UpToDate => "the tag is on the remote",
            };
            Ok(Act::Done(self.done(version, commit, how)))
        })
    }
}

impl Tag {
    /// The local tag; one that an earlier, dead try of ours left on the same commit is used as it is.
    async fn tag_here(&self, version: &Version, commit: &CommitSha) -> Result<()> {
        match self.git.local_tag(version)? {
            Some((found, true)) if found == *commit => Ok(()),
            Some((found, _)) => Err(Error::outside(format!(
                "a local tag {} exists on {}, and it was never pushed",
                self.repository.tags.tag(version),
                found.short()
            ))
            .class(crate::error::Class::NeedsHuman)
            .hint(format!("if it is a leftover: git tag -d {}", self.repository.tags.tag(version)))),
            None => {
                let message = format!("Release {version}: {}", self.summary);
                self.git.create_tag(version, commit, &message).await
            }
        }
    }

    /// Pushes; a push that failed on the way is repeated only after the remote was seen without the tag.
    async fn push(&self, version: &Version, commit: &CommitSha) -> Result<Pushed> {
        let act = async || self.git.push_tag(version).await;
        let effect = async || {
            let there = self.git.remote_tag(version).await?;
            Ok(there.filter(|tag| tag.commit() == commit.as_str()).map(|_| Pushed::UpToDate))
        };
        let pushed = crate::adapters::retry::Retry::default().write(act, effect).await;
        if pushed.is_err() && self.git.remote_tag(version).await.is_ok_and(|tag| tag.is_none()) {
            // Nothing reached the remote: leave no tag here that a later `git push --tags` would carry there.
            self.git.delete_local_tag(version, commit).await?;
        }
        pushed
    }
}

fn elsewhere(tag: &RemoteRef, commit: &CommitSha) -> String {
    let there: String = tag.commit().chars().take(7).collect();
    format!("{} already exists on {there}, not on {}; a release tag is never moved", tag.name, commit.short())
}
