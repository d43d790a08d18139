//! What `rehearse list` says of a scenario holds: every command that it names ends as it says. What the world is afterwards is
//! asserted where the scenario's story is told: scenarios.rs, incidents.rs, hotfix.rs, hotfix_finish.rs and provision.rs.

use std::collections::BTreeMap;
use std::process::Command;

use crate::hotfix::mended_in;
use crate::provision::planned;
use crate::support::{BIN, Ran, Running, World};

/// Exit codes by command.
fn documented(scenario: &str) -> BTreeMap<String, i32> {
    let mut list = Command::new(BIN);
    list.args(["rehearse", "list", "--output", "json"]);
    let all = Running::start(list).end().json();
    let found = all.as_array().into_iter().flatten().find(|found| found["name"] == scenario).expect("the scenario");
    let exits = found["exit"].as_object().expect("exit codes");
    exits
        .iter()
        .map(|(command, exit)| (command.clone(), exit.as_i64().and_then(|exit| exit.try_into().ok()).expect("a code")))
        .collect()
}

/// Runs a command as a scenario names it, with what it cannot do without.
fn tool(world: &World, command: &str) -> Ran {
    let mut args: Vec<&str> = command.split(' ').chain(["--yes"]).collect();
    if command.starts_with("rollback") || command.starts_with("hotfix ship") {
        args.extend(["--reason", "a drill"]);
    }
    if command.contains("--direct") {
        args.push("--pause-sync");
    }
    world.tool(&args)
}

/// A world of its own, after what comes before the command.
fn run(scenario: &str, command: &str, exits: &BTreeMap<String, i32>) -> Ran {
    let world = World::of(scenario);
    if command.starts_with("provision apply") {
        planned(&world);
    }
    if !command.starts_with("hotfix") {
        return tool(&world, command);
    }
    let (world, _) = mended_in(world);
    if command == "hotfix finish" {
        tool(&world, if exits["hotfix ship"] == 0 { "hotfix ship" } else { "hotfix ship --direct" }).ended(0);
    }
    tool(&world, command)
}

fn holds(scenario: &str) {
    let exits = documented(scenario);
    for (command, exit) in &exits {
        let ran = run(scenario, command, &exits);
        assert_eq!(ran.exit, *exit, "{scenario}: {command}\n{ran}");
    }
}

macro_rules! scenarios {
    ($($name:ident: $scenario:literal;)*) => {
        $(#[test]
        fn $name() {
            holds($scenario);
        })*

        /// The scenarios of an incident or of the infrastructure; those of a release are in scenarios.rs.
        pub const FOR_ROLLBACK_AND_HOTFIX: &[&str] = &[$($scenario),*];
    };
}

scenarios! {
    bad_release: "bad-release";
    rollback_image_expired: "rollback-image-expired";
    rollback_schema_incompatible: "rollback-schema-incompatible";
    argo_stuck_during_rollback: "argo-stuck-during-rollback";
    argo_self_heal: "argo-self-heal";
    argo_application_set: "argo-application-set";
    argo_app_of_apps: "argo-app-of-apps";
    git_down: "git-down";
    argo_down: "argo-down";
    overlay_edited_by_others: "overlay-edited-by-others";
    main_moved: "main-moved";
    merge_conflict: "merge-conflict";
    protected_main: "protected-main";
    hotfix_retriggers_workflow: "hotfix-retriggers-workflow";
    ecr_immutable_retag: "ecr-immutable-retag";
    builder_absent: "builder-absent";
    build_fails: "build-fails";
    push_denied: "push-denied";
    multi_platform: "multi-platform";
    plan_clean: "plan-clean";
    plan_destroys_database: "plan-destroys-database";
    plan_over_budget: "plan-over-budget";
    plan_stale: "plan-stale";
    apply_fails_midway: "apply-fails-midway";
    state_locked: "state-locked";
    drift: "drift";
}
