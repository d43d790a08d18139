//! The defaults that the API server fills in, where a reader depends on them.

use serde_json::{Map, Value, json};

use super::resources::Resource;

/// Fills defaults; does nothing to what is set. Source: the API reference of Kubernetes 1.33.
pub(super) fn fill(resource: &Resource, object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    match resource.plural {
        "deployments" => deployment(spec(map)),
        "replicasets" => {
            let spec = spec(map);
            default(spec, "replicas", || json!(1));
            template(spec);
        }
        "jobs" => job(spec(map)),
        "cronjobs" => cronjob(spec(map)),
        "services" => service(spec(map)),
        "pods" => pod(spec(map)),
        "secrets" => default(map, "type", || json!("Opaque")),
        "namespaces" => {
            default(spec(map), "finalizers", || json!(["kubernetes"]));
            default(map, "status", || json!({"phase": "Active"}));
        }
        _ => {}
    }
}

fn spec(object: &mut Map<String, Value>) -> &mut Map<String, Value> {
    child(object, "spec")
}

/// A nested map, made if it is absent or of another type.
fn child<'a>(parent: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = parent.entry(name).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made a map just above")
}

fn default(map: &mut Map<String, Value>, name: &str, value: impl FnOnce() -> Value) {
    if map.get(name).is_none_or(Value::is_null) {
        map.insert(name.into(), value());
    }
}

fn deployment(spec: &mut Map<String, Value>) {
    default(spec, "replicas", || json!(1));
    default(spec, "revisionHistoryLimit", || json!(10));
    default(spec, "progressDeadlineSeconds", || json!(600));
    let strategy = child(spec, "strategy");
    default(strategy, "type", || json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        let rolling = child(strategy, "rollingUpdate");
        default(rolling, "maxSurge", || json!("25%"));
        default(rolling, "maxUnavailable", || json!("25%"));
    }
    template(spec);
}

fn job(spec: &mut Map<String, Value>) {
    default(spec, "backoffLimit", || json!(6));
    default(spec, "completionMode", || json!("NonIndexed"));
    default(spec, "suspend", || json!(false));
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".into(), json!(1));
    }
    default(spec, "parallelism", || json!(1));
    template(spec);
}

fn cronjob(spec: &mut Map<String, Value>) {
    default(spec, "concurrencyPolicy", || json!("Allow"));
    default(spec, "suspend", || json!(false));
    default(spec, "successfulJobsHistoryLimit", || json!(3));
    default(spec, "failedJobsHistoryLimit", || json!(1));
}

fn service(spec: &mut Map<String, Value>) {
    default(spec, "type", || json!("ClusterIP"));
    default(spec, "sessionAffinity", || json!("None"));
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        default(port, "protocol", || json!("TCP"));
        let number = port.get("port").cloned().unwrap_or_default();
        default(port, "targetPort", || number);
    }
}

fn template(spec: &mut Map<String, Value>) {
    if let Some(template) = spec.get_mut("template").and_then(Value::as_object_mut) {
        pod(child(template, "spec"));
    }
}

fn pod(spec: &mut Map<String, Value>) {
    default(spec, "restartPolicy", || json!("Always"));
    default(spec, "terminationGracePeriodSeconds", || json!(30));
    default(spec, "dnsPolicy", || json!("ClusterFirst"));
    for container in spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(container) = container.as_object_mut() else { continue };
        let latest = container.get("image").and_then(Value::as_str).is_some_and(is_latest);
        default(container, "imagePullPolicy", || json!(if latest { "Always" } else { "IfNotPresent" }));
        for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                default(port, "protocol", || json!("TCP"));
            }
        }
    }
}

/// No digest, and no tag or `latest`.
fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}
