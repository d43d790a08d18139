//! Incidents and the way out of them: `rollback` and `hotfix` against every scenario that was made for them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Ran, World, eventually};

pub const SPEED: u32 = 3600;
pub const OVERLAY: &str = "infra/k8s/overlays/production/kustomization.yaml";
/// A day of this world is 24 s: debts must not be overdue because this machine is busy.
const PATIENT: [&str; 2] = ["--set", "debt.due_after=2000h"];

pub type Digests = BTreeMap<String, BTreeSet<String>>;

/// What ECR has under a tag, by Deployment.
pub fn tagged(world: &World, tag: &str) -> Digests {
    let of = |deployment: &String| {
        let digest = world.digest_of(deployment, tag).unwrap_or_else(|| panic!("{deployment}:{tag} is not in ECR"));
        (deployment.clone(), BTreeSet::from([digest]))
    };
    world.serving().keys().map(of).collect()
}

pub fn back(world: &World, flags: &[&str]) -> Ran {
    world.tool(&[&["rollback", "--yes", "--reason", "a test"][..], flags].concat())
}

pub fn auto_sync(world: &World) -> bool {
    !world.application()["spec"]["syncPolicy"]["automated"].is_null()
}

/// The kinds of debt that `status` lists.
pub fn debts(world: &World) -> BTreeSet<String> {
    let status = world.tool(&[&["status", "--output", "json"][..], &PATIENT].concat());
    let debts = status.ended(0).json()["debts"].as_array().cloned().unwrap_or_default();
    debts.iter().filter_map(|debt| debt["debt"].as_str().map(str::to_owned)).collect()
}

/// The debts that are written down, open or not.
fn written(world: &World) -> Vec<String> {
    let debts = world.kube("/api/v1/namespaces/gospelib-production/configmaps/gospel-release-debts");
    debts["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// After a rollback through Git: pods, overlay, Argo CD and the lock are as they should be.
#[track_caller]
pub fn settled(world: &World, serving: &Digests, ran: &Ran) {
    assert_eq!(world.serving(), *serving, "{ran}");
    let app = world.application();
    assert_eq!(app["status"]["sync"]["status"], "Synced", "{ran}");
    assert!(auto_sync(world), "auto-sync stays on\n{ran}");
    assert_eq!(world.lock_holder(), "", "the lock is given back\n{ran}");
    let status = world.tool(&[&["status", "--output", "json"][..], &PATIENT].concat());
    assert_eq!(status.json()["open"].as_array().map(Vec::len), Some(0), "{status}\n{ran}");
}

#[test]
fn bad_release() {
    let world = World::serve("bad-release", SPEED);
    let (before, overlay) = (world.serving(), world.file_on_main(OVERLAY));
    let promoted = world.tool(&["promote", "--yes"]);
    promoted.ended(16).says("gateway").says("gospel-release rollback --to v1.1.1");
    let bad = world.serving();
    assert_ne!(bad, before);
    let ran = back(&world, &["--output", "json"]);
    ran.ended(0).says("gives up");
    settled(&world, &before, &ran);
    assert_eq!(ran.json()["outcome"], "rolled-back");
    assert_eq!(ran.json()["version"], "v1.1.1");
    assert_eq!(world.file_on_main(OVERLAY), overlay, "the overlay is as it was, byte by byte");
    assert!(world.tags().contains("release/v1.2.0"), "the tag stays");
    assert_eq!(world.told().len(), 1);
    assert!(world.told()[0].to_string().contains("rolled back from v1.2.0 to v1.1.1"), "{:?}", world.told());
    // The same once more does not go one release further.
    back(&world, &[]).ended(2).says("went back to v1.1.1 already").says("gospel-release rollback --to v1.1.0");
    assert_eq!(world.serving(), before);
    // The bad bytes do not come back unseen; the debt is listed until a better release is there.
    world.tool(&["promote", "--yes"]).ended(10).says("quarantine");
    assert_eq!(world.serving(), before);
    assert_eq!(debts(&world), BTreeSet::from(["quarantined".to_owned()]));
    let late = world.tool(&["status", "--set", "debt.due_after=1s"]);
    late.ended(17).says("OVERDUE").says("v1.2.0 is in quarantine");
    // Once more changes nothing.
    let head = world.refs()["refs/heads/main"].clone();
    back(&world, &["--to", "v1.1.1"]).ended(0).says("already");
    assert_eq!(world.refs()["refs/heads/main"], head);
}

#[test]
fn a_good_release_is_rolled_back_and_marked() {
    let world = World::serve("clean", SPEED);
    let before = world.serving();
    world.tool(&["promote", "--yes"]).ended(0);
    let dry = world.tool(&["rollback", "--dry-run"]);
    dry.ended(0);
    assert_eq!(world.serving(), world.soaked(), "a dry run changes nothing\n{dry}");
    // The release that was verified stands in the record; what ran before it does not.
    let ran = back(&world, &[]);
    settled(&world, &before, ran.ended(0));
    let release = world.github("releases/tags/release%2Fv1.2.0");
    assert!(release["body"].as_str().unwrap().starts_with("**Rolled back** to v1.1.1"), "{release}");
}

#[test]
fn one_service_goes_back_alone() {
    let world = World::serve("clean", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    world.tool(&["rollback", "--yes", "--service", "nobody"]).ended(2).says("there is no service nobody");
    let ran = back(&world, &["--service", "gateway"]);
    ran.ended(0).says("at v1.1.1: they run beside").says("gateway runs v1.1.0 again");
    let mut expected = before.clone();
    expected.insert("gospelib-gateway".into(), old["gospelib-gateway"].clone());
    settled(&world, &expected, &ran);
}

/// Main names the new release and no pod runs it: what runs is what to go back to, and not what was before it.
#[test]
fn a_release_that_has_not_arrived_is_kept_from_coming() {
    let world = World::serve("argo-stuck", SPEED);
    let (before, overlay) = (world.serving(), world.file_on_main(OVERLAY));
    world.tool(&["promote", "--yes"]).ended(11);
    assert_ne!(world.file_on_main(OVERLAY), overlay);
    let ran = back(&world, &["--terminate-sync"]);
    ran.ended(0).says("back to v1.1.1").says("runs now   v1.1.1").says("on its way v1.2.0: main names it");
    settled(&world, &before, &ran);
    assert_eq!(world.file_on_main(OVERLAY), overlay, "the overlay is as it was, byte by byte");
    assert_eq!(world.kept("gospel-release-quarantine"), ["v1.2.0"], "{ran}");
    world.tool(&["promote", "--yes"]).ended(10).says("quarantine");
}

/// A workflow run that waits for its approval would deploy the release again, days later.
#[test]
fn the_workflow_run_of_a_release_that_is_given_up_is_ended() {
    let world = World::serve("approval-expired", 600);
    world.tool(&["promote", "--yes", "--wait-approval", "1s"]).ended(11);
    let conclusions =
        || world.workflow_runs("release/v1.2.0").iter().map(|run| run["conclusion"].clone()).collect::<Vec<_>>();
    assert_eq!(conclusions(), [Value::Null]);
    let before = world.serving();
    // What runs is good as far as anybody knows: whoever means it says so.
    back(&world, &[]).ended(2).says("v1.2.0 has not reached it").says("gospel-release rollback --to v1.1.0");
    assert_eq!(world.serving(), before);
    let ran = back(&world, &["--to", "v1.1.0"]);
    ran.ended(0).says("its run of cd-production.yml is ended").says("has ended (cancelled)");
    assert_eq!(conclusions(), ["cancelled"], "{ran}");
    settled(&world, &tagged(&world, "v1.1.0"), &ran);
}

#[test]
fn rollback_image_expired() {
    let world = World::serve("rollback-image-expired", SPEED);
    let (before, refs) = (world.serving(), world.refs());
    let ran = back(&world, &[]);
    ran.ended(10).says("study").says("no longer in ECR");
    assert_eq!(world.refs(), refs, "{ran}");
    assert_eq!(world.serving(), before, "{ran}");
    assert_eq!(world.lock_holder(), "");
    // The others can go back without it.
    let others = ["gateway", "auth", "content", "search", "notify"];
    let flags: Vec<&str> = others.iter().flat_map(|name| ["--service", name]).collect();
    let ran = back(&world, &flags);
    ran.ended(0);
    assert_eq!(world.serving()["gospelib-study"], before["gospelib-study"]);
    assert_ne!(world.serving()["gospelib-gateway"], before["gospelib-gateway"]);
}

#[test]
fn rollback_schema_incompatible() {
    let world = World::serve("rollback-schema-incompatible", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    let ran = back(&world, &[]);
    ran.ended(10).says("down migrations are never run").says("hotfix");
    assert_eq!(world.serving(), before, "{ran}");
    world.tool(&["rollback", "--yes", "--accept-schema"]).ended(2).says("--reason");
    let ran = back(&world, &["--accept-schema"]);
    settled(&world, &old, ran.ended(0));
}

#[test]
fn argo_stuck_during_rollback() {
    let world = World::serve("argo-stuck-during-rollback", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    let head = world.refs()["refs/heads/main"].clone();
    let ran = back(&world, &[]);
    ran.ended(11).says("--terminate-sync");
    assert_eq!(world.serving(), before, "{ran}");
    assert_eq!(world.refs()["refs/heads/main"], head, "nothing is committed under a stuck operation\n{ran}");
    let ran = world.tool(&["resume", "--terminate-sync"]);
    settled(&world, &old, ran.ended(0));
}

/// A bare apply is reverted; ours is not.
#[test]
fn argo_self_heal() {
    let world = World::serve("argo-self-heal", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    let deployment = "/apis/apps/v1/namespaces/gospelib-production/deployments/gospelib-gateway";
    let image = |world: &World| world.kube(deployment)["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let (name, digest) = ("gospelib-gateway", old["gospelib-gateway"].first().unwrap());
    let registry = image(&world).as_str().unwrap().split('/').next().unwrap().to_owned();
    let by_hand = json!(format!("{registry}/{name}@{digest}"));
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "gateway", "image": by_hand}]}}}});
    world.kube_patch(deployment, &patch);
    eventually("self-heal puts the image back", || image(&world) != by_hand && world.serving() == before);
    let ran = back(&world, &[]);
    settled(&world, &old, ran.ended(0));
    // An hour of this world later it is still so.
    std::thread::sleep(Duration::from_secs(1));
    settled(&world, &old, &ran);
}

#[test]
fn git_down() {
    let world = World::serve("git-down", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    let ran = back(&world, &[]);
    ran.ended(15).says("Git hosting does not answer").says("--direct").says("asking Git");
    assert_eq!(world.serving(), before, "{ran}");
    assert_eq!(world.lock_holder(), "");
    let ran = back(&world, &["--direct"]);
    ran.ended(11).says("--pause-sync");
    assert_eq!(world.serving(), before, "{ran}");
    let ran = world.tool(&["resume", "--pause-sync"]);
    ran.ended(0).says("left for later");
    assert_eq!(world.serving(), old, "{ran}");
    assert!(!auto_sync(&world), "paused, or it would be undone\n{ran}");
    let open = debts(&world);
    for kind in ["live-differs", "sync-paused", "quarantined"] {
        assert!(open.contains(kind), "{kind} in {open:?}");
    }
    // Git comes back: the same command commits, and takes sync up again.
    world.fault("git-down", false);
    let overlay = world.file_on_main(OVERLAY);
    let ran = back(&world, &["--direct", "--pause-sync", "--to", "v1.1.0"]);
    ran.ended(0);
    assert_ne!(world.file_on_main(OVERLAY), overlay, "{ran}");
    assert_eq!(world.serving(), old, "{ran}");
    assert!(auto_sync(&world), "{ran}");
    eventually("Argo CD agrees", || world.application()["status"]["sync"]["status"] == "Synced");
    assert_eq!(world.serving(), old, "sync changes nothing any more");
    assert_eq!(debts(&world), BTreeSet::from(["quarantined".to_owned()]));
}

/// Automated sync would put back what somebody did past Git to another service: it stays off, and a sync that is asked for says so.
#[test]
fn sync_stays_paused_while_another_service_differs() {
    let world = World::serve("git-down", SPEED);
    let old = tagged(&world, "v1.1.0");
    back(&world, &["--direct", "--pause-sync", "--service", "gateway"]).ended(0);
    let deployment = "/apis/apps/v1/namespaces/gospelib-production/deployments/gospelib-auth";
    let image = world.kube(deployment)["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let name = image.as_str().and_then(|image| image.split([':', '@']).next()).expect("an image");
    let by_hand = json!(format!("{name}@{}", old["gospelib-auth"].first().expect("a digest")));
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "auth", "image": by_hand}]}}}});
    world.kube_patch(deployment, &patch);
    eventually("auth by hand", || world.serving()["gospelib-auth"] == old["gospelib-auth"]);
    world.fault("git-down", false);
    let ran = back(&world, &["--direct", "--pause-sync", "--service", "gateway", "--to", "v1.1.0"]);
    ran.ended(0).says("stays paused").says("auth");
    assert!(!auto_sync(&world), "{ran}");
    assert_eq!(world.serving()["gospelib-auth"], old["gospelib-auth"], "{ran}");
    let open = debts(&world);
    assert!(open.contains("live-differs") && open.contains("sync-paused"), "{open:?}");
    let ran = back(&world, &["--service", "search", "--to", "v1.1.0"]);
    ran.ended(0).says("auth differs from main").says("puts it back");
    let serving = world.serving();
    for (service, goes_back) in [("gateway", true), ("search", true), ("auth", false), ("study", false)] {
        let name = format!("gospelib-{service}");
        assert_eq!(serving[&name] == old[&name], goes_back, "{service}\n{ran}");
    }
}

/// Tags and overlays name indexes, nodes the platform's image: both are the same thing.
#[test]
fn multi_platform() {
    let world = World::serve("multi-platform", SPEED);
    let before = world.serving();
    let platform = before["gospelib-gateway"].first().expect("a digest").clone();
    assert_ne!(world.digest_of("gospelib-gateway", "v1.1.1"), Some(platform), "the tag names an index");
    world.tool(&["promote", "--yes"]).ended(0);
    assert_eq!(world.serving(), world.soaked());
    let ran = back(&world, &["--output", "json"]);
    settled(&world, &before, ran.ended(0));
    assert_eq!(ran.json()["version"], "v1.1.1");
    back(&world, &["--to", "v1.1.1"]).ended(0).says("production runs v1.1.1 already");
    // What was rolled back is in quarantine by the digest that the tag names.
    world.tool(&["promote", "--yes"]).ended(10).says("quarantine");
}

#[test]
fn argo_down() {
    let world = World::serve("argo-down", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    let ran = back(&world, &[]);
    ran.ended(12).says("--direct");
    assert_eq!(world.serving(), before, "{ran}");
    let ran = back(&world, &["--direct", "--pause-sync"]);
    ran.ended(0).says("gives up");
    assert_eq!(world.serving(), old, "{ran}");
    assert!(!auto_sync(&world), "it would begin with what it saw last\n{ran}");
    ran.says("stays paused: Argo CD has not seen");
    // Git agrees, and Argo CD does not know it yet.
    let open = debts(&world);
    assert!(open.contains("live-differs") && open.contains("sync-paused"), "{open:?}");
    let close = "to close: gospel-release rollback --direct --pause-sync --to v1.1.0 (once Git and Argo CD answer)";
    world.tool(&["status"]).says("Argo CD compares with").says(close);
    // Argo CD is repaired: the same command takes sync up again, and nothing else.
    world.fault("argo-down", false);
    let commits = world.changes_of(OVERLAY);
    back(&world, &["--direct", "--pause-sync", "--to", "v1.1.0"]).ended(0);
    assert!(auto_sync(&world));
    assert_eq!(world.changes_of(OVERLAY), commits);
    eventually("Argo CD agrees", || world.application()["status"]["sync"]["status"] == "Synced");
    assert_eq!(world.serving(), old);
    assert_eq!(debts(&world), BTreeSet::from(["quarantined".to_owned()]));
    // What was paid is struck out: the next one who pauses sync by hand is not taken for the one of this night.
    assert_eq!(written(&world), [""; 0]);
    let application = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/gospelib-production";
    world.kube_patch(application, &json!({"spec": {"syncPolicy": {"automated": null}}}));
    assert!(!auto_sync(&world));
    assert_eq!(debts(&world), BTreeSet::from(["quarantined".to_owned()]));
}

/// Pods of two releases, and a rollback that waits: asked again, it goes where it was going, and takes out what it was taking out.
#[test]
fn rollback_asked_again_goes_where_it_was_going() {
    let world = World::serve("crash-loop", SPEED);
    let before = world.serving();
    world.tool(&["promote", "--yes"]).ended(15);
    world.fault("argo-down", true);
    back(&world, &[]).ended(12).says("rollback --direct --pause-sync --to v1.1.1");
    let ran = back(&world, &["--direct", "--pause-sync"]);
    ran.ended(0).says("back to v1.1.1").says("gives up");
    assert_eq!(world.serving(), before, "{ran}");
    assert_eq!(world.kept("gospel-release-quarantine"), ["v1.2.0"], "{ran}");
}

/// The pause goes where it lasts: to the template of what makes the Application.
#[test]
fn argo_application_set() {
    let world = World::serve("argo-application-set", SPEED);
    let old = tagged(&world, "v1.1.0");
    let set = |world: &World| world.kube("/apis/argoproj.io/v1alpha1/namespaces/argocd/applicationsets/gospelib");
    let automated = |world: &World| set(world)["spec"]["template"]["spec"]["syncPolicy"]["automated"].clone();
    let before = automated(&world);
    world.fault("git-down", true);
    let ran = back(&world, &["--direct", "--pause-sync"]);
    ran.ended(0).says("left for later");
    ran.says("pauses     gospelib-staging too: ApplicationSet gospelib makes them all");
    assert_eq!(world.serving(), old, "{ran}");
    assert!(automated(&world).is_null(), "{}", set(&world));
    let staging = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/gospelib-staging";
    eventually("staging is paused with it", || world.kube(staging)["spec"]["syncPolicy"]["automated"].is_null());
    eventually("the Application is as its template", || !auto_sync(&world));
    assert_eq!(world.serving(), old, "nothing put it back\n{ran}\n{:#}", world.application());
    world.fault("git-down", false);
    back(&world, &["--direct", "--pause-sync", "--to", "v1.1.0"]).ended(0);
    assert_eq!(automated(&world), before, "as it was");
    let left = set(&world)["metadata"]["annotations"].as_object().is_some_and(|left| !left.is_empty());
    assert!(!left, "nothing of ours is left");
    eventually("Argo CD agrees", || world.application()["status"]["sync"]["status"] == "Synced" && auto_sync(&world));
    assert_eq!(world.serving(), old);
}

/// What owns the Application cannot be edited from here: nothing is changed past Git, and Git remains.
#[test]
fn argo_app_of_apps() {
    let world = World::serve("argo-app-of-apps", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    let ran = back(&world, &["--direct", "--pause-sync"]);
    ran.ended(11).says("belongs to Application platform").says("switch automated sync off where");
    assert_eq!(world.serving(), before, "{ran}");
    assert!(auto_sync(&world));
    let ran = back(&world, &[]);
    ran.ended(0);
    assert_eq!(world.serving(), old, "{ran}");
}

#[test]
fn overlay_edited_by_others() {
    let world = World::serve("overlay-edited-by-others", SPEED);
    let (old, before) = (tagged(&world, "v1.1.0"), world.file_on_main(OVERLAY));
    let ran = back(&world, &[]);
    settled(&world, &old, ran.ended(0));
    let after = world.file_on_main(OVERLAY);
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    assert_eq!(before.len(), after.len());
    for (old, new) in before.iter().zip(&after).filter(|(old, new)| old != new) {
        let image = |line: &str| line.contains("newTag") || line.contains("digest");
        assert!(image(old) && image(new), "{old:?} became {new:?}");
    }
}

#[test]
fn main_moved() {
    let world = World::serve("main-moved", SPEED);
    let old = tagged(&world, "v1.1.0");
    let base = world.refs()["refs/heads/main"].clone();
    let ran = back(&world, &[]);
    settled(&world, &old, ran.ended(0));
    let log = world.log(&format!("{base}..origin/main"));
    assert_eq!(log.len(), 2, "a colleague's commit and ours: {log:?}");
    assert!(log[0].contains("roll back to v1.1.0") && !log[1].contains("roll back"), "{log:?}");
}

#[test]
fn protected_main() {
    let world = World::serve("protected-main", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    let ran = back(&world, &[]);
    ran.ended(11).says("GH006").says("--direct").says("pull request").says("merged, then: gospel-release resume");
    assert_eq!(world.serving(), before, "{ran}");
    let ran = back(&world, &["--direct", "--pause-sync"]);
    ran.ended(0).says("brings it once it is merged");
    assert_eq!(world.serving(), old, "{ran}");
    let open = debts(&world);
    assert!(open.contains("live-differs") && open.contains("sync-paused"), "{open:?}");
    // Asked twice, it is one pull request; merged, the command that closes the debts finds nothing left to commit.
    let pulls = world.github("pulls?state=open");
    let numbers: Vec<&Value> = pulls.as_array().expect("pull requests").iter().map(|pull| &pull["number"]).collect();
    let [number] = numbers[..] else { panic!("{pulls}\n{ran}") };
    world.github_put(&format!("pulls/{number}/merge"), &json!({"merge_method": "squash"}));
    let again = back(&world, &["--direct", "--pause-sync", "--to", "v1.1.0"]);
    again.ended(0);
    assert!(auto_sync(&world), "{again}");
    eventually("Argo CD agrees", || world.application()["status"]["sync"]["status"] == "Synced");
    assert_eq!(world.serving(), old, "{again}");
    assert_eq!(debts(&world), BTreeSet::from(["quarantined".to_owned()]));
}

#[test]
fn protected_main_by_its_pull_request() {
    let world = World::serve("protected-main", SPEED);
    let old = tagged(&world, "v1.1.0");
    back(&world, &[]).ended(11);
    let number = world.github("pulls?state=open")[0]["number"].clone();
    world.github_put(&format!("pulls/{number}/merge"), &json!({"merge_method": "merge"}));
    let ran = world.tool(&["resume"]);
    settled(&world, &old, ran.ended(0));
}

/// The release commit's trailer names the run: whoever reads the history finds the record.
#[test]
fn the_commit_says_why_and_which_run() {
    let world = World::serve("clean", SPEED);
    let ran = back(&world, &["--output", "json"]);
    let run = ran.ended(0).json()["run"].as_str().unwrap().to_owned();
    let message = world.message("origin/main");
    assert!(message.starts_with("revert(production): roll back to v1.1.0\n"), "{message}");
    assert!(message.contains("Reason: a test") && message.contains(&format!("Gospel-Run: {run}")), "{message}");
    let steps: Vec<Value> = ran.json()["steps"].as_array().cloned().unwrap();
    assert!(steps.iter().all(|step| step["state"] == "done"), "{steps:?}");
}
