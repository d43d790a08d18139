//! Whose turn it is: what is in the way of going back is stopped at its next safe point, dead or alive.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Running, World, eventually};

/// Slow enough that a promotion watches for half a minute.
const SPEED: u32 = 60;
const LEASE: [&str; 2] = ["--set", "lock.lease=2s"];

/// A promotion on a machine of its own that goes on until it is stopped, once production runs what it brings.
fn watching(world: &World) -> Running {
    let promote = Running::start(world.tool_on("ci", &[&["promote", "--yes"][..], &LEASE].concat()));
    eventually("the release runs", || world.serving() == world.soaked());
    promote
}

/// The run that holds the lock.
fn its_run(world: &World) -> String {
    let lease = world.kube("/apis/coordination.k8s.io/v1/namespaces/gospelib-production/leases/gospel-release");
    lease["metadata"]["annotations"]["gospel-release.dev/run"].as_str().expect("a run").to_owned()
}

#[test]
fn a_rollback_has_a_live_promotion_stopped() {
    let world = World::serve("clean", SPEED);
    let before = world.serving();
    let promote = watching(&world);
    let run = its_run(&world);
    let rollback = ["rollback", "--yes", "--reason", "a test"];
    let refused = world.tool(&[&rollback[..], &LEASE].concat());
    refused.ended(13).says("production is locked by").says("--takeover");
    assert_eq!(world.serving(), world.soaked(), "{refused}");
    // What was asked wrongly, or cannot be confirmed, stops nobody.
    world.tool(&[&rollback[..], &["--takeover", "--service", "nosuch"], &LEASE].concat()).ended(2).says("nosuch");
    world.tool(&[&["rollback", "--reason", "a test", "--takeover"][..], &LEASE].concat()).ended(2).says("--yes");
    assert_eq!(its_run(&world), run);
    let ran = world.tool(&[&rollback[..], &["--takeover"], &LEASE].concat());
    ran.ended(0).says("asked to stop at the next safe point").says(&run);
    let promote = promote.end();
    promote.ended(130).says("stopped as asked by").says("for rollback").says("somebody asks, through the lock");
    assert_eq!(world.serving(), before, "{ran}");
    assert_eq!(world.lock_holder(), "");
    world.tool(&["status"]).says("open runs none");
}

#[test]
fn a_live_run_is_aborted_by_its_name_only() {
    let world = World::serve("clean", SPEED);
    let promote = watching(&world);
    let run = its_run(&world);
    let abort = |args: &[&str]| world.tool(&[&["abort"][..], args, &LEASE].concat());
    abort(&[]).ended(13).says("its process is alive").says(&format!("gospel-release abort {run}"));
    assert!(!world.lock_holder().is_empty());
    abort(&[&run]).ended(0).says(&format!("run {run} is aborted")).says("nothing is undone");
    promote.end().ended(130).says("stopped as asked by").says(&format!("for abort {run}")).says("in flight: ");
    assert_eq!(world.serving(), world.soaked());
    assert_eq!(world.lock_holder(), "");
}

/// A program at a terminal of its own.
struct AtTerminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<String>>,
}

impl AtTerminal {
    fn start(mut command: Command) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keys).and_then(|()| unlockpt(&keys)).expect("its other end");
        let path = ptsname(&keys, Vec::new()).expect("its name").into_string().expect("UTF-8");
        let end = || Stdio::from(File::options().read(true).write(true).open(&path).expect("its other end"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("started");
        let (keys, screen) = (File::from(keys), Arc::new(Mutex::new(String::new())));
        let (mut shown, written) = (keys.try_clone().expect("read it"), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails once nobody has the other end open.
            while let Ok(read) = shown.read(&mut bytes)
                && read > 0
            {
                written.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Self { child, keys, screen }
    }

    fn shows(&self, text: &str) -> bool {
        self.screen.lock().unwrap().contains(text)
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_is_at_lunch_over_a_question_holds_nobody_up() {
    let world = World::serve("clean", SPEED);
    let before = world.serving();
    let mut asked = AtTerminal::start(world.tool_on("laptop", &[&["promote"][..], &LEASE].concat()));
    eventually("it asks", || asked.shows("Type v1.2.0"));
    let rollback = ["rollback", "--yes", "--to", "v1.1.0", "--reason", "a test", "--takeover"];
    world.tool(&[&rollback[..], &LEASE].concat()).ended(0).says("asked to stop at the next safe point");
    assert_ne!(world.serving(), before);
    let tags = world.tags();
    // Back from lunch: what is typed now begins nothing.
    asked.keys.write_all(b"v1.2.0\r").expect("typed");
    assert_eq!(asked.child.wait().expect("its end").code(), Some(130), "{}", asked.screen.lock().unwrap());
    eventually("it is told", || asked.shows("stopped as asked by"));
    assert_eq!(world.tags(), tags);
}
