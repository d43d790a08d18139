//! `hotfix finish`, seen from outside: the tag, its workflow run, and the way back to main.

use serde_json::{Value, json};

use crate::hotfix::{GATEWAY, OVERLAY, PATIENT, append, debts, mended_in, release_commit, ship, tag};
use crate::support::{Ran, World, eventually};

/// Slow enough that nobody approves the tag's run before it is found and cancelled.
const SPEED: u32 = 600;
const TAG: &str = "release/v1.1.2";

fn finish(world: &World, flags: &[&str]) -> Ran {
    world.tool(&[&["hotfix", "finish", "--yes"][..], &PATIENT, flags].concat())
}

/// A hotfix that merges cleanly, shipped; and its commit. Nobody approves the tag's run for a while.
pub fn shipped() -> (World, String) {
    shipped_in(World::of("hotfix-retriggers-workflow"))
}

fn shipped_in(world: World) -> (World, String) {
    world.tool(&["hotfix", "start", "login"]).ended(0);
    append(&world, "services/auth/main.go", "\n// Tokens are compared in constant time.\n");
    world.dev(&["commit", "-qam", "fix(auth): compare tokens in constant time"]);
    ship(&world, &[]).ended(0);
    let commit = world.dev(&["rev-parse", "HEAD"]);
    (world, commit)
}

/// The one run that the tag started.
fn run(world: &World) -> Value {
    let runs = world.workflow_runs(TAG);
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

/// Whether main has a commit in its history, asked of the remote.
fn on_main(world: &World, commit: &str) -> bool {
    world.dev(&["fetch", "-q", "origin", "main"]);
    world.dev_may_fail(&["merge-base", "--is-ancestor", commit, "origin/main"]).exit == 0
}

/// Pastes the command that `status` tells for this kind of debt; and what it was.
fn close(world: &World, kind: &str) -> (Ran, String) {
    let status = world.tool(&[&["status", "--output", "json"][..], &PATIENT].concat());
    let debts = status.ended(0).json()["debts"].as_array().cloned().unwrap_or_default();
    let debt = debts.iter().find(|debt| debt["debt"] == kind).unwrap_or_else(|| panic!("no {kind}: {debts:?}"));
    let told = debt["close"].as_str().expect("a command");
    let told = told.split(" (once").next().expect("a command").to_owned();
    let mut last = None;
    for line in told.split("; ") {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["git", rest @ ..] => drop(world.dev(rest)),
            ["gospel-release", rest @ ..] => last = Some(world.tool(&[rest, &["--yes"], &PATIENT].concat())),
            other => panic!("{other:?}"),
        }
    }
    (last.expect("it calls the tool"), told)
}

/// Git names what production runs, Argo CD syncs again, and nothing of the way past Git is owed.
#[track_caller]
fn back_in_git(world: &World, commit: &str, ran: &Ran) {
    let digest = world.digest_of("gospelib-auth", &tag(commit)).expect("its image");
    assert!(world.file_on_main(OVERLAY).contains(&digest), "{ran}");
    eventually("Argo CD agrees", || world.application()["status"]["sync"]["status"] == "Synced");
    let open = debts(world);
    assert!(!open.contains("live-differs") && !open.contains("sync-paused"), "{open:?}\n{ran}");
    assert!(world.serving()["gospelib-auth"].contains(&digest), "{ran}");
    assert_eq!(world.lock_holder(), "");
}

/// The tag stands on the commit, annotated; its run is over; nothing waits for anybody.
#[track_caller]
fn tagged_and_cancelled(world: &World, commit: &str, ran: &Ran) {
    assert_eq!(release_commit(world, "v1.1.2"), commit, "{ran}");
    let run = run(world);
    assert_eq!((&run["status"], &run["conclusion"]), (&json!("completed"), &json!("cancelled")), "{ran}");
    assert_eq!(world.github(&format!("actions/runs/{}/pending_deployments", run["id"])), json!([]));
}

#[test]
fn finish_tags_cancels_and_merges() {
    let (world, commit) = shipped();
    let (serving, overlay, main) =
        (world.serving(), world.file_on_main(OVERLAY), world.refs()["refs/heads/main"].clone());
    let dry = finish(&world, &["--dry-run"]);
    dry.ended(0);
    assert!(!world.tags().contains(TAG) && world.refs()["refs/heads/main"] == main, "{dry}");
    let ran = finish(&world, &["--output", "json"]);
    let report = ran.ended(0).json();
    assert_eq!((&report["outcome"], &report["version"]), (&json!("finished"), &json!("v1.1.2")), "{ran}");
    tagged_and_cancelled(&world, &commit, &ran);
    // Main has it by one merge commit of ours, on top of what it had; production is as it was.
    assert!(on_main(&world, &commit));
    let merge = world.dev(&["log", "-1", "--format=%P%n%B", "origin/main"]);
    assert!(merge.starts_with(&format!("{main} {commit}\n")), "{merge}");
    assert!(merge.contains("Merge hotfix/login (v1.1.2) into main") && merge.contains("Gospel-Run: "), "{merge}");
    assert_eq!((world.serving(), world.file_on_main(OVERLAY)), (serving, overlay), "{ran}");
    let release = world.github("releases/tags/release%2Fv1.1.2");
    let notes = release["body"].as_str().unwrap_or_default();
    assert!(notes.contains("A hotfix of v1.1.1") && notes.contains("compare tokens in constant time"), "{notes}");
    // The work tree is where it was, and nothing is left in the repository.
    assert_eq!(world.dev(&["symbolic-ref", "HEAD"]), "refs/heads/hotfix/login");
    assert_eq!(world.dev(&["status", "--porcelain"]), "");
    assert_eq!(world.dev(&["worktree", "list"]).lines().count(), 1);
    assert_eq!(world.lock_holder(), "");
    assert!(!debts(&world).contains("not-merged"), "{:?}", debts(&world));
    // Again: there is nothing left. And the next hotfix begins at the release that this one became.
    let refs = world.refs();
    finish(&world, &[]).ended(0).says("nothing was changed");
    assert_eq!(world.refs(), refs);
    world.tool(&["hotfix", "start", "second"]).ended(0).says("begins at v1.1.2");
    assert_eq!(world.dev(&["rev-parse", "HEAD"]), commit);
}

/// Another machine, another checkout: the branch is on the remote.
#[test]
fn finish_takes_the_branch_from_the_remote() {
    let (world, commit) = shipped();
    world.dev(&["switch", "-q", "main"]);
    world.dev(&["branch", "-qD", "hotfix/login"]);
    // Another work tree of the person's, on a disk that is not mounted now.
    let (disk, elsewhere) = (world.state("disk"), world.state("elsewhere"));
    world.dev(&["worktree", "add", "-q", "--detach", &disk.display().to_string(), "main"]);
    std::fs::rename(&disk, &elsewhere).expect("unmount");
    finish(&world, &[]).ended(2).says("on main, and not on a hotfix branch").says("hotfix finish NAME");
    finish(&world, &["nothing"]).ended(2).says("there is no hotfix/nothing");
    let ran = finish(&world, &["login"]);
    ran.ended(0).says("the hotfix is v1.1.2, and main has it");
    tagged_and_cancelled(&world, &commit, &ran);
    assert!(on_main(&world, &commit));
    assert_eq!(world.dev(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    std::fs::rename(&elsewhere, &disk).expect("mount");
    let trees = world.dev(&["worktree", "list"]);
    assert!(trees.contains("/disk") && trees.lines().count() == 2, "{trees}");
}

#[test]
fn finish_wants_what_production_runs() {
    let (world, _) = mended_in(World::of("clean"));
    let tags = world.tags();
    let ran = finish(&world, &[]);
    ran.ended(10).says("production does not run").says("ECR has no image hotfix-").says("gospel-release hotfix ship");
    ship(&world, &[]).ended(0);
    // A commit more than what was shipped.
    append(&world, GATEWAY, "// more\n");
    world.dev(&["commit", "-qam", "fix: more"]);
    finish(&world, &[]).ended(10).says("production does not run");
    // Rolled back: the branch is there, production runs the release again.
    world.dev(&["reset", "-q", "--hard", "HEAD~1"]);
    world.tool(&["rollback", "--yes", "--to", "v1.1.1", "--reason", "no better"]).ended(0);
    finish(&world, &[]).ended(10).says("gateway does not run").says("owed to nobody");
    assert_eq!((world.tags(), world.lock_holder()), (tags, String::new()));
}

/// The run that the tag started is found although nobody told of it, and does not wait for somebody's click.
#[test]
fn hotfix_retriggers_workflow() {
    let (world, commit) = shipped();
    let serving = world.serving();
    let ran = finish(&world, &[]);
    ran.ended(0).says("is cancelled");
    tagged_and_cancelled(&world, &commit, &ran);
    assert_eq!(world.serving(), serving, "nothing was deployed again");
    assert_eq!(world.digest_of("gospelib-auth", "v1.1.2"), None, "nothing was built again");
}

#[test]
fn finish_follows_the_run_where_it_is_configured() {
    let (world, commit) = shipped_in(World::of("clean"));
    let ran = finish(&world, &["--set", "hotfix.workflow=follow"]);
    ran.ended(0).says("approved by").says("0 of 6 are the soaked bytes");
    assert_eq!(run(&world)["conclusion"], "success", "{ran}");
    for (repository, digests) in world.serving() {
        assert_eq!(digests.into_iter().next(), world.digest_of(&repository, "v1.1.2"), "{repository}\n{ran}");
    }
    assert!(on_main(&world, &commit));
    assert_eq!(world.lock_holder(), "");
    world.tool(&["hotfix", "start", "second"]).ended(0).says("begins at v1.1.2");
}

/// The run that is followed need not succeed: production has the hotfix, and main is to have it too.
#[test]
fn finish_goes_on_without_a_run_that_was_rejected() {
    for scenario in ["approval-denied", "workflow-fails"] {
        let (world, commit) = shipped_in(World::of(scenario));
        let ran = finish(&world, &["--set", "hotfix.workflow=follow"]);
        let told = "gospel-release hotfix finish login --set hotfix.workflow=cancel";
        ran.ended(15).says(told);
        assert!(!on_main(&world, &commit) && debts(&world).contains("not-merged"), "{ran}");
        let words: Vec<&str> = told.split(' ').skip(3).collect();
        finish(&world, &words).ended(0).says("ended by itself");
        assert!(on_main(&world, &commit));
        assert!(!debts(&world).contains("not-merged"));
        world.tool(&["resume"]).ended(2).says("no run was left open");
    }
}

/// The commands that are printed are the ones that help.
#[test]
fn merge_conflict() {
    let (world, commit) = mended_in(World::serve("merge-conflict", SPEED));
    ship(&world, &[]).ended(0);
    let main = world.refs()["refs/heads/main"].clone();
    let ran = finish(&world, &["--output", "json"]);
    ran.ended(11).says(&format!("conflict in {GATEWAY}"));
    tagged_and_cancelled(&world, &commit, &ran);
    assert_eq!(world.refs()["refs/heads/main"], main, "nothing half done");
    assert_eq!(world.dev(&["status", "--porcelain"]), "");
    assert_eq!(world.dev(&["worktree", "list"]).lines().count(), 1);
    assert!(debts(&world).contains("not-merged"));
    world.tool(&["resume"]).ended(11);
    // A person does what it says.
    let report = ran.json();
    let hints: Vec<&str> =
        report["error"]["hints"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let git = |hint: &str| -> Vec<String> { hint.split(' ').skip(1).map(str::to_owned).collect() };
    for hint in hints.iter().filter(|hint| hint.starts_with("git ")) {
        let args = git(hint);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if args[0] == "merge" {
            world.dev_may_fail(&args);
            world.dev(&["checkout", "--theirs", "--", GATEWAY]);
            // What lies about goes nowhere.
            append(&world, "notes.txt", "call Dana\n");
            let commit = hints.iter().find_map(|hint| hint.split_once("then: git ")).expect("how to commit").1;
            world.dev(&commit.split(' ').collect::<Vec<_>>());
        } else {
            world.dev(&args);
        }
    }
    assert!(hints.contains(&"gospel-release resume"), "{hints:?}");
    let ran = world.tool(&["resume"]);
    ran.ended(0).says("main has it");
    assert!(on_main(&world, &commit));
    assert_eq!(world.dev(&["ls-tree", "origin/main", "notes.txt"]), "");
    assert!(!debts(&world).contains("not-merged"), "{ran}");
}

/// Main takes pull requests only; which is merged with a merge commit, or squashed.
#[test]
fn protected_main() {
    for method in ["merge", "squash"] {
        let world = World::serve("protected-main", SPEED);
        world.tool(&["hotfix", "start", "login"]).ended(0);
        append(&world, "services/auth/main.go", "\n// Tokens are compared in constant time.\n");
        world.dev(&["commit", "-qam", "fix(auth): compare tokens in constant time"]);
        let commit = world.dev(&["rev-parse", "HEAD"]);
        // The overlay's commit is refused as well: production has it past Git, and a pull request brings it.
        ship(&world, &["--direct", "--pause-sync"]).ended(0).says("/pull/430");
        let ran = finish(&world, &[]);
        ran.ended(11).says("GH006").says("/pull/431").says("gospel-release resume");
        tagged_and_cancelled(&world, &commit, &ran);
        assert!(!on_main(&world, &commit), "{ran}");
        // One pull request, however often one comes back.
        world.tool(&["resume"]).ended(11).says("/pull/431");
        finish(&world, &[]).ended(11).says("gives up").says("/pull/431");
        let pulls = world.github("pulls?state=all");
        assert_eq!(pulls.as_array().map(Vec::len), Some(2), "{pulls}");
        let pull = world.github("pulls/431");
        assert_eq!((&pull["head"]["sha"], &pull["base"]["ref"]), (&json!(commit), &json!("main")));
        assert!(debts(&world).contains("not-merged"));
        world.github_put("pulls/431/merge", &json!({"merge_method": method}));
        assert_eq!(on_main(&world, &commit), method == "merge");
        assert!(!debts(&world).contains("not-merged"), "{method}: seen, not declared");
        // As people do after a merge.
        world.dev(&["push", "-q", "origin", "--delete", "hotfix/login"]);
        // Whichever command comes to mind closes the run.
        let ran = if method == "merge" { world.tool(&["resume"]) } else { finish(&world, &[]) };
        ran.ended(0).says("main has it");
        world.tool(&["resume"]).ended(2).says("no run was left open");
        assert!(!world.refs().contains_key("refs/heads/hotfix/login"), "{method}: it stays deleted");
        finish(&world, &[]).ended(0).says("nothing was changed");
        // The release is there; what was left for later is closed by the command that is told.
        let (ran, _) = close(&world, "sync-paused");
        ran.ended(0).says("/pull/430");
        assert!(debts(&world).contains("sync-paused"), "{ran}");
        world.github_put("pulls/430/merge", &json!({"merge_method": method}));
        let (ran, _) = close(&world, "sync-paused");
        back_in_git(&world, &commit, ran.ended(0));
    }
}

/// Git was down, production has the hotfix past it, and the release was made before the commit: the debts can still be closed.
#[test]
fn what_was_left_for_later_is_closed_after_finish() {
    let world = World::of("hotfix-retriggers-workflow");
    world.tool(&["hotfix", "start", "login"]).ended(0);
    append(&world, "services/auth/main.go", "\n// Tokens are compared in constant time.\n");
    world.dev(&["commit", "-qam", "fix(auth): compare tokens in constant time"]);
    let commit = world.dev(&["rev-parse", "HEAD"]);
    world.fault("git-down", true);
    ship(&world, &["--service", "auth"]).ended(15).says("--direct --pause-sync --reason TEXT --service auth");
    ship(&world, &["--direct", "--pause-sync", "--service", "auth"]).ended(0).says("left for later");
    world.fault("git-down", false);
    let ran = finish(&world, &[]);
    tagged_and_cancelled(&world, &commit, ran.ended(0));
    assert!(debts(&world).is_superset(&["live-differs", "sync-paused"].map(str::to_owned).into()), "{ran}");
    world.dev(&["switch", "-q", "main"]);
    let (ran, told) = close(&world, "live-differs");
    assert!(told.ends_with("--direct --pause-sync --reason TEXT --service auth"), "{told}");
    back_in_git(&world, &commit, ran.ended(0));
    assert!(world.tags().contains(TAG) && !world.tags().contains("release/v1.1.3"), "{ran}");
    // A branch that only begins at a hotfix's release has nothing to ship.
    world.tool(&["hotfix", "start", "second"]).ended(0).says("begins at v1.1.2");
    ship(&world, &[]).ended(2).says("nothing on top of release/v1.1.2");
}

/// Two hotfixes on one release, of services that have nothing to do with each other: the release that one becomes would have its run
/// build the other one's service without it.
#[test]
fn finish_does_not_lose_another_hotfix() {
    let (world, first) = shipped();
    world.tool(&["hotfix", "start", "other", "--from", "v1.1.1"]).ended(0);
    append(&world, "services/gateway/limits.go", "package main\n");
    world.dev(&["add", "--all"]);
    world.dev(&["commit", "-qm", "fix: another"]);
    ship(&world, &[]).ended(0);
    let tags = world.tags();
    let ran = finish(&world, &[]);
    ran.ended(10).says(&format!("hotfix/other ({})", &world.dev(&["rev-parse", "HEAD"])[..7]));
    ran.says(&format!("lacks {} of auth", tag(&first))).says(&format!("git merge {}", &first[..7]));
    assert_eq!((world.tags(), world.lock_holder()), (tags, String::new()), "{ran}");
    world.dev(&["merge", "-q", "--no-edit", &first[..7]]);
    ship(&world, &[]).ended(0);
    let commit = world.dev(&["rev-parse", "HEAD"]);
    let ran = finish(&world, &[]);
    tagged_and_cancelled(&world, &commit, ran.ended(0));
    assert!(on_main(&world, &first));
    assert!(!debts(&world).contains("not-merged"), "both are on main\n{ran}");
}

/// The first one is a release already: the second one, on the release before, says what to merge.
#[test]
fn ship_does_not_go_behind_a_finished_hotfix() {
    let (world, first) = shipped();
    finish(&world, &[]).ended(0);
    world.tool(&["hotfix", "start", "other", "--from", "v1.1.1"]).ended(0);
    append(&world, "services/gateway/limits.go", "package main\n");
    world.dev(&["add", "--all"]);
    world.dev(&["commit", "-qm", "fix: another"]);
    ship(&world, &[]).ended(10).says("production runs v1.1.2").says(&format!("git merge {}", &first[..7]));
    world.dev(&["merge", "-q", "--no-edit", &first[..7]]);
    ship(&world, &[]).ended(0);
    finish(&world, &[]).ended(0).says("v1.1.3");
}

/// Main changed the same lines and takes pull requests only: what is printed for this case helps too.
#[test]
fn conflict_on_a_protected_main() {
    for method in ["merge", "squash"] {
        let world = World::serve("protected-main", SPEED);
        let open = |world: &World, head: &str| -> String {
            let pull = world.github_post("pulls", &json!({"title": head, "head": head, "base": "main"}));
            format!("pulls/{}/merge", pull["number"])
        };
        let merge = |world: &World, pull: &str| world.github_put(pull, &json!({"merge_method": method}));
        world.dev(&["switch", "-qc", "ready-is-accepted"]);
        let path = world.checkout().join(GATEWAY);
        let main = std::fs::read_to_string(&path).expect("the gateway").replace("http.StatusOK", "http.StatusAccepted");
        std::fs::write(&path, main).expect("write the gateway");
        world.dev(&["commit", "-qam", "feat: /ready accepts"]);
        world.dev(&["push", "-q", "origin", "HEAD"]);
        merge(&world, &open(&world, "ready-is-accepted"));
        world.dev(&["switch", "-q", "main"]);
        let (world, commit) = mended_in(world);
        let tags = world.tags();
        ship(&world, &["--direct", "--pause-sync"]).ended(0);
        let ran = finish(&world, &[]);
        ran.ended(11).says(&format!("conflict in {GATEWAY}")).says("where main takes no pushes").says("hotfix/login");
        tagged_and_cancelled(&world, &commit, &ran);
        world.dev(&["fetch", "-q", "origin", "main", "hotfix/login"]);
        world.dev(&["switch", "-q", "--create", "merge-hotfix-login", "origin/main"]);
        world.dev_may_fail(&["merge", &commit]);
        world.dev(&["checkout", "--theirs", "--", GATEWAY]);
        world.dev(&["commit", "-qa", "--no-edit"]);
        world.dev_may_fail(&["push", "-q", "origin", "HEAD:main"]).says("GH006");
        world.dev(&["push", "-q", "origin", "HEAD:hotfix/login"]);
        let pull = open(&world, "hotfix/login");
        // Opened, it is not there yet. The branch's tip is a merge that nobody ships, whichever command one comes back with.
        world.tool(&["resume"]).ended(11);
        let ran = finish(&world, &["login"]);
        ran.ended(11).says("hotfix/login has gone on to").says("gives up").says(&format!("conflict in {GATEWAY}"));
        assert!(debts(&world).contains("not-merged"));
        merge(&world, &pull);
        let ran = if method == "merge" { world.tool(&["resume"]) } else { finish(&world, &["login"]) };
        ran.ended(0).says("main has it");
        assert_eq!(world.tags().len(), tags.len() + 1, "{ran}");
        assert!(!debts(&world).contains("not-merged"), "{method}");
        finish(&world, &["login"]).ended(10).says("production does not run");
    }
}

/// The build on staging is older than the hotfix: promoting it would bring the fault back.
#[test]
fn promote_does_not_lose_a_hotfix() {
    let (world, commit) = shipped();
    let (serving, tags) = (world.serving(), world.tags());
    let promote = |world: &World| world.tool(&[&["promote", "--yes"][..], &PATIENT].concat());
    let tag = format!("hotfix-{}", &commit[..12]);
    let ran = promote(&world);
    ran.ended(10).says(&format!("lacks {tag} of auth")).says("gospel-release hotfix finish").says("soak");
    assert_eq!((world.serving(), world.tags()), (serving, tags));
    // Tagged and merged, it still is not in what staging runs.
    finish(&world, &[]).ended(0);
    promote(&world).ended(10).says("lacks v1.1.2").says("--despite-lost");
    world.tool(&["promote", "--yes", "--despite-lost"]).ended(2).says("--reason");
    // Taken out on purpose, it is in nobody's way, and what it left open stands on the sheet.
    world.tool(&["rollback", "--yes", "--to", "v1.1.1", "--reason", "no better"]).ended(0);
    let ran = promote(&world);
    ran.ended(0).says("  debts      ").says("the gates ci, ");
}
