//! What people are told, and can copy.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{BIN, Running, World, ask_to_end};

/// Ends the program when the test is over.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        ask_to_end(&mut self.0);
    }
}

#[test]
fn what_a_served_world_prints_can_be_pasted() {
    let home = tempfile::tempdir().expect("a directory");
    let mut serve = Command::new(BIN);
    serve.args(["rehearse", "serve", "clean"]).env("HOME", home.path()).env("AWS_PROFILE", "somebody-elses");
    let mut served = Served(serve.stdout(Stdio::piped()).spawn().expect("start it"));
    let mut pasted = String::new();
    for line in BufReader::new(served.0.stdout.take().expect("piped")).lines() {
        let line = line.expect("a line");
        pasted += &format!("{line}\n");
        if line.ends_with(" status") {
            break;
        }
    }
    let mut sh = Command::new("sh");
    sh.args(["-euc", &pasted]).env("HOME", home.path()).env("AWS_PROFILE", "somebody-elses");
    Running::start(sh).end().ended(0).says("lock      free");
    assert!(pasted.lines().any(|line| line.starts_with("unset ") && line.contains(" AWS_PROFILE")), "{pasted}");
}

#[test]
fn hints_repeat_the_configuration_that_was_named() {
    let world = World::of("clean");
    let config = world.manifest["config"].as_str().expect("a path");
    let hint = "what there is: gospel-release runs list";
    world.tool(&["resume"]).ended(2).says(hint);
    let ran = world.tool(&["resume", "--config", config, "--output", "json"]);
    ran.ended(2).says(&format!("what there is: gospel-release --config {config} runs list"));
    assert!(!ran.stderr.contains(hint) && !ran.stdout.contains(hint), "{ran}");
    let ran = world.tool(&["tag", "--config", config]);
    ran.ended(0).says(&format!("next: gospel-release --config {config} promote v1.2.0"));
}

#[test]
fn a_run_that_is_kept_is_told_for_people_and_for_machines() {
    let world = World::serve("argo-stuck", 3600);
    assert_eq!(world.tool(&["runs", "list", "--output", "json"]).ended(0).json(), Value::Array(Vec::new()));
    world.tool(&["promote", "--yes"]).ended(11);
    let ran = world.tool(&["runs", "show"]);
    ran.ended(0).says("what      promote v1.2.0 (before: v1.1.1)").says("by        tess@").says("(left open)");
    ran.says("\u{2713} tag          Tag release/v1.2.0").says("Argo CD syncs gospelib-production: not begun");
    ran.says("next      to end that operation and go on: gospel-release resume --terminate-sync");
    ran.says("next      or give it up: gospel-release abort 2025").says("gospel-release runs log 2025");
    let state = world.tool(&["runs", "show", "--output", "json"]).ended(0).json();
    assert_eq!(state["header"]["command"], "promote");
    world.tool(&["resume", "--yes", "--terminate-sync"]).ended(0);
    let ran = world.tool(&["runs", "show"]);
    ran.ended(0).says("ended     ").says(": released").says("8 of 8 let it through").says("evidence  /");
    assert!(!ran.stdout.contains("not begun") && !ran.stdout.contains("gospel-release abort"), "{ran}");
    let list = world.tool(&["runs", "list", "--output", "json"]).ended(0).json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!((&list[0]["outcome"], &list[0]["open"]), (&"released".into(), &false.into()), "{list}");
}

#[test]
fn a_tag_says_what_follows() {
    let world = World::of("clean");
    let ran = world.tool(&["tag", "v1.9.0", "--no-push", "--yes"]);
    ran.ended(0).says("not pushed").says("next: git push origin refs/tags/release/v1.9.0 (starts cd-production.yml)");
    let ran = world.tool(&["tag", "v2.0.0", "--yes"]);
    ran.ended(0).says("next: approve cd-production.yml on GitHub, then: gospel-release monitor");
}
