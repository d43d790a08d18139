//! Our own commit to the production overlay: exactly the lines of the images that change, and no other byte.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::adapters::git::Git;
use crate::adapters::github::{GitHub, NewPull, Pull};
use crate::adapters::retry::within;
use crate::config::Config;
use crate::domain::{CommitSha, Evidence, OverlayImage, RunId, count, with_images};
use crate::engine::{Act, BoxFuture, Done, Effect, Fact, Facts, Probe, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};

/// How often the commit is made anew after others were faster.
const RACES: u32 = 8;
/// How long Git is waited for where the commit may come later (wall time).
const LATER: Duration = Duration::from_secs(20);
/// How far back our own commit is looked for.
const HISTORY: usize = 500;
/// Trailer by which our commit is found again.
pub const TRAILER: &str = "Gospel-Run";

/// Commits the change of [`Facts::change`] to the main branch.
#[derive(Clone)]
pub struct ChangeOverlay {
    pub git: Arc<Git>,
    pub config: Config,
    /// `None` on a dry run.
    pub run: Option<RunId>,
    /// First line of the commit message: `revert(production): roll back to v1.1.0`.
    pub subject: String,
    /// Whether a Git that does not answer is left for later: production was changed without it, and that is a debt.
    pub later: bool,
    /// Where main takes no pushes, a pull request brings the commit.
    pub by_pull: ByPull,
    /// What the look found is what the act writes, where main is still the same.
    pub last: LastEdit,
}

/// The way to a main that takes no pushes.
#[derive(Clone)]
pub struct ByPull {
    pub github: GitHub,
    /// What the branch (short name) that carries the commit begins with; then comes the overlay's last commit. So it is the same
    /// whenever the same is wanted, one pull request is opened, and another incident's is not taken for it.
    pub branch: String,
}

/// The last edit of the overlay, and of what it was one: a file of many images takes its time.
#[derive(Clone, Default)]
pub struct LastEdit(Arc<Mutex<Option<Edit>>>);

#[derive(Clone)]
struct Edit {
    tip: CommitSha,
    images: BTreeMap<String, OverlayImage>,
    now: Vec<u8>,
    wanted: Vec<u8>,
}

impl ChangeOverlay {
    /// What the entries of the affected images shall say, by the name that the base uses.
    fn wanted(&self, facts: &Facts) -> Result<BTreeMap<String, OverlayImage>> {
        let by_name = self.config.service_map();
        let change = super::change(facts)?;
        let entry = |(service, image): (&_, &crate::engine::NewImage)| {
            let service = by_name.get(service)?;
            Some((self.config.image_of(service), image.entry.clone()))
        };
        Ok(change.images.iter().filter_map(entry).collect())
    }

    /// The overlay at main's tip, as it is and as it shall be.
    fn edit(&self, facts: &Facts) -> Result<(CommitSha, Vec<u8>, Vec<u8>)> {
        let tip = self.git.main_tip()?;
        let images = self.wanted(facts)?;
        let mut last = self.last.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(edit) = last.as_ref().filter(|edit| edit.tip == tip && edit.images == images) {
            return Ok((tip, edit.now.clone(), edit.wanted.clone()));
        }
        let path = self.config.production.kustomization();
        let now = self.git.file_at(&tip, &path)?.ok_or_else(|| {
            Error::config(format!("{path} is not on {}", self.config.repository.main)).hint("check production.overlay")
        })?;
        let wanted = with_images(&now, &images).map_err(|error| error.context(format!("edit {path}")))?;
        *last = Some(Edit { tip: tip.clone(), images, now: now.clone(), wanted: wanted.clone() });
        Ok((tip, now, wanted))
    }

    /// The commit that made the overlay as it shall be: ours, or whoever's it was.
    fn made_by(&self, tip: &CommitSha) -> Result<CommitSha> {
        if let Some(run) = &self.run
            && let Some(ours) = self.git.find_trailer(tip, TRAILER, run.as_str(), HISTORY)?
        {
            return Ok(ours);
        }
        self.last_change(tip)
    }

    /// The commit that made the overlay what it is at `tip`.
    fn last_change(&self, tip: &CommitSha) -> Result<CommitSha> {
        let last = self.git.path_history(&self.config.production.kustomization(), tip, 1)?;
        Ok(last.into_iter().next().map_or_else(|| tip.clone(), |change| change.commit.sha))
    }

    fn message(&self, facts: &Facts) -> Result<String> {
        let change = super::change(facts)?;
        let reason = if change.reason.is_empty() { "not given" } else { &change.reason };
        let run = self.run.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(format!("{}\n\nReason: {reason}\n\n{TRAILER}: {run}\n", self.subject))
    }

    fn done(&self, commit: CommitSha, lines: usize) -> Done {
        let what = if lines == 0 { "the overlay says so already".to_owned() } else { count(lines, "changed line") };
        let evidence = Evidence::new(format!("{} {what}", commit.short()))
            .from(format!("{} on {}", self.config.production.kustomization(), self.config.repository.main))
            .fact("commit", commit.as_str(), None);
        Done::new(evidence).learn(Fact::OverlayCommit(commit))
    }

    /// Fetches; `Ok(Some(…))` is an answer where Git does not answer and may come later.
    async fn fetched(&self) -> Result<Option<Done>> {
        let fetched = if self.later { within("Git", LATER, self.git.fetch()).await } else { self.git.fetch().await };
        match fetched {
            Ok(()) => Ok(None),
            Err(error) if self.later => Ok(Some(Done::left(format!("left for later: {error}")))),
            Err(error) => Err(error),
        }
    }

    async fn commit(&self, facts: &Facts, io: &StepIo) -> Result<Done> {
        for race in 0..RACES {
            let (tip, now, wanted) = self.edit(facts)?;
            if now == wanted {
                return Ok(self.done(self.made_by(&tip)?, 0));
            }
            let commit = self
                .git
                .commit_file(&tip, &self.config.production.kustomization(), &wanted, &self.message(facts)?)
                .await?;
            match self.git.push_branch(&commit, &self.config.repository.main).await {
                Ok(_) => return Ok(self.done(commit, changed_lines(&now, &wanted))),
                Err(error) if error.is_conflict() && race + 1 < RACES => {
                    io.say(format!("{} moved on; making the commit anew", self.config.repository.main));
                    self.git.fetch().await?;
                }
                Err(error) if error.classified() == Class::Denied => {
                    return Err(self.protected(error, &commit, facts).await);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::outside(format!("{} kept moving while we pushed", self.config.repository.main))
            .hint("gospel-release resume"))
    }

    async fn protected(&self, error: Error, commit: &CommitSha, facts: &Facts) -> Error {
        let main = &self.config.repository.main;
        let seen: Vec<String> = error.evidence().to_vec();
        let (pull, unopened) = match self.pull(commit, facts).await {
            Ok(pull) => (Some(pull), None),
            Err(failed) => (None, Some(format!("and no pull request could be opened: {failed}"))),
        };
        let brings = pull.as_ref().map_or(String::new(), |pull| {
            format!("; pull request {} brings it once it is merged: {}", pull.number, pull.url)
        });
        let refused = Error::new(Kind::Waiting, format!("{main} does not take our commit: {error}{brings}"))
            .class(Class::NeedsHuman)
            .seen(super::still_serves(facts));
        let refused = seen.into_iter().chain(unopened).fold(refused, Error::seen);
        let refused = match pull {
            Some(pull) => refused.hint(format!("have {} merged, then: gospel-release resume", pull.url)),
            None => refused,
        };
        refused
            .hint("have somebody who may bypass the rule run: gospel-release resume --takeover")
            .hint("or past Git, at once, the same command again with --direct --pause-sync: it closes this run")
    }
}

impl ChangeOverlay {
    /// The pull request of the commit, opened or found open.
    async fn pull(&self, commit: &CommitSha, facts: &Facts) -> Result<Pull> {
        let last = self.last_change(&self.git.main_tip()?)?;
        let branch = format!("{}-{}", self.by_pull.branch, last.short());
        match self.git.push_branch(commit, &branch).await {
            Ok(_) => {}
            // An earlier try of the same images is there.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        let body = format!(
            "This puts the images into `{}`, as production is to run them.\n\nReason: {}\n\nOpened by gospel-release{}.\n",
            self.config.production.kustomization(),
            super::change(facts)?.reason,
            self.run.as_ref().map_or(String::new(), |run| format!(", run {run}")),
        );
        let new =
            NewPull { head: branch, base: self.config.repository.main.clone(), title: self.subject.clone(), body };
        self.by_pull.github.open_pull(&new).await
    }
}

/// Lines that differ, as a diff would count them: those of the new text that the old one has not at this place.
fn changed_lines(old: &[u8], new: &[u8]) -> usize {
    let old: Vec<&[u8]> = old.split(|byte| *byte == b'\n').collect();
    let new: Vec<&[u8]> = new.split(|byte| *byte == b'\n').collect();
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    if old.len() == new.len() { old.iter().zip(new).filter(|(a, b)| a != b).count() } else { old.len().max(new.len()) }
}

impl Step for ChangeOverlay {
    fn id(&self) -> &'static str {
        "commit"
    }

    fn title(&self, facts: &Facts) -> String {
        match facts.change.as_ref().map_or(0, |change| change.images.len()) {
            // They are not built yet.
            0 => "Commit the images to the production overlay".to_owned(),
            images => format!("Commit {} to the production overlay", count(images, "image")),
        }
    }

    fn effect(&self) -> Effect {
        Effect::OneWay
    }

    fn probe<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            if let Some(later) = self.fetched().await? {
                return Ok(Probe::Done(later));
            }
            let (tip, now, wanted) = self.edit(facts)?;
            if now == wanted {
                return Ok(Probe::Done(self.done(self.made_by(&tip)?, 0)));
            }
            Ok(Probe::NotYet(format!(
                "{} to change in {}",
                count(changed_lines(&now, &wanted), "line"),
                self.config.production.kustomization()
            )))
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            match self.commit(facts, io).await {
                Ok(done) => Ok(Act::Done(done)),
                Err(error) if self.later && (error.is_transient() || error.classified() == Class::NeedsHuman) => {
                    Ok(Act::Done(Done::left(format!("left for later: {error}"))))
                }
                Err(error) => Err(error),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_a_person_would() {
        assert_eq!(changed_lines(b"a\nb\nc\n", b"a\nB\nc\n"), 1);
        assert_eq!(changed_lines(b"a\nb\nc\n", b"a\nB\nc\nd\n"), 3);
        assert_eq!(changed_lines(b"a\nb\nc\n", b"a\nc\n"), 1);
        assert_eq!(changed_lines(b"a\n", b"a\n"), 0);
    }
}
