//! Opening a checkout, and whether it can be released from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::adapters::http::redacted;
use crate::adapters::retry::Retry;
use crate::config::model;
use crate::domain::{CommitSha, TagPattern};
use crate::error::{Error, Kind, Result};
use crate::process::Program;

/// A local repository with production's remote.
pub struct Git {
    /// Where `git` is run: the work tree, or the repository itself where it is bare.
    dir: PathBuf,
    repo: Mutex<git2::Repository>,
    pub(super) remote: String,
    pub(super) main: String,
    pub(super) tags: TagPattern,
    slug: String,
    url: Option<String>,
    pub(super) retry: Retry,
}

impl fmt::Debug for Git {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Git").field("dir", &self.dir).field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// How the checkout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutState {
    /// History is cut off: tags and ancestors may be missing.
    pub shallow: bool,
    /// Objects are fetched on demand, which only the `git` program can do.
    pub partial: bool,
    /// HEAD is on no branch, as in CI. That is fine.
    pub detached: bool,
    /// `None` before the first commit.
    pub head: Option<CommitSha>,
}

/// Variables that would point `git` at another repository than the one asked for (they are set inside hooks).
const FOREIGN: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
];

impl Git {
    /// Opens the checkout of `config`, relative to `base` (the directory of the configuration file). A directory inside a
    /// work tree, a linked worktree and a bare repository will do.
    pub fn open(config: &model::Repository, base: &Path) -> Result<Self> {
        check_names(config)?;
        let asked = base.join(&config.checkout);
        let repo = git2::Repository::discover(&asked).map_err(|error| cannot_open(&asked, &error))?;
        if repo.object_format() != git2::ObjectFormat::Sha1 {
            return Err(unsupported(&asked, "SHA-256 objects"));
        }
        let dir = repo.workdir().unwrap_or_else(|| repo.path()).to_owned();
        Ok(Self {
            dir,
            repo: Mutex::new(repo),
            remote: config.remote.clone(),
            main: config.main.clone(),
            tags: config.tags.clone(),
            slug: config.slug.clone(),
            url: config.url.clone(),
            retry: Retry::default(),
        })
    }

    /// The work tree, or the repository itself where it is bare.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn repo(&self) -> MutexGuard<'_, git2::Repository> {
        // Reads leave nothing half done: a panic in another thread spoils nothing here.
        self.repo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `git` program in this checkout: never asks at the terminal, speaks English, takes no optional locks.
    pub(super) fn program(&self) -> Program {
        let program = Program::new("git")
            .cwd(&self.dir)
            // A host that takes the connection and then says nothing is given up after this many seconds (git(1)).
            .env("GIT_HTTP_LOW_SPEED_LIMIT", "100")
            .env("GIT_HTTP_LOW_SPEED_TIME", "30")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .env("GIT_OPTIONAL_LOCKS", "0");
        FOREIGN.into_iter().fold(program, Program::env_remove)
    }

    /// The remote's URL, without credentials, after it was checked: fetching and pushing must both go to the configured
    /// repository.
    ///
    /// # Errors
    /// [`Kind::WrongWorld`] when a URL names another repository.
    pub async fn remote_url(&self) -> Result<String> {
        let fetch = self.urls(&[]).await?;
        let push = self.urls(&["--push", "--all"]).await?;
        for url in fetch.iter().chain(&push) {
            let right = match &self.url {
                Some(pinned) => url == pinned,
                None => url_names_slug(url, &self.slug),
            };
            if !right {
                let expected = self.url.as_deref().map_or_else(|| format!("…/{}", self.slug), redacted);
                return Err(Error::new(
                    Kind::WrongWorld,
                    format!(
                        "the remote {} of {} is {}, not {expected}",
                        self.remote,
                        self.dir.display(),
                        redacted(url)
                    ),
                )
                .hint("set repository.slug, repository.remote or repository.url to the repository that is meant"));
            }
        }
        let first = fetch.first().ok_or_else(|| Error::config(format!("the remote {} has no URL", self.remote)))?;
        Ok(redacted(first))
    }

    async fn urls(&self, options: &[&str]) -> Result<Vec<String>> {
        let program = self.program().args(["remote", "get-url"]).args(options).arg(&self.remote);
        let finished = program.output().await?;
        if !finished.success() {
            return Err(Error::config(format!("{} has no remote named {}", self.dir.display(), self.remote))
                .hint(format!("git remote add {} <url>, or set repository.remote", self.remote)));
        }
        Ok(finished.text().lines().map(str::to_owned).collect())
    }

    /// How the checkout is.
    pub fn state(&self) -> Result<CheckoutState> {
        let repo = self.repo();
        let partial = repo.config().is_ok_and(|config| {
            config.get_bool(&format!("remote.{}.promisor", self.remote)).unwrap_or(false)
                || config.get_string("extensions.partialclone").is_ok()
        });
        let head = repo.head().ok().and_then(|head| head.peel_to_commit().ok()).map(|commit| sha(commit.id()));
        let detached = repo.head_detached().unwrap_or(false);
        Ok(CheckoutState { shallow: repo.is_shallow(), partial, detached, head })
    }

    /// Refuses a checkout whose history is cut off, and says how to complete it.
    pub fn ensure_complete(&self) -> Result<CheckoutState> {
        let state = self.state()?;
        if state.shallow {
            return Err(Error::config(format!(
                "{} is a shallow clone: history and tags are missing",
                self.dir.display()
            ))
            .hint("git fetch --unshallow --tags")
            .hint("with actions/checkout: set fetch-depth: 0"));
        }
        if state.partial {
            return Err(partial(&self.dir));
        }
        Ok(state)
    }
}

/// A SHA of git2's in our type.
pub(super) fn sha(oid: git2::Oid) -> CommitSha {
    oid.to_string().parse().expect("git2 writes a SHA-1 as 40 lower-case hex digits")
}

fn check_names(config: &model::Repository) -> Result<()> {
    let remote = &config.remote;
    if remote.starts_with('-') || !git2::Remote::is_valid_name(remote) {
        return Err(Error::config(format!("repository.remote {remote:?} is not a remote's name")));
    }
    let main = &config.main;
    if main.starts_with('-') || !git2::Reference::is_valid_name(&format!("refs/heads/{main}")) {
        return Err(Error::config(format!("repository.main {main:?} is not a branch's name")));
    }
    Ok(())
}

fn cannot_open(dir: &Path, error: &git2::Error) -> Error {
    let said = error.message();
    if error.code() == git2::ErrorCode::NotFound {
        return Error::config(format!("{} is not in a Git repository", dir.display()))
            .hint("run it in the checkout, or set repository.checkout");
    }
    if error.code() == git2::ErrorCode::Owner {
        return Error::config(format!("{} belongs to another user, and Git does not trust it", dir.display()))
            .hint(format!("git config --global --add safe.directory {}", dir.display()));
    }
    let lower = said.to_ascii_lowercase();
    if lower.contains("refstorage") {
        return unsupported(dir, "reftable refs");
    }
    if lower.contains("objectformat") || lower.contains("sha256") || lower.contains("object format") {
        return unsupported(dir, "SHA-256 objects");
    }
    if lower.contains("partialclone") {
        return partial(dir);
    }
    Error::config(format!("open the Git repository {}", dir.display())).because(said.to_owned())
}

fn unsupported(dir: &Path, what: &str) -> Error {
    Error::config(format!("{} uses {what}, which libgit2 cannot open", dir.display()))
        .hint("use a clone made with: git clone --ref-format=files (and SHA-1 objects)")
}

fn partial(dir: &Path) -> Error {
    Error::config(format!("{} is a partial clone: objects are missing", dir.display()))
        .hint("use a full clone: git clone without --filter")
}

/// Whether a remote URL (https, ssh, scp form or a path) ends with `owner/name`. GitHub does not tell cases apart.
#[must_use]
pub fn url_names_slug(url: &str, slug: &str) -> bool {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let (url, slug) = (url.to_ascii_lowercase(), slug.to_ascii_lowercase());
    url.strip_suffix(&slug).is_some_and(|before| before.ends_with(['/', ':']))
}
