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

/// Who is on call looks for the run that a colleague began, and hears where its journal is.
#[test]
fn a_run_that_was_begun_elsewhere_is_listed_and_shown() {
    let world = World::serve("clean", 60);
    elsewhere(&world, &["promote", "--yes", "--wait-approval", "1s"]).ended(11);
    let list = world.tool(&["runs", "list", "--output", "json"]).ended(0).json();
    assert_eq!((list[0]["command"].as_str(), &list[0]["known"]), (Some("promote"), &json!(["cluster"])), "{list}");
    let there = elsewhere(&world, &["runs", "list", "--output", "json"]).ended(0).json();
    assert_eq!((&there[0]["run"], &there[0]["known"]), (&list[0]["run"], &json!(["here", "cluster"])), "{there}");
    let run = list[0]["run"].as_str().expect("a run");
    world.tool(&["runs", "list"]).ended(0).says("not on this machine").says(run).says("by tess@");
    for show in [&["runs", "show", run][..], &["runs", "show"]] {
        let ran = world.tool(show);
        ran.ended(0)
            .says("what      promote v1.2.0")
            .says("Tag release/v1.2.0")
            .says("its journal is where it ran: tess@");
        ran.says(&format!("gospel-release abort {run}"));
        assert!(!ran.stdout.contains("runs log") && !ran.stdout.contains("as this machine knows it"), "{ran}");
    }
    world
        .tool(&["runs", "log", run])
        .ended(2)
        .says("not on this machine")
        .says(&format!("gospel-release runs show {run}"));
    world.tool(&["runs", "log", "20200101-000000-none"]).ended(2).says("neither here nor in the cluster");
    elsewhere(&world, &["runs", "log", run]).ended(0);
}

#[test]
fn a_run_that_was_closed_elsewhere_is_shown_as_closed() {
    let world = World::serve("clean", 60);
    let run = left_open(&world);
    let ran = world.tool(&["runs", "show", &run]);
    ran.ended(0).says("(left open)").says("gospel-release runs log");
    assert!(!ran.stdout.contains("as this machine knows it"), "{ran}");
    elsewhere(&world, &["abort", &run, "--reason", "enough"]).ended(0);
    let ran = world.tool(&["runs", "show", &run]);
    ran.ended(0).says(": aborted: aborted by tess@").says("enough");
    assert!(!ran.stdout.contains("gospel-release abort"), "{ran}");
    let list = world.tool(&["runs", "list", "--output", "json"]).ended(0).json();
    assert_eq!((&list[0]["outcome"], &list[0]["open"]), (&json!("aborted"), &json!(false)), "{list}");
}

/// A listing is for bad days too: what this machine knows is told, and that it is no more than that.
#[test]
fn runs_are_listed_where_the_cluster_does_not_answer() {
    let world = World::serve("clean", 60);
    let run = left_open(&world);
    elsewhere(&world, &["abort", &run]).ended(0);
    // It takes connections, and never answers.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("production.aws.endpoint=http://{}", nobody.local_addr().expect("an address"));
    let account = "production.aws.account=000000000000";
    let arn = "production.cluster.arn=arn:aws:eks:us-east-1:000000000000:cluster/gospelib-production";
    for sets in [&["--set", &endpoint][..], &["--set", account, "--set", arn]] {
        let begun = std::time::Instant::now();
        let ran = world.tool(&[&["runs", "list"][..], sets].concat());
        ran.ended(0).says("what the cluster knows is not told").says(&run);
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}\n{ran}", begun.elapsed());
        assert!(!ran.stdout.contains("aborted"), "{ran}");
    }
    let ran = world.tool(&["runs", "show", "--set", &endpoint]);
    ran.ended(0).says("(left open)").says("as this machine knows it; what the cluster knows: gospel-release status");
    let list = world.tool(&["runs", "list", "--output", "json", "--set", &endpoint]).ended(0).json();
    assert_eq!(list[0]["known"], json!(["here"]), "{list}");
}
