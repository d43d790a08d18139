//! `provision` in a rehearsal: what is planned, what is found to be wrong, and what the world is afterwards; seen from outside.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{BIN, Ran, Running, World, eventually};

const DIRECTORY: &str = "infra/terraform/environments/production";

/// Where the root module is.
fn module(world: &World) -> PathBuf {
    world.checkout().join(DIRECTORY)
}

fn state(world: &World) -> Value {
    let text = std::fs::read_to_string(module(world).join("terraform.tfstate")).expect("a state");
    serde_json::from_str(&text).expect("a state is JSON")
}

/// The world's `terraform`, as a person in the module's directory runs it.
fn terraform(world: &World, args: &[&str]) -> Ran {
    let environment = world.manifest["environment"].as_object().expect("environment");
    let path = environment["PATH"].as_str().expect("a PATH");
    let program = std::env::split_paths(path).map(|dir| dir.join("terraform")).find(|file| file.exists());
    let mut command = Command::new(program.expect("a terraform"));
    command.args(args).current_dir(module(world));
    for (name, value) in environment {
        command.env(name, value.as_str().expect("a string"));
    }
    Running::start(command).end()
}

/// A plan is made; where a colleague waits for that, until they have applied their own.
pub fn planned(world: &World) -> Ran {
    let (before, lock) = (state(world), module(world).join(".terraform.tfstate.lock.info"));
    let ran = world.tool(&["provision", "plan"]);
    if world.manifest["scenario"] == "plan-stale" {
        eventually("a colleague applied", || state(world)["serial"] != before["serial"] && !lock.exists());
    }
    ran
}

/// What a state has of a resource.
fn instance(state: &Value, address: &str) -> Option<Value> {
    let (kind, name) = address.split_once('.').expect("an address");
    let mut all = state["resources"].as_array().expect("resources").iter();
    all.find(|one| one["type"] == kind && one["name"] == name).map(|one| one["instances"][0].clone())
}

/// A world whose servers find no terraform on their PATH.
fn without_terraform(scenario: &str) -> World {
    World::serve_with_only(scenario, &["git", "git-receive-pack", "git-upload-pack", "sh"])
}

fn actions(plan: &Value) -> Vec<(String, String)> {
    let changes = plan["judgement"]["changes"].as_array().into_iter().flatten();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    changes.map(|change| (word(&change["address"]), word(&change["action"]))).collect()
}

fn pair(address: &str, action: &str) -> (String, String) {
    (address.to_owned(), action.to_owned())
}

/// Nothing is locked, and the state is the one that it was.
fn untouched(world: &World, before: &Value) {
    assert_eq!(state(world), *before);
    assert!(!module(world).join(".terraform.tfstate.lock.info").exists(), "the lock was left");
}

#[test]
fn a_clean_plan_is_one_that_nobody_has_to_confirm() {
    for world in [World::of("plan-clean"), without_terraform("plan-clean")] {
        let before = state(&world);
        let ran = world.tool(&["provision", "plan", "--output", "json"]);
        let plan = ran.ended(0).json();
        let expected = [pair("terraform_data.backups", "update"), pair("terraform_data.maintenance", "update")];
        assert_eq!(actions(&plan), expected, "{ran}");
        assert_eq!(plan["plan"]["confirm"].as_array().map(Vec::len), Some(0));
        assert_eq!(plan["plan"]["state"]["serial"], before["serial"]);
        world.tool(&["provision", "drift"]).ended(0).says("DRIFT in infra/terraform/environments/production: none");
        untouched(&world, &before);
    }
}

#[test]
fn a_database_that_would_be_destroyed_stands_first() {
    let world = World::of("plan-destroys-database");
    let before = state(&world);
    let ran = world.tool(&["provision", "plan"]);
    ran.ended(0).says("aws_db_instance.postgres").says("stand-in");
    let part = |title: &str| ran.stdout.find(title).unwrap_or_else(|| panic!("{title}\n{ran}"));
    assert!(part("\nRISK: 1 address") < part("\nCOST") && part("data loss") < part("\nCHANGES"), "{ran}");
    let plan = world.tool(&["provision", "plan", "--output", "json"]).ended(0).json();
    assert_eq!(actions(&plan), [pair("aws_db_instance.postgres", "replace")]);
    assert_eq!(plan["plan"]["confirm"], serde_json::json!(["aws_db_instance.postgres"]));
    untouched(&world, &before);

    // With the guard put back, the plan itself is refused.
    let main = module(&world).join("main.tf");
    let text = std::fs::read_to_string(&main).expect("main.tf");
    let guarded =
        text.replace("username                  =", "lifecycle {\n    prevent_destroy = true\n  }\n  username =");
    std::fs::write(&main, guarded).expect("write it");
    world.tool(&["provision", "plan"]).ended(15).says("Instance cannot be destroyed");
}

#[test]
fn a_plan_over_the_budget_is_refused() {
    let world = World::of("plan-over-budget");
    let before = state(&world);
    let ran = world.tool(&["provision", "plan", "--output", "json"]);
    let plan = ran.ended(10).json();
    let expected =
        [pair("aws_db_instance.postgres", "update"), pair("aws_elasticache_replication_group.redis", "update")];
    assert_eq!(actions(&plan), expected, "{ran}");
    let findings = plan["judgement"]["findings"].as_array().expect("findings");
    assert!(findings.iter().any(|one| one["rule"] == "budget" && one["level"] == "deny"), "{ran}");
    untouched(&world, &before);
}

#[test]
fn a_colleague_applies_after_our_plan_and_it_is_stale() {
    let world = World::of("plan-stale");
    let before = state(&world);
    terraform(&world, &["init", "-input=false"]).ended(0);
    terraform(&world, &["plan", "-out", "ours.tfplan"]).ended(0);
    eventually("a colleague applied", || state(&world)["serial"] != before["serial"]);
    eventually("they are done", || !module(&world).join(".terraform.tfstate.lock.info").exists());
    let after = state(&world);
    let ran = terraform(&world, &["apply", "-json", "ours.tfplan"]);
    ran.ended(1).says("Saved plan is stale");
    assert_eq!((&state(&world), &after["lineage"]), (&after, &before["lineage"]));
}

#[test]
fn an_apply_stops_midway_and_the_state_says_where() {
    for world in [World::of("apply-fails-midway"), without_terraform("apply-fails-midway")] {
        let plan = world.tool(&["provision", "plan", "--output", "json"]).ended(0).json();
        let expected = [
            pair("terraform_data.index", "create"),
            pair("terraform_data.maintenance", "update"),
            pair("terraform_data.report", "create"),
        ];
        assert_eq!(actions(&plan), expected);
        let ran = world.tool(&["provision", "apply", "--yes"]);
        ran.ended(15).says("terraform_data.index").says("no space left on device");
        let after = state(&world);
        let found = |name: &str| instance(&after, &format!("terraform_data.{name}"));
        assert_eq!(found("index").expect("it was made")["status"], "tainted", "{ran}");
        assert!(found("report").is_none(), "{ran}");
        let hour = &found("maintenance").expect("it is there")["attributes"]["input"]["value"]["hour"];
        assert_eq!(*hour, 4, "{ran}");
        let again = world.tool(&["provision", "plan", "--output", "json"]).ended(0).json();
        let expected = [pair("terraform_data.index", "replace"), pair("terraform_data.report", "create")];
        assert_eq!(actions(&again), expected);
    }
}

#[test]
fn a_lock_that_a_colleague_holds_is_told_and_waited_for() {
    for world in [World::of("state-locked"), without_terraform("state-locked")] {
        let info = module(&world).join(".terraform.tfstate.lock.info");
        eventually("it is locked", || info.exists());
        let ran = world.tool(&["provision", "plan"]);
        ran.ended(13).says("somebody else holds the state's lock").says("kim@build-7");
        world.tool(&["provision", "drift"]).ended(13);
        world.fault("state-locked", false);
        eventually("it is free", || !info.exists());
        world.tool(&["provision", "plan"]).ended(0);
    }
}

#[test]
fn what_was_changed_by_hand_is_drift() {
    let world = World::of("drift");
    let before = state(&world);
    let ran = world.tool(&["provision", "drift", "--output", "json"]);
    let drift = ran.ended(18).json();
    let found: Vec<&str> =
        drift["drift"].as_array().expect("drift").iter().filter_map(|one| one["address"].as_str()).collect();
    assert_eq!(found, ["aws_db_instance.postgres", "aws_route53_record.admin"], "{ran}");
    let plan = world.tool(&["provision", "plan", "--output", "json"]).ended(0).json();
    let expected = [pair("aws_db_instance.postgres", "update"), pair("aws_route53_record.admin", "create")];
    assert_eq!(actions(&plan), expected);
    untouched(&world, &before);
    // Put back by an apply, it is gone.
    terraform(&world, &["apply", "-auto-approve"]).ended(0).says("Apply complete!");
    world.tool(&["provision", "drift"]).ended(0);
}

#[test]
fn an_apply_ends_with_an_empty_plan_and_with_checks() {
    let world = World::of("clean");
    let before = state(&world);
    planned(&world).ended(0);
    let ran = world.tool(&["provision", "apply", "--yes", "--output", "json"]);
    ran.ended(0);
    let after = state(&world);
    assert_eq!(after["lineage"], before["lineage"]);
    let group = instance(&after, "aws_eks_node_group.general").expect("a node group");
    assert_eq!(group["attributes"]["scaling_config"][0]["max_size"], 6, "{ran}");
    let journal = world.tool(&["runs", "list", "--output", "json"]);
    journal.ended(0).says("provision apply");
    world.tool(&["provision", "apply", "--yes"]).ended(10).says("A plan is applied once");
    assert_eq!(state(&world), after, "once is enough");
    let status = world.tool(&["status", "--output", "json"]).ended(0).json();
    assert_eq!(status["open"].as_array().map(Vec::len), Some(0), "{status}");
}

#[test]
fn a_database_is_destroyed_by_nobody_in_passing() {
    let world = World::of("plan-destroys-database");
    let before = state(&world);
    planned(&world).ended(0);
    world.tool(&["provision", "apply", "--yes"]).ended(2).says("--confirm 'aws_db_instance.postgres'");
    untouched(&world, &before);
    let ran = world.tool(&["provision", "apply", "--yes", "--confirm", "aws_db_instance.postgres"]);
    ran.ended(15).says("Cannot delete protected DB Instance");
    let kept = |state: &Value| instance(state, "aws_db_instance.postgres").expect("the database")["attributes"].clone();
    assert_eq!(kept(&state(&world)), kept(&before), "{ran}");
    assert!(!module(&world).join(".terraform.tfstate.lock.info").exists(), "the lock was left");
}

#[test]
fn a_stale_plan_changes_nothing() {
    let world = World::of("plan-stale");
    planned(&world).ended(0);
    let theirs = state(&world);
    world.tool(&["provision", "apply", "--yes"]).ended(10).says("provision plan");
    untouched(&world, &theirs);
}

#[test]
fn what_an_apply_left_is_looked_at() {
    let world = World::of("clean");
    let ran = world.tool(&["provision", "check"]);
    ran.ended(0);
    for line in [
        "cluster gospelib-production: ACTIVE, 1.33",
        "node group general: ACTIVE, 1.33",
        "add-on coredns: ACTIVE",
        "nodes: 2 of 2 nodes ready, 2 wanted",
        "database_endpoint, from the cluster",
        "redis_endpoint, from the cluster",
        "200 from CloudFront",
    ] {
        ran.says(line);
    }
    assert!(!ran.stdout.contains("CONFIGURATION"), "{ran}");
    let config = || std::fs::read_to_string(world.manifest["config"].as_str().expect("config")).expect("read it");
    let before = config();
    let rows =
        "provision.checks.outputs=[{output: cluster_name, key: argo.namespace}, {output: none, key: images.prefix}]";
    let ran = world.tool(&["provision", "check", "--set", rows]);
    ran.ended(10).says("output none").says("CONFIGURATION that the outputs suggest");
    ran.says("\n-  namespace: argocd\n+  namespace: gospelib-production\n");
    let node = &world.kube_list("/api/v1/nodes")[0]["metadata"]["name"];
    let node = node.as_str().expect("a name");
    world.kube_patch(&format!("/api/v1/nodes/{node}"), &serde_json::json!({"spec": {"unschedulable": true}}));
    let flags = ["--set", "provision.checks.kubernetes_version=1.34", "--set", "provision.checks.probe=[nothing]"];
    let ran = world.tool(&[&["provision", "check"][..], &flags].concat());
    ran.ended(10)
        .says("1.34 is configured")
        .says("1 of 2 nodes ready")
        .says("cordoned")
        .says("there is no such output");
    let ran = world.tool(&["provision", "check", "--set", "provision.checks.probe=[]", "--output", "json"]);
    let checks = ran.ended(10).json();
    let unasked = checks["checks"].as_array().expect("checks").iter().filter(|one| one["found"] == "not-checked");
    assert_eq!(unasked.count(), 1, "{ran}");
    let ran = world.tool(&["provision", "check", "--dry-run"]);
    ran.ended(10).says("this is a dry run, which makes no Job");
    assert_eq!(config(), before, "nothing is written");
    let jobs = world.kube_list("/apis/batch/v1/namespaces/gospelib-production/jobs");
    assert!(
        jobs.iter().all(|job| !job["metadata"]["name"].as_str().unwrap_or_default().contains("connect")),
        "a Job was left"
    );
}

/// A world that is made for one command has no plan of before: apply makes its own.
#[test]
fn an_apply_in_a_world_of_its_own_plans_first() {
    let home = tempfile::tempdir().expect("a home");
    let tool = |args: &[&str]| {
        let mut command = Command::new(BIN);
        command.args(args).env("HOME", home.path()).env("XDG_STATE_HOME", home.path().join("state"));
        Running::start(command).end()
    };
    tool(&["provision", "plan", "--rehearse=plan-destroys-database"]).ended(0);
    tool(&["provision", "apply", "--rehearse=plan-clean", "--yes"]).ended(0).says("the plan is applied");
    tool(&["provision", "apply", "--rehearse=apply-fails-midway", "--yes"]).ended(15);
    tool(&["provision", "apply", "--rehearse=plan-over-budget", "--yes"]).ended(10);
}
