//! The hotfix's branch on the remote: what production will run must not be on one laptop only.

use std::sync::Arc;

use crate::adapters::git::Git;
use crate::domain::{CommitSha, Evidence};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};

/// Pushes the candidate's commit to a branch, never forced.
pub struct PushBranch {
    pub git: Arc<Git>,
    pub branch: String,
    /// Whether a Git that does not answer is left for later: production is changed without it.
    pub later: bool,
}

impl PushBranch {
    async fn there(&self) -> Result<Option<CommitSha>> {
        let name = format!("refs/heads/{}", self.branch);
        let found = self.git.remote_refs(&name).await?;
        found.iter().find(|found| found.name == name).map(|found| found.sha.parse()).transpose()
    }

    /// Whether main or a release tag has the commit: then its branch may be deleted, as people do after a merge.
    async fn kept(&self, commit: &CommitSha) -> Result<bool> {
        self.git.fetch().await?;
        if !self.git.has(commit) {
            return Ok(false);
        }
        if self.git.release_tags()?.iter().any(|tag| tag.commit == *commit) {
            return Ok(true);
        }
        self.git.is_ancestor(commit, &self.git.main_tip()?)
    }
}

/// A run that goes on in another checkout, before its branch was pushed.
fn only_elsewhere(branch: &str, commit: &CommitSha) -> Error {
    let what = format!("{branch} was not pushed, and {} is not in this checkout", commit.short());
    Error::new(Kind::Waiting, what)
        .class(Class::NeedsHuman)
        .seen("Production runs what it ran. The commit is where the hotfix was made.")
        .hint("there: gospel-release resume")
        .hint(format!("or there: git push origin {branch}, and then here: gospel-release resume"))
}

fn on_the_remote(commit: &CommitSha) -> Done {
    Done::new(Evidence::new("on the remote").fact("commit", commit.as_str(), None))
}

fn left(error: &Error) -> Done {
    Done::left(format!("left for later: {error}"))
}

impl Step for PushBranch {
    fn id(&self) -> &'static str {
        "branch"
    }

    fn title(&self, facts: &Facts) -> String {
        let at =
            facts.candidate.as_ref().map_or(String::new(), |candidate| format!(" at {}", candidate.commit.short()));
        format!("Push {}{at}", self.branch)
    }

    fn effect(&self) -> Effect {
        Effect::OneWay
    }

    fn probe<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let commit = &super::candidate(facts)?.commit;
            let there = match self.there().await {
                Ok(there) => there,
                Err(error) if self.later => return Ok(Probe::Done(left(&error))),
                Err(error) => return Err(error),
            };
            if there.is_some() && !self.git.has(commit) {
                self.git.fetch_branch(&self.branch).await?;
            }
            Ok(match there {
                None if self.kept(commit).await? => {
                    Probe::Done(Done::said("it is gone from the remote, which has its commit all the same"))
                }
                None if !self.git.has(commit) => return Err(only_elsewhere(&self.branch, commit)),
                None => Probe::NotYet("not on the remote".to_owned()),
                Some(there) if there == *commit => Probe::Done(on_the_remote(commit)),
                Some(there) if !self.git.has(&there) => Probe::Conflict(format!(
                    "somebody has pushed {} to it; bring that in first (git pull --rebase), then ship again",
                    there.short()
                )),
                // The commit itself, or later ones on top of it.
                Some(there) if self.git.is_ancestor(commit, &there)? => Probe::Done(on_the_remote(&there)),
                Some(there) if self.git.is_ancestor(&there, commit)? => {
                    Probe::NotYet(format!("it is at {}", there.short()))
                }
                Some(there) => Probe::Conflict(format!(
                    "the remote has {} there, which this hotfix does not contain; ship under another name",
                    there.short()
                )),
            })
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let commit = &super::candidate(facts)?.commit;
            match self.git.push_branch(commit, &self.branch).await {
                Ok(_) => Ok(Act::Done(Done::new(Evidence::new("pushed").fact("commit", commit.as_str(), None)))),
                Err(error) if self.later => Ok(Act::Done(left(&error))),
                Err(error) => Err(error),
            }
        })
    }
}
