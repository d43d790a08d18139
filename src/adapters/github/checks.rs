//! Check runs and commit statuses of one commit. The combined status omits check runs, so both are read.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::client::{GitHub, encode};
use crate::domain::CommitSha;
use crate::error::Result;

/// What reported on a commit: the newest run per app, name and workflow, the newest status per context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checks {
    pub runs: Vec<CheckRun>,
    pub statuses: Vec<Status>,
    /// Why it could not be told which runs follow each other: then the newest of every suite is here, and one that failed may have
    /// passed later.
    pub unclear: Option<String>,
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
    /// The suite that it is in: GitHub Actions has one for each run of a workflow.
    pub suite: Option<u64>,
    /// Whose job it is; asked only where runs of one name are in several suites.
    pub workflow: Option<Workflow>,
}

/// A workflow of GitHub Actions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Workflow {
    pub id: u64,
    /// `ci.yml`.
    pub file: String,
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
    check_suite: Option<WireSuite>,
}

#[derive(Deserialize)]
struct WireSuite {
    id: u64,
}

#[derive(Deserialize)]
struct WireWorkflowRun {
    check_suite_id: Option<u64>,
    workflow_id: u64,
    path: String,
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
            suite: run.check_suite.map(|suite| suite.id),
            workflow: None,
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
    ///
    /// # Errors
    /// When they cannot be read. Of which workflow they are may stay unclear.
    pub async fn checks(&self, sha: &CommitSha) -> Result<Checks> {
        // `filter=latest` removes duplicates only within one check suite: read all, and choose ourselves.
        let runs = self.route(&format!("commits/{}/check-runs?filter=all", encode(sha.as_str())));
        let statuses = self.route(&format!("commits/{}/statuses", encode(sha.as_str())));
        let (runs, statuses) = futures::try_join!(
            self.all::<WireRun>(&runs, Some("check_runs")),
            self.all::<WireStatus>(&statuses, None)
        )?;
        let mut runs: Vec<CheckRun> = runs.into_iter().map(CheckRun::from).collect();
        let mut unclear = None;
        if in_several_suites(&runs) {
            match self.workflows_by_suite(sha).await {
                Ok(workflows) => {
                    for run in &mut runs {
                        run.workflow = run.suite.and_then(|suite| workflows.get(&suite).cloned());
                    }
                }
                Err(error) => unclear = Some(error.to_string()),
            }
        }
        let runs = if unclear.is_some() { newest_by(runs, |run| run.suite) } else { newest_runs(runs) };
        let statuses = newest_statuses(statuses.into_iter().map(Status::from).collect());
        Ok(Checks { runs, statuses, unclear })
    }

    /// The workflows of a commit's runs by check suite (docs.github.com, "List workflow runs for a repository").
    async fn workflows_by_suite(&self, sha: &CommitSha) -> Result<HashMap<u64, Workflow>> {
        let route = self.route(&format!("actions/runs?head_sha={}", encode(sha.as_str())));
        let runs = self.all::<WireWorkflowRun>(&route, Some("workflow_runs")).await?;
        let known = runs.into_iter().filter_map(|run| {
            Some((run.check_suite_id?, Workflow { id: run.workflow_id, file: file_of(&run.path).to_owned() }))
        });
        Ok(known.collect())
    }
}

/// `.github/workflows/ci.yml@main` → `ci.yml`.
fn file_of(path: &str) -> &str {
    let path = path.split_once('@').map_or(path, |(path, _)| path);
    path.strip_prefix(".github/workflows/").unwrap_or(path)
}

/// Whether one app has runs of one name in several suites: of one workflow they follow each other, of two they do not.
fn in_several_suites(runs: &[CheckRun]) -> bool {
    let mut suites = HashMap::new();
    runs.iter().any(|run| suites.insert((&run.app, &run.name), run.suite).is_some_and(|other| other != run.suite))
}

/// The newest run per app, name and workflow, ordered by name. A re-run updates a run in place; a new run has a higher id. A run
/// that has not started counts as newer than any that has. Two workflows may have jobs of the same name: neither stands for the other.
#[must_use]
pub fn newest_runs(runs: Vec<CheckRun>) -> Vec<CheckRun> {
    newest_by(runs, |run| run.workflow.as_ref().map(|workflow| workflow.id))
}

fn newest_by(runs: Vec<CheckRun>, of: impl Fn(&CheckRun) -> Option<u64>) -> Vec<CheckRun> {
    let age = |run: &CheckRun| (run.started.unwrap_or(Timestamp::MAX), run.id);
    let mut newest: HashMap<(String, String, Option<u64>), CheckRun> = HashMap::new();
    for run in runs {
        let key = (run.app.clone(), run.name.clone(), of(&run));
        if newest.get(&key).is_none_or(|known| age(known) < age(&run)) {
            newest.insert(key, run);
        }
    }
    let mut newest: Vec<CheckRun> = newest.into_values().collect();
    newest.sort_by(|a, b| (&a.name, &a.app, a.id).cmp(&(&b.name, &b.app, b.id)));
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
            suite: None,
            workflow: None,
        }
    }

    #[test]
    fn another_workflows_job_of_the_same_name_hides_no_failure() {
        let of = |workflow: u64, mut run: CheckRun| {
            run.suite = Some(run.id);
            run.workflow = Some(Workflow { id: workflow, file: format!("{workflow}.yml") });
            run
        };
        let run = |id, at, conclusion| run(id, "unit", "github-actions", Some(at), Some(conclusion));
        let (early, late) = ("2025-03-03T10:00:00Z", "2025-03-03T11:00:00Z");
        let failed_once = vec![of(1, run(3, early, "failure")), of(1, run(4, late, "success"))];
        assert!(in_several_suites(&failed_once));
        assert_eq!(newest_runs(failed_once).iter().map(|run| run.id).collect::<Vec<_>>(), [4]);
        let failed_elsewhere = vec![of(2, run(3, early, "failure")), of(1, run(4, late, "success"))];
        let outcomes: Vec<_> = newest_runs(failed_elsewhere).iter().map(CheckRun::outcome).collect();
        assert_eq!(outcomes, [Outcome::Failed, Outcome::Success]);
        // Nobody is asked where there is nothing to tell apart.
        let other = CheckRun { name: "lint".into(), ..of(1, run(5, early, "success")) };
        assert!(!in_several_suites(&[of(1, run(3, early, "success")), other]));
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
