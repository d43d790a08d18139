//! The rehearsed custom resources against the definitions of the projects that own them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{World, contract, eventually, need, need_modules};

#[test]
fn custom_resources_are_valid() {
    let contracts = [contract("argocd-application-crd.yaml"), contract("externalsecret-crd.yaml")];
    let [Some(argo), Some(secrets)] = contracts else { return };
    if !need(&["kubectl"]) || !need_modules(&["jsonschema", "yaml"]) {
        return;
    }
    let world = World::shared();
    let kubectl = |args: &str| world.client("kubectl").args(args.split(' ')).run();
    let validate = |objects: &[Value]| {
        let script = format!("{}/tests/real/crds.py", env!("CARGO_MANIFEST_DIR"));
        let input = Value::Array(objects.to_vec()).to_string();
        world.client("python3").arg(script).arg(&argo).arg(&secrets).input(input).run()
    };
    let objects = || -> Vec<Value> {
        let lists =
            ["applications -n argocd", "externalsecrets -A"].map(|what| kubectl(&format!("get {what} -o json")).json());
        lists.iter().flat_map(|list| list["items"].as_array().unwrap().clone()).collect()
    };
    let before = objects();
    assert_eq!(validate(&before).ok().trim(), "4");

    // The check does see what is wrong, and what would be pruned.
    let mut wrong = before[0].clone();
    wrong["spec"]["syncPolicy"]["automated"]["prune"] = json!("yes");
    wrong["status"]["unknown"] = json!(1);
    let refused = validate(&[wrong]).refused();
    assert!(refused.contains("$.spec.syncPolicy.automated.prune") && refused.contains("'unknown'"), "{refused}");

    // During and after an operation there is more to say.
    let sync = json!({ "operation": { "sync": { "prune": true }, "initiatedBy": { "username": "dana-dev" } } });
    let patch = ["-n", "argocd", "patch", "application", "gospelib-staging", "--type=merge", "-p", &sync.to_string()];
    world.client("kubectl").args(patch).run().ok();
    eventually("the operation ends", Duration::from_secs(30), || {
        let all = objects();
        let checked = validate(&all);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let app = all.into_iter().find(|object| object["metadata"]["name"] == "gospelib-staging").unwrap();
        let ended = app.get("operation").is_none() && app["status"]["operationState"]["phase"] == "Succeeded";
        if ended { Ok(()) } else { Err(app["status"]["operationState"].to_string()) }
    });
}

#[test]
fn an_application_of_several_sources_is_valid() {
    let contracts = [contract("argocd-application-crd.yaml"), contract("externalsecret-crd.yaml")];
    let [Some(argo), Some(secrets)] = contracts else { return };
    if !need(&["kubectl"]) || !need_modules(&["jsonschema", "yaml"]) {
        return;
    }
    let world = World::serve("clean", 3600);
    let source = |more: Value| {
        let mut source = json!({ "repoURL": "https://github.com/gospelib/gospelib.git" });
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        source
    };
    let sources = json!([
        source(json!({ "ref": "values", "targetRevision": "release/v1.1.0" })),
        source(json!({ "path": "infra/k8s/overlays/staging", "targetRevision": "main" })),
    ]);
    let sync =
        json!({ "sync": { "revisions": ["release/v1.1.0", "main"] }, "initiatedBy": { "username": "dana-dev" } });
    let patch = json!({ "spec": { "source": null, "sources": sources }, "operation": sync }).to_string();
    let patched = ["-n", "argocd", "patch", "application", "gospelib-staging", "--type=merge", "-p", &patch];
    world.client("kubectl").args(patched).run().ok();
    eventually("they are synced", Duration::from_secs(30), || {
        let found = world
            .client("kubectl")
            .args(["-n", "argocd", "get", "application", "gospelib-staging", "-o", "json"])
            .run()
            .json();
        let script = format!("{}/tests/real/crds.py", env!("CARGO_MANIFEST_DIR"));
        let input = json!([found]).to_string();
        let checked = world.client("python3").arg(script).arg(&argo).arg(&secrets).input(input).run();
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let status = &found["status"];
        let last = status["history"].as_array().and_then(|history| history.last()).cloned().unwrap_or_default();
        let both = [&status["sync"], &status["operationState"]["syncResult"], &last];
        let told = both.iter().all(|part| part["revisions"].as_array().is_some_and(|revisions| revisions.len() == 2));
        if told { Ok(()) } else { Err(status.to_string()) }
    });
}
