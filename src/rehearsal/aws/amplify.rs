//! Amplify, in REST JSON (API reference, version 2017-07-25): front ends that ship on every push to main.

use std::time::Duration;

use axum::http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::router::account;
use super::wire::{Call, Fault, page, seconds};
use crate::rehearsal::World;

/// The Amplify application id of an app: `d` and lower-case letters and digits.
#[must_use]
pub fn app_id(app: &str) -> String {
    format!("d0rehearsal{}", app.replace(|c: char| !c.is_ascii_alphanumeric(), ""))
}

/// The apps that Amplify ships; the mobile app goes through EAS.
fn apps(world: &World) -> impl Iterator<Item = &str> {
    world.shape.apps.iter().map(String::as_str).filter(|app| *app != "mobile")
}

pub(super) fn answer(world: &World, call: &Call) -> Result<Value, Fault> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    if call.method != Method::GET {
        return Err(Fault::not_rehearsed(format!("{} /{} of Amplify", call.method, call.path.join("/"))));
    }
    match path.as_slice() {
        ["apps"] => page(call, apps(world).map(|app| describe(world, app)).collect(), "apps"),
        ["apps", id] => Ok(json!({ "app": describe(world, find(world, id)?) })),
        ["apps", id, "branches"] => page(call, vec![branch(world, find(world, id)?)], "branches"),
        ["apps", id, "branches", name] => {
            let app = find(world, id)?;
            on_main(name)?;
            Ok(json!({ "branch": branch(world, app) }))
        }
        ["apps", id, "branches", name, "jobs"] => {
            let app = find(world, id)?;
            on_main(name)?;
            page(call, jobs(world, app), "jobSummaries")
        }
        ["apps", id, "branches", name, "jobs", job] => {
            let app = find(world, id)?;
            on_main(name)?;
            let summary = jobs(world, app).into_iter().find(|found| found["jobId"] == **job);
            let summary = summary.ok_or_else(|| not_found(format!("Job {job} not found")))?;
            Ok(json!({ "job": { "summary": summary, "steps": [] } }))
        }
        _ => Err(Fault::not_rehearsed(format!("GET /{} of Amplify", call.path.join("/")))),
    }
}

fn find<'a>(world: &'a World, id: &str) -> Result<&'a str, Fault> {
    apps(world).find(|app| app_id(app) == id).ok_or_else(|| not_found(format!("App {id} not found.")))
}

fn on_main(branch: &str) -> Result<(), Fault> {
    if branch == "main" { Ok(()) } else { Err(not_found(format!("Branch {branch} not found"))) }
}

fn not_found(message: String) -> Fault {
    Fault::new(404, "NotFoundException", message)
}

fn arn(world: &World, rest: &str) -> String {
    format!("arn:aws:amplify:{}:{}:apps/{rest}", world.shape.region, account(world))
}

fn describe(world: &World, app: &str) -> Value {
    let (id, created) = (app_id(app), seconds(world.past.candidate.at - Duration::from_hours(300 * 24)));
    json!({
        "appId": id,
        "appArn": arn(world, &id),
        "name": world.shape.object(app),
        "description": format!("{app} front end"),
        "repository": format!("https://github.com/{}", world.shape.slug),
        "platform": "WEB",
        "createTime": created,
        "updateTime": created,
        "environmentVariables": {},
        "defaultDomain": format!("{id}.amplifyapp.com"),
        "enableBranchAutoBuild": true,
        "enableBasicAuth": false,
    })
}

fn branch(world: &World, app: &str) -> Value {
    let (id, jobs) = (app_id(app), jobs(world, app));
    json!({
        "branchArn": arn(world, &format!("{id}/branches/main")),
        "branchName": "main",
        "description": "",
        "stage": "PRODUCTION",
        "displayName": "main",
        "enableNotification": false,
        "createTime": seconds(world.past.candidate.at - Duration::from_hours(300 * 24)),
        "updateTime": jobs.first().map(|job| job["endTime"].clone()),
        "environmentVariables": {},
        "enableAutoBuild": true,
        "customDomains": [],
        "framework": "React",
        "activeJobId": jobs.first().map(|job| job["jobId"].clone()),
        "totalNumberOfJobs": jobs.len().to_string(),
        "enableBasicAuth": false,
        "ttl": "5",
        "enablePullRequestPreview": false,
    })
}

/// Newest first: one job for each commit on main that we know of. Front ends ship before any gate, so that the newest
/// one is main's tip, ahead of the candidate.
fn jobs(world: &World, app: &str) -> Vec<Value> {
    let past = world.past.releases.iter().chain([&world.past.candidate]);
    let mut commits: Vec<(String, Timestamp)> = past.map(|build| (build.commit.clone(), build.at)).collect();
    if let Some(head) = world.repo.head("main")
        && commits.iter().all(|(commit, _)| *commit != head)
    {
        commits.push((head, world.past.candidate.at + Duration::from_hours(1)));
    }
    let id = app_id(app);
    let job = |(number, (commit, at)): (usize, (String, Timestamp))| {
        let job_id = (number + 1).to_string();
        json!({
            "jobArn": arn(world, &format!("{id}/branches/main/jobs/{job_id}")),
            "jobId": job_id,
            "commitId": commit,
            "commitMessage": "",
            "commitTime": seconds(at),
            "startTime": seconds(at + Duration::from_secs(20)),
            "status": "SUCCEED",
            "endTime": seconds(at + Duration::from_secs(200)),
            "jobType": "RELEASE",
        })
    };
    let mut jobs: Vec<Value> = commits.into_iter().enumerate().map(job).collect();
    jobs.reverse();
    jobs
}
