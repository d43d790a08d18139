//! What the API server refuses: objects of the wrong type, unknown fields, changes of what cannot change.

use k8s_openapi::api::{apps, batch, coordination, core};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Status;
use super::resources::Resource;

/// Checks an object that is to be created.
pub(super) fn create(resource: &Resource, object: &Value) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !name.is_empty() && !is_subdomain(name) {
        let why = format!(
            "Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        );
        return Err(Status::invalid(resource, name, "metadata.name", &why));
    }
    spec(resource, object)
}

/// Checks the new state of an object that exists.
pub(super) fn update(resource: &Resource, object: &Value) -> Result<(), Status> {
    spec(resource, object)
}

/// Fields that never change (apps/v1, batch/v1 and core/v1 validation).
pub(super) fn unchanged(resource: &Resource, old: &Value, new: &Value) -> Result<(), Status> {
    let fields: &[&str] = match resource.plural {
        "deployments" | "replicasets" => &["/spec/selector"],
        "jobs" => &["/spec/selector", "/spec/template", "/spec/completions", "/spec/completionMode"],
        "secrets" => &["/type"],
        _ => &[],
    };
    for field in fields {
        let (old_value, new_value) = (old.pointer(field), new.pointer(field));
        if old_value.is_some_and(|value| !value.is_null()) && old_value != new_value {
            let name = old["metadata"]["name"].as_str().unwrap_or_default();
            let dotted = field.trim_start_matches('/').replace('/', ".");
            let shown = new_value.cloned().unwrap_or_default();
            return Err(Status::invalid(
                resource,
                name,
                &dotted,
                &format!("Invalid value: {shown}: field is immutable"),
            ));
        }
    }
    Ok(())
}

fn is_subdomain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|label| {
            label.starts_with(plain) && label.ends_with(plain) && label.chars().all(|c| plain(c) || c == '-')
        })
}

fn spec(resource: &Resource, object: &Value) -> Result<(), Status> {
    decode(resource, object)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if matches!(resource.plural, "deployments" | "replicasets") {
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        let Some(selector) = object["spec"]["selector"]["matchLabels"].as_object().filter(|map| !map.is_empty()) else {
            return Err(Status::invalid(resource, name, "spec.selector", "Required value"));
        };
        if selector.iter().any(|(key, value)| labels[key] != *value) {
            let why = format!("Invalid value: {labels}: `selector` does not match template `labels`");
            return Err(Status::invalid(resource, name, "spec.template.metadata.labels", &why));
        }
    }
    let pod = match resource.plural {
        "pods" => Some("/spec"),
        "deployments" | "replicasets" | "jobs" => Some("/spec/template/spec"),
        "cronjobs" => Some("/spec/jobTemplate/spec/template/spec"),
        _ => None,
    };
    pod.map_or(Ok(()), |at| containers(resource, name, object.pointer(at).unwrap_or(&Value::Null), at))
}

fn containers(resource: &Resource, name: &str, pod: &Value, at: &str) -> Result<(), Status> {
    let field = |rest: &str| format!("{}.{rest}", at.trim_start_matches('/').replace('/', "."));
    let Some(containers) = pod["containers"].as_array().filter(|list| !list.is_empty()) else {
        return Err(Status::invalid(resource, name, &field("containers"), "Required value"));
    };
    for (index, container) in containers.iter().enumerate() {
        for part in ["name", "image"] {
            if container[part].as_str().is_none_or(str::is_empty) {
                return Err(Status::invalid(
                    resource,
                    name,
                    &field(&format!("containers[{index}].{part}")),
                    "Required value",
                ));
            }
        }
    }
    Ok(())
}

/// Decodes an object as its type, and returns it as that type writes it; `None` where no type is known.
fn round_trip(resource: &Resource, object: &Value) -> Option<Result<Value, serde_json::Error>> {
    fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, serde_json::Error> {
        serde_json::to_value(T::deserialize(object)?)
    }
    Some(match resource.plural {
        "deployments" => through::<apps::v1::Deployment>(object),
        "replicasets" => through::<apps::v1::ReplicaSet>(object),
        "pods" => through::<core::v1::Pod>(object),
        "services" => through::<core::v1::Service>(object),
        "configmaps" => through::<core::v1::ConfigMap>(object),
        "secrets" => through::<core::v1::Secret>(object),
        "namespaces" => through::<core::v1::Namespace>(object),
        "nodes" => through::<core::v1::Node>(object),
        "serviceaccounts" => through::<core::v1::ServiceAccount>(object),
        "events" => through::<core::v1::Event>(object),
        "jobs" => through::<batch::v1::Job>(object),
        "cronjobs" => through::<batch::v1::CronJob>(object),
        "leases" => through::<coordination::v1::Lease>(object),
        _ => return None,
    })
}

fn decode(resource: &Resource, object: &Value) -> Result<Value, Status> {
    let mut object = object.clone();
    quantities(&mut object);
    let Some(result) = round_trip(resource, &object) else { return Ok(object) };
    result.map_err(|error| {
        let (kind, version) = (resource.kind, resource.version);
        Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: json: {error}"))
    })
}

/// Quantities may be written as numbers (`cpu: 1`); the types here know them as text only.
fn quantities(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, child) in map {
                if matches!(name.as_str(), "limits" | "requests" | "capacity" | "allocatable" | "sizeLimit") {
                    for amount in child.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
                        if amount.is_number() {
                            *amount = json!(amount.to_string());
                        }
                    }
                }
                quantities(child);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities),
        _ => {}
    }
}

/// The fields of an object that its type does not have, as paths.
pub(super) fn unknown_fields(resource: &Resource, object: &Value) -> Vec<String> {
    let mut object = object.clone();
    quantities(&mut object);
    let Some(Ok(known)) = round_trip(resource, &object) else { return Vec::new() };
    let mut unknown = Vec::new();
    missing(&object, &known, "", &mut unknown);
    unknown
}

fn missing(given: &Value, known: &Value, path: &str, out: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match known.get(name) {
                    Some(known) => missing(value, known, &path, out),
                    // The types here leave out what is empty.
                    None if value.as_array().is_some_and(Vec::is_empty) || *value == json!({}) => {}
                    None => out.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                missing(given, known, &format!("{path}[{index}]"), out);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::resources::by_plural;
    use super::*;

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": 1}}}]}}}})
    }

    #[test]
    fn wrong_types_unknown_fields_and_names() {
        let resource = by_plural("deployments").unwrap();
        create(resource, &deployment()).unwrap();
        assert!(unknown_fields(resource, &deployment()).is_empty());
        let mut wrong = deployment();
        wrong["spec"]["replicas"] = json!("two");
        assert_eq!(create(resource, &wrong).unwrap_err().code, 400);
        let mut typo = deployment();
        typo["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = json!("Always");
        assert_eq!(unknown_fields(resource, &typo), ["spec.template.spec.containers[0].imagePulPolicy"]);
        let mut name = deployment();
        name["metadata"]["name"] = json!("Not_A_Name");
        assert_eq!(create(resource, &name).unwrap_err().code, 422);
        let mut labels = deployment();
        labels["spec"]["template"]["metadata"]["labels"] = json!({"a": "c"});
        assert_eq!(create(resource, &labels).unwrap_err().code, 422);
    }

    #[test]
    fn immutable_fields() {
        let resource = by_plural("deployments").unwrap();
        let mut other = deployment();
        other["spec"]["selector"]["matchLabels"]["a"] = json!("c");
        assert_eq!(unchanged(resource, &deployment(), &other).unwrap_err().code, 422);
    }
}
