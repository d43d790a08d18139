//! Pull requests: the way to a branch that takes no pushes.

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::client::{Answer, GitHub, encode, parse};
use crate::domain::CommitSha;
use crate::error::Result;

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    pub number: u64,
    #[serde(rename = "html_url")]
    pub url: String,
    /// `open` or `closed`.
    pub state: String,
    /// When it was merged; a closed one without was turned down.
    #[serde(rename = "merged_at", default)]
    pub merged: Option<Timestamp>,
    /// The commit that the merge made on the base, once it is merged.
    #[serde(rename = "merge_commit_sha", default)]
    pub merge_commit: Option<String>,
    pub head: Side,
}

/// One side of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub sha: String,
}

impl Pull {
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == "open"
    }
}

/// A pull request to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPull {
    /// The branch that it brings (short name), in the same repository.
    pub head: String,
    /// The branch that it goes to.
    pub base: String,
    pub title: String,
    /// Markdown.
    pub body: String,
}

impl GitHub {
    /// The pull requests of a branch (short name) of this repository to `base`, in any state, newest first.
    pub async fn pulls(&self, head: &str, base: &str) -> Result<Vec<Pull>> {
        let owner = self.slug().split('/').next().unwrap_or_default();
        let head = encode(&format!("{owner}:{head}"));
        let query = format!("pulls?state=all&head={head}&base={}&sort=created&direction=desc", encode(base));
        self.all(&self.route(&query), None).await
    }

    /// The merged pull request that brought `commit` to `base` from its branch. It says so too where the commits were squashed or
    /// rebased, and the commit itself is not in the branch's history.
    pub async fn merged_pull(&self, head: &str, base: &str, commit: &CommitSha) -> Result<Option<Pull>> {
        for pull in self.pulls(head, base).await?.into_iter().filter(|pull| pull.merged.is_some()) {
            if pull.head.sha == commit.as_str()
                || self.compare(commit.as_str(), &pull.head.sha).await?.is_some_and(|compare| compare.contains_base())
            {
                return Ok(Some(pull));
            }
        }
        Ok(None)
    }

    /// Opens a pull request; one that is open for the same branches is answered as it is.
    pub async fn open_pull(&self, new: &NewPull) -> Result<Pull> {
        let route = self.route("pulls");
        let body = serde_json::json!({ "title": new.title, "head": new.head, "base": new.base, "body": new.body });
        let read = |answer: &Answer| parse::<Pull>(&route, &answer.body);
        let open = async || Ok(self.pulls(&new.head, &new.base).await?.into_iter().find(Pull::is_open));
        if let Some(pull) = open().await? {
            return Ok(pull);
        }
        self.write(Method::POST, &route, Some(&body), read, open).await
    }
}
