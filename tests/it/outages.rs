//! What is out of reach, or cannot be read, holds up nobody who goes on without it.

use std::process::{Child, Stdio};

use serde_json::json;

use crate::support::{Ran, World, eventually};

const MAPS: &str = "/api/v1/namespaces/gospelib-production/configmaps";
/// A day of this world is 24 s: debts must not be overdue because this machine is busy.
const PATIENT: [&str; 2] = ["--set", "debt.due_after=2000h"];

/// Killed when the test is over.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn direct(world: &World, flags: &[&str]) -> Ran {
    world.tool(&[&["rollback", "--yes", "--direct", "--reason", "a test"][..], flags, &PATIENT].concat())
}

/// A Git host that takes connections and never answers is waited for in seconds, not for as long as a large fetch may take.
#[test]
fn a_git_host_that_hangs_holds_up_neither_status_nor_a_run_past_git() {
    let world = World::serve("git-down", 60);
    let old = world.digest_of("gospelib-gateway", "v1.1.0").expect("v1.1.0");
    // It has written down what it will owe, and waits for a person.
    direct(&world, &[]).ended(11).says("--pause-sync");
    world.fault("git-hangs", true);
    let ran = world.tool(&[&["status", "--output", "json"][..], &PATIENT].concat());
    let debts = ran.ended(0).json()["debts"].clone();
    assert!(debts.to_string().contains("not known: Git does not answer"), "{ran}");
    let mut resume = world.tool_on("laptop", &["resume", "--pause-sync"]);
    resume.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _resume = Killed(resume.spawn().expect("started"));
    eventually("production is back", || world.serving()["gospelib-gateway"].iter().eq([&old]));
}

/// A newer tool, or a hand, wrote what this one cannot read: a release waits for who can, and going back does not.
#[test]
fn an_unreadable_record_blocks_a_promotion_and_no_rollback() {
    let world = World::serve("clean", 3600);
    world.tool(&[&["rollback", "--yes", "--to", "v1.1.0", "--reason", "a test"][..], &PATIENT].concat()).ended(0);
    let spoil = |name: &str, key: &str| {
        let map = world.kube_patch(&format!("{MAPS}/{name}"), &json!({"data": {key: "{\"from\": \"the future\"}"}}));
        assert_eq!(map["data"][key], "{\"from\": \"the future\"}", "{map}");
    };
    spoil("gospel-release-quarantine", "v1.0.0");
    let look = "kubectl -n gospelib-production get configmap gospel-release-quarantine -o yaml";
    let status = || world.tool(&[&["status"][..], &PATIENT].concat());
    let ran = status();
    ran.ended(17).says("lock      free").says("v1.0.0 in gospel-release-quarantine cannot be read").says(look);
    ran.says("v1.1.1 is in quarantine");
    world.tool(&["promote", "--yes"]).ended(15).says("v1.0.0 in config map gospel-release-quarantine").says(look);
    direct(&world, &["--pause-sync", "--to", "v1.1.1"])
        .ended(0)
        .says("what is written of v1.0.0 in quarantine cannot be read");
    spoil("gospel-release-debts", "live-differs");
    spoil("gospel-release-debts", "not-merged.hotfix.of-tomorrow");
    let ran = world.tool(&[&["status", "--output", "json"][..], &PATIENT].concat());
    let unread = ran.ended(17).json()["unread_debts"].as_array().map(Vec::len);
    assert_eq!(unread, Some(3), "{ran}");
    let old = world.digest_of("gospelib-gateway", "v1.1.0").expect("v1.1.0");
    let ran = direct(&world, &["--pause-sync", "--to", "v1.1.0"]);
    ran.ended(0);
    assert!(world.serving()["gospelib-gateway"].iter().eq([&old]), "{ran}");
    // What this rollback owed took the place of what nobody could read of the same; the rest is as it was.
    let debts = world.kube(&format!("{MAPS}/gospel-release-debts"));
    assert!(debts["data"]["not-merged.hotfix.of-tomorrow"].to_string().contains("the future"), "{debts}");
    world.tool(&[&["rollback", "--yes", "--to", "v1.1.1", "--reason", "a test"][..], &PATIENT].concat()).ended(0);
    // Whether production was just gone back to cannot be read: who wants to go further names where to.
    spoil("gospel-release-quarantine", "v1.9.0");
    let serving = world.serving();
    let ran = world.tool(&["rollback", "--yes", "--reason", "a test"]);
    ran.ended(2).says("may have gone back to it from v1.9.0").says("gospel-release rollback --to VERSION");
    assert_eq!((world.serving(), world.lock_holder()), (serving, String::new()), "{ran}");
}
