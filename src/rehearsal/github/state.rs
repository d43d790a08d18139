//! What GitHub keeps, as plain values. Times are world time.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Id of GitHub's own app "GitHub Actions" (the public value).
pub const ACTIONS_APP: i64 = 15368;
/// Id of the release workflow.
pub const CD_WORKFLOW: i64 = 4217;
/// Id of the workflow of checks.
pub const CI_WORKFLOW: i64 = 4216;
/// Id of the workflow that runs at night, and has a job by the name of one of the checks.
pub const NIGHTLY_WORKFLOW: i64 = 4218;
/// The required checks on main.
pub const REQUIRED: [&str; 3] = ["ci / unit", "ci / integration", "ci / lint"];

/// Everything behind the hub's lock.
#[derive(Debug, Default)]
pub struct State {
    last_id: i64,
    pub checks: Vec<CheckRun>,
    pub statuses: Vec<Status>,
    /// Oldest first.
    pub runs: Vec<Run>,
    pub deployments: Vec<Deployment>,
    pub releases: Vec<Release>,
    pub pulls: Vec<Pull>,
    /// Reviewers of each environment; an empty list is an environment without the rule.
    pub environments: BTreeMap<String, Environment>,
}

#[derive(Debug, Clone)]
pub struct Environment {
    pub id: i64,
    pub created: Timestamp,
    pub reviewers: Vec<String>,
}

/// One check run; how far it is follows from the time.
#[derive(Debug, Clone)]
pub struct CheckRun {
    pub id: i64,
    /// Each workflow run has a suite of its own.
    pub suite: i64,
    pub workflow: i64,
    pub sha: String,
    pub branch: String,
    pub name: String,
    /// `success`, `failure`, `skipped`, …: once it has completed.
    pub conclusion: String,
    pub started: Timestamp,
    pub completed: Timestamp,
}

/// A commit status (the older kind of check).
#[derive(Debug, Clone)]
pub struct Status {
    pub id: i64,
    pub sha: String,
    pub context: String,
    pub state: String,
    pub description: String,
    pub at: Timestamp,
}

/// One run of a workflow.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: i64,
    pub number: i64,
    pub attempt: i64,
    pub workflow: i64,
    /// Branch, or short name of the tag.
    pub head: String,
    pub sha: String,
    pub actor: String,
    /// `queued`, `pending`, `in_progress`, `waiting`, `completed`.
    pub status: String,
    pub conclusion: Option<String>,
    pub created: Timestamp,
    pub started: Timestamp,
    pub updated: Timestamp,
    /// Every job of every attempt, in order of creation.
    pub jobs: Vec<Job>,
    pub pending: Option<Pending>,
    pub approvals: Vec<Approval>,
    /// Somebody asked to cancel it.
    pub cancelled: bool,
    /// Jobs that an earlier attempt did, and this one does not repeat.
    pub kept: Vec<String>,
}

/// The approval gate, while it is closed.
#[derive(Debug, Clone)]
pub struct Pending {
    pub environment: String,
    pub deployment: i64,
}

/// What a reviewer said.
#[derive(Debug, Clone)]
pub struct Approval {
    pub environment: String,
    pub by: String,
    pub approved: bool,
    pub comment: String,
}

#[derive(Debug, Clone)]
pub struct Job {
    pub id: i64,
    pub attempt: i64,
    pub name: String,
    pub status: String,
    pub conclusion: Option<String>,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub struct Deployment {
    pub id: i64,
    pub sha: String,
    pub reference: String,
    pub environment: String,
    pub run: i64,
    pub created: Timestamp,
    /// `(id, state, when)`, oldest first.
    pub states: Vec<(i64, String, Timestamp)>,
}

#[derive(Debug, Clone)]
pub struct Release {
    pub id: i64,
    pub tag: String,
    pub target: String,
    pub name: Option<String>,
    pub body: String,
    pub draft: bool,
    pub prerelease: bool,
    pub author: String,
    pub created: Timestamp,
    pub published: Option<Timestamp>,
    /// Since when it may be called the latest; `None`: somebody said that it shall not.
    pub latest_since: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub struct Pull {
    pub id: i64,
    pub number: i64,
    pub title: String,
    pub body: Option<String>,
    pub head: String,
    pub head_sha: String,
    pub base: String,
    pub base_sha: String,
    pub author: String,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// `(merge commit, by, when)`.
    pub merged: Option<(String, String, Timestamp)>,
    pub closed: Option<Timestamp>,
}

impl State {
    /// Nothing yet; ids begin where the seed says.
    pub fn numbered_from(seed: u64) -> Self {
        let offset = i64::try_from(seed % 1000).unwrap_or(0) * 1_000_000;
        Self { last_id: 8_800_000_000 + offset, ..Self::default() }
    }

    /// A new id; ids grow, as GitHub's do.
    pub fn id(&mut self) -> i64 {
        self.last_id += 13;
        self.last_id
    }

    pub fn run(&self, id: i64) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    pub fn run_mut(&mut self, id: i64) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.id == id)
    }

    /// Adds a state to a deployment.
    pub fn deployment_is(&mut self, deployment: i64, state: &str, at: Timestamp) {
        let id = self.id();
        if let Some(found) = self.deployments.iter_mut().find(|found| found.id == deployment) {
            found.states.push((id, state.to_owned(), at));
        }
    }

    /// The three checks of a branch's commit, as `ci.yml` runs them from `at` on.
    pub fn add_checks(&mut self, branch: &str, sha: &str, at: Timestamp, conclusion: impl Fn(&str) -> &'static str) {
        self.add_checks_that_take(branch, sha, at, [2, 4, 9], conclusion);
    }

    /// The same, in so many minutes each: what is cached makes them faster on a branch.
    pub fn add_checks_that_take(
        &mut self,
        branch: &str,
        sha: &str,
        at: Timestamp,
        minutes: [i64; 3],
        conclusion: impl Fn(&str) -> &'static str,
    ) {
        let suite = self.id();
        for (name, minutes) in ["ci / lint", "ci / unit", "ci / integration"].into_iter().zip(minutes) {
            let id = self.id();
            let completed = at.checked_add(jiff::SignedDuration::from_mins(minutes)).unwrap_or(at);
            let (sha, branch) = (sha.to_owned(), branch.to_owned());
            let (name, conclusion) = (name.to_owned(), conclusion(name).to_owned());
            let workflow = CI_WORKFLOW;
            self.checks.push(CheckRun { id, suite, workflow, sha, branch, name, conclusion, started: at, completed });
        }
    }

    /// The workflow runs whose jobs are the checks, as they stand `now`, oldest first.
    pub fn runs_of_checks(&self, now: Timestamp) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for check in &self.checks {
            let over = check.completed <= now;
            let id = run_of_suite(check.suite);
            if let Some(run) = runs.iter_mut().find(|run| run.id == id) {
                run.updated = run.updated.max(check.completed.min(now));
                run.conclusion = match (run.conclusion.as_deref(), check.conclusion.as_str()) {
                    (Some(_), "failure") if over => Some("failure".into()),
                    (Some(so_far), _) if over => Some(so_far.to_owned()),
                    _ => None,
                };
            } else {
                let number = runs.iter().filter(|run| run.workflow == check.workflow).count();
                let worst = if check.conclusion == "failure" { "failure" } else { "success" };
                runs.push(Run {
                    id,
                    number: i64::try_from(number).unwrap_or(0) + 1,
                    attempt: 1,
                    workflow: check.workflow,
                    head: check.branch.clone(),
                    sha: check.sha.clone(),
                    actor: "dana-dev".into(),
                    status: String::new(),
                    conclusion: over.then(|| worst.to_owned()),
                    created: check.started,
                    started: check.started,
                    updated: check.completed.min(now),
                    jobs: Vec::new(),
                    pending: None,
                    approvals: Vec::new(),
                    cancelled: false,
                    kept: Vec::new(),
                });
            }
        }
        for run in &mut runs {
            run.status = if run.conclusion.is_some() { "completed" } else { "in_progress" }.into();
        }
        runs
    }

    pub fn add_status(&mut self, sha: &str, at: Timestamp) {
        let id = self.id();
        self.statuses.push(Status {
            id,
            sha: sha.to_owned(),
            context: "codecov/project".into(),
            state: "success".into(),
            description: "81.4% (+0.2%) compared to the base".into(),
            at,
        });
    }
}

/// The suite of a workflow run.
pub const fn suite_of_run(run: i64) -> i64 {
    run + 1
}

/// The workflow run of a suite.
pub const fn run_of_suite(suite: i64) -> i64 {
    suite - 1
}

impl Run {
    /// The jobs of the latest attempt, and those that it did not repeat, in order.
    pub fn latest_jobs(&self) -> Vec<&Job> {
        let newer = |job: &Job| self.jobs.iter().any(|other| other.name == job.name && other.attempt > job.attempt);
        let of_it = |job: &Job| job.attempt == self.attempt || self.kept.contains(&job.name);
        self.jobs.iter().filter(|job| of_it(job) && !newer(job)).collect()
    }

    pub fn job_mut(&mut self, name: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().rev().find(|job| job.name == name)
    }

    pub fn is_over(&self) -> bool {
        self.status == "completed"
    }
}

impl Job {
    pub fn start(&mut self, at: Timestamp) {
        self.status = "in_progress".into();
        self.started = Some(at);
    }

    pub fn end(&mut self, conclusion: &str, at: Timestamp) {
        self.status = "completed".into();
        self.conclusion = Some(conclusion.to_owned());
        self.completed = Some(at);
    }
}
