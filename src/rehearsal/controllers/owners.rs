//! What makes production's Application, and keeps it as it wants it: Argo CD's ApplicationSet controller, or a parent Application.

use serde_json::{Value, json};

use super::object::{name, namespace, owner_reference};
use crate::rehearsal::World;
use crate::rehearsal::scenario::Owner;

const SET: &str = "gospelib";
const PARENT: &str = "platform";
/// Says of which Application an object is (Argo CD, `argocd.argoproj.io/tracking-id`).
const TRACKING: &str = "argocd.argoproj.io/tracking-id";

/// Gives production's Application, as it is seeded, to its owner.
pub fn own(world: &World, app: &mut Value) {
    match world.scenario.world.argo.owner {
        None => {}
        Some(Owner::Application) => {
            let id = format!("{PARENT}:argoproj.io/Application:{}/{}", namespace(app), name(app));
            app["metadata"]["annotations"] = json!({ TRACKING: id });
        }
        Some(Owner::ApplicationSet) => {
            let set = json!({
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "ApplicationSet",
                "metadata": { "name": SET, "namespace": namespace(app) },
                "spec": {
                    "generators": [{ "list": { "elements": [{ "name": name(app) }] } }],
                    "template": { "metadata": { "name": "{{name}}" }, "spec": app["spec"] },
                },
            });
            super::seed::put(world, "applicationsets", set);
            let set = world.kube.get("applicationsets", namespace(app), SET);
            app["metadata"]["ownerReferences"] = json!([set.as_deref().map(owner_reference)]);
        }
    }
}

/// Undoes edits of the Application's sync policy.
pub fn reconcile(world: &World) {
    let Some(owner) = world.scenario.world.argo.owner else { return };
    let app_name = world.shape.namespace("production");
    let Some(app) = world.kube.get("applications", "argocd", &app_name) else { return };
    let wanted = match owner {
        // What its repository says does not change.
        Owner::Application => super::seed::sync_policy(),
        Owner::ApplicationSet => match world.kube.get("applicationsets", "argocd", SET) {
            Some(set) => set["spec"]["template"]["spec"]["syncPolicy"].clone(),
            None => return,
        },
    };
    if app["spec"]["syncPolicy"] != wanted {
        // A lost race is run again on the next turn.
        let _ = world.kube.modify("applications", "argocd", &app_name, |app| app["spec"]["syncPolicy"] = wanted);
    }
}
