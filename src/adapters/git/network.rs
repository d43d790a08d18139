//! Fetching, looking at the remote's refs, and pushing one ref.

use std::time::Duration;

use super::checkout::Git;
use super::porcelain;
use crate::domain::Version;
use crate::error::{Class, Error, Result};

/// A fetch of a large repository over a slow line; afterwards it is repeated.
const FETCH_TIMEOUT: Duration = Duration::from_mins(10);
const REFS_TIMEOUT: Duration = Duration::from_mins(1);
/// Long enough for a pre-push hook that runs tests.
const PUSH_TIMEOUT: Duration = Duration::from_mins(10);

/// Where fetched release tags are kept: not in `refs/tags`, so that no local tag is touched, and none is trusted.
pub(super) const FETCHED: &str = "refs/gospel-release/tags/";

/// A ref on the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRef {
    /// Full name: `refs/tags/release/v1.2.0`.
    pub name: String,
    /// What it points to: a commit, or an annotated tag's object.
    pub sha: String,
    /// For an annotated tag: the commit.
    pub peeled: Option<String>,
}

impl RemoteRef {
    /// The commit that it stands for.
    #[must_use]
    pub fn commit(&self) -> &str {
        self.peeled.as_deref().unwrap_or(&self.sha)
    }
}

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The ref was made.
    New,
    /// The ref was there, and moved on to ours.
    Moved,
    /// The remote had it already, the very same.
    UpToDate,
}

/// What has taken so long once is not begun again five times: a person decides.
fn once(error: Error) -> Error {
    error.class(Class::Terminal)
}

impl Git {
    /// Brings main and the release tags from the remote: main to `refs/remotes/<remote>/<main>`, tags to a namespace of our
    /// own. Local branches, local tags and the work tree are not touched.
    pub async fn fetch(&self) -> Result<()> {
        let main = format!("+refs/heads/{0}:refs/remotes/{1}/{0}", self.main, self.remote);
        let tags = format!("+refs/tags/{0}:{FETCHED}{0}", self.tags.as_str());
        // Tidying somebody's repository is left to their own fetches: nobody wants it in the middle of an incident.
        let options = ["fetch", "--quiet", "--no-tags", "--prune", "--no-write-fetch-head", "--no-auto-gc"];
        let what = format!("git fetch {} {}", self.remote, self.main);
        let fetch = async || {
            let program =
                self.program().args(options).arg("--no-recurse-submodules").args([&self.remote, &main, &tags]);
            let finished = program.timeout(FETCH_TIMEOUT).output().await.map_err(once)?;
            if finished.success() { Ok(()) } else { Err(porcelain::failed(&what, &finished)) }
        };
        self.retry.read(fetch).await
    }

    /// The remote's refs that match `pattern` (`refs/tags/release/v*`), asked of the remote now.
    pub async fn remote_refs(&self, pattern: &str) -> Result<Vec<RemoteRef>> {
        if !pattern.starts_with("refs/") {
            return Err(Error::internal(format!("{pattern:?} is not a full ref pattern")));
        }
        let what = format!("git ls-remote {} {pattern}", self.remote);
        // A tag's commit is a line of its own, which only a pattern of its own matches.
        let peeled = format!("{pattern}^{{}}");
        let ask = async || {
            let program = self.program().args(["ls-remote", "--quiet", &self.remote, pattern, &peeled]);
            let finished = program.timeout(REFS_TIMEOUT).output().await.map_err(once)?;
            if finished.success() { Ok(finished.text()) } else { Err(porcelain::failed(&what, &finished)) }
        };
        let text = self.retry.read(ask).await?;
        Ok(porcelain::refs(&text, pattern.split('*').next().unwrap_or_default()))
    }

    /// The release tag of a version on the remote, asked of the remote now.
    pub async fn remote_tag(&self, version: &Version) -> Result<Option<RemoteRef>> {
        let name = self.tags.full_ref(version);
        Ok(self.remote_refs(&name).await?.into_iter().find(|found| found.name == name))
    }

    /// Pushes exactly one release tag, never forced. After a failure that may pass, the remote is asked whether the tag
    /// arrived after all.
    ///
    /// # Errors
    /// A conflict when the remote has the tag with another content; denied when a rule or a right forbids it.
    pub async fn push_tag(&self, version: &Version) -> Result<Pushed> {
        let name = self.tags.full_ref(version);
        let ours = self.local_ref(&name)?.ok_or_else(|| Error::internal(format!("{name} does not exist here yet")))?;
        let spec = format!("{name}:{name}");
        let push = async || self.push_spec(&spec, &name).await;
        let effect = async || {
            let there = self.remote_tag(version).await?;
            Ok(there.is_some_and(|there| there.sha == ours).then_some(Pushed::New))
        };
        self.retry.write(push, effect).await
    }

    /// Pushes one refspec to the ref `name`.
    pub(super) async fn push_spec(&self, spec: &str, name: &str) -> Result<Pushed> {
        // More than one tag in a push may start no workflow: push.followTags must not add any.
        let options = ["push", "--porcelain", "--atomic", "--no-follow-tags", "--no-recurse-submodules"];
        let program = self.program().args(options).arg(&self.remote).arg(spec);
        let finished = program.timeout(PUSH_TIMEOUT).output().await.map_err(once)?;
        let hook = !finished.success() && self.has_pre_push_hook().await;
        porcelain::pushed(name, &finished, hook)
    }

    async fn has_pre_push_hook(&self) -> bool {
        let asked = self.program().args(["rev-parse", "--git-path", "hooks/pre-push"]).output().await;
        asked.is_ok_and(|finished| finished.success() && self.dir().join(finished.text().trim_end()).exists())
    }

    /// What a ref of this repository points to, not peeled.
    pub(super) fn local_ref(&self, name: &str) -> Result<Option<String>> {
        let repo = self.repo();
        match repo.find_reference(name) {
            Ok(found) => Ok(found.target().map(|id| id.to_string())),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(super::objects::unreadable(name, &error)),
        }
    }
}
