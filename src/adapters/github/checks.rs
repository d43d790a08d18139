//! Check runs and commit statuses of one commit. The combined status omits check runs, so both are read.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::client::{GitHub, encode};
use crate::domain::CommitSha;
use crate::error::Result;

/// What reported on a commit: the newest run per app and name, the newest status per context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checks {
    pub runs: Vec<CheckRun>,
    pub statuses: Vec<Status>,
}

/// One check run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckRun {
    pub id: u64,
    pub name: String,
    /// Slug of the GitHub App that made it: `github-actions`.
    pub app: String,
    pub app_id: Option<i64>,
    /// `queued`, `in_progress`, `completed`, `waiting`, …
    pub status: String,
    /// Set when completed: `success`, `failure`, `neutral`, `cancelled`, `skipped`, `timed_out`, …
    pub conclusion: Option<String>,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    pub url: Option<String>,
}

/// One commit status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    pub id: u64,
    pub context: String,
    /// `success`, `failure`, `error`, `pending`.
    pub state: String,
    pub url: Option<String>,
    pub at: Option<Timestamp>,
}

/// What a check or a status came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Pending,
    Success,
    Neutral,
    /// GitHub reports a skipped job as a success; for a required check it is none.
    Skipped,
    Failed,
}

impl CheckRun {
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.status != "completed" {
            return Outcome::Pending;
        }
        match self.conclusion.as_deref() {
            Some("success") => Outcome::Success,
            Some("neutral") => Outcome::Neutral,
            Some("skipped") => Outcome::Skipped,
            // `stale`, `action_required`, a word that GitHub adds later: not a success.
            _ => Outcome::Failed,
        }
    }

    /// `success`, `in_progress`, …: GitHub's own word.
    #[must_use]
    pub fn word(&self) -> &str {
        self.conclusion.as_deref().filter(|_| self.status == "completed").unwrap_or(&self.status)
    }
}

impl Status {
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.state.as_str() {
            "success" => Outcome::Success,
            "pending" => Outcome::Pending,
            _ => Outcome::Failed,
        }
    }
}

impl Checks {
    /// Whether nothing reported at all: never a pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.statuses.is_empty()
    }
}

#[derive(Deserialize)]
struct WireRun {
    id: u64,
    name: String,
    status: String,
    conclusion: Option<String>,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    html_url: Option<String>,
    app: Option<WireApp>,
}

#[derive(Deserialize)]
struct WireApp {
    id: i64,
    slug: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct WireStatus {
    id: u64,
    context: String,
    state: String,
    target_url: Option<String>,
    updated_at: Option<Timestamp>,
    created_at: Option<Timestamp>,
}

impl From<WireRun> for CheckRun {
    fn from(run: WireRun) -> Self {
        let app_id = run.app.as_ref().map(|app| app.id);
        let app = run.app.and_then(|app| app.slug.or(app.name)).unwrap_or_default();
        Self {
            id: run.id,
            name: run.name,
            app,
            app_id,
            status: run.status,
            conclusion: run.conclusion,
            started: run.started_at,
            completed: run.completed_at,
            url: run.html_url,
        }
    }
}

impl From<WireStatus> for Status {
    fn from(status: WireStatus) -> Self {
        Self {
            id: status.id,
            context: status.context,
            state: status.state,
            url: status.target_url,
            at: status.updated_at.or(status.created_at),
        }
    }
}

impl GitHub {
    /// All check runs and statuses of a commit, all pages; the newest of each.
    pub async fn checks(&self, sha: &CommitSha) -> Result<Checks> {
        // `filter=latest` removes duplicates only within one check suite: read all, and choose ourselves.
        let runs = self.route(&format!("commits/{}/check-runs?filter=all", encode(sha.as_str())));
        let statuses = self.route(&format!("commits/{}/statuses", encode(sha.as_str())));
        let (runs, statuses) = futures::try_join!(
            self.all::<WireRun>(&runs, Some("check_runs")),
            self.all::<WireStatus>(&statuses, None)
        )?;
        Ok(Checks {
            runs: newest_runs(runs.into_iter().map(CheckRun::from).collect()),
            statuses: newest_statuses(statuses.into_iter().map(Status::from).collect()),
        })
    }
}

/// The newest run per app and name, ordered by name. A re-run updates a run in place; a new run has a higher id. A run
/// that has not started counts as newer than any that has.
#[must_use]
pub fn newest_runs(runs: Vec<CheckRun>) -> Vec<CheckRun> {
    let age = |run: &CheckRun| (run.started.unwrap_or(Timestamp::MAX), run.id);
    let mut newest: HashMap<(String, String), CheckRun> = HashMap::new();
    for run in runs {
        let key = (run.app.clone(), run.name.clone());
        if newest.get(&key).is_none_or(|known| age(known) < age(&run)) {
            newest.insert(key, run);
        }
    }
    let mut newest: Vec<CheckRun> = newest.into_values().collect();
    newest.sort_by(|a, b| (&a.name, &a.app).cmp(&(&b.name, &b.app)));
    newest
}

/// The newest status per context, ordered by context. Statuses are never changed, only added.
#[must_use]
pub fn newest_statuses(statuses: Vec<Status>) -> Vec<Status> {
    let mut newest: HashMap<String, Status> = HashMap::new();
    for status in statuses {
        if newest.get(&status.context).is_none_or(|known| (known.at, known.id) < (status.at, status.id)) {
            newest.insert(status.context.clone(), status);
        }
    }
    let mut newest: Vec<Status> = newest.into_values().collect();
    newest.sort_by(|a, b| a.context.cmp(&b.context));
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u64, name: &str, app: &str, started: Option<&str>, conclusion: Option<&str>) -> CheckRun {
        CheckRun {
            id,
            name: name.into(),
            app: app.into(),
            app_id: None,
            status: if conclusion.is_some() { "completed".into() } else { "queued".into() },
            conclusion: conclusion.map(Into::into),
            started: started.map(|at| at.parse().unwrap()),
            completed: None,
            url: None,
        }
    }

    #[test]
    fn the_newest_run_per_app_and_name_counts() {
        let early = Some("2025-03-03T10:00:00Z");
        let late = Some("2025-03-03T11:00:00Z");
        let chosen = newest_runs(vec![
            run(5, "ci / unit", "github-actions", late, Some("failure")),
            run(9, "ci / unit", "github-actions", early, Some("success")),
            run(7, "ci / unit", "other-ci", early, Some("success")),
            run(3, "ci / lint", "github-actions", early, Some("success")),
            run(4, "ci / lint", "github-actions", None, None),
        ]);
        let seen: Vec<(u64, Outcome)> = chosen.iter().map(|run| (run.id, run.outcome())).collect();
        assert_eq!(seen, [(4, Outcome::Pending), (5, Outcome::Failed), (7, Outcome::Success)]);
    }

    #[test]
    fn the_newest_status_per_context_counts() {
        let status = |id, state: &str, at: &str| Status {
            id,
            context: "codecov".into(),
            state: state.into(),
            url: None,
            at: Some(at.parse().unwrap()),
        };
        let chosen = newest_statuses(vec![
            status(2, "failure", "2025-03-03T10:00:01Z"),
            status(1, "pending", "2025-03-03T10:00:00Z"),
            status(3, "success", "2025-03-03T10:00:01Z"),
        ]);
        assert_eq!(chosen.iter().map(Status::outcome).collect::<Vec<_>>(), [Outcome::Success]);
    }

    #[test]
    fn a_skipped_or_unknown_conclusion_is_no_success() {
        assert_eq!(run(1, "a", "b", None, Some("skipped")).outcome(), Outcome::Skipped);
        assert_eq!(run(1, "a", "b", None, Some("stale")).outcome(), Outcome::Failed);
        assert_eq!(run(1, "a", "b", None, None).word(), "queued");
    }
}
