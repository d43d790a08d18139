//! What this machine knows of a run, and what the cluster knows.

use serde_json::{Value, json};

use crate::support::World;

const MAPS: &str = "/api/v1/namespaces/gospelib-production/configmaps";

/// A promotion that was left open while it waits for its approval, with its journal on the laptop; its run.
fn left_open(world: &World) -> String {
    world.tool(&["promote", "--yes", "--wait-approval", "1s"]).ended(11);
    let open = world.tool(&["status", "--output", "json"]).json()["open"][0]["run"].clone();
    open.as_str().expect("a run").to_owned()
}

/// The tool on another machine.
fn elsewhere(world: &World, args: &[&str]) -> crate::support::Ran {
    crate::support::Running::start(world.tool_on("ci", args)).end()
}

/// What the shared copy of a run says.
fn shared(world: &World, run: &str) -> Value {
    let map = world.kube(&format!("{MAPS}/gospel-release-{run}"));
    serde_json::from_str(map["data"]["state.json"].as_str().expect("a state")).expect("JSON")
}

/// Appends what a process writes that goes on with a run and whose cluster does not answer: none of it is in the shared copy.
fn goes_on_unsaved(world: &World, run: &str) {
    let path = world.state("laptop").join(format!("gospel-release/rehearsal/gospelib/{run}/journal.jsonl"));
    let journal = std::fs::read_to_string(&path).expect("a journal");
    let last: Value = serde_json::from_str(journal.lines().last().expect("a line")).expect("JSON");
    let seq = last["seq"].as_u64().expect("a number");
    let line = |seq: u64, record: Value| {
        let mut line = json!({"v": last["v"], "seq": seq, "at": last["at"]});
        line.as_object_mut().unwrap().extend(record.as_object().unwrap().clone());
        format!("{line}\n")
    };
    let resumed = line(seq + 1, json!({"event": "run-resumed", "by": "tess@laptop"}));
    let ended = json!({"event": "run-ended", "outcome": "failed", "exit": 15, "open": true, "why": "no answer"});
    std::fs::write(&path, journal + &resumed + &line(seq + 2, ended)).expect("write it");
}

/// A colleague closes it while the laptop is cut off, and the laptop's journal is further on than the copy that was closed.
#[test]
fn what_was_closed_elsewhere_stays_closed() {
    let world = World::serve("clean", 60);
    let run = left_open(&world);
    goes_on_unsaved(&world, &run);
    elsewhere(&world, &["rollback", "--yes", "--to", "v1.1.0", "--reason", "a test"]).ended(0);
    let closed = shared(&world, &run);
    assert_eq!((&closed["ended"]["outcome"], &closed["ended"]["open"]), (&json!("aborted"), &json!(false)), "{closed}");
    let serving = world.serving();
    for resume in [&["resume", &run, "--yes"][..], &["resume", &run, "--yes", "--takeover"]] {
        world.tool(resume).ended(2).says("is over (aborted");
    }
    world.tool(&["abort", &run]).ended(2).says("is over (aborted");
    assert_eq!(shared(&world, &run), closed);
    assert_eq!(world.serving(), serving);
    assert_eq!(world.lock_holder(), "");
}

/// The last record of a run did not reach the cluster: whoever is told that the run is in the way can have it closed.
#[test]
fn what_ended_here_and_could_not_say_so_is_closed_as_it_ended() {
    let world = World::serve("clean", 3600);
    world.tool(&["promote", "--yes"]).ended(0);
    let run = world.tool(&["runs", "list", "--output", "json"]).json()[0]["run"].as_str().expect("a run").to_owned();
    let mut before = shared(&world, &run);
    before["ended"] = Value::Null;
    before["seq"] = json!(before["seq"].as_u64().expect("a number") - 1);
    let map = json!({
        "metadata": {"labels": {"gospel-release.dev/open": "true"}},
        "data": {"state.json": before.to_string()},
    });
    world.kube_patch(&format!("{MAPS}/gospel-release-{run}"), &map);
    let abort = format!("gospel-release abort {run}");
    world.tool(&["promote", "--yes"]).ended(13).says(&abort);
    world.tool(&["resume"]).ended(2).says("is over (released)").says(&abort);
    world.tool(&["abort", &run]).ended(0).says("is over (released); its shared copy says so now");
    assert_eq!(shared(&world, &run)["ended"]["outcome"], "released");
    world.tool(&["status"]).ended(0).says("open runs none");
    assert_eq!(world.lock_holder(), "");
}
