//! A rollback in a world that is not as it should be: what is in its way, and what it must not take with it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::incidents::{OVERLAY, SPEED, auto_sync, back, debts, settled, tagged};
use crate::support::{Ran, World, eventually};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/gospelib-production/deployments";
const APPLICATION: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/gospelib-production";

fn deployment(service: &str) -> String {
    format!("{DEPLOYMENTS}/gospelib-{service}")
}

fn switch_sync_off(world: &World) {
    world.kube_patch(APPLICATION, &json!({"spec": {"syncPolicy": {"automated": null}}}));
}

/// The kinds of debt that are open, some of them perhaps overdue.
fn open_debts(ran: &Ran) -> BTreeSet<String> {
    let debts = ran.json()["debts"].as_array().cloned().unwrap_or_default();
    debts.iter().filter_map(|debt| debt["debt"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_deployment_that_is_missing_keeps_no_other_from_going_back() {
    let world = World::serve("clean", SPEED);
    let mut old = tagged(&world, "v1.1.0");
    switch_sync_off(&world);
    world.kube_delete(&deployment("notify"));
    eventually("its pods go", || !world.serving().contains_key("gospelib-notify"));
    let ran = back(&world, &["--direct"]);
    ran.ended(15).says("1 of 6 Deployments not changed").says("there is no Deployment gospelib-notify");
    ran.says("5 Deployments changed").says("gospel-release resume");
    old.remove("gospelib-notify");
    eventually("the others go back", || world.serving() == old);
}

/// An operation under way would write the old images again, whatever becomes of automated sync.
#[test]
fn past_git_an_operation_under_way_is_ended_first() {
    let world = World::serve("argo-stuck-during-rollback", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    let ran = back(&world, &["--direct", "--pause-sync"]);
    ran.ended(11).says("in the way of ours").says("gospel-release resume --terminate-sync");
    assert_eq!(world.serving(), before, "{ran}");
    let ran = world.tool(&["resume", "--terminate-sync"]);
    settled(&world, &old, ran.ended(0));
}

/// Argo CD heals, and from here nobody can ask it to pause: that is told as soon as it is seen, and not after a deadline.
#[test]
fn what_puts_images_back_is_told_while_pods_come_up() {
    let flags = ["--separate-clusters", "--speed", "600", "--ready-after", "2s"];
    let world = World::serve_with("clean", &flags);
    let ran = back(&world, &["--direct", "--pause-sync", "--set", "argo.cluster.kubeconfig=/nowhere/kubeconfig"]);
    ran.ended(15).says("Argo CD").says("something puts it back").says("argocd app set gospelib-production");
    // Where it can be asked, that is mended.
    let ran = world.tool(&["resume", "--pause-sync"]);
    ran.ended(0);
    let (serving, overlay) = (world.serving(), world.file_on_main(OVERLAY));
    assert!(overlay.contains("newTag: v1.1.0"), "{overlay}\n{ran}");
    let ours = serving.iter().filter(|(name, _)| name.starts_with("gospelib-"));
    let named = |digests: &BTreeSet<String>| digests.iter().all(|digest| overlay.contains(digest.as_str()));
    assert!(ours.clone().count() == 6 && ours.into_iter().all(|(_, digests)| named(digests)), "{serving:?}\n{overlay}");
}

/// Argo CD does not try a failed revision again: once the cause is mended, whoever resumes wants another sync.
#[test]
fn a_sync_that_failed_is_asked_for_again_once_its_cause_is_mended() {
    let world = World::serve("clean", SPEED);
    let old = tagged(&world, "v1.1.0");
    // By hand, with a selector that Git's manifest cannot change.
    let mut by_hand = world.kube(&deployment("notify"));
    let labels = json!({"app": "by-hand"});
    by_hand["metadata"] = json!({"name": "gospelib-notify", "labels": {"app": "gospelib-notify"}});
    by_hand["spec"]["selector"] = json!({"matchLabels": labels});
    by_hand["spec"]["template"]["metadata"]["labels"] = labels;
    by_hand.as_object_mut().expect("an object").remove("status");
    switch_sync_off(&world);
    world.kube_delete(&deployment("notify"));
    let made = world.kube_create(DEPLOYMENTS, &by_hand);
    assert_eq!(made["kind"], "Deployment", "{made}");
    world.kube_patch(APPLICATION, &json!({"spec": {"syncPolicy": {"automated": {"prune": true, "selfHeal": true}}}}));
    let ran = back(&world, &["--to", "v1.1.0"]);
    ran.ended(15).says("could not sync").says("immutable");
    world.kube_delete(&deployment("notify"));
    let ran = world.tool(&["resume"]);
    settled(&world, &old, ran.ended(0));
}

/// Gone back by mistake: going forward again takes nothing out, and nothing stays in quarantine.
#[test]
fn going_forward_again_takes_nothing_out() {
    let world = World::serve("clean", SPEED);
    world.tool(&["promote", "--yes"]).ended(0);
    let (new, before) = (world.serving(), tagged(&world, "v1.1.1"));
    back(&world, &[]).ended(0);
    assert_eq!(world.serving(), before);
    assert_eq!(world.kept("gospel-release-quarantine"), ["v1.2.0"]);
    let ran = back(&world, &["--to", "v1.2.0"]);
    settled(&world, &new, ran.ended(0).says("CAUTION    v1.2.0 is in quarantine").says("out of quarantine"));
    assert_eq!(world.kept("gospel-release-quarantine"), [""; 0], "{ran}");
    assert_eq!(debts(&world), BTreeSet::new());
    let release = world.github("releases/tags/release%2Fv1.2.0");
    let body = release["body"].as_str().unwrap_or_default();
    assert!(!body.is_empty() && !body.contains("Rolled back"), "what was marked is not any more: {release}");
    let release = world.github("releases/tags/release%2Fv1.1.1");
    assert!(!release["body"].to_string().contains("Rolled back"), "{release}");
    // And what was good is where the next one goes back to.
    settled(&world, &before, back(&world, &[]).ended(0));
}

/// The team switched automated sync off long ago: that is no debt of whoever goes past Git.
#[test]
fn sync_that_nobody_paused_is_not_owed() {
    let world = World::serve("clean", SPEED);
    switch_sync_off(&world);
    back(&world, &["--direct", "--pause-sync"]).ended(0);
    assert!(!auto_sync(&world), "it is left as it was");
    let status = world.tool(&["status", "--output", "json", "--set", "debt.due_after=2000h"]);
    assert!(!open_debts(&status).contains("sync-paused"), "{status}");
}

/// Said again while Git is still down, a debt is not younger for it, and keeps its reason.
#[test]
fn a_debt_that_is_opened_again_is_as_old_as_it_was() {
    let world = World::serve("git-down", SPEED);
    back(&world, &["--direct", "--pause-sync"]).ended(0);
    let debt = |ran: &Ran| {
        let debts = ran.json()["debts"].as_array().cloned().unwrap_or_default();
        debts.into_iter().find(|debt| debt["debt"] == "live-differs").unwrap_or_default()
    };
    let status = || world.tool(&["status", "--output", "json", "--set", "debt.due_after=2000h"]);
    let first = debt(&status());
    let again = world.tool(&["rollback", "--yes", "--direct", "--pause-sync", "--to", "v1.1.0"]);
    again.ended(0);
    let second = debt(&status());
    for kept in ["opened", "due", "reason"] {
        assert_eq!(first[kept], second[kept], "{kept}\n{again}");
    }
    assert_eq!(second["reason"], json!("a test"));
    assert_ne!(first["run"], second["run"], "{again}");
}

/// A database without the migrations that the target's code was written for is no place to run it.
#[test]
fn a_database_behind_the_target_is_no_place_for_it() {
    let world = World::serve("clean", SPEED);
    let (before, old) = (world.serving(), tagged(&world, "v1.1.0"));
    let database = "AUTH_PG_URL";
    let had = world.migrations()[database][0].clone().expect("a version");
    // Somebody restored a snapshot.
    world.sql(database, "UPDATE schema_migrations SET version = 1, dirty = false");
    let ran = back(&world, &["--to", "v1.1.0"]);
    ran.ended(10).says("needs it, and the database is at 1").says("run the missing migrations first");
    assert_eq!(world.serving(), before, "{ran}");
    // A migration of its own that failed half way may be there or not.
    world.sql(database, &format!("UPDATE schema_migrations SET version = {had}, dirty = true"));
    let ran = back(&world, &["--to", "v1.1.0"]);
    ran.ended(10).says("it failed half way (dirty)").says("--accept-schema");
    assert_eq!(world.serving(), before, "{ran}");
    settled(&world, &old, back(&world, &["--to", "v1.1.0", "--accept-schema"]).ended(0));
}

/// Going back restores images. Which secrets are fetched, and from where, is as main says it by now.
#[test]
fn secrets_that_moved_do_not_stop_a_rollback() {
    let world = World::serve("clean", SPEED);
    let secret = "/apis/external-secrets.io/v1/namespaces/gospelib-production/externalsecrets/gospelib-secrets";
    let found = world.kube(secret);
    assert_eq!(found["kind"], "ExternalSecret", "{found}");
    switch_sync_off(&world);
    // One key is fetched from another place; one is not fetched any more.
    let mut data = found["spec"]["data"].as_array().cloned().expect("data");
    data[0]["remoteRef"]["key"] = data[1]["remoteRef"]["key"].clone();
    let gone = data.pop().expect("a key")["secretKey"].as_str().expect("a name").to_owned();
    let patch = json!({"spec": {"data": data}});
    world.kube_patch(secret, &patch);
    let ran = back(&world, &["--direct"]);
    ran.ended(10).says(&format!("no ExternalSecret of the cluster fetches {gone} any more"));
    world.kube_patch(secret, &json!({"spec": {"data": found["spec"]["data"]}}));
    back(&world, &["--direct"]).ended(0);
}
