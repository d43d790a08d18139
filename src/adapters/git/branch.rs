//! Commits on a branch: made in the object database, without touching the work tree or the index, and pushed unforced.

use std::path::Path;

use super::checkout::{Git, sha};
use super::network::Pushed;
use super::objects::{find, oid, unreadable};
use super::porcelain;
use crate::domain::CommitSha;
use crate::error::{Class, Error, Result};

impl Git {
    /// Makes a commit on top of `parent` in which the file `path` holds `content` and all else is as it was. Nothing points to
    /// it until it is pushed. The `git` program writes it, so that identity and signing (`commit.gpgSign`) are as configured.
    pub async fn commit_file(
        &self,
        parent: &CommitSha,
        path: &str,
        content: &[u8],
        message: &str,
    ) -> Result<CommitSha> {
        let (tree, sign) = self.tree_with(parent, path, content)?;
        let mut program = self.program().args(["commit-tree", &tree, "-p", parent.as_str(), "-F", "-"]);
        if sign {
            // Unlike `git commit`, commit-tree does not look at commit.gpgSign (git-commit-tree(1)).
            program = program.arg("-S");
        }
        let finished = program.stdin(message).output().await?;
        if !finished.success() {
            return Err(without_identity(porcelain::failed("git commit-tree", &finished), &finished.error_text()));
        }
        finished.text().trim().parse()
    }

    /// The tree of `parent` with one file replaced, and whether commits are to be signed.
    fn tree_with(&self, parent: &CommitSha, path: &str, content: &[u8]) -> Result<(String, bool)> {
        let repo = self.repo();
        let tree = find(&repo, parent)?.tree().map_err(|error| unreadable(parent.as_str(), &error))?;
        let mode = tree.get_path(Path::new(path)).map_or(git2::FileMode::Blob, |entry| match entry.filemode() {
            0o100_755 => git2::FileMode::BlobExecutable,
            _ => git2::FileMode::Blob,
        });
        let write = || {
            let blob = repo.blob(content)?;
            git2::build::TreeUpdateBuilder::new().upsert(path, blob, mode).create_updated(&repo, &tree)
        };
        let made = write().map_err(|error| unreadable(path, &error))?;
        let sign = repo.config().and_then(|mut config| config.snapshot()?.get_bool("commit.gpgSign")).unwrap_or(false);
        Ok((made.to_string(), sign))
    }

    /// Pushes a commit to a branch of the remote, never forced. After a failure that may pass, the remote is asked whether it
    /// arrived after all.
    ///
    /// # Errors
    /// A conflict when the branch has moved on (fetch, and make the commit anew); denied when a rule or a right forbids it.
    pub async fn push_branch(&self, commit: &CommitSha, branch: &str) -> Result<Pushed> {
        let name = format!("refs/heads/{branch}");
        let spec = format!("{commit}:{name}");
        let push = async || self.push_spec(&spec, &name).await;
        let effect = async || {
            let there = self.remote_refs(&name).await?;
            let ours = there.iter().any(|found| found.name == name && found.sha == commit.as_str());
            Ok(ours.then_some(Pushed::Moved))
        };
        self.retry.write(push, effect).await
    }

    /// The newest commit up to `head` with the trailer `key: value`, looking at the last `limit` commits of the first-parent and
    /// merged history.
    pub fn find_trailer(&self, head: &CommitSha, key: &str, value: &str, limit: usize) -> Result<Option<CommitSha>> {
        let repo = self.repo();
        let mut walk = repo.revwalk().map_err(|error| unreadable(head.as_str(), &error))?;
        walk.push(oid(head)?).map_err(|error| unreadable(head.as_str(), &error))?;
        for id in walk.take(limit) {
            let id = id.map_err(|error| unreadable(head.as_str(), &error))?;
            let commit = repo.find_commit(id).map_err(|error| unreadable(&id.to_string(), &error))?;
            let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
            let (_, _, trailers) = crate::domain::split_message(&message);
            if trailers.iter().any(|(found, said)| found.eq_ignore_ascii_case(key) && said == value) {
                return Ok(Some(sha(id)));
            }
        }
        Ok(None)
    }
}

pub(super) fn without_identity(error: Error, said: &str) -> Error {
    if said.contains("tell me who you are") || said.contains("ident name") {
        error.class(Class::NeedsHuman).hint("git config user.name … and git config user.email …")
    } else if said.contains("sign") {
        error.class(Class::NeedsHuman).hint("commit.gpgSign is on and signing failed: unlock the key, then resume")
    } else {
        error
    }
}
