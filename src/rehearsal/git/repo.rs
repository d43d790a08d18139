//! A bare repository, and the few questions and changes that the rehearsal needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use git2::{ObjectType, Oid, Signature, Sort};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::overlay;
use crate::domain::Digest;
use crate::error::{Class, Error, Result};
use crate::rehearsal::world::Build;

/// The hosting's one repository. Every change goes through compare-and-swap on the ref, as the `git` programs that
/// serve its clients do: the two may work side by side.
pub struct Repo {
    path: PathBuf,
    git: Mutex<git2::Repository>,
    changed: watch::Sender<u64>,
    /// Held while a push is received: one at a time, so that refs can be compared before and after.
    pub(super) receiving: tokio::sync::Mutex<()>,
    pub(super) races: Races,
    interruption: Option<Build>,
}

/// Accidents that happen once each, where the scenario asks for them.
#[derive(Debug, Default)]
pub(super) struct Races {
    /// Somebody else's commit lands first, and the first push of a release tag is refused.
    pub push: AtomicBool,
    /// The workflow's push of the overlay commit is refused once.
    pub overlay: AtomicBool,
    /// Somebody else's commit lands on main as soon as anybody begins to push.
    pub main: AtomicBool,
    /// It has landed, and whoever began to push has not pushed anything yet.
    pub landed: AtomicBool,
}

/// Who, and when (world time).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    pub name: String,
    pub email: String,
    pub at: Timestamp,
}

/// One commit, as GitHub and people see it.
#[derive(Debug, Clone)]
pub struct CommitInfo {
    pub sha: String,
    pub tree: String,
    pub parents: Vec<String>,
    pub message: String,
    pub author: Author,
    pub committer: Author,
}

/// What a tag ref points at.
#[derive(Debug, Clone)]
pub struct TagInfo {
    /// The tag object's SHA; the commit's for a lightweight tag.
    pub sha: String,
    /// The commit behind it.
    pub commit: String,
    /// `None` for a lightweight tag.
    pub annotation: Option<(String, Author)>,
}

/// One file between two commits.
#[derive(Debug, Clone)]
pub struct FileChange {
    pub path: String,
    /// `added`, `removed` or `modified`.
    pub status: &'static str,
    pub blob: String,
    pub additions: usize,
    pub deletions: usize,
}

/// A ref before and after a push. `None`: it was not there, or is no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefChange {
    /// Full name: `refs/heads/main`.
    pub name: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

impl Author {
    pub fn new(name: impl Into<String>, email: impl Into<String>, at: Timestamp) -> Self {
        Self { name: name.into(), email: email.into(), at }
    }

    fn signature(&self) -> Result<Signature<'static>, git2::Error> {
        Signature::new(&self.name, &self.email, &git2::Time::new(self.at.as_second(), 0))
    }

    fn of(signature: &Signature<'_>) -> Self {
        Self {
            name: String::from_utf8_lossy(signature.name_bytes()).into_owned(),
            email: String::from_utf8_lossy(signature.email_bytes()).into_owned(),
            at: Timestamp::from_second(signature.when().seconds()).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

impl Repo {
    /// Makes an empty bare repository at `path` that `git http-backend` may serve, pushes included.
    pub fn init(path: &Path) -> Result<Self> {
        let make = || -> Result<git2::Repository, git2::Error> {
            let mut options = git2::RepositoryInitOptions::new();
            options.bare(true).initial_head("main").external_template(false);
            let git = git2::Repository::init_opts(path, &options)?;
            let mut config = git.config()?;
            config.set_bool("http.receivepack", true)?;
            config.set_bool("receive.denyNonFastForwards", true)?;
            config.set_bool("uploadpack.allowFilter", true)?;
            config.set_bool("uploadpack.allowAnySHA1InWant", true)?;
            config.set_bool("receive.autogc", false)?;
            config.set_bool("gc.auto", false)?;
            Ok(git)
        };
        let git = make().map_err(wrong(format!("make a repository in {}", path.display())))?;
        Ok(Self {
            path: path.to_owned(),
            git: Mutex::new(git),
            changed: watch::Sender::new(0),
            receiving: tokio::sync::Mutex::new(()),
            races: Races::default(),
            interruption: None,
        })
    }

    pub(super) fn with_races(self, armed: bool, main: bool) -> Self {
        self.races.push.store(armed, Ordering::Relaxed);
        self.races.overlay.store(armed, Ordering::Relaxed);
        self.races.main.store(main, Ordering::Relaxed);
        self
    }

    pub(super) fn with_interruption(mut self, build: Option<Build>) -> Self {
        self.interruption = build;
        self
    }

    /// The bare repository's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What staging ran instead of the candidate for half an hour, where the scenario interrupts the soak.
    #[must_use]
    pub fn interruption(&self) -> Option<&Build> {
        self.interruption.as_ref()
    }

    /// Whether the workflow's push of the overlay shall lose its race now; true once at most.
    #[must_use]
    pub fn overlay_push_loses(&self) -> bool {
        self.races.overlay.swap(false, Ordering::Relaxed)
    }

    /// Counts changes of refs, for those who wait for one.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn announce(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn git(&self) -> MutexGuard<'_, git2::Repository> {
        self.git.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The commit at a branch's tip.
    #[must_use]
    pub fn head(&self, branch: &str) -> Option<String> {
        self.git().refname_to_id(&format!("refs/heads/{branch}")).ok().map(|oid| oid.to_string())
    }

    /// The commit that a full SHA, an unambiguous short one, a branch, a tag or a full ref means.
    #[must_use]
    pub fn resolve(&self, rev: &str) -> Option<String> {
        if rev.is_empty() || rev.starts_with('-') || rev.contains(['~', '^', ':', '@', ' ']) {
            return None;
        }
        let git = self.git();
        let names = [rev.to_owned(), format!("refs/heads/{rev}"), format!("refs/tags/{rev}")];
        let by_name = names.iter().find_map(|name| git.find_reference(name).ok()?.peel_to_commit().ok());
        let short = || (rev.len() >= 7).then(|| git.find_commit_by_prefix(rev).ok()).flatten();
        by_name.or_else(short).map(|commit| commit.id().to_string())
    }

    /// Every ref below `prefix` (`refs/tags/`; `refs/` for all) and what it points at, tags not peeled.
    #[must_use]
    pub fn refs(&self, prefix: &str) -> BTreeMap<String, String> {
        let git = self.git();
        let Ok(references) = git.references() else { return BTreeMap::new() };
        let named = |reference: git2::Reference<'_>| {
            let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
            name.starts_with(prefix).then(|| reference.target().map(|oid| (name, oid.to_string()))).flatten()
        };
        references.filter_map(|reference| named(reference.ok()?)).collect()
    }

    /// The text of a file at a commit; `None` where it is not there or not UTF-8.
    #[must_use]
    pub fn file(&self, commit: &str, path: &str) -> Option<String> {
        let git = self.git();
        let tree = git.find_commit(Oid::from_str(commit).ok()?).ok()?.tree().ok()?;
        let blob = git.find_blob(tree.get_path(Path::new(path)).ok()?.id()).ok()?;
        String::from_utf8(blob.content().to_vec()).ok()
    }

    /// The names in a directory at a commit, sorted; empty where it is not there.
    #[must_use]
    pub fn list(&self, commit: &str, dir: &str) -> Vec<String> {
        let git = self.git();
        let names = || -> Option<Vec<String>> {
            let tree = git.find_commit(Oid::from_str(commit).ok()?).ok()?.tree().ok()?;
            let tree = git.find_tree(tree.get_path(Path::new(dir)).ok()?.id()).ok()?;
            Some(tree.iter().map(|entry| String::from_utf8_lossy(entry.name_bytes()).into_owned()).collect())
        };
        names().unwrap_or_default()
    }

    /// Whether `a` is `b` or one of its ancestors.
    #[must_use]
    pub fn is_ancestor(&self, a: &str, b: &str) -> bool {
        let (Ok(a), Ok(b)) = (Oid::from_str(a), Oid::from_str(b)) else { return false };
        a == b || self.git().graph_descendant_of(b, a).unwrap_or(false)
    }

    #[must_use]
    pub fn commit(&self, sha: &str) -> Option<CommitInfo> {
        let git = self.git();
        let commit = git.find_commit(Oid::from_str(sha).ok()?).ok()?;
        Some(describe(&commit))
    }

    /// The commits reachable from `from` and not from `without`, newest first, at most `limit`.
    #[must_use]
    pub fn log(&self, from: &str, without: Option<&str>, limit: usize) -> Vec<CommitInfo> {
        let git = self.git();
        let walk = || -> Result<Vec<CommitInfo>, git2::Error> {
            let mut walk = git.revwalk()?;
            walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
            walk.push(Oid::from_str(from)?)?;
            if let Some(without) = without {
                walk.hide(Oid::from_str(without)?)?;
            }
            walk.take(limit).map(|oid| Ok(describe(&git.find_commit(oid?)?))).collect()
        };
        walk().unwrap_or_default()
    }

    /// The best common ancestor of two commits.
    #[must_use]
    pub fn merge_base(&self, a: &str, b: &str) -> Option<String> {
        let git = self.git();
        git.merge_base(Oid::from_str(a).ok()?, Oid::from_str(b).ok()?).ok().map(|oid| oid.to_string())
    }

    /// The paths in which two commits differ, each with `added`, `removed` or `modified`.
    #[must_use]
    pub fn differing(&self, a: &str, b: &str) -> Vec<(String, &'static str)> {
        self.changes(a, b).into_iter().map(|file| (file.path, file.status)).collect()
    }

    /// The files in which two commits differ, with their lines counted.
    #[must_use]
    pub fn changes(&self, a: &str, b: &str) -> Vec<FileChange> {
        let git = self.git();
        let diff = || -> Result<Vec<FileChange>, git2::Error> {
            let tree = |sha: &str| git.find_commit(Oid::from_str(sha)?)?.tree();
            let diff = git.diff_tree_to_tree(Some(&tree(a)?), Some(&tree(b)?), None)?;
            (0..diff.deltas().len()).map(|n| file_change(&diff, n)).collect()
        };
        diff().unwrap_or_default()
    }

    /// A tag by its short name: `release/v1.1.1`.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<TagInfo> {
        let git = self.git();
        let reference = git.find_reference(&format!("refs/tags/{name}")).ok()?;
        let object = reference.target()?;
        let commit = reference.peel_to_commit().ok()?.id().to_string();
        let annotation = git.find_tag(object).ok().map(|tag| {
            let message = String::from_utf8_lossy(tag.message_bytes().unwrap_or_default()).into_owned();
            let tagger = tag.tagger().map(|tagger| Author::of(&tagger));
            (message, tagger.unwrap_or_else(|| Author::new("", "", Timestamp::UNIX_EPOCH)))
        });
        Some(TagInfo { sha: object.to_string(), commit, annotation })
    }

    /// Makes an annotated tag; an existing one is not moved.
    pub fn create_tag(&self, name: &str, commit: &str, message: &str, tagger: &Author) -> Result<()> {
        let git = self.git();
        let make = || {
            let target = git.find_object(Oid::from_str(commit)?, Some(ObjectType::Commit))?;
            git.tag(name, &target, &tagger.signature()?, message, false)
        };
        make().map_err(wrong(format!("make the tag {name}")))?;
        drop(git);
        self.announce();
        Ok(())
    }

    /// Writes `files` on top of a branch's tip (or as its first commit) and moves the branch. Returns the commit.
    ///
    /// # Errors
    /// [`Class::Conflict`] when somebody else moved the branch meanwhile.
    pub fn commit_files(&self, branch: &str, files: &[(&str, &str)], message: &str, author: &Author) -> Result<String> {
        let tip = self.head(branch);
        self.commit_on(branch, tip.as_deref(), files, message, author)
    }

    /// As [`Repo::commit_files`], on the tip that was seen before: [`Class::Conflict`] if the branch is elsewhere now.
    pub fn commit_on(
        &self,
        branch: &str,
        tip: Option<&str>,
        files: &[(&str, &str)],
        message: &str,
        author: &Author,
    ) -> Result<String> {
        let git = self.git();
        let make = || -> Result<Oid, git2::Error> {
            let parent = tip.map(|tip| git.find_commit(Oid::from_str(tip)?)).transpose()?;
            let base = match &parent {
                Some(parent) => parent.tree()?,
                None => git.find_tree(git.treebuilder(None)?.write()?)?,
            };
            let mut update = git2::build::TreeUpdateBuilder::new();
            for (path, content) in files {
                update.upsert(*path, git.blob(content.as_bytes())?, git2::FileMode::Blob);
            }
            let tree = git.find_tree(update.create_updated(&git, &base)?)?;
            let who = author.signature()?;
            let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
            let commit = git.commit(None, &who, &who, message, &tree, &parents)?;
            let name = format!("refs/heads/{branch}");
            match &parent {
                Some(parent) => git.reference_matching(&name, commit, true, parent.id(), message)?,
                None => git.reference(&name, commit, false, message)?,
            };
            Ok(commit)
        };
        let commit = make().map_err(wrong(format!("commit to {branch}")))?;
        drop(git);
        self.announce();
        Ok(commit.to_string())
    }

    /// Merges a commit into a branch with a merge commit, or, squashed, with one commit that has no trace of it. `None`: the branch
    /// has it already.
    ///
    /// # Errors
    /// [`Class::Conflict`] when the two change the same lines, or the branch moved meanwhile.
    pub fn merge(
        &self,
        branch: &str,
        commit: &str,
        message: &str,
        author: &Author,
        squash: bool,
    ) -> Result<Option<String>> {
        let tip = self.head(branch).ok_or_else(|| missing(format!("the branch {branch}")))?;
        if self.is_ancestor(commit, &tip) {
            return Ok(None);
        }
        let git = self.git();
        let make = || -> Result<Oid, git2::Error> {
            let ours = git.find_commit(Oid::from_str(&tip)?)?;
            let theirs = git.find_commit(Oid::from_str(commit)?)?;
            let mut index = git.merge_commits(&ours, &theirs, None)?;
            let tree = git.find_tree(index.write_tree_to(&git)?)?;
            let who = author.signature()?;
            let parents: &[&git2::Commit<'_>] = if squash { &[&ours] } else { &[&ours, &theirs] };
            let merged = git.commit(None, &who, &who, message, &tree, parents)?;
            git.reference_matching(&format!("refs/heads/{branch}"), merged, true, ours.id(), message)?;
            Ok(merged)
        };
        let merged = make().map_err(wrong(format!("merge into {branch}")))?;
        drop(git);
        self.announce();
        Ok(Some(merged.to_string()))
    }

    /// Whether two commits merge without a conflict.
    #[must_use]
    pub fn merges_cleanly(&self, ours: &str, theirs: &str) -> bool {
        let git = self.git();
        let merge = || -> Result<bool, git2::Error> {
            let commit = |sha: &str| git.find_commit(Oid::from_str(sha)?);
            Ok(!git.merge_commits(&commit(ours)?, &commit(theirs)?, None)?.has_conflicts())
        };
        merge().unwrap_or(false)
    }

    /// The Kubernetes objects of an overlay at a commit, rendered as `kustomize build` would.
    ///
    /// # Errors
    /// Anything of kustomize that this repository does not use: it is refused, never guessed.
    pub fn render(&self, commit: &str, overlay_path: &str) -> Result<Vec<Value>> {
        overlay::render(&|path| self.file(commit, path), overlay_path)
    }

    /// Sets tag and digest of images in an overlay's `kustomization.yaml`, by image name (`gospelib-gateway`), and
    /// commits it on the branch's tip; every other byte of the file stays. Returns the commit:
    /// the tip itself where nothing changes.
    pub fn set_overlay_images(
        &self,
        branch: &str,
        overlay_path: &str,
        images: &BTreeMap<String, (String, Digest)>,
        message: &str,
        author: &Author,
    ) -> Result<String> {
        let tip = self.head(branch).ok_or_else(|| missing(format!("the branch {branch}")))?;
        self.set_overlay_images_on(branch, &tip, overlay_path, images, message, author)
    }

    /// As [`Repo::set_overlay_images`], on a tip that was seen before.
    pub fn set_overlay_images_on(
        &self,
        branch: &str,
        tip: &str,
        overlay_path: &str,
        images: &BTreeMap<String, (String, Digest)>,
        message: &str,
        author: &Author,
    ) -> Result<String> {
        let path = format!("{overlay_path}/kustomization.yaml");
        let old = self.file(tip, &path).ok_or_else(|| missing(path.clone()))?;
        let new = overlay::set_images(&old, images)?;
        if new == old {
            return Ok(tip.to_owned());
        }
        self.commit_on(branch, Some(tip), &[(&path, &new)], message, author)
    }
}

fn describe(commit: &git2::Commit<'_>) -> CommitInfo {
    CommitInfo {
        sha: commit.id().to_string(),
        tree: commit.tree_id().to_string(),
        parents: commit.parent_ids().map(|oid| oid.to_string()).collect(),
        message: String::from_utf8_lossy(commit.message_bytes()).into_owned(),
        author: Author::of(&commit.author()),
        committer: Author::of(&commit.committer()),
    }
}

fn file_change(diff: &git2::Diff<'_>, n: usize) -> Result<FileChange, git2::Error> {
    let (_, additions, deletions) =
        git2::Patch::from_diff(diff, n)?.map(|patch| patch.line_stats()).transpose()?.unwrap_or_default();
    let delta = diff.get_delta(n).ok_or_else(|| git2::Error::from_str("the difference is not there"))?;
    let (status, file) = match delta.status() {
        git2::Delta::Added => ("added", delta.new_file()),
        git2::Delta::Deleted => ("removed", delta.old_file()),
        _ => ("modified", delta.new_file()),
    };
    let path = file.path().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(FileChange { path, status, blob: file.id().to_string(), additions, deletions })
}

fn missing(what: impl Into<String>) -> Error {
    Error::outside(format!("{} is not in the repository", what.into())).class(Class::NotFound)
}

/// Turns libgit2's error into ours: a ref that is elsewhere is a conflict.
fn wrong(what: impl Into<String>) -> impl FnOnce(git2::Error) -> Error {
    let what = what.into();
    move |error| {
        let class = match error.code() {
            git2::ErrorCode::Modified
            | git2::ErrorCode::Exists
            | git2::ErrorCode::Locked
            | git2::ErrorCode::Unmerged
            | git2::ErrorCode::Conflict => Class::Conflict,
            git2::ErrorCode::NotFound => Class::NotFound,
            _ => Class::Terminal,
        };
        Error::outside(what).class(class).because(error)
    }
}
