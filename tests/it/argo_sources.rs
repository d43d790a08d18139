//! Applications of several sources: ours is found and followed, or it is said that it cannot be.

use serde_json::{Value, json};

use crate::support::{World, eventually};

const SPEED: u32 = 3600;
const APPLICATION: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/gospelib-production";
const OVERLAY: &str = "infra/k8s/overlays/production";

fn source(path: &str, target: &str) -> Value {
    json!({"repoURL": "https://github.com/gospelib/gospelib.git", "path": path, "targetRevision": target})
}

/// Gives production's Application these sources instead of its one, and waits until Argo CD has compared them.
fn gives(world: &World, sources: &Value) {
    world.kube_patch(APPLICATION, &json!({"spec": {"source": null, "sources": sources}}));
    eventually("Argo CD compares them", || {
        let sync = &world.application()["status"]["sync"];
        sync["revisions"].as_array().map(Vec::len) == sources.as_array().map(Vec::len) && sync["status"] == "Synced"
    });
}

#[test]
fn the_overlay_is_followed_among_several_sources() {
    let world = World::serve("clean", SPEED);
    let before = world.serving();
    // The first is only referred to, and stays where it is: its commit is not what is waited for.
    let values = json!({"repoURL": "https://github.com/gospelib/gospelib.git", "ref": "values", "targetRevision": "release/v1.1.0"});
    gives(&world, &json!([values, source(OVERLAY, "main")]));
    world.tool(&["promote", "--yes"]).ended(0);
    assert_eq!(world.serving(), world.soaked());
    // Where nothing syncs by itself, we ask, and pin our source alone.
    world.kube_patch(APPLICATION, &json!({"spec": {"syncPolicy": {"automated": null}}}));
    let ran = world.tool(&["rollback", "--yes", "--reason", "a test"]);
    ran.ended(0);
    assert_eq!(world.serving(), before, "{ran}");
    let state = world.application()["status"]["operationState"].clone();
    let asked = &state["operation"]["sync"];
    assert_eq!(asked["revisions"], json!(["release/v1.1.0", world.refs()["refs/heads/main"]]), "{state:#}");
    assert_eq!(asked["revision"], Value::Null);
    assert_eq!(state["operation"]["initiatedBy"]["username"], "gospel-release");
    assert_eq!(state["phase"], "Succeeded");
}

/// What cannot be followed is refused before anything changes; past Argo CD there is a way.
#[test]
fn sources_that_cannot_be_told_apart_are_refused() {
    let world = World::serve("clean", SPEED);
    let before = world.serving();
    gives(&world, &json!([source(OVERLAY, "main"), source(OVERLAY, "main")]));
    let refs = world.refs();
    let why = "2 of its 2 sources are infra/k8s/overlays/production of gospelib/gospelib";
    for command in [&["promote", "--yes"][..], &["checklist"], &["rollback", "--yes", "--reason", "a test"]] {
        world.tool(command).ended(3).says(why);
    }
    world.tool(&["doctor"]).says(why);
    assert_eq!((world.serving(), world.refs()), (before.clone(), refs));
    let direct = ["rollback", "--yes", "--reason", "a test", "--direct", "--pause-sync"];
    let ran = world.tool(&direct);
    ran.ended(0);
    assert_ne!(world.serving(), before, "{ran}");
}
