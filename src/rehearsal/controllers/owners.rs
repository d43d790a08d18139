//! What makes production's Application, and keeps it as it wants it: Argo CD's ApplicationSet controller, or a parent Application.

use serde_json::{Value, json};

use super::object::{name, namespace, owner_reference};
use crate::rehearsal::World;
use crate::rehearsal::scenario::Owner;

const SET: &str = "gospelib";
const PARENT: &str = "platform";
/// Says of which Application an object is (Argo CD, `argocd.argoproj.io/tracking-id`).
const TRACKING: &str = "argocd.argoproj.io/tracking-id";

/// Gives an Application, as it is seeded, to its owner: production's, and to an ApplicationSet staging's, too.
pub fn own(world: &World, app: &mut Value, environment: &str) {
    match world.scenario.world.argo.owner {
        None => {}
        Some(Owner::Application) if environment != "production" => {}
        Some(Owner::Application) => {
            let id = format!("{PARENT}:argoproj.io/Application:{}/{}", namespace(app), name(app));
            app["metadata"]["annotations"] = json!({ TRACKING: id });
        }
        Some(Owner::ApplicationSet) => {
            let element = |environment| json!({ "name": world.shape.namespace(environment), "overlay": world.shape.overlay(environment) });
            let mut template = app["spec"].clone();
            template["source"]["path"] = json!("{{overlay}}");
            template["destination"]["namespace"] = json!("{{name}}");
            let set = json!({
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "ApplicationSet",
                "metadata": { "name": SET, "namespace": namespace(app) },
                "spec": {
                    "generators": [{ "list": { "elements": [element("production"), element("staging")] } }],
                    "template": { "metadata": { "name": "{{name}}" }, "spec": template },
                },
            });
            // It is there already when its second Application is made.
            super::seed::put(world, "applicationsets", set);
            let set = world.kube.get("applicationsets", namespace(app), SET);
            app["metadata"]["ownerReferences"] = json!([set.as_deref().map(owner_reference)]);
        }
    }
}

/// Undoes edits of an Application's sync policy.
pub fn reconcile(world: &World) {
    let Some(owner) = world.scenario.world.argo.owner else { return };
    let wanted = match owner {
        // What its repository says does not change.
        Owner::Application => super::seed::sync_policy(),
        Owner::ApplicationSet => match world.kube.get("applicationsets", "argocd", SET) {
            Some(set) => set["spec"]["template"]["spec"]["syncPolicy"].clone(),
            None => return,
        },
    };
    let owned: &[&str] = if owner == Owner::Application { &["production"] } else { &["production", "staging"] };
    for environment in owned {
        let app_name = world.shape.namespace(environment);
        let Some(app) = world.kube.get("applications", "argocd", &app_name) else { continue };
        if app["spec"]["syncPolicy"] != wanted {
            let wanted = wanted.clone();
            // A lost race is run again on the next turn.
            let _ = world.kube.modify("applications", "argocd", &app_name, |app| app["spec"]["syncPolicy"] = wanted);
        }
    }
}
