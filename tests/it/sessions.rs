//! Credentials that end: noticed at the start of what may wait for longer.

use std::process::Command;

use jiff::{SignedDuration, Timestamp};

use crate::support::{Ran, Running, World};

/// Slow enough that the waits of a plan are minutes.
const SPEED: u32 = 60;

/// The tool, signed in by a program of the user's whose credentials end `left` seconds from now.
fn signed_in(world: &World, left: i64, args: &[&str]) -> Ran {
    let mut tool: Command = world.tool_on("laptop", args);
    let known = |name: &str| world.manifest["environment"][name].as_str().expect("a variable").to_owned();
    let (id, secret) = (known("AWS_ACCESS_KEY_ID"), known("AWS_SECRET_ACCESS_KEY"));
    let until = Timestamp::now() + SignedDuration::from_secs(left);
    let said = serde_json::json!({
        "Version": 1, "AccessKeyId": id, "SecretAccessKey": secret, "SessionToken": "t", "Expiration": until.to_string()
    });
    let dir = world.state("aws");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("said.json"), said.to_string()).unwrap();
    let program = format!("cat {}", dir.join("said.json").display());
    std::fs::write(dir.join("config"), format!("[default]\ncredential_process = {program}\n")).unwrap();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        tool.env_remove(name);
    }
    tool.env("AWS_CONFIG_FILE", dir.join("config")).env("AWS_SHARED_CREDENTIALS_FILE", dir.join("none"));
    Running::start(tool).end()
}

const WARNED: &str = "the AWS credentials of production expire at";

#[test]
fn a_session_that_ends_in_a_wait_is_told_before_it() {
    let world = World::serve("clean", SPEED);
    let tags = world.tags();
    let promote = ["promote", "--dry-run", "--set", "workflow.wait_approval=24h"];
    let ran = signed_in(&world, 600, &promote);
    ran.ended(0).says(WARNED).says("the step approval may wait for longer").says("aws sso login");
    let ran = signed_in(&world, 30 * 86400, &promote);
    assert!(!ran.ended(0).stderr.contains("credentials"), "{ran}");
    // What goes back waits too: most of all in its watch.
    let rollback = ["rollback", "--dry-run", "--reason", "a test"];
    let ran = signed_in(&world, 60, &rollback);
    ran.ended(0).says(WARNED).says("may wait for longer");
    let ran = signed_in(&world, 30, &["doctor"]);
    ran.ended(15).says("production credentials").says("expire at").says("aws sso login");
    assert_eq!(world.tags(), tags);
}

#[test]
fn a_session_that_has_ended_is_refused() {
    let world = World::serve("clean", SPEED);
    let tags = world.tags();
    for verb in [&["promote", "--yes"][..], &["rollback", "--yes", "--reason", "a test"]] {
        let ran = signed_in(&world, -60, verb);
        ran.ended(15).says("they expired at").says("aws sso login");
        assert_eq!(world.lock_holder(), "");
    }
    assert_eq!(world.tags(), tags);
}
