//! GitHub Releases: the announcement.

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::client::{Answer, GitHub, encode, parse};
use crate::domain::CommitSha;
use crate::error::Result;

/// A GitHub Release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub id: u64,
    #[serde(rename = "tag_name")]
    pub tag: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub body: Option<String>,
    #[serde(rename = "html_url")]
    pub url: String,
    pub draft: bool,
    pub prerelease: bool,
    #[serde(rename = "created_at")]
    pub created: Timestamp,
    #[serde(rename = "published_at", default)]
    pub published: Option<Timestamp>,
}

/// A GitHub Release to be made, on a tag that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelease {
    /// Short name of the tag.
    pub tag: String,
    pub commit: CommitSha,
    pub name: String,
    /// Markdown.
    pub body: String,
    /// Whether it becomes the repository's latest release.
    pub latest: bool,
}

impl GitHub {
    /// The published Release of a tag (short name); `None` when there is none.
    pub async fn release_by_tag(&self, tag: &str) -> Result<Option<Release>> {
        self.find(&self.route(&format!("releases/tags/{}", encode(tag)))).await
    }

    /// The repository's latest Release; `None` before the first.
    pub async fn latest_release(&self) -> Result<Option<Release>> {
        self.find(&self.route("releases/latest")).await
    }

    /// Makes a Release. One that exists for the tag already is answered as it is: nothing is made twice.
    pub async fn create_release(&self, new: &NewRelease) -> Result<Release> {
        let route = self.route("releases");
        let body = serde_json::json!({
            "tag_name": new.tag,
            "target_commitish": new.commit.as_str(),
            "name": new.name,
            "body": new.body,
            "draft": false,
            "prerelease": false,
            "make_latest": if new.latest { "true" } else { "false" },
        });
        let read = |answer: &Answer| parse::<Release>(&route, &answer.body);
        let made =
            self.write(Method::POST, &route, Some(&body), read, async || self.release_by_tag(&new.tag).await).await;
        match made {
            Err(error) if error.is_conflict() => self.release_by_tag(&new.tag).await?.ok_or(error),
            other => other,
        }
    }

    /// Changes a Release's name and body.
    pub async fn update_release(&self, id: u64, name: &str, body: &str) -> Result<Release> {
        let route = self.route(&format!("releases/{id}"));
        let change = serde_json::json!({ "name": name, "body": body });
        // The same change twice is the same as once: a plain repetition will do.
        self.retry
            .read(async || {
                let answer = self.once(&Method::PATCH, &route, Some(&change)).await?;
                parse(&route, &answer.body)
            })
            .await
    }
}
