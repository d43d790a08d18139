//! What must not happen by accident: a dry run that acts, a run that cannot go on elsewhere, a dead production that looks well.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{Ran, Running, World};

/// A promote that was left open while it waits for its approval.
fn left_open(world: &World) -> Ran {
    let ran = world.tool(&["promote", "--yes", "--wait-approval", "1s"]);
    ran.ended(11);
    ran
}

#[test]
fn a_dry_run_of_what_is_open_changes_nothing() {
    let world = World::serve("clean", 60);
    left_open(&world);
    let was = (world.serving(), world.tags(), world.told().len(), world.lock_holder());
    let now = || (world.serving(), world.tags(), world.told().len(), world.lock_holder());
    world.tool(&["abort", "--dry-run"]).ended(0).says("would be aborted");
    let ran = world.tool(&["resume", "--dry-run", "--output", "json"]);
    assert_eq!(ran.ended(0).json()["outcome"], "planned", "{ran}");
    assert_eq!(now(), was, "{ran}");
    let open = world.tool(&["status", "--output", "json"]).json()["open"].as_array().map(Vec::len);
    assert_eq!(open, Some(1));
    world.tool(&["tag", "v1.9.0", "--no-push", "--dry-run"]).ended(0).says("nothing was changed");
    assert_eq!(world.dev(&["tag", "--list", "release/v1.9.0"]), "");
    // Beside a run that is open no tag starts a second workflow.
    world.tool(&["tag", "v1.9.0", "--yes"]).ended(13).says("is unfinished");
    assert_eq!(now(), was);
}

#[test]
fn a_run_goes_on_where_the_webhook_is_not_known_and_the_journal_is_spoilt() {
    let world = World::serve("clean", 600);
    left_open(&world);
    let runs = world.state("laptop").join("gospel-release/rehearsal/gospelib");
    let run = std::fs::read_dir(&runs).expect("runs").next().expect("a run").expect("a directory").path();
    std::fs::write(run.join("journal.jsonl"), "not a journal\n{}\n{}\n").expect("spoil it");
    let mut resume = world.tool_on("laptop", &["resume", "--set", "workflow.wait_approval=24h"]);
    let config = std::fs::read_to_string(world.manifest["config"].as_str().expect("a path")).expect("read it");
    let config: BTreeMap<String, serde_json::Value> = serde_yaml::from_str(&config).expect("YAML");
    let variable = config["announce"]["webhook_env"].as_str().unwrap_or("RELEASES_WEBHOOK").to_owned();
    resume.env_remove(&variable);
    let ran = Running::start(resume).end();
    ran.ended(0);
    if config["announce"]["webhook_env"].is_string() {
        ran.says("is not set");
    }
    assert_eq!(world.serving(), world.soaked(), "{ran}");
}

#[test]
fn a_run_goes_on_with_the_settings_that_it_began_with() {
    let world = World::serve("clean", 600);
    left_open(&world);
    let ran = world.tool(&["resume", "--set", "repository.tags=tags/v*"]);
    ran.ended(3).says("began with repository.tags: release/v*").says("--set repository.tags=release/v*");
    // Another Application would be synced, and another overlay looked at, if these were taken from here.
    let elsewhere = ["--set", "argo.application=other", "--set", "production.overlay=elsewhere"];
    let ran = world.tool_on("ci", &[&["resume", "--takeover"][..], &elsewhere].concat());
    let ran = Running::start(ran).end();
    ran.ended(0).says("settings differ from the run's own, which go on: production, argo");
    assert_eq!(world.serving(), world.soaked(), "{ran}");
}

#[test]
fn a_rehearsal_posts_nothing_outside() {
    let world = World::serve("clean", 3600);
    // 192.0.2.1 is nobody's (RFC 5737).
    let outside = ["--set", "announce.webhook=http://192.0.2.1/hooks/releases"];
    world.tool(&[&["doctor"][..], &outside].concat()).says("a rehearsal tells nobody outside this machine");
    let ran = world.tool(&[&["promote", "--yes"][..], &outside].concat());
    ran.ended(0).says("not posted: a rehearsal tells nobody outside this machine");
    assert!(world.told().is_empty(), "{:?}", world.told());
}

#[test]
fn doctor_asks_the_pages_that_people_open() {
    let world = World::serve("clean", 600);
    let ran = world.tool(&["doctor"]);
    ran.ended(0).says("production URLs").says("3 URLs answer").says("its URL is known; nothing was posted");
    assert!(world.told().is_empty(), "{:?}", world.told());
    let nowhere = "production.urls=[\"http://127.0.0.1:9/\"]";
    world.tool(&["doctor", "--set", nowhere]).ended(15).says("GET http://127.0.0.1:9/: no answer");
    let ran = world.tool(&["doctor", "--set", "announce.webhook=null", "--set", "announce.webhook_env=TEAM_HOOK"]);
    ran.ended(15).says("TEAM_HOOK is not set").says("fix: export it");
}

#[test]
fn a_dry_run_shows_the_sheet_and_what_would_be_done() {
    let world = World::serve("clean", 3600);
    let (refs, serving) = (world.refs(), world.serving());
    let ran = world.tool(&["promote", "--dry-run"]);
    ran.ended(0)
        .says("Release v1.2.0 of gospelib")
        .says("way back   v1.1.1: usable")
        .says("would: Database migrations");
    let ran = world.tool(&["rollback", "--dry-run", "--service", "gateway"]);
    ran.ended(0).says("Roll gospelib back to v1.1.0").says("runs now   v1.1.1").says("they run beside").says("would:");
    assert_eq!((world.refs(), world.serving()), (refs, serving));
}

#[test]
fn what_was_left_open_says_what_was_advised() {
    let world = World::serve("argo-stuck", 3600);
    world.tool(&["promote", "--yes"]).ended(11);
    world
        .tool(&["status"])
        .ended(0)
        .says("next: to end that operation and go on: gospel-release resume --terminate-sync");
    // And it comes before anything else that is in the way.
    world.tool(&["promote", "--yes", "--set", "staging.namespace=elsewhere"]).ended(13).says("is unfinished");
}

#[test]
fn that_there_is_no_configuration_is_said() {
    let world = World::serve("clean", 3600);
    let empty = tempfile::tempdir().expect("a directory");
    let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_gospel-release"));
    tool.args(["status"]).current_dir(empty.path()).env_clear().env("HOME", empty.path());
    let ran = Running::start(tool).end();
    ran.says("no gospel-release.yaml from here upward").says("gospel-release init");
    assert_ne!(ran.exit, 0);
    assert_eq!(world.lock_holder(), "");
}

#[test]
fn a_first_release_is_the_first() {
    let world = World::serve("clean", 3600);
    let tags = world.tags();
    world.tool(&["promote", "--yes", "--first-release"]).ended(2).says("this is not the first release");
    assert_eq!(world.tags(), tags);
}

#[test]
fn a_production_without_pods_is_not_well() {
    // Nobody puts the replicas back.
    let world = World::serve("argo-down", 60);
    world.tool(&["monitor", "--once"]).ended(0);
    let search = "/apis/apps/v1/namespaces/gospelib-production/deployments/gospelib-search";
    world.kube_patch(search, &json!({"spec": {"replicas": 0}}));
    crate::support::eventually("no pods", || world.serving().get("gospelib-search").is_none_or(BTreeSet::is_empty));
    world
        .tool(&["monitor", "--once"])
        .ended(16)
        .says("search has 0 of 2 pods ready")
        .says("2 ready") // the limit
        .says("NO: pods");
    // One document, which says how it ends.
    let ran = world.tool(&["monitor", "--once", "--output", "json"]);
    let document = ran.ended(16).json();
    assert_eq!(document["limits"]["ready"], 2, "{ran}");
    assert_eq!(document["error"]["exit"], 16, "{ran}");
    let holds = |name: &str| {
        let services = document["services"].as_array().expect("services").iter();
        services.clone().find(|one| one["service"] == name).map(|one| one["holds"].clone()).expect("a service")
    };
    assert_eq!((&holds("search")["pods"], &holds("auth")["pods"]), (&json!(false), &json!(true)), "{ran}");
    // Looks are lines, and so is the failure that ends them.
    let ran = world.tool(&["monitor", "--for", "1h", "--output", "json"]);
    let lines: Vec<serde_json::Value> =
        ran.ended(16).stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (end, looks) = lines.split_last().expect("lines");
    assert!(!looks.is_empty() && looks.iter().all(|look| look["wrong"].is_array()), "{ran}");
    assert_eq!(end["error"]["kind"], "regression", "{ran}");
}

/// What nobody can read keeps nobody from going back; a release begins only when it is known what was left.
#[test]
fn an_unreadable_run_in_the_cluster_does_not_stop_a_rollback() {
    let world = World::serve("clean", 60);
    left_open(&world);
    let maps = world.kube_list("/api/v1/namespaces/gospelib-production/configmaps");
    let name = |map: &serde_json::Value| map["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let map = maps.iter().map(name).find(|name| name.starts_with("gospel-release-2")).expect("a run");
    let path = format!("/api/v1/namespaces/gospelib-production/configmaps/{map}");
    let keys: Vec<String> = world.kube(&path)["data"].as_object().expect("data").keys().cloned().collect();
    let spoilt: serde_json::Map<String, serde_json::Value> =
        keys.into_iter().map(|key| (key, json!("{\"from\": \"the future\"}"))).collect();
    world.kube_patch(&path, &json!({"data": spoilt}));
    let run = map.strip_prefix("gospel-release-").expect("our name");
    let abort = format!("gospel-release abort {run}");
    world.tool(&["promote", "--yes"]).ended(3).says(&abort);
    world.tool(&["status"]).ended(0).says("cannot be read").says(&abort);
    let ran = world.tool(&["rollback", "--yes", "--to", "v1.1.0", "--reason", "a test"]);
    ran.ended(0);
    // Who names it closes it: nothing is in the way any more, and what was written stays.
    world.tool(&["abort"]).ended(3).says(&abort);
    world.tool(&["abort", run, "--dry-run"]).ended(0);
    world.tool(&["abort", run]).ended(0).says("could not be read").says("what it changed is not known");
    world.tool(&["status"]).ended(0).says("open runs none");
    assert!(world.kube(&path)["data"].to_string().contains("the future"));
    assert_eq!(world.lock_holder(), "");
}

/// Past Git nobody is asked for a token of GitHub's.
#[test]
fn break_glass_needs_no_github() {
    let world = World::serve("clean", 3600);
    let mut rollback = world
        .tool_on("laptop", &["rollback", "--yes", "--direct", "--pause-sync", "--reason", "a test", "--to", "v1.1.0"]);
    for name in ["GITHUB_TOKEN", "GH_TOKEN"] {
        rollback.env_remove(name);
    }
    rollback.env("PATH", "/nonexistent:/usr/bin:/bin");
    let ran = Running::start(rollback).end();
    ran.ended(0).says("GitHub does not answer and is gone without");
    let old = world.digest_of("gospelib-gateway", "v1.1.0").expect("v1.1.0");
    assert_eq!(world.serving()["gospelib-gateway"].iter().collect::<Vec<_>>(), [&old], "{ran}");
}
