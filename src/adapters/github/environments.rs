//! The deployment environment whose reviewers approve.

use serde::{Deserialize, Serialize};

use super::client::{GitHub, encode};
use crate::error::Result;

/// An environment and its protection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    pub id: u64,
    pub name: String,
    pub url: Option<String>,
    /// Who may approve; empty: nobody is asked, and nothing stops a deployment.
    pub required_reviewers: Vec<Reviewer>,
    /// Whether the one who started a run may not approve it.
    pub prevent_self_review: bool,
    /// Minutes.
    pub wait_timer: u64,
    pub branch_policy: BranchPolicy,
    pub can_admins_bypass: bool,
}

/// A user or a team that may approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WireReviewer")]
pub struct Reviewer {
    /// `User` or `Team`.
    pub kind: String,
    /// Login or team slug.
    pub name: String,
    pub url: Option<String>,
}

/// Which refs may deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BranchPolicy {
    All,
    /// Protected branches only: a tag cannot deploy.
    ProtectedBranches,
    /// Patterns, each with its kind (`branch` or `tag`).
    Custom(Vec<(String, String)>),
}

#[derive(Deserialize)]
struct WireReviewer {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reviewer: WireActor,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireActor {
    login: Option<String>,
    slug: Option<String>,
    name: Option<String>,
    html_url: Option<String>,
}

impl From<WireReviewer> for Reviewer {
    fn from(wire: WireReviewer) -> Self {
        let WireActor { login, slug, name, html_url } = wire.reviewer;
        Self { kind: wire.kind, name: login.or(slug).or(name).unwrap_or_default(), url: html_url }
    }
}

#[derive(Deserialize)]
struct WireEnvironment {
    id: u64,
    name: String,
    html_url: Option<String>,
    #[serde(default)]
    protection_rules: Vec<WireRule>,
    deployment_branch_policy: Option<WirePolicy>,
    #[serde(default)]
    can_admins_bypass: bool,
}

#[derive(Deserialize)]
struct WireRule {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    wait_timer: u64,
    #[serde(default)]
    prevent_self_review: bool,
    #[serde(default)]
    reviewers: Vec<Reviewer>,
}

#[derive(Deserialize)]
struct WirePolicy {
    protected_branches: bool,
    custom_branch_policies: bool,
}

#[derive(Deserialize)]
struct WirePattern {
    #[serde(default)]
    name: String,
    #[serde(rename = "type", default = "branch")]
    kind: String,
}

fn branch() -> String {
    "branch".into()
}

impl GitHub {
    /// An environment by its name; `None` when there is none.
    pub async fn environment(&self, name: &str) -> Result<Option<Environment>> {
        let route = self.route(&format!("environments/{}", encode(name)));
        let Some(found) = self.find::<WireEnvironment>(&route).await? else { return Ok(None) };
        let policy = match &found.deployment_branch_policy {
            Some(policy) if policy.custom_branch_policies => {
                let route = format!("{route}/deployment-branch-policies");
                let patterns: Vec<WirePattern> = self.all(&route, Some("branch_policies")).await?;
                BranchPolicy::Custom(patterns.into_iter().map(|pattern| (pattern.name, pattern.kind)).collect())
            }
            Some(policy) if policy.protected_branches => BranchPolicy::ProtectedBranches,
            _ => BranchPolicy::All,
        };
        Ok(Some(fold(found, policy)))
    }
}

fn fold(found: WireEnvironment, branch_policy: BranchPolicy) -> Environment {
    let mut environment = Environment {
        id: found.id,
        name: found.name,
        url: found.html_url,
        required_reviewers: Vec::new(),
        prevent_self_review: false,
        wait_timer: 0,
        branch_policy,
        can_admins_bypass: found.can_admins_bypass,
    };
    for rule in found.protection_rules {
        match rule.kind.as_str() {
            "required_reviewers" => {
                environment.prevent_self_review |= rule.prevent_self_review;
                environment.required_reviewers.extend(rule.reviewers);
            }
            "wait_timer" => environment.wait_timer = environment.wait_timer.max(rule.wait_timer),
            _ => {}
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protection_rules_are_folded() {
        let wire: WireEnvironment = serde_json::from_str(
            r#"{"id": 1, "name": "production", "protection_rules": [
                {"id": 2, "type": "wait_timer", "wait_timer": 5},
                {"id": 3, "type": "required_reviewers", "prevent_self_review": true, "reviewers": [
                    {"type": "User", "reviewer": {"login": "rhea-reviewer", "id": 9}},
                    {"type": "Team", "reviewer": {"slug": "oncall", "name": "On call"}}]},
                {"id": 4, "type": "branch_policy"}]}"#,
        )
        .unwrap();
        let environment = fold(wire, BranchPolicy::All);
        let names: Vec<&str> = environment.required_reviewers.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["rhea-reviewer", "oncall"]);
        assert_eq!((environment.wait_timer, environment.prevent_self_review), (5, true));
    }
}
