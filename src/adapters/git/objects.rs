//! Reading the object database.

use std::path::Path;

use jiff::Timestamp;

use super::checkout::{Git, sha};
use crate::domain::{CommitInfo, CommitSha, split_message};
use crate::error::{Class, Error, Result};

/// A commit that changed a path, and what the path held afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathChange {
    pub commit: CommitInfo,
    /// `None`: the commit removed it, or it is a directory.
    pub content: Option<Vec<u8>>,
}

impl Git {
    /// The tip of the main branch on the remote, as last fetched.
    pub fn main_tip(&self) -> Result<CommitSha> {
        let name = format!("refs/remotes/{}/{}", self.remote, self.main);
        self.resolve(&name)?.ok_or_else(|| {
            Error::config(format!("{} has no {name}", self.dir().display()))
                .class(Class::NotFound)
                .hint(format!("git fetch {} {}", self.remote, self.main))
        })
    }

    /// The commit that a ref (full name) stands for; `None` when there is no such ref.
    pub fn resolve(&self, full_ref: &str) -> Result<Option<CommitSha>> {
        let repo = self.repo();
        match repo.find_reference(full_ref) {
            Ok(found) => {
                let commit = found.peel_to_commit().map_err(|error| unreadable(full_ref, &error))?;
                Ok(Some(sha(commit.id())))
            }
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(unreadable(full_ref, &error)),
        }
    }

    /// The full SHA of an abbreviated one; `None` when no commit, or more than one, begins with it.
    #[must_use]
    pub fn expand(&self, abbreviated: &str) -> Option<CommitSha> {
        let hex = abbreviated.len() >= 7 && abbreviated.bytes().all(|b| b.is_ascii_hexdigit());
        let repo = self.repo();
        let found = hex.then(|| repo.find_commit_by_prefix(abbreviated).ok()).flatten();
        found.map(|commit| sha(commit.id()))
    }

    /// Whether the commit is in the local object database.
    #[must_use]
    pub fn has(&self, commit: &CommitSha) -> bool {
        let repo = self.repo();
        oid(commit).is_ok_and(|id| repo.find_commit(id).is_ok())
    }

    /// A commit's author, time and message.
    pub fn commit(&self, commit: &CommitSha) -> Result<CommitInfo> {
        let repo = self.repo();
        find(&repo, commit).map(|commit| info(&commit))
    }

    /// The commits that are in `head` and not in `base`, newest first. Without a base: all of them.
    pub fn commits_between(&self, base: Option<&CommitSha>, head: &CommitSha) -> Result<Vec<CommitInfo>> {
        let repo = self.repo();
        let mut walk = walk(&repo, head)?;
        if let Some(base) = base {
            find(&repo, base)?;
            walk.hide(oid(base)?).map_err(|error| unreadable(base.as_str(), &error))?;
        }
        walk.map(|next| {
            let id = next.map_err(|error| unreadable(head.as_str(), &error))?;
            repo.find_commit(id).map(|commit| info(&commit)).map_err(|error| unreadable(&id.to_string(), &error))
        })
        .collect()
    }

    /// Whether `ancestor` is `descendant` or lies below it.
    pub fn is_ancestor(&self, ancestor: &CommitSha, descendant: &CommitSha) -> Result<bool> {
        if ancestor == descendant {
            return Ok(true);
        }
        let repo = self.repo();
        let (older, newer) = (find(&repo, ancestor)?.id(), find(&repo, descendant)?.id());
        repo.graph_descendant_of(newer, older).map_err(|error| unreadable(descendant.as_str(), &error))
    }

    /// What a file held at a commit; `None` when it is not there, or is no file.
    pub fn file_at(&self, commit: &CommitSha, path: &str) -> Result<Option<Vec<u8>>> {
        let repo = self.repo();
        let commit = find(&repo, commit)?;
        content(&repo, entry(&commit, path)?)
    }

    /// The names of the files in a directory at a commit (not below it), sorted; empty when it is not there.
    pub fn list_at(&self, commit: &CommitSha, dir: &str) -> Result<Vec<String>> {
        let repo = self.repo();
        let commit = find(&repo, commit)?;
        let tree = if dir.trim_matches('/').is_empty() || dir == "." {
            commit.tree().map_err(|error| unreadable(dir, &error))?
        } else {
            let Some((id, git2::ObjectType::Tree)) = entry(&commit, dir)? else { return Ok(Vec::new()) };
            repo.find_tree(id).map_err(|error| unreadable(dir, &error))?
        };
        let files = tree.iter().filter(|entry| entry.kind() == Some(git2::ObjectType::Blob));
        let mut names: Vec<String> =
            files.map(|entry| String::from_utf8_lossy(entry.name_bytes()).into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// The paths whose content differs between two commits, sorted.
    pub fn changed_paths(&self, base: &CommitSha, head: &CommitSha) -> Result<Vec<String>> {
        let repo = self.repo();
        let tree =
            |commit: &CommitSha| find(&repo, commit)?.tree().map_err(|error| unreadable(commit.as_str(), &error));
        let (old, new) = (tree(base)?, tree(head)?);
        let diff = repo
            .diff_tree_to_tree(Some(&old), Some(&new), None)
            .map_err(|error| unreadable(&format!("{base}..{head}"), &error))?;
        let mut paths: Vec<String> = diff
            .deltas()
            .flat_map(|delta| [delta.old_file().path_bytes(), delta.new_file().path_bytes()])
            .flatten()
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect();
        paths.sort();
        paths.dedup();
        Ok(paths)
    }

    /// The commits up to `head` that changed `path`, newest first, at most `limit`, with what it held after each. A merge counts
    /// only where it differs from all of its parents.
    pub fn path_history(&self, path: &str, head: &CommitSha, limit: usize) -> Result<Vec<PathChange>> {
        let repo = self.repo();
        let mut changes = Vec::new();
        for next in walk(&repo, head)? {
            if changes.len() == limit {
                break;
            }
            let id = next.map_err(|error| unreadable(head.as_str(), &error))?;
            let commit = repo.find_commit(id).map_err(|error| unreadable(&id.to_string(), &error))?;
            let now = entry(&commit, path)?;
            if changed(&commit, path, now)? {
                changes.push(PathChange { commit: info(&commit), content: content(&repo, now)? });
            }
        }
        Ok(changes)
    }
}

type Entry = Option<(git2::Oid, git2::ObjectType)>;

fn changed(commit: &git2::Commit<'_>, path: &str, now: Entry) -> Result<bool> {
    if commit.parent_count() == 0 {
        return Ok(now.is_some());
    }
    for parent in commit.parents() {
        if entry(&parent, path)? == now {
            return Ok(false);
        }
    }
    Ok(true)
}

fn entry(commit: &git2::Commit<'_>, path: &str) -> Result<Entry> {
    let tree = commit.tree().map_err(|error| unreadable(&commit.id().to_string(), &error))?;
    match tree.get_path(Path::new(path.trim_matches('/'))) {
        Ok(entry) => Ok(entry.kind().map(|kind| (entry.id(), kind))),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn content(repo: &git2::Repository, entry: Entry) -> Result<Option<Vec<u8>>> {
    let Some((id, git2::ObjectType::Blob)) = entry else { return Ok(None) };
    let blob = repo.find_blob(id).map_err(|error| unreadable(&id.to_string(), &error))?;
    Ok(Some(blob.content().to_vec()))
}

fn walk<'repo>(repo: &'repo git2::Repository, head: &CommitSha) -> Result<git2::Revwalk<'repo>> {
    find(repo, head)?;
    let start = || {
        let mut walk = repo.revwalk()?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::TIME)?;
        walk.push(git2::Oid::from_str(head.as_str())?)?;
        Ok(walk)
    };
    start().map_err(|error: git2::Error| unreadable(head.as_str(), &error))
}

pub(super) fn oid(commit: &CommitSha) -> Result<git2::Oid> {
    git2::Oid::from_str(commit.as_str()).map_err(|error| unreadable(commit.as_str(), &error))
}

pub(super) fn find<'repo>(repo: &'repo git2::Repository, commit: &CommitSha) -> Result<git2::Commit<'repo>> {
    repo.find_commit(oid(commit)?).map_err(|error| {
        if error.code() == git2::ErrorCode::NotFound {
            Error::outside(format!("commit {} is not in the checkout", commit.short()))
                .class(Class::NotFound)
                .hint("git fetch; in a shallow clone: git fetch --unshallow --tags")
        } else {
            unreadable(commit.as_str(), &error)
        }
    })
}

pub(super) fn unreadable(what: &str, error: &git2::Error) -> Error {
    Error::outside(format!("read {what} from the Git repository")).because(error.message().to_owned())
}

fn info(commit: &git2::Commit<'_>) -> CommitInfo {
    let author = commit.author();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (subject, body, trailers) = split_message(&text(commit.message_bytes()));
    CommitInfo {
        sha: sha(commit.id()),
        author: format!("{} <{}>", text(author.name_bytes()), text(author.email_bytes())),
        when: time(commit.time()),
        subject,
        body,
        trailers,
    }
}

/// A time that Git can hold and jiff cannot (year 30828) is the epoch.
pub(super) fn time(time: git2::Time) -> Timestamp {
    Timestamp::from_second(time.seconds()).unwrap_or(Timestamp::UNIX_EPOCH)
}
