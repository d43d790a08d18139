//! Every scenario: its exit code, its message, and production, Git and GitHub as the message claims; seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{Ran, Running, World, eventually};

/// World seconds a second.
const SPEED: u32 = 3600;

/// What the world must look like afterwards.
struct After {
    exit: i32,
    /// What standard error must say.
    says: &'static [&'static str],
    tagged: bool,
    serves: Serves,
    released: bool,
    /// Whether the run can be resumed.
    open: bool,
}

enum Serves {
    /// What staging soaked, in every service.
    New,
    /// Other digests than before and than staging, in every service.
    Rebuilt,
    /// What it served before, in every service.
    Old,
    /// This service still serves what it served before.
    OldIn(&'static str),
}

const BLOCKED: After = After { exit: 10, says: &[], tagged: false, serves: Serves::Old, released: false, open: false };
const RELEASED: After = After { exit: 0, says: &[], tagged: true, serves: Serves::New, released: true, open: false };
const STOPPED: After = After { exit: 15, says: &[], tagged: true, serves: Serves::Old, released: false, open: true };

type Digests = BTreeMap<String, BTreeSet<String>>;

fn promote(scenario: &str, flags: &[&str], after: &After) {
    let world = World::of(scenario);
    let (before, soaked) = (world.serving(), world.soaked());
    assert_eq!(before.len(), 6, "production serves six services at first: {before:?}");
    let ran = world.tool(&[&["promote", "--yes", "--output", "json"], flags].concat());
    ran.ended(after.exit);
    for text in after.says {
        ran.says(text);
    }
    check(&world, &ran, after, &before, &soaked);
}

fn check(world: &World, ran: &Ran, after: &After, before: &Digests, soaked: &Digests) {
    let report = ran.json();
    assert_eq!(report["exit"], after.exit, "{ran}");
    let tag = "release/v1.2.0";
    assert_eq!(world.tags().contains(tag), after.tagged, "tag\n{ran}");
    let runs = world.workflow_runs(tag);
    assert_eq!(runs.len(), usize::from(after.tagged), "workflow runs\n{ran}");
    assert_eq!(world.releases().contains(&tag.to_owned()), after.released, "release\n{ran}");
    serves(&world.serving(), &after.serves, before, soaked, ran);
    if after.tagged {
        on_the_candidate(world, ran);
    }
    if after.exit == 14 {
        // A wrong world is not asked for its runs either.
        world.tool(&["status"]).ended(14);
        return;
    }
    let status = world.tool(&["status", "--output", "json"]);
    let open = status.ended(0).json()["open"].as_array().map_or(0, Vec::len);
    assert_eq!(open, usize::from(after.open), "open runs\n{status}\n{ran}");
}

fn serves(now: &Digests, expected: &Serves, before: &Digests, soaked: &Digests, ran: &Ran) {
    match expected {
        Serves::New => assert_eq!(now, soaked, "production serves what soaked\n{ran}"),
        Serves::Old => assert_eq!(now, before, "production serves what it served\n{ran}"),
        Serves::OldIn(service) => {
            assert!(
                before[*service].is_subset(now.get(*service).unwrap_or(&BTreeSet::new())),
                "{service}: {now:?}\n{ran}"
            );
        }
        Serves::Rebuilt => {
            for (service, digests) in now {
                assert!(
                    digests.is_disjoint(&before[service]) && digests.is_disjoint(&soaked[service]),
                    "{service}\n{ran}"
                );
            }
        }
    }
}

/// The tag is annotated and stands on staging's commit, not on main's tip.
fn on_the_candidate(world: &World, ran: &Ran) {
    let refs = world.refs();
    let commit = &refs["refs/tags/release/v1.2.0^{}"];
    assert_ne!(commit, &refs["refs/tags/release/v1.2.0"], "annotated");
    assert_ne!(commit, &refs["refs/heads/main"], "not main's tip");
    let runs = world.workflow_runs("release/v1.2.0");
    assert_eq!(runs[0]["head_sha"].as_str(), Some(commit.as_str()), "{ran}");
}

#[test]
fn clean() {
    let world = World::serve("clean", SPEED);
    let (before, soaked) = (world.serving(), world.soaked());
    let ran = world.tool(&["promote", "--yes", "--output", "json"]);
    ran.ended(0);
    check(&world, &ran, &RELEASED, &before, &soaked);
    let report = ran.json();
    assert_eq!(report["outcome"], "released");
    assert_eq!(report["version"], "v1.2.0");
    assert_eq!(report["world"]["kind"], "rehearsal");
    let gates: BTreeSet<&str> = report["gates"].as_array().unwrap().iter().filter_map(|g| g["id"].as_str()).collect();
    let eight = ["ci", "soak", "health", "errors", "migrations", "smoke", "performance", "rollback"];
    assert_eq!(gates, eight.into_iter().collect());
    assert_eq!(report["rollback"]["target"], "v1.1.1");
    assert_eq!(report["rollback"]["usable"], true);
    for image in report["images"].as_array().unwrap() {
        assert_eq!(image["soaked"], true);
        let deployment = format!("gospelib-{}", image["service"].as_str().unwrap());
        assert!(soaked[&deployment].contains(image["digest"].as_str().unwrap()));
    }
    assert!(report["steps"].as_array().unwrap().iter().all(|step| step["state"] == "done"));
    assert_eq!(world.lock_holder(), "", "the lock is given back");
    let overlay = world.file_on_main("infra/k8s/overlays/production/kustomization.yaml");
    assert!(overlay.contains("v1.2.0") && overlay.contains('#'), "{overlay}");
    assert_eq!(world.application()["status"]["sync"]["status"], "Synced");
    world.tool(&["promote", "--yes"]).ended(2).says("nothing to release");
}

macro_rules! scenarios {
    ($($name:ident: $scenario:literal $flags:expr => $after:expr;)*) => {
        $(#[test]
        fn $name() {
            promote($scenario, &$flags, &$after);
        })*

        /// Scenarios that the table above and `clean` try.
        pub const TRIED: &[&str] = &["clean", $($scenario),*];
    };
}

scenarios! {
    ci_red: "ci-red" [] => After { says: &["blocked by", "ci"], ..BLOCKED };
    ci_no_checks: "ci-no-checks" [] => After { says: &["ci"], ..BLOCKED };
    ci_red_elsewhere: "ci-red-elsewhere" [] => After { says: &["ci / unit of nightly.yml"], ..BLOCKED };
    ci_required_skipped: "ci-required-skipped" [] => After { says: &["skipped"], ..BLOCKED };
    soak_short: "soak-short" [] => After { says: &["soak", "eligible"], ..BLOCKED };
    soak_reset: "soak-reset" [] => After { says: &["soak", "eligible"], ..BLOCKED };
    staging_unhealthy: "staging-unhealthy" [] => After { says: &["health"], ..BLOCKED };
    error_spike_staging: "error-spike-staging" [] => After { says: &["errors"], ..BLOCKED };
    approval_rule_absent: "approval-rule-absent" [] => After { says: &["no required reviewers"], ..BLOCKED };
    wrong_cluster: "wrong-cluster" [] => After { exit: 14, ..BLOCKED };
    lock_held: "lock-held" [] => After { exit: 13, says: &["locked by"], ..BLOCKED };
    rebuilt_bytes: "rebuilt-bytes" [] => After { says: &["0 of 6"], serves: Serves::Rebuilt, ..RELEASED };
    argo_old_revision: "argo-old-revision" [] => RELEASED;
    argo_stuck: "argo-stuck" ["--terminate-sync"] => After { says: &["ending"], ..RELEASED };
    git_push_race: "git-push-race" [] => RELEASED;
    api_flaky: "api-flaky" [] => RELEASED;
    approval_denied: "approval-denied" [] => After { says: &["rejected", "v1.1.1"], ..STOPPED };
    approval_expired: "approval-expired" [] => After { exit: 12, says: &["nobody approved", "v1.1.1"], ..STOPPED };
    workflow_fails: "workflow-fails" [] => After { says: &["the workflow failed at", "v1.1.1"], ..STOPPED };
    image_missing: "image-missing" [] => After { says: &["ECR has no"], serves: Serves::OldIn("gospelib-study"), ..STOPPED };
    crash_loop: "crash-loop" [] => After { says: &["rollback"], serves: Serves::OldIn("gospelib-content"), ..STOPPED };
    image_pull_error: "image-pull-error" [] => After { says: &["cannot pull"], serves: Serves::OldIn("gospelib-auth"), ..STOPPED };
    never_ready: "never-ready" [] => After { exit: 12, says: &["rollout did not finish"], serves: Serves::OldIn("gospelib-study"), ..STOPPED };
}

/// A stuck operation of somebody else is ended only with consent: without it the run waits for a person.
#[test]
fn argo_stuck_without_consent() {
    let world = World::serve("argo-stuck", SPEED);
    let before = world.serving();
    world.tool(&["promote", "--yes"]).ended(11).says("--terminate-sync");
    assert_eq!(world.serving(), before);
    world.tool(&["promote", "--yes"]).ended(13).says("unfinished").says("resume");
    world.tool(&["resume", "--terminate-sync"]).ended(0);
    assert_eq!(world.serving(), world.soaked());
}

/// Jobs that are run again ask again: the approval of the attempt before is none.
#[test]
fn an_approval_counts_for_its_own_attempt() {
    let world = World::serve("approval-expired", 120);
    let before = world.serving();
    world.tool(&["promote", "--yes", "--wait-approval", "1s"]).ended(11);
    let run = world.workflow_runs("release/v1.2.0")[0]["id"].clone();
    let at = |rest: &str| format!("actions/runs/{run}{rest}");
    let pending = || world.github(&at("/pending_deployments"));
    eventually("it asks", || pending()[0]["environment"]["id"].is_u64());
    let environment = &pending()[0]["environment"]["id"];
    let yes = json!({"environment_ids": [environment], "state": "approved", "comment": "go"});
    world.github_post_by("rhea-reviewer", &at("/pending_deployments"), &yes);
    world.github_post(&at("/cancel"), &json!({}));
    eventually("it ends", || world.github(&at(""))["status"] == "completed");
    world.github_post(&at("/rerun"), &json!({}));
    // The regression suite runs, and nobody is asked yet.
    assert_eq!(pending(), json!([]));
    let ran = world.tool(&["resume", "--wait-approval", "1s"]);
    assert!(!ran.ended(11).stderr.contains("approved by"), "{ran}");
    eventually("it asks again", || pending()[0]["environment"]["id"].is_u64());
    world.tool(&["resume", "--wait-approval", "1s"]).ended(11).says("to approve v1.2.0");
    assert_eq!(world.serving(), before);
}

/// Where soaked bytes are demanded, a workflow that builds again is refused before the tag.
#[test]
fn soaked_bytes_demanded() {
    let world = World::serve("rebuilt-bytes", SPEED);
    let before = world.serving();
    let demand = ["--set", "images.require_soaked_bytes=true"];
    world.tool(&[&["promote", "--yes"][..], &demand].concat()).ended(10).says("builds the images again");
    assert!(!world.tags().contains("release/v1.2.0"));
    assert_eq!(world.serving(), before);
    // A workflow that breaks its word is found out after the fact: what is live is said, and the way back.
    let word = ["--set", "workflow.deploys_by_digest=true"];
    let ran = world.tool(&[&["promote", "--yes"][..], &demand, &word].concat());
    ran.ended(10).says("never soaked").says("gospel-release rollback --to v1.1.1");
}

/// What a blocking gate saw is told with its verdict and nowhere else; the documents hold it too, a dry run's as well.
#[test]
fn what_a_blocking_gate_saw_is_told_once() {
    let world = World::serve("ci-red", SPEED);
    let seen = "failure, required, by github-actions";
    for flag in ["--yes", "--dry-run"] {
        let ran = world.tool(&["promote", flag, "--output", "json"]);
        ran.ended(10);
        assert_eq!(ran.stderr.matches(seen).count(), 1, "{ran}");
        let report = ran.json();
        let ci =
            report["gates"].as_array().unwrap().iter().find(|gate| gate["id"] == "ci").expect("the gate ci").clone();
        assert_eq!(ci["verdict"], "fail");
        assert!(ci["evidence"]["facts"].to_string().contains(seen), "{ci}");
        if let Some(bundle) = report["evidence"].as_str() {
            let filed = std::fs::read_to_string(std::path::Path::new(bundle).join("report.md")).unwrap();
            assert_eq!(filed.matches(seen).count(), 1, "{filed}");
        }
    }
}

#[test]
fn every_scenario_is_tried() {
    let mut list = std::process::Command::new(crate::support::BIN);
    list.args(["rehearse", "list", "--output", "json"]);
    let all = Running::start(list).end().json();
    let names: BTreeSet<&str> =
        all.as_array().into_iter().flatten().filter_map(|scenario| scenario["name"].as_str()).collect();
    let tried = TRIED.iter().chain(crate::documented::FOR_ROLLBACK_AND_HOTFIX);
    assert_eq!(names, tried.copied().collect());
}
