//! The crash matrix: for every journal write of a promotion, SIGKILL just before and just after it, go on from another
//! machine, and compare the world with that of an uninterrupted run (docs/architecture.md, "What the crash matrix compares").

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Ran, Running, World};

const SPEED: u32 = 7200;
const TAG: &str = "release/v1.2.0";
/// A dead holder is seen dead in a second.
const PROMOTE: [&str; 4] = ["promote", "--yes", "--set", "lock.lease=1s"];

/// The world without times, run ids and commit SHAs.
fn projection(world: &World) -> Value {
    let refs = world.refs();
    let commit = refs.get(&format!("refs/tags/{TAG}^{{}}")).cloned().unwrap_or_default();
    let subject = world.github(&format!("commits/{commit}"))["commit"]["message"].clone();
    let runs: Vec<Value> = world
        .workflow_runs(TAG)
        .iter()
        .map(|run| json!([run["conclusion"], run["run_attempt"], run["head_sha"] == commit]))
        .collect();
    let release = world.github(&format!("releases/tags/{}", TAG.replace('/', "%2F")));
    let overlay = world.file_on_main("infra/k8s/overlays/production/kustomization.yaml");
    let application = world.application();
    let history = application["status"]["history"].as_array().map_or(0, Vec::len);
    json!({
        "tags": world.tags(),
        "tagged": subject,
        "runs": runs,
        "releases": world.releases(),
        "notes": release["name"],
        "overlay": overlay,
        "argo": [application["status"]["sync"]["status"], application["status"]["health"]["status"], history],
        "serving": world.serving(),
        "lock": world.lock_holder(),
        "open": world.tool(&["status", "--output", "json"]).json()["open"],
    })
}

/// The cells of an uninterrupted run, and the world after it.
fn uninterrupted() -> (Vec<String>, Value) {
    let world = World::serve("clean", SPEED);
    world.tool(&PROMOTE).ended(0);
    assert_eq!(world.told().len(), 1);
    let runs = world.state("laptop").join("gospel-release/rehearsal/gospelib");
    let run = std::fs::read_dir(&runs).expect("runs").next().expect("a run").expect("a directory").path();
    let journal = std::fs::read_to_string(run.join("journal.jsonl")).expect("a journal");
    let mut cells: Vec<String> =
        journal.lines().map(|line| cell(&serde_json::from_str(line).expect("a record"))).collect();
    cells.dedup();
    (cells, projection(&world))
}

fn cell(record: &Value) -> String {
    let event = record["event"].as_str().expect("an event");
    let object = ["gate", "step"].iter().find_map(|name| record[*name].as_str());
    object.map_or(event.to_owned(), |object| format!("{event}:{object}"))
}

/// One cell: die there, go on elsewhere, compare.
fn die_and_go_on(cell: &str, moment: &str, expected: &Value) -> Result<(), String> {
    let world = World::serve("clean", SPEED);
    let mut dying = world.tool_on("laptop", &PROMOTE);
    dying.env("GOSPEL_RELEASE_FAILPOINT", format!("{cell}={moment}"));
    let died = Running::start(dying).end();
    if died.signal != Some(9) {
        return Err(format!("it did not die there: {died}"));
    }
    let elsewhere = |args: &[&str]| {
        let mut tool = world.tool_on("oncall", args);
        tool.env("USER", "olga");
        Running::start(tool).end()
    };
    let mut went_on = elsewhere(&["resume", "--takeover", "--yes", "--set", "lock.lease=1s"]);
    if went_on.exit == 2 {
        // It died before anything was shared, or after everything was done.
        let over = went_on.stderr.contains("no run was left open");
        if !over {
            return Err(format!("{went_on}"));
        }
        went_on = elsewhere(&PROMOTE);
        let done = went_on.exit == 2 && went_on.stderr.contains("nothing to release");
        if done {
            went_on.exit = 0;
        }
    }
    if went_on.exit != 0 {
        return Err(format!("it did not go on: {went_on}"));
    }
    let now = projection(&world);
    if now != *expected {
        return Err(format!("the world differs\n{}\n{went_on}", difference(expected, &now)));
    }
    // Nobody can ask a webhook whether it was called: a crash between intent and end leaves it at once or never.
    match world.told().len() {
        1 => Ok(()),
        0 if cell == "step-intent:webhook" || (cell == "step-done:webhook" && moment == "before") => Ok(()),
        times => Err(format!("the team was told {times} times\n{went_on}")),
    }
}

fn difference(expected: &Value, now: &Value) -> String {
    let (Some(expected), Some(now)) = (expected.as_object(), now.as_object()) else { return String::new() };
    let differing = expected.iter().filter(|(key, value)| now.get(*key) != Some(value));
    differing.map(|(key, value)| format!("{key}:\n  expected {value}\n  is       {}\n", now[key])).collect()
}

#[test]
fn every_journal_write_survives_a_kill() {
    let (cells, expected) = uninterrupted();
    let all: Vec<(String, &str)> =
        cells.iter().flat_map(|cell| ["before", "after"].map(|moment| (cell.clone(), moment))).collect();
    assert!(all.len() >= 50, "too few cells: {cells:?}");
    let next = Arc::new(AtomicUsize::new(0));
    let failures: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((cell, moment)) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(why) = die_and_go_on(cell, moment, &expected) {
                        failures.lock().expect("unpoisoned").insert(format!("{cell}={moment}"), why);
                    }
                }
            });
        }
    });
    let failures = failures.lock().expect("unpoisoned");
    // Past the capture of the test runner: the count belongs into every log.
    let _ = writeln!(std::io::stderr(), "crash matrix: {} cells, {} failed", all.len(), failures.len());
    assert!(
        failures.is_empty(),
        "{}",
        failures.iter().map(|(cell, why)| format!("== {cell}\n{why}\n")).collect::<String>()
    );
}

/// Eight start together: one proceeds, the others end 13 and name holder and run.
#[test]
fn of_many_promoters_one_proceeds() {
    for many in [2, 8] {
        let world = World::serve("clean", SPEED);
        let children: Vec<_> = (0..many)
            .map(|index| Running::start(world.tool_on(&format!("laptop-{index}"), &["promote", "--yes"])))
            .collect();
        let ran: Vec<Ran> = children.into_iter().map(Running::end).collect();
        let won = ran.iter().filter(|ran| ran.exit == 0).count();
        assert_eq!(won, 1, "{ran:#?}");
        for lost in ran.iter().filter(|ran| ran.exit != 0) {
            lost.ended(13);
            assert!(lost.stderr.contains("locked by tess@") || lost.stderr.contains("is unfinished"), "{lost}");
            assert!(lost.stderr.contains("run 2025"), "{lost}");
        }
        assert_eq!(world.workflow_runs(TAG).len(), 1);
        assert_eq!(world.told().len(), 1);
    }
}

/// The lock of a dead holder is taken over only on request; a live one's never.
#[test]
fn a_dead_holders_lock_is_taken_on_request() {
    let world = World::serve("clean", SPEED);
    let lease = ["--set", "lock.lease=1s"];
    let mut dying = world.tool_on("laptop", &[&["promote", "--yes"][..], &lease].concat());
    dying.env("GOSPEL_RELEASE_FAILPOINT", "step-intent:tag=after");
    assert_eq!(Running::start(dying).end().signal, Some(9));
    world.tool(&[&["resume"][..], &lease].concat()).ended(13).says("--takeover");
    assert!(!world.tags().contains(TAG), "nothing was changed by the refused resume");
    world.tool(&[&["resume", "--takeover"][..], &lease].concat()).ended(0);
    assert!(world.tags().contains(TAG));
}
