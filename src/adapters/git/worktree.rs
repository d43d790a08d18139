//! The person's branch and work tree: looked at, switched when it is clean, and exported without being touched.

use std::path::Path;

use super::checkout::Git;
use super::porcelain;
use crate::domain::CommitSha;
use crate::error::{Error, Kind, Result};

/// What differs in the work tree from its last commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uncommitted {
    /// Files that Git knows, with changes that no commit has.
    pub changed: Vec<String>,
    /// Files that Git does not know and was not told to ignore.
    pub unknown: Vec<String>,
}

impl Git {
    /// The branch that HEAD is on (short name); `None` when it is on none.
    pub fn head_branch(&self) -> Result<Option<String>> {
        let repo = self.repo();
        let head = repo.find_reference("HEAD").map_err(|error| super::objects::unreadable("HEAD", &error))?;
        let target = head.symbolic_target_bytes().map(|name| String::from_utf8_lossy(name).into_owned());
        Ok(target.and_then(|name| name.strip_prefix("refs/heads/").map(str::to_owned)))
    }

    /// A remote and its URL: `origin`, or the first there is.
    pub fn first_remote(&self) -> Result<Option<(String, String)>> {
        let repo = self.repo();
        let names = repo.remotes().map_err(|error| super::objects::unreadable("the remotes", &error))?;
        let names: Vec<&str> = names.iter().filter_map(|name| name.ok().flatten()).collect();
        let Some(name) = names.iter().find(|name| **name == "origin").or(names.first()) else { return Ok(None) };
        let remote = repo.find_remote(name).map_err(|error| super::objects::unreadable(name, &error))?;
        // A URL that is no text names nothing that is known here.
        Ok(remote.url().ok().map(|url| ((*name).to_owned(), crate::adapters::http::redacted(url))))
    }

    /// The branch that a remote's HEAD named when it was cloned (short name).
    pub fn remote_head(&self, remote: &str) -> Result<Option<String>> {
        let repo = self.repo();
        let prefix = format!("refs/remotes/{remote}/");
        let Ok(head) = repo.find_reference(&format!("{prefix}HEAD")) else { return Ok(None) };
        let target = head.symbolic_target_bytes().map(|name| String::from_utf8_lossy(name).into_owned());
        Ok(target.and_then(|name| name.strip_prefix(&prefix).map(str::to_owned)))
    }

    /// The commit of a local branch (short name).
    pub fn branch(&self, name: &str) -> Result<Option<CommitSha>> {
        self.resolve(&format!("refs/heads/{name}"))
    }

    /// What no commit has (`git status`, so that attributes, submodules and ignores count as they do by hand).
    pub async fn uncommitted(&self) -> Result<Uncommitted> {
        let finished = self.program().args(["status", "--porcelain=v1", "-z"]).output().await?;
        if !finished.success() {
            return Err(porcelain::failed("git status", &finished));
        }
        Ok(read_status(&finished.text()))
    }

    /// Switches the work tree to a branch; with `start`, the branch is made there first. Nothing uncommitted is lost: Git refuses
    /// where it would be.
    pub async fn switch(&self, branch: &str, start: Option<&CommitSha>) -> Result<()> {
        let program = self.program().args(["switch", "--quiet", "--no-guess"]);
        let program = match start {
            Some(start) => program.args(["--no-track", "--create", branch, start.as_str()]),
            None => program.arg(branch),
        };
        let finished = program.output().await?;
        if finished.success() {
            return Ok(());
        }
        let failed = porcelain::failed(&format!("git switch {branch}"), &finished).with_kind(Kind::Usage);
        Err(failed.hint("git status says what is in the way"))
    }

    /// Writes the files of a commit below `dir`, as a checkout would have them (line endings, LFS), without the person's index or
    /// work tree.
    pub async fn export(&self, commit: &CommitSha, dir: &Path) -> Result<()> {
        let index = dir.with_extension("index");
        let prefix = format!("{}/", dir.display());
        let read = ["-c", "core.sparseCheckout=false", "read-tree", commit.as_str()].map(str::to_owned);
        let write = ["checkout-index".to_owned(), "--all".to_owned(), format!("--prefix={prefix}")];
        for args in [read.as_slice(), write.as_slice()] {
            let finished = self.program().env("GIT_INDEX_FILE", &index).args(args).output().await?;
            if !finished.success() {
                let failed = porcelain::failed(&format!("write the files of {}", commit.short()), &finished);
                return Err(failed.with_kind(Kind::Outside));
            }
        }
        // The index beside it is of no use any more; one that stays goes with its directory.
        let _ = std::fs::remove_file(&index);
        Ok(())
    }

    /// Fails where there is no work tree: in a bare repository nobody can mend anything.
    pub fn ensure_work_tree(&self) -> Result<()> {
        if self.repo().is_bare() {
            return Err(Error::usage(format!("{} has no work tree", self.dir().display()))
                .hint("run it in a checkout, or set repository.checkout to one"));
        }
        Ok(())
    }
}

/// Reads `git status --porcelain=v1 -z`: `XY path NUL`, a renamed file's old path as an entry of its own after it.
fn read_status(text: &str) -> Uncommitted {
    let mut found = Uncommitted::default();
    let mut entries = text.split('\0');
    while let Some(entry) = entries.next() {
        let (Some(state), Some(path)) = (entry.get(..2), entry.get(3..)) else { continue };
        if state == "??" {
            found.unknown.push(path.to_owned());
            continue;
        }
        found.changed.push(path.to_owned());
        if state.contains(['R', 'C']) {
            entries.next();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_with_renames_and_spaces() {
        let found = read_status(" M a b.go\0R  new.go\0old.go\0?? scratch/\0A  added.go\0");
        assert_eq!(found.changed, ["a b.go", "new.go", "added.go"]);
        assert_eq!(found.unknown, ["scratch/"]);
        assert_eq!(read_status(""), Uncommitted::default());
    }
}
