//! Merges in a scratch work tree: the person's own is not touched, whatever becomes of it.

use std::path::PathBuf;

use super::checkout::Git;
use super::objects::unreadable;
use super::porcelain;
use crate::domain::CommitSha;
use crate::error::{Error, Result};
use crate::process::{Finished, Program};

/// What a merge came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// The merge commit. Nothing points to it until it is pushed.
    Commit(CommitSha),
    /// The files that a person must merge; no commit was made.
    Conflicts(Vec<String>),
}

impl Git {
    /// Merges `commit` onto `onto`, always with a merge commit. The `git` program does it, so that merge drivers, identity and
    /// signing are as configured; hooks are not run, as for any commit that is made past a work tree.
    ///
    /// # Errors
    /// When Git cannot merge for another reason than a conflict: no identity, no disk, unrelated histories.
    pub async fn merge(&self, onto: &CommitSha, commit: &CommitSha, message: &str) -> Result<Merged> {
        let dir = self.scratch()?;
        // One that a killed process left behind.
        self.discard(&dir).await?;
        let path = dir.display().to_string();
        let add = ["worktree", "add", "--quiet", "--force", "--detach", &path, onto.as_str()];
        let merged = match self.quiet().args(add).output().await {
            Ok(added) if added.success() => self.merge_in(&dir, commit, message).await,
            Ok(added) => Err(porcelain::failed("git worktree add", &added)),
            Err(error) => Err(error),
        };
        let discarded = self.discard(&dir).await;
        let merged = merged?;
        discarded?;
        Ok(merged)
    }

    async fn merge_in(&self, dir: &PathBuf, commit: &CommitSha, message: &str) -> Result<Merged> {
        let git = |args: &[&str]| self.quiet().cwd(dir).args(args).output();
        // A resolution that rerere remembers is a person's to look at again, not ours to push.
        let options = ["merge", "--quiet", "--no-ff", "--no-edit", "--no-rerere-autoupdate", "-m", message];
        let finished = git(&[&options[..], &[commit.as_str()]].concat()).await?;
        if finished.success() {
            return read(git(&["rev-parse", "HEAD"]).await?, "git rev-parse HEAD")?.trim().parse().map(Merged::Commit);
        }
        let unmerged = git(&["diff", "--name-only", "--diff-filter=U", "-z"]).await?;
        let files = read(unmerged, "git diff --diff-filter=U")?;
        let files: Vec<String> = files.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
        if files.is_empty() {
            let failed = porcelain::failed(&format!("git merge {}", commit.short()), &finished);
            return Err(super::branch::without_identity(failed, &finished.error_text()));
        }
        Ok(Merged::Conflicts(files))
    }

    /// `git` without hooks, and without fetching large files that nobody will look at.
    fn quiet(&self) -> Program {
        self.program().args(["-c", "core.hooksPath=/dev/null"]).env("GIT_LFS_SKIP_SMUDGE", "1")
    }

    /// Where merges are tried: inside the repository's own directory, on its disk and out of everybody's way.
    fn scratch(&self) -> Result<PathBuf> {
        let common = self.repo().commondir().to_owned();
        let common = common
            .canonicalize()
            .map_err(|error| Error::outside(format!("find the Git directory {}", common.display())).because(error))?;
        Ok(common.join("gospel-release-merge"))
    }

    /// Removes the scratch work tree and no other one: `git worktree prune` forgets those whose disk is not mounted now.
    async fn discard(&self, dir: &PathBuf) -> Result<()> {
        let path = dir.display().to_string();
        // It fails where there is none; then a directory may be left of one that was never whole.
        self.quiet().args(["worktree", "remove", "--force", "--force", &path]).output().await?;
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::outside(format!("remove {}", dir.display())).because(error))
            }
            _ => Ok(()),
        }
    }

    /// Brings one branch of the remote here, and says where it stands; `None` when the remote has none.
    pub async fn fetch_branch(&self, branch: &str) -> Result<Option<CommitSha>> {
        let name = format!("refs/heads/{branch}");
        let Some(found) = self.remote_refs(&name).await?.into_iter().find(|found| found.name == name) else {
            return Ok(None);
        };
        let here = format!("+{name}:refs/remotes/{}/{branch}", self.remote);
        let options = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];
        let fetch = async || {
            let finished = self.program().args(options).args([&self.remote, &here]).output().await?;
            read(finished, &format!("git fetch {} {branch}", self.remote)).map(drop)
        };
        self.retry.read(fetch).await?;
        found.sha.parse().map(Some)
    }

    /// How many commits `head` has that `base` has not.
    pub fn ahead(&self, base: &CommitSha, head: &CommitSha) -> Result<usize> {
        let repo = self.repo();
        let (base, head) = (super::objects::find(&repo, base)?.id(), super::objects::find(&repo, head)?.id());
        repo.graph_ahead_behind(head, base).map(|(ahead, _)| ahead).map_err(|error| unreadable("the history", &error))
    }
}

fn read(finished: Finished, what: &str) -> Result<String> {
    if finished.success() { Ok(finished.text()) } else { Err(porcelain::failed(what, &finished)) }
}
