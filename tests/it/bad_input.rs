//! Wrong and hostile input: a clear error, the right exit code, and nothing changed.

use std::path::Path;
use std::process::Command;

use crate::support::{BIN, Ran, Running, World};

/// The tool with only a configuration file: nothing is there that it could contact.
fn with_config(yaml: &[u8], args: &[&str]) -> Ran {
    let home = tempfile::TempDir::new().expect("a temporary directory");
    let path = home.path().join("gospel-release.yaml");
    std::fs::write(&path, yaml).expect("write the file");
    let mut tool = Command::new(BIN);
    tool.args(args)
        .current_dir(home.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path());
    Running::start(tool).end()
}

#[test]
fn a_wrong_file_is_refused_whole_before_anything_is_contacted() {
    let ran = with_config(b"gates:\n  soka: 24h\nwatch:\n  for: 12\n", &["promote", "--yes"]);
    ran.ended(3).says("gospel-release.yaml:2:3").says("gates.soka").says("soak").says("watch.for");
    with_config(b"services:\n  - name: ../../etc\n", &["promote", "--yes"]).ended(3).says("services");
    with_config(b"repository:\n  tags: -x/v*\n", &["promote", "--yes"]).ended(3).says("tag");
    with_config(b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", &["promote", "--yes"]).ended(3).says("anchor");
    with_config(b"gates: [1, 2]\n", &["config", "check"]).ended(3).says("gates");
    with_config(b"gates:\n\tsoak: 24h\n", &["config", "check"]).ended(3);
    with_config(b"\xff\xfe", &["config", "check"]).ended(3);
    let mut large = b"project: gospelib\n".to_vec();
    large.resize(10 * 1024 * 1024, b'#');
    with_config(&large, &["config", "check"]).ended(3).says("1 MiB");
}

#[test]
fn wrong_versions_are_refused() {
    for version in ["1.2", "v1.2.0-", "v1.2.0-rc.1", "latest", ""] {
        with_config(b"", &["promote", version]).ended(2);
    }
    let world = World::serve("clean", 3600);
    let refs = world.refs();
    world.tool(&["promote", "v1.1.0", "--yes"]).ended(2).says("exists").says("v1.2.0");
    world.tool(&["promote", "v0.9.0", "--yes"]).ended(2).says("not above").says("v1.2.0");
    world.tool(&["tag", "v1.1.1", "--yes"]).ended(2).says("exists");
    assert_eq!(world.refs(), refs);
}

#[test]
fn nobody_to_ask_and_no_yes() {
    let world = World::serve("clean", 3600);
    let (refs, serving) = (world.refs(), world.serving());
    let ran = world.tool(&["promote"]);
    ran.ended(2).says("nobody can be asked").says("--yes");
    assert_eq!((world.refs(), world.serving()), (refs.clone(), serving.clone()));
    assert_eq!(world.lock_holder(), "");
    assert!(world.tool(&["status", "--output", "json"]).json()["open"].as_array().is_some_and(Vec::is_empty));
    // A dry run needs nobody, and changes nothing either.
    let ran = world.tool(&["promote", "--dry-run"]);
    ran.ended(0).says("would: Tag release/v1.2.0").says("nothing was changed");
    assert_eq!((world.refs(), world.serving()), (refs, serving));
    // What people wrote reaches the terminal without its escape sequences.
    assert!(!ran.stderr.contains('\u{1b}'), "{ran}");
}

/// The journal of the only run on this machine.
fn journal(world: &World) -> std::path::PathBuf {
    let runs = world.state("laptop").join("gospel-release/rehearsal/gospelib");
    let run = std::fs::read_dir(runs).expect("runs").next().expect("a run").expect("an entry").path();
    run.join("journal.jsonl")
}

fn cut(path: &Path, keep: impl FnOnce(&str) -> String) {
    let text = std::fs::read_to_string(path).expect("a journal");
    std::fs::write(path, keep(&text)).expect("write it");
}

#[test]
fn torn_and_corrupt_journals() {
    let world = World::serve("approval-denied", 3600);
    world.tool(&["promote", "--yes"]).ended(15);
    let path = journal(&world);
    // A torn last line is what a power failure leaves: the rest is good.
    cut(&path, |text| format!("{text}{{\"v\":1,\"seq\":99,\"ev"));
    world.tool(&["runs", "log"]).ended(0).says("records");
    // A corrupt line in the middle is told with file and line.
    cut(&path, |text| text.replacen("\"event\"", "\"evnt\"", 2));
    world.tool(&["runs", "log"]).ended(3).says("journal.jsonl:1").says("not a journal record");
    // A newer format is not guessed at.
    cut(&path, |_| "{\"v\":2,\"seq\":1}\n".to_owned());
    world.tool(&["runs", "log"]).ended(3).says("format 2");
    // The shared copy is whole: another machine goes on, and meets the same refusal.
    let elsewhere = Running::start(world.tool_on("oncall", &["resume"])).end();
    elsewhere.ended(15).says("rejected");
}

#[test]
fn a_state_directory_that_cannot_be_made_stops_the_run() {
    let world = World::serve("clean", 3600);
    let refs = world.refs();
    let state = world.state("blocked");
    std::fs::create_dir_all(&state).expect("a directory");
    std::fs::write(state.join("gospel-release"), "in the way").expect("a file");
    let ran = Running::start(world.tool_on("blocked", &["promote", "--yes"])).end();
    ran.ended(3).says("state directory").says("XDG_STATE_HOME");
    assert_eq!(world.refs(), refs);
    assert_eq!(world.lock_holder(), "", "the lock is given back");
}

/// A disk that fills up in the middle of a run: the run stops before the next act, says where it stands, and another
/// machine goes on from the shared copy.
#[test]
fn a_full_disk_stops_the_run_and_loses_nothing() {
    let world = World::serve("clean", 3600);
    let state = world.state("full");
    std::fs::create_dir_all(&state).expect("a directory");
    let tool = world.tool_on("full", &["promote", "--yes"]);
    let ran = Running::start(on_a_small_disk(&tool, &state)).end();
    ran.ended(3).says("journal.jsonl").says("gospel-release resume");
    let runs = world.workflow_runs("release/v1.2.0").len();
    let elsewhere = Running::start(world.tool_on("oncall", &["resume", "--yes", "--takeover"])).end();
    elsewhere.ended(0);
    assert_eq!(world.serving(), world.soaked());
    assert_eq!(world.workflow_runs("release/v1.2.0").len(), 1, "{runs} before");
}

/// The same command with `state` on a file system of a few pages; where we may not mount one, with files that may not grow
/// beyond that, which fails at the same writes.
fn on_a_small_disk(tool: &Command, state: &Path) -> Command {
    let mounts = Command::new("unshare").args(["-rm", "true"]).output().is_ok_and(|output| output.status.success());
    let mut command = Command::new(if mounts { "unshare" } else { "sh" });
    if mounts {
        command.args(["-rm", "sh", "-c", "mount -t tmpfs -o size=16k full \"$0\" && exec \"$@\""]).arg(state);
    } else {
        command.args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$@\"", "sh"]);
    }
    command.arg(tool.get_program()).args(tool.get_args());
    for (name, value) in tool.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}

#[test]
fn arguments_that_look_like_options_or_paths() {
    let world = World::serve("clean", 3600);
    world.tool(&["resume", "../../etc/passwd"]).ended(2);
    world.tool(&["runs", "log", "--", "-rf"]).ended(2);
    world.tool(&["promote", "--rehearse=no-such-scenario"]).ended(2).says("no-such-scenario");
}
