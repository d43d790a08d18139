//! What lies between two commits, as GitHub sees it.

use serde::{Deserialize, Serialize};

use super::client::{GitHub, encode};
use crate::error::Result;

/// How `head` lies to `base`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// `ahead`, `behind`, `identical`, `diverged`.
    pub status: String,
    pub ahead_by: u64,
    pub behind_by: u64,
    pub total_commits: u64,
    #[serde(rename = "html_url")]
    pub url: String,
}

impl Compare {
    /// Whether everything in `base` is in `head`.
    #[must_use]
    pub fn contains_base(&self) -> bool {
        matches!(self.status.as_str(), "ahead" | "identical")
    }
}

impl GitHub {
    /// Compares two refs or SHAs; `None` when one of them is not there, or they have no common ancestor.
    pub async fn compare(&self, base: &str, head: &str) -> Result<Option<Compare>> {
        let basehead = format!("{}...{}", encode(base), encode(head));
        self.find(&self.route(&format!("compare/{basehead}?per_page=1"))).await
    }
}
