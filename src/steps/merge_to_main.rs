//! The hotfix comes back to main: merged in a scratch work tree and pushed, or by a pull request where main takes no pushes.

use std::sync::Arc;

use crate::adapters::git::{Git, Merged};
use crate::adapters::github::{GitHub, NewPull, Pull};
use crate::config::model::Repository;
use crate::domain::{CommitSha, Evidence, RunId, count};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};

use super::TRAILER;

/// How often the merge is made anew after others were faster.
const RACES: u32 = 8;
/// Conflicting files named in a message; the rest is counted.
const SHOWN: usize = 10;

/// Merges the candidate's commit to the main branch.
pub struct MergeToMain {
    pub git: Arc<Git>,
    pub github: GitHub,
    pub repository: Repository,
    /// The hotfix's branch, short name; it is on the remote by now.
    pub branch: String,
    /// `None` on a dry run.
    pub run: Option<RunId>,
}

impl MergeToMain {
    /// Whether main has it: in its history, or by a pull request that GitHub squashed or rebased.
    async fn there(&self, commit: &CommitSha) -> Result<Option<Done>> {
        self.git.fetch().await?;
        let main = &self.repository.main;
        if self.git.is_ancestor(commit, &self.git.main_tip()?)? {
            let evidence = Evidence::new(format!("{} is in {main}", commit.short()));
            return Ok(Some(Done::new(evidence.fact("commit", commit.as_str(), None))));
        }
        let pull = self.github.merged_pull(&self.branch, main, commit).await?;
        Ok(pull.map(|pull| {
            Done::new(Evidence::new(format!("merged to {main} by pull request {}", pull.number)).link(pull.url))
        }))
    }

    fn message(&self, facts: &Facts) -> Result<String> {
        let version = super::version(facts)?;
        let run = self.run.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(format!("Merge {} ({version}) into {}\n\n{TRAILER}: {run}\n", self.branch, self.repository.main))
    }

    async fn merge(&self, facts: &Facts, io: &StepIo) -> Result<Done> {
        let (commit, main) = (&super::candidate(facts)?.commit, &self.repository.main);
        for race in 0..RACES {
            let merged = match self.git.merge(&self.git.main_tip()?, commit, &self.message(facts)?).await? {
                Merged::Commit(merged) => merged,
                Merged::Conflicts(files) => return Err(self.conflict(&files, commit, facts)),
            };
            match self.git.push_branch(&merged, main).await {
                Ok(_) => {
                    let evidence = Evidence::new(format!("{} merges it", merged.short())).from(main.clone());
                    return Ok(Done::new(evidence.fact("commit", merged.as_str(), None)));
                }
                Err(error) if error.is_conflict() && race + 1 < RACES => {
                    io.say(format!("{main} moved on; merging anew"));
                    if let Some(done) = self.there(commit).await? {
                        return Ok(done);
                    }
                }
                Err(error) if error.classified() == Class::Denied => return Err(self.by_pull(error, facts).await),
                Err(error) => return Err(error),
            }
        }
        Err(Error::outside(format!("{main} kept moving while we pushed")).hint("gospel-release resume"))
    }

    /// A person must merge: nothing is half done, and these are the commands.
    fn conflict(&self, files: &[String], commit: &CommitSha, facts: &Facts) -> Error {
        let Repository { remote, main, .. } = &self.repository;
        let name = self.branch.replace('/', "-");
        let error = Error::new(Kind::Waiting, format!("{} and {main} change the same lines", self.branch))
            .class(Class::NeedsHuman);
        let error = files.iter().take(SHOWN).fold(error, |error, path| error.seen(format!("conflict in {path}")));
        let more = files.len().saturating_sub(SHOWN);
        let error = if more > 0 { error.seen(format!("and in {} more", count(more, "file"))) } else { error };
        error
            .seen(format!("{main} was not touched, nor was your work tree. {}", done_so_far(facts)))
            .hint(format!("git fetch {remote} {main} {}", self.branch))
            .hint(format!("git switch --create merge-{name} {remote}/{main}"))
            .hint(format!("git merge {commit}"))
            .hint("resolve the conflicts, then: git commit --all --no-edit")
            .hint(format!("git push {remote} HEAD:{main}"))
            .hint(format!(
                "where {main} takes no pushes: git push {remote} HEAD:{}, and open a pull request from it",
                self.branch
            ))
            .hint("gospel-release resume")
    }

    /// Main takes no pushes: a pull request asks for the merge.
    async fn by_pull(&self, refused: Error, facts: &Facts) -> Error {
        let pull = match self.open(facts).await {
            Ok(pull) => pull,
            Err(error) => {
                let both = format!("and no pull request could be opened: {error}");
                return error.hints().iter().cloned().fold(refused.class(Class::NeedsHuman).seen(both), Error::hint);
            }
        };
        let main = &self.repository.main;
        let waiting = Error::new(Kind::Waiting, format!("pull request {} waits to be merged to {main}", pull.number))
            .class(Class::NeedsHuman)
            .seen(pull.url.clone());
        let waiting = refused.evidence().iter().cloned().fold(waiting, Error::seen);
        waiting
            .seen(done_so_far(facts))
            .hint(format!("have it reviewed and merged: {}", pull.url))
            .hint("then: gospel-release resume")
    }

    async fn open(&self, facts: &Facts) -> Result<Pull> {
        let version = super::version(facts)?;
        let tag = self.repository.tags.tag(version);
        let body = format!(
            "`{}` is in production as {version} (`{tag}`). This brings it to `{}`, so that the next release has it too.\n\n\
             Opened by gospel-release{}.\n",
            self.branch,
            self.repository.main,
            self.run.as_ref().map_or(String::new(), |run| format!(", run {run}")),
        );
        let new = NewPull {
            head: self.branch.clone(),
            base: self.repository.main.clone(),
            title: format!("Merge {} ({version}) into {}", self.branch, self.repository.main),
            body,
        };
        self.github.open_pull(&new).await
    }
}

fn done_so_far(facts: &Facts) -> String {
    facts
        .version
        .as_ref()
        .map_or(String::new(), |version| format!("{version} is tagged, and its workflow run is over."))
}

impl Step for MergeToMain {
    fn id(&self) -> &'static str {
        "merge"
    }

    fn title(&self, facts: &Facts) -> String {
        let commit =
            facts.candidate.as_ref().map_or(String::new(), |candidate| format!(" ({})", candidate.commit.short()));
        format!("Merge {}{commit} to {}", self.branch, self.repository.main)
    }

    fn effect(&self) -> Effect {
        Effect::OneWay
    }

    fn probe<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let commit = &super::candidate(facts)?.commit;
            if let Some(done) = self.there(commit).await? {
                return Ok(Probe::Done(done));
            }
            Ok(Probe::NotYet(format!("{} is not in {}", commit.short(), self.repository.main)))
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move { self.merge(facts, io).await.map(Act::Done) })
    }
}
