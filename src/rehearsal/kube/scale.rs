//! The `scale` subresource: autoscaling/v1 Scale over `spec.replicas`.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::apply::Applier;
use super::request::{Call, Target};
use super::status::json_response;
use super::{Status, Store, managed};

/// The Scale of a Deployment or ReplicaSet.
pub(super) fn of(object: &Value) -> Value {
    let meta = &object["metadata"];
    let labels = object["spec"]["selector"]["matchLabels"].as_object();
    let pairs: Vec<String> =
        labels.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": {"replicas": object["spec"]["replicas"].as_u64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_u64().unwrap_or(0), "selector": pairs.join(",")},
    })
}

/// Changes the Scale, and through it `spec.replicas`.
pub(super) fn write(
    store: &Store,
    call: &Call,
    target: &Target,
    change: impl FnOnce(&mut Value) -> Result<(), Status>,
) -> Result<Response, Status> {
    let (resource, name) = (target.resource, target.name.as_deref().unwrap_or_default());
    let ns = target.ns.as_deref().unwrap_or_default();
    let writer = Applier { manager: call.manager(), force: false, sub: Some("scale".into()), time: store.timestamp() };
    let object = store.transact(resource.plural, ns, name, call.dry_run()?, |live| {
        let old = live.clone();
        let mut scale = of(&old);
        change(&mut scale)?;
        let wanted = scale["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !wanted.is_empty() && old["metadata"]["resourceVersion"] != wanted {
            return Err(Status::stale(resource, name));
        }
        let replicas = scale["spec"]["replicas"].as_u64();
        let replicas = replicas.ok_or_else(|| Status::invalid(resource, name, "spec.replicas", "Invalid value"))?;
        live["spec"]["replicas"] = json!(replicas);
        managed::track(resource, &old, live, &writer);
        Ok(())
    })?;
    Ok(json_response(StatusCode::OK, &of(&object)))
}
