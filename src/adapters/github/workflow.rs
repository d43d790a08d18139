//! Workflow runs, their jobs, and the approval gate.

use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::client::{GitHub, encode, parse};
use super::environments::Reviewer;
use crate::domain::CommitSha;
use crate::error::{Error, Result};

/// One run of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: u64,
    #[serde(rename = "run_number")]
    pub number: u64,
    #[serde(rename = "run_attempt", default)]
    pub attempt: Option<u64>,
    #[serde(default)]
    pub name: Option<String>,
    pub head_sha: String,
    /// For a pushed tag: the tag's short name.
    #[serde(default)]
    pub head_branch: Option<String>,
    pub event: String,
    /// `queued`, `requested`, `pending`, `waiting` (for approval), `in_progress`, `completed`.
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub conclusion: Option<String>,
    #[serde(rename = "html_url")]
    pub url: String,
    #[serde(rename = "created_at")]
    pub created: Timestamp,
    #[serde(rename = "run_started_at", default)]
    pub started: Option<Timestamp>,
    #[serde(rename = "updated_at")]
    pub updated: Timestamp,
}

impl Run {
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.status.as_deref() == Some("completed")
    }

    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.is_completed() && self.conclusion.as_deref() == Some("success")
    }

    /// Whether it waits at an environment's gate.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.status.as_deref() == Some("waiting")
    }
}

/// One job of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: u64,
    pub name: String,
    pub status: String,
    #[serde(default)]
    pub conclusion: Option<String>,
    #[serde(rename = "started_at", default)]
    pub started: Option<Timestamp>,
    #[serde(rename = "completed_at", default)]
    pub completed: Option<Timestamp>,
    #[serde(rename = "html_url", default)]
    pub url: Option<String>,
    #[serde(default)]
    pub steps: Vec<JobStep>,
}

impl Job {
    /// `completed` with anything but success or skipped.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.status == "completed" && !matches!(self.conclusion.as_deref(), Some("success" | "skipped" | "neutral"))
    }
}

/// One step of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStep {
    pub number: u64,
    pub name: String,
    pub status: String,
    #[serde(default)]
    pub conclusion: Option<String>,
}

/// A deployment that waits for an environment's protection rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingDeployment {
    pub environment: String,
    pub environment_id: u64,
    /// Minutes of the environment's wait timer.
    pub wait_timer: u64,
    pub wait_timer_started: Option<Timestamp>,
    /// Whether the token's user may approve.
    pub current_user_can_approve: bool,
    pub reviewers: Vec<Reviewer>,
}

/// One review of a run's deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// `approved`, `rejected`, `pending`.
    pub state: String,
    pub comment: String,
    pub user: String,
    /// Names of the environments it is about.
    pub environments: Vec<String>,
}

#[derive(Deserialize)]
struct WirePending {
    environment: WireEnvironment,
    #[serde(default)]
    wait_timer: u64,
    wait_timer_started_at: Option<Timestamp>,
    #[serde(default)]
    current_user_can_approve: bool,
    #[serde(default)]
    reviewers: Vec<Reviewer>,
}

#[derive(Deserialize)]
struct WireEnvironment {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct WireApproval {
    state: String,
    #[serde(default)]
    comment: Option<String>,
    user: Option<WireUser>,
    #[serde(default)]
    environments: Vec<WireEnvironment>,
}

#[derive(Deserialize)]
struct WireUser {
    login: String,
}

/// A run is one of these until it is completed.
const ACTIVE: [&str; 5] = ["queued", "requested", "pending", "waiting", "in_progress"];

impl GitHub {
    fn workflow_runs(&self, file: &str, query: &str) -> String {
        self.route(&format!("actions/workflows/{}/runs?{query}", encode(file)))
    }

    /// The run that the push of `tag` (short name) at `sha` started: exactly that SHA, that ref, that event. The newest, if a
    /// tag was deleted and pushed again.
    pub async fn run_for(&self, workflow_file: &str, sha: &CommitSha, tag: &str) -> Result<Option<Run>> {
        let tag = tag.strip_prefix("refs/tags/").unwrap_or(tag);
        let route = self.workflow_runs(workflow_file, &format!("event=push&head_sha={sha}"));
        let runs = self.all::<Run>(&route, Some("workflow_runs")).await?;
        Ok(choose_run(runs, sha.as_str(), tag))
    }

    /// A run by its id.
    pub async fn run(&self, id: u64) -> Result<Run> {
        self.get(&self.route(&format!("actions/runs/{id}"))).await
    }

    /// The jobs of a run's latest attempt, all pages.
    pub async fn jobs(&self, run: u64) -> Result<Vec<Job>> {
        self.all(&self.route(&format!("actions/runs/{run}/jobs?filter=latest")), Some("jobs")).await
    }

    /// The deployments of a run that wait for protection rules; empty when none waits.
    pub async fn pending_deployments(&self, run: u64) -> Result<Vec<PendingDeployment>> {
        let found: Vec<WirePending> = self.get(&self.route(&format!("actions/runs/{run}/pending_deployments"))).await?;
        Ok(found
            .into_iter()
            .map(|pending| PendingDeployment {
                environment: pending.environment.name,
                environment_id: pending.environment.id,
                wait_timer: pending.wait_timer,
                wait_timer_started: pending.wait_timer_started_at,
                current_user_can_approve: pending.current_user_can_approve,
                reviewers: pending.reviewers,
            })
            .collect())
    }

    /// Approves the pending deployments of a run in these environments.
    pub async fn approve(&self, run: u64, environment_ids: &[u64], comment: &str) -> Result<()> {
        let route = self.route(&format!("actions/runs/{run}/pending_deployments"));
        let body = serde_json::json!({ "environment_ids": environment_ids, "state": "approved", "comment": comment });
        // It had its effect when none of them is pending any more.
        let effect = async || {
            let pending = self.pending_deployments(run).await?;
            Ok((!pending.iter().any(|one| environment_ids.contains(&one.environment_id))).then_some(()))
        };
        self.write(Method::POST, &route, Some(&body), |_| Ok(()), effect).await
    }

    /// The reviews of a run's deployments so far.
    pub async fn approvals(&self, run: u64) -> Result<Vec<Approval>> {
        let found: Vec<WireApproval> = self.get(&self.route(&format!("actions/runs/{run}/approvals"))).await?;
        Ok(found
            .into_iter()
            .map(|approval| Approval {
                state: approval.state,
                comment: approval.comment.unwrap_or_default(),
                user: approval.user.map(|user| user.login).unwrap_or_default(),
                environments: approval.environments.into_iter().map(|environment| environment.name).collect(),
            })
            .collect())
    }

    /// Asks for a run's cancellation; it ends some time later. A run that is completed already is left as it is.
    pub async fn cancel(&self, run: u64) -> Result<()> {
        let route = self.route(&format!("actions/runs/{run}/cancel"));
        let effect = async || Ok(self.run(run).await?.is_completed().then_some(()));
        match self.write(Method::POST, &route, None::<&()>, |_| Ok(()), effect).await {
            Err(error) if error.is_conflict() && self.run(run).await?.is_completed() => Ok(()),
            other => other,
        }
    }

    /// Runs of the workflow that are not completed and older than `run`, oldest first: one of them may hold a concurrency group.
    pub async fn queued_ahead(&self, workflow_file: &str, run: u64) -> Result<Vec<Run>> {
        let asked = ACTIVE.map(|status| {
            let route = self.workflow_runs(workflow_file, &format!("status={status}"));
            async move { self.all::<Run>(&route, Some("workflow_runs")).await }
        });
        let mut runs: Vec<Run> = futures::future::try_join_all(asked).await?.into_iter().flatten().collect();
        // A run may change its status between two of the questions.
        runs.retain(|other| !other.is_completed() && other.id < run);
        runs.sort_by_key(|other| other.id);
        runs.dedup_by_key(|other| other.id);
        Ok(runs)
    }

    /// The file of the workflow as GitHub knows it: `Some(state)`, `active` or `disabled_manually`, …; `None`: not there.
    pub async fn workflow_state(&self, workflow_file: &str) -> Result<Option<String>> {
        let route = self.route(&format!("actions/workflows/{}", encode(workflow_file)));
        match self.read(&route).await {
            Ok(answer) => {
                let value: serde_json::Value = parse(&route, &answer.body)?;
                let state = value.get("state").and_then(serde_json::Value::as_str);
                state.map(|state| Some(state.to_owned())).ok_or_else(|| Error::outside(format!("{route} has no state")))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Exactly this SHA, this tag, by a push; the newest of several.
fn choose_run(runs: Vec<Run>, sha: &str, tag: &str) -> Option<Run> {
    runs.into_iter()
        .filter(|run| run.head_sha == sha && run.head_branch.as_deref() == Some(tag) && run.event == "push")
        .max_by_key(|run| run.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u64, sha: &str, branch: &str, event: &str) -> Run {
        serde_json::from_value(serde_json::json!({
            "id": id, "run_number": id, "run_attempt": 1, "name": null, "head_sha": sha, "head_branch": branch,
            "event": event, "status": "queued", "conclusion": null, "html_url": "https://github.com/x",
            "created_at": "2025-03-04T09:00:00Z", "updated_at": "2025-03-04T09:00:00Z", "workflow_id": 4217,
        }))
        .unwrap()
    }

    #[test]
    fn only_the_run_of_that_sha_and_tag_is_ours() {
        let runs = vec![
            run(1, "aaa", "release/v1.2.0", "push"),
            run(4, "aaa", "release/v1.2.0", "push"),
            run(5, "aaa", "release/v1.2.0", "workflow_dispatch"),
            run(6, "aaa", "main", "push"),
            run(7, "bbb", "release/v1.2.0", "push"),
        ];
        assert_eq!(choose_run(runs, "aaa", "release/v1.2.0").unwrap().id, 4);
        assert!(choose_run(Vec::new(), "aaa", "release/v1.2.0").is_none());
    }

    #[test]
    fn a_cancelled_job_failed() {
        let job = |conclusion: Option<&str>| Job {
            id: 1,
            name: "regression".into(),
            status: if conclusion.is_some() { "completed".into() } else { "in_progress".into() },
            conclusion: conclusion.map(Into::into),
            started: None,
            completed: None,
            url: None,
            steps: Vec::new(),
        };
        assert!(job(Some("cancelled")).failed() && job(Some("failure")).failed());
        assert!(!job(Some("success")).failed() && !job(None).failed());
    }
}
