//! `hotfix start`, seen from outside.

use crate::support::World;

const SPEED: u32 = 3600;
const GATEWAY: &str = "services/gateway/main.go";

/// Appends to a file of the checkout, as an editor does.
fn append(world: &World, path: &str, text: &str) {
    let path = world.checkout().join(path);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(path, old + text).expect("write a file of the checkout");
}

fn release_commit(world: &World, version: &str) -> String {
    world.refs()[&format!("refs/tags/release/{version}^{{}}")].clone()
}

#[test]
fn start_begins_at_what_production_runs() {
    let world = World::serve("clean", SPEED);
    let base = release_commit(&world, "v1.1.1");
    let refs = world.refs();
    let dry = world.tool(&["hotfix", "start", "login", "--dry-run"]);
    dry.ended(0).says("would begin at v1.1.1");
    assert_eq!(world.dev(&["branch", "--list", "hotfix/*"]), "");
    let ran = world.tool(&["hotfix", "start", "login"]);
    ran.ended(0).says("hotfix/login begins at v1.1.1").says("git push -u origin hotfix/login");
    assert_eq!(world.dev(&["symbolic-ref", "HEAD"]), "refs/heads/hotfix/login");
    assert_eq!(world.dev(&["rev-parse", "HEAD"]), base);
    assert_eq!(world.dev(&["status", "--porcelain"]), "");
    assert_eq!(world.refs(), refs, "nothing is pushed");
    // Again, with work on it, and from elsewhere.
    append(&world, GATEWAY, "// mended\n");
    world.dev(&["commit", "-qam", "fix: mended"]);
    world.dev(&["switch", "-q", "main"]);
    let again = world.tool(&["hotfix", "start", "login", "--output", "json"]);
    assert_eq!(again.ended(0).json()["made"], false);
    assert_eq!(world.dev(&["symbolic-ref", "HEAD"]), "refs/heads/hotfix/login");
    world.tool(&["hotfix", "start", "login"]).ended(0).says("is there already").says("1 commit on it");
    assert_eq!(world.lock_holder(), "");
}

#[test]
fn start_keeps_what_no_commit_has() {
    let world = World::serve("clean", SPEED);
    append(&world, GATEWAY, "// half done\n");
    let ran = world.tool(&["hotfix", "start", "login"]);
    ran.ended(2).says(GATEWAY).says("git stash");
    assert_eq!(world.dev(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(world.dev(&["branch", "--list", "hotfix/*"]), "");
    world.dev(&["stash"]);
    // A note that Git does not know is in nobody's way.
    append(&world, "notes.txt", "call Dana\n");
    world.tool(&["hotfix", "start", "login"]).ended(0);
    world.tool(&["hotfix", "start", "No/Good"]).ended(2).says("hotfix name");
}

#[test]
fn start_refuses_what_is_not_one_release() {
    let world = World::serve("clean", SPEED);
    world.tool(&["rollback", "--yes", "--reason", "a test", "--service", "gateway"]).ended(0);
    let ran = world.tool(&["hotfix", "start", "login"]);
    ran.ended(10).says("gateway runs").says("v1.1.0").says("auth runs").says("--from VERSION");
    assert_eq!(world.dev(&["branch", "--list", "hotfix/*"]), "");
    world.tool(&["hotfix", "start", "login", "--from", "v9.9.9"]).ended(10).says("no release tag").says("v1.1.1");
    let ran = world.tool(&["hotfix", "start", "login", "--from", "v1.1.0"]);
    ran.ended(0).says("production runs no one release, not v1.1.0");
    assert_eq!(world.dev(&["rev-parse", "HEAD"]), release_commit(&world, "v1.1.0"));
    // Its branch does not contain a later release.
    world.dev(&["switch", "-q", "main"]);
    world.tool(&["hotfix", "start", "login", "--from", "v1.1.1"]).ended(2).says("does not contain");
}
