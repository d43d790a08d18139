//! What is out of reach, or cannot be read, holds up nobody who goes on without it.

use std::process::{Child, Stdio};

use crate::support::{Ran, World, eventually};

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
