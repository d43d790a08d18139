//! GitHub at the beginning of the story: checks of main, the runs and releases of the past.

use jiff::{SignedDuration, Timestamp};

use super::state::{CD_WORKFLOW, CI_WORKFLOW, CheckRun, Environment, Job, NIGHTLY_WORKFLOW, Release, Run, State};
use crate::rehearsal::git::Repo;
use crate::rehearsal::scenario::Ci;
use crate::rehearsal::shape::Shape;
use crate::rehearsal::world::{Build, Past};
use crate::rehearsal::{Scenario, git};

/// Who may approve a deployment to production.
const REVIEWERS: [&str; 2] = ["rhea-reviewer", "amon-oncall"];

pub fn state(shape: &Shape, scenario: &Scenario, repo: &Repo, past: &Past, start: Timestamp, seed: u64) -> State {
    let mut state = State::numbered_from(seed);
    let created = start.checked_sub(SignedDuration::from_hours(89 * 24)).unwrap_or(start);
    let rule = scenario.world.approval.rule;
    let reviewers = if rule { REVIEWERS.map(str::to_owned).to_vec() } else { Vec::new() };
    state.environments.insert(shape.environment.clone(), Environment { id: 161_171_787, created, reviewers });
    state.environments.insert("staging".into(), Environment { id: 161_171_788, created, reviewers: Vec::new() });
    checks(&mut state, scenario.world.ci, repo, past);
    for (n, build) in past.releases.iter().enumerate() {
        release(&mut state, shape, repo, build, i64::try_from(n).unwrap_or(0) + 1);
    }
    state
}

/// Checks of main's last commits: the candidate's as the scenario says, the others' green. The bot's commits have none
/// (a push with the workflow's own token starts no workflow).
fn checks(state: &mut State, ci: Ci, repo: &Repo, past: &Past) {
    let main = repo.head("main").unwrap_or_default();
    let mut commits = repo.log(&main, None, 12);
    commits.reverse();
    for commit in commits.iter().filter(|commit| commit.author.name != git::BOT) {
        let at = commit.committer.at;
        if commit.sha != past.candidate.commit {
            state.add_checks("main", &commit.sha, at, |_| "success");
            state.add_status(&commit.sha, at);
            continue;
        }
        if ci == Ci::None {
            continue;
        }
        // The first run of a flaky test failed; a run in a suite of its own came after it.
        let failed = at.checked_add(SignedDuration::from_mins(3)).unwrap_or(at);
        let mut fail = |workflow| {
            let (suite, id) = (state.id(), state.id());
            state.checks.push(CheckRun {
                id,
                suite,
                workflow,
                sha: commit.sha.clone(),
                branch: "main".into(),
                name: "ci / unit".into(),
                conclusion: "failure".into(),
                started: at,
                completed: failed,
            });
        };
        fail(CI_WORKFLOW);
        if ci == Ci::RedElsewhere {
            fail(NIGHTLY_WORKFLOW);
        }
        state.add_checks("main", &commit.sha, failed, |name| match ci {
            Ci::Red if name == "ci / integration" => "failure",
            Ci::RequiredSkipped if name == "ci / integration" => "skipped",
            _ => "success",
        });
        state.add_status(&commit.sha, failed);
    }
}

/// The run, the deployment and the Release object of a past release.
fn release(state: &mut State, shape: &Shape, repo: &Repo, build: &Build, number: i64) {
    let Some(version) = &build.version else { return };
    let tag = format!("release/{version}");
    let pushed = repo.tag(&tag).and_then(|tag| tag.annotation).map_or(build.at, |(_, tagger)| tagger.at);
    let after = |minutes| pushed.checked_add(SignedDuration::from_mins(minutes)).unwrap_or(pushed);
    let mut jobs = Vec::new();
    let mut job = |state: &mut State, name: String, from: i64, to: i64| {
        jobs.push(Job {
            id: state.id(),
            attempt: 1,
            name,
            status: "completed".into(),
            conclusion: Some("success".into()),
            created: pushed,
            started: Some(after(from)),
            completed: Some(after(to)),
        });
    };
    job(state, "regression".into(), 0, 6);
    job(state, "approve".into(), 14, 14);
    for service in &shape.services {
        job(state, format!("build ({service})"), 15, 18);
    }
    job(state, "update-overlay".into(), 18, 19);
    let (run, deployment) = (state.id(), state.id());
    let done = state.id();
    state.deployments.push(super::state::Deployment {
        id: deployment,
        sha: build.commit.clone(),
        reference: tag.clone(),
        environment: shape.environment.clone(),
        run,
        created: after(6),
        states: vec![(done, "success".into(), after(14))],
    });
    state.runs.push(past_run(run, number, &tag, build, jobs, [pushed, after(19)]));
    let id = state.id();
    state.releases.push(Release {
        id,
        tag,
        target: build.commit.clone(),
        name: Some(version.to_string()),
        body: format!("Release {version}\n"),
        draft: false,
        prerelease: false,
        author: "dana-dev".into(),
        created: after(80),
        published: Some(after(80)),
        latest_since: Some(after(80)),
    });
}

fn past_run(id: i64, number: i64, tag: &str, build: &Build, jobs: Vec<Job>, [from, to]: [Timestamp; 2]) -> Run {
    Run {
        id,
        number,
        attempt: 1,
        workflow: CD_WORKFLOW,
        head: tag.to_owned(),
        sha: build.commit.clone(),
        actor: "dana-dev".into(),
        status: "completed".into(),
        conclusion: Some("success".into()),
        created: from,
        started: from,
        updated: to,
        jobs,
        pending: None,
        approvals: vec![super::state::Approval {
            environment: "production".into(),
            by: "rhea-reviewer".into(),
            approved: true,
            comment: "ok".into(),
        }],
        cancelled: false,
        kept: Vec::new(),
    }
}
