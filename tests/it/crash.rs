//! The crash matrices: for every journal write of a verb, SIGKILL just before and just after it, go on from another machine, and
//! compare the world with that of an uninterrupted run (docs/architecture.md, "What the crash matrix compares").

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::hotfix::append;
use crate::support::{Ran, Running, World};

const OVERLAY: &str = "infra/k8s/overlays/production/kustomization.yaml";
/// A dead holder is seen dead in a second.
const LEASE: [&str; 2] = ["--set", "lock.lease=1s"];

/// How many cells of a matrix may not be there in a run of their own.
const PASSED: usize = 2;

/// One verb, killed everywhere.
pub struct Matrix {
    pub name: &'static str,
    pub scenario: &'static str,
    /// World seconds a second.
    pub speed: u32,
    pub command: &'static [&'static str],
    /// What the same command says, or how it ends, when everything was done already.
    pub done: &'static str,
    /// The release tag whose workflow runs and Release are compared.
    pub tag: &'static str,
    /// What a person does before.
    pub prepare: fn(&World),
    pub cells_at_least: usize,
}

const PROMOTE: Matrix = Matrix {
    name: "promote",
    scenario: "clean",
    speed: 7200,
    command: &["promote", "--yes"],
    done: "nothing to release",
    tag: "release/v1.2.0",
    prepare: |_| {},
    cells_at_least: 50,
};

const ROLLBACK: Matrix = Matrix {
    name: "rollback",
    command: &["rollback", "--yes", "--reason", "a test", "--to", "v1.1.0"],
    done: "already",
    tag: "release/v1.1.1",
    // A wait for Argo CD that is over at the first look has no intent.
    cells_at_least: 30,
    ..PROMOTE
};

const DIRECT: Matrix = Matrix {
    name: "rollback --direct",
    command: &["rollback", "--yes", "--direct", "--pause-sync", "--reason", "a test", "--to", "v1.1.0"],
    cells_at_least: 40,
    ..ROLLBACK
};

const SHIP: Matrix = Matrix {
    name: "hotfix ship",
    command: &["hotfix", "ship", "--yes", "--reason", "a test"],
    done: "nothing was changed",
    tag: "release/v1.1.1",
    prepare: mend,
    cells_at_least: 34,
    ..PROMOTE
};

const FINISH: Matrix = Matrix {
    name: "hotfix finish",
    // Nobody approves the tag's run for two hours: 12 s.
    scenario: "hotfix-retriggers-workflow",
    speed: 600,
    command: &["hotfix", "finish", "--yes"],
    done: "nothing was changed",
    tag: "release/v1.1.2",
    prepare: |world| {
        mend(world);
        // Its journal is not the one that is looked for cells.
        Running::start(world.tool_on("desk", &[SHIP.command, &LEASE].concat())).end().ended(0);
    },
    cells_at_least: 20,
};

/// A hotfix in the checkout, committed; the same commit in every world.
fn mend(world: &World) {
    world.tool(&["hotfix", "start", "login"]).ended(0);
    append(world, "services/auth/main.go", "\n// Tokens are compared in constant time.\n");
    world.dev(&["commit", "-qam", "fix(auth): compare tokens in constant time"]);
}

/// The world without times, run ids and commit SHAs.
fn projection(world: &World, tag: &str) -> Value {
    let refs = world.refs();
    let commit = refs.get(&format!("refs/tags/{tag}^{{}}")).cloned().unwrap_or_default();
    let tagged = if commit.is_empty() { String::new() } else { world.message(&commit) };
    let runs: Vec<Value> = world
        .workflow_runs(tag)
        .iter()
        .map(|run| {
            let approvals = world.github(&format!("actions/runs/{}/approvals", run["id"]));
            let approved: Vec<&Value> =
                approvals.as_array().into_iter().flatten().map(|approval| &approval["user"]["login"]).collect();
            json!([run["conclusion"], run["run_attempt"], run["head_sha"] == commit, approved])
        })
        .collect();
    let branches: Vec<&String> = refs.keys().filter(|name| name.starts_with("refs/heads/")).collect();
    let mut main = world.log("origin/main");
    main.sort();
    let release = world.github(&format!("releases/tags/{}", tag.replace('/', "%2F")));
    // The mark of a rolled-back Release has a time in its first line.
    let body = release["body"].as_str().unwrap_or_default();
    let body =
        if body.starts_with("**Rolled back**") { body.split_once('\n').map_or("", |(_, rest)| rest) } else { body };
    let application = world.application();
    let history = application["status"]["history"].as_array().map_or(0, Vec::len);
    let version = tag.rsplit('/').next().unwrap_or_default();
    let serving = world.serving();
    let images: BTreeMap<&String, Option<String>> =
        serving.keys().map(|name| (name, world.digest_of(name, version))).collect();
    // A waived gate's debt is named after its run.
    let debts = world.kept("gospel-release-debts").into_iter().map(|key| match key.strip_prefix("waived.") {
        Some(rest) => format!("waived.{}", rest.split('.').next().unwrap_or_default()),
        None => key,
    });
    let debts: Vec<String> = debts.collect();
    json!({
        "tags": world.tags(),
        "branches": branches,
        "main": main,
        "checkout": [world.dev(&["symbolic-ref", "HEAD"]), world.dev(&["status", "--porcelain"])],
        "work trees": world.dev(&["worktree", "list"]).lines().count(),
        "tagged": [tagged, refs.contains_key(&format!("refs/tags/{tag}^{{}}"))],
        "runs": runs,
        "releases": world.releases(),
        "notes": [release["name"], body],
        "images": images,
        "overlay": world.file_on_main(OVERLAY),
        "overlay commits": world.changes_of(OVERLAY),
        "argo": [application["status"]["sync"]["status"], application["status"]["health"]["status"], history],
        "overlay commits that Argo CD lacks": lacks(world, &application["status"]["sync"]["revision"]),
        "auto-sync": application["spec"]["syncPolicy"]["automated"],
        "serving": serving,
        "databases": world.migrations(),
        "lock": world.lock_holder(),
        "kept": [world.kept("gospel-release-quarantine"), debts],
        "open": world.tool(&["status", "--output", "json", "--set", "debt.due_after=9000h"]).json()["open"],
    })
}

/// How many commits of the overlay are not in the revision that Argo CD deployed. The revision itself says less: Argo CD looks when
/// it likes, and commits of main that change nothing here come after it.
fn lacks(world: &World, revision: &Value) -> usize {
    let revision = revision.as_str().unwrap_or_else(|| panic!("no revision: {revision}"));
    world.changes_since(revision, OVERLAY)
}

impl Matrix {
    fn world(&self) -> World {
        let world = World::serve(self.scenario, self.speed);
        (self.prepare)(&world);
        world
    }

    fn args(&self) -> Vec<&'static str> {
        [self.command, &LEASE].concat()
    }

    /// The cells of an uninterrupted run, and the world after it.
    fn uninterrupted(&self) -> (Vec<String>, Value, usize) {
        let world = self.world();
        world.tool(&self.args()).ended(0);
        let runs = world.state("laptop").join("gospel-release/rehearsal/gospelib");
        let run = std::fs::read_dir(&runs).expect("runs").next().expect("a run").expect("a directory").path();
        let journal = std::fs::read_to_string(run.join("journal.jsonl")).expect("a journal");
        let mut cells: Vec<String> =
            journal.lines().map(|line| cell(&serde_json::from_str(line).expect("a record"))).collect();
        cells.dedup();
        (cells, projection(&world, self.tag), world.told().len())
    }

    /// One cell: die there, go on elsewhere, compare.
    fn die_and_go_on(
        &self,
        (cell, moment): (&str, &str),
        expected: &Value,
        told: usize,
        passed: &AtomicUsize,
    ) -> Result<(), String> {
        let world = self.world();
        let mut dying = world.tool_on("laptop", &self.args());
        dying.env("GOSPEL_RELEASE_FAILPOINT", format!("{cell}={moment}"));
        let died = Running::start(dying).end();
        if died.signal != Some(9) {
            // A wait that was over before it was begun has no intent: Argo CD was faster than our look.
            if died.exit != 0 || !cell.starts_with("step-intent:") || passed.fetch_add(1, Ordering::SeqCst) >= PASSED {
                return Err(format!("it did not die there: {died}"));
            }
            let now = projection(&world, self.tag);
            return if now == *expected { Ok(()) } else { Err(format!("differs\n{}", difference(expected, &now))) };
        }
        let elsewhere = |args: &[&str]| {
            let mut tool = world.tool_on("oncall", args);
            tool.env("USER", "olga");
            Running::start(tool).end()
        };
        let mut went_on = elsewhere(&[&["resume", "--takeover", "--yes"][..], &LEASE].concat());
        if went_on.exit == 2 {
            // It died before anything was shared, or after everything was done.
            if !went_on.stderr.contains("no run was left open") {
                return Err(format!("{went_on}"));
            }
            went_on = elsewhere(&self.args());
            if went_on.exit == 2 && went_on.stderr.contains(self.done) {
                went_on.exit = 0;
            }
        }
        if went_on.exit != 0 {
            return Err(format!("it did not go on: {went_on}"));
        }
        let now = projection(&world, self.tag);
        if now != *expected {
            return Err(format!("the world differs\n{}\n{went_on}", difference(expected, &now)));
        }
        // Nobody can ask a webhook whether it was called: a crash between intent and end leaves it at once or never.
        match world.told().len() {
            times if times == told => Ok(()),
            0 if cell == "step-intent:webhook" || (cell == "step-done:webhook" && moment == "before") => Ok(()),
            times => Err(format!("the team was told {times} times\n{went_on}")),
        }
    }

    /// Every cell, three at a time.
    pub fn survives(&self) {
        let (cells, expected, told) = self.uninterrupted();
        let all: Vec<(&String, &str)> =
            cells.iter().flat_map(|cell| ["before", "after"].map(|moment| (cell, moment))).collect();
        assert!(all.len() >= self.cells_at_least, "{} cells are too few: {cells:?}", all.len());
        let (next, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failures: Mutex<BTreeMap<String, String>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some((cell, moment)) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
                        if let Err(why) = self.die_and_go_on((cell, moment), &expected, told, &passed) {
                            failures.lock().expect("unpoisoned").insert(format!("{cell}={moment}"), why);
                        }
                    }
                });
            }
        });
        let failures = failures.lock().expect("unpoisoned");
        let _ = writeln!(
            std::io::stderr(),
            "crash matrix of {}: {} cells, {} failed",
            self.name,
            all.len(),
            failures.len()
        );
        assert!(
            failures.is_empty(),
            "{}",
            failures.iter().map(|(cell, why)| format!("== {cell}\n{why}\n")).collect::<String>()
        );
    }
}

fn cell(record: &Value) -> String {
    let event = record["event"].as_str().expect("an event");
    let object = ["gate", "step"].iter().find_map(|name| record[*name].as_str());
    object.map_or(event.to_owned(), |object| format!("{event}:{object}"))
}

fn difference(expected: &Value, now: &Value) -> String {
    let (Some(expected), Some(now)) = (expected.as_object(), now.as_object()) else { return String::new() };
    let differing = expected.iter().filter(|(key, value)| now.get(*key) != Some(value));
    differing.map(|(key, value)| format!("{key}:\n  expected {value}\n  is       {}\n", now[key])).collect()
}

#[test]
fn a_promotion_survives_a_kill_at_every_journal_write() {
    PROMOTE.survives();
}

#[test]
fn a_rollback_survives_a_kill_at_every_journal_write() {
    ROLLBACK.survives();
}

#[test]
fn a_direct_rollback_survives_a_kill_at_every_journal_write() {
    DIRECT.survives();
}

#[test]
fn a_shipped_hotfix_survives_a_kill_at_every_journal_write() {
    SHIP.survives();
}

#[test]
fn a_finished_hotfix_survives_a_kill_at_every_journal_write() {
    FINISH.survives();
}

/// A colleague goes on in a checkout of their own, which never saw the branch: what was pushed is fetched, what was not is asked for.
#[test]
fn a_shipped_hotfix_goes_on_in_another_checkout() {
    let world = SHIP.world();
    let commit = world.dev(&["rev-parse", "HEAD"]);
    let theirs = world.state("oncall").join("checkout");
    let origin = world.dev(&["remote", "get-url", "origin"]);
    world.dev(&["clone", "-q", "--branch", "main", &origin, theirs.to_str().expect("UTF-8")]);
    let killed_at = |point: &str, args: &[&str]| {
        let mut dying = world.tool_on("laptop", args);
        dying.env("GOSPEL_RELEASE_FAILPOINT", point);
        let died = Running::start(dying).end();
        assert_eq!(died.signal, Some(9), "{died}");
    };
    let there = |args: &[&str]| {
        let checkout = format!("repository.checkout={}", theirs.display());
        Running::start(world.tool_on("oncall", &[args, &["--set", &checkout], &LEASE].concat())).end()
    };
    killed_at("step-intent:branch=after", &SHIP.args());
    let ran = there(&["resume", "--takeover", "--yes"]);
    ran.ended(11).says("hotfix/login").says("git push");
    assert!(!world.refs().contains_key("refs/heads/hotfix/login"), "{ran}");
    killed_at("step-done:branch=after", &[&["resume", "--takeover", "--yes"][..], &LEASE].concat());
    let ran = there(&["resume", "--takeover", "--yes"]);
    ran.ended(0);
    let image = world.digest_of("gospelib-auth", &format!("hotfix-{}", &commit[..12])).expect("built there");
    assert_eq!(world.serving()["gospelib-auth"].iter().collect::<Vec<_>>(), [&image], "{ran}");
}

/// `hotfix start` has no journal: it is killed at many moments, and done again.
#[test]
fn a_started_hotfix_survives_a_kill_at_any_moment() {
    let world = World::serve("clean", PROMOTE.speed);
    let begun = std::time::Instant::now();
    world.tool(&["hotfix", "start", "login"]).ended(0);
    let whole = begun.elapsed();
    let base = world.dev(&["rev-parse", "HEAD"]);
    for part in 0..16 {
        world.dev(&["switch", "-q", "main"]);
        world.dev(&["branch", "-qD", "hotfix/login"]);
        let mut child = world.tool_on("laptop", &["hotfix", "start", "login"]).spawn().expect("start it");
        std::thread::sleep(whole * part / 15);
        // One that has ended already cannot be killed, and need not be.
        let _ = child.kill();
        child.wait().expect("its end");
        let again = world.tool(&["hotfix", "start", "login"]);
        again.ended(0);
        let now = [world.dev(&["symbolic-ref", "HEAD"]), world.dev(&["rev-parse", "HEAD"])];
        assert_eq!(now, ["refs/heads/hotfix/login".to_owned(), base.clone()], "killed after {part}/15\n{again}");
        assert_eq!(world.dev(&["status", "--porcelain"]), "", "killed after {part}/15\n{again}");
    }
}

/// Eight start together: one proceeds, the others end 13 and name holder and run.
#[test]
fn of_many_promoters_one_proceeds() {
    for many in [2, 8] {
        let world = World::serve("clean", PROMOTE.speed);
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
        assert_eq!(world.workflow_runs(PROMOTE.tag).len(), 1);
        assert_eq!(world.told().len(), 1);
    }
}

/// The lock of a dead holder is taken over only on request; a live one's never.
#[test]
fn a_dead_holders_lock_is_taken_on_request() {
    let world = World::serve("clean", PROMOTE.speed);
    let mut dying = world.tool_on("laptop", &PROMOTE.args());
    dying.env("GOSPEL_RELEASE_FAILPOINT", "step-intent:tag=after");
    assert_eq!(Running::start(dying).end().signal, Some(9));
    world.tool(&[&["resume"][..], &LEASE].concat()).ended(13).says("--takeover");
    assert!(!world.tags().contains(PROMOTE.tag), "nothing was changed by the refused resume");
    world.tool(&[&["resume", "--takeover"][..], &LEASE].concat()).ended(0);
    assert!(world.tags().contains(PROMOTE.tag));
}
