//! What the server says it serves: `/version`, `/api`, `/apis` and each group.

use serde_json::{Value, json};

use super::Status;
use super::resources::{RESOURCES, Resource};

/// The Kubernetes release whose behaviour is rehearsed.
pub const VERSION: &str = "v1.33.1";

/// Resources that are only ever created, to ask something: group, version, kind, plural.
const REVIEWS: &[(&str, &str, &str, &str)] = &[
    ("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews"),
    ("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
];

/// Groups and their one version, in discovery order; without the core group.
fn groups() -> Vec<(&'static str, &'static str)> {
    let served = RESOURCES.iter().map(|resource| (resource.group, resource.version));
    let mut groups: Vec<_> = Vec::new();
    for pair in served.chain(REVIEWS.iter().map(|(group, version, ..)| (*group, *version))) {
        if !pair.0.is_empty() && !groups.contains(&pair) {
            groups.push(pair);
        }
    }
    groups
}

/// The versions of all served groups: `v1`, `apps/v1`, …
pub(super) fn group_versions() -> Vec<String> {
    std::iter::once("v1".to_owned())
        .chain(groups().into_iter().map(|(group, version)| format!("{group}/{version}")))
        .collect()
}

/// The answer at a discovery path; `None` when the path is not one.
pub(super) fn answer(path: &str) -> Option<Result<Value, Status>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let missing = || Status::new(404, "NotFound", "the server could not find the requested resource");
    Some(match parts.as_slice() {
        ["version"] => Ok(version()),
        ["api"] => Ok(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let groups: Vec<Value> = groups().into_iter().map(|(name, version)| group(name, version)).collect();
            Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["api", version] => resources("", version).ok_or_else(missing),
        ["apis", name] => {
            let found = groups().into_iter().find(|(group, _)| group == name);
            found.map(|(name, version)| headed(group(name, version))).ok_or_else(missing)
        }
        ["apis", group, version] => resources(group, version).ok_or_else(missing),
        _ => return None,
    })
}

fn version() -> Value {
    let mut parts = VERSION.trim_start_matches('v').split('.');
    json!({
        "major": parts.next(), "minor": parts.next(), "gitVersion": format!("{VERSION}-rehearsal"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2025-03-01T00:00:00Z",
        "goVersion": "none", "compiler": "none", "platform": "rehearsal",
    })
}

fn group(name: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn headed(mut group: Value) -> Value {
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    group
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let served = RESOURCES.iter().filter(|r| r.group == group && r.version == version);
    let mut list: Vec<Value> = served.flat_map(rows).collect();
    for (_, _, kind, plural) in REVIEWS.iter().filter(|(g, v, ..)| *g == group && *v == version) {
        list.push(json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind,
                         "verbs": ["create"]}));
    }
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let value = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": list});
    (!list.is_empty()).then_some(value)
}

/// A resource and its subresources.
fn rows(resource: &'static Resource) -> Vec<Value> {
    let row = |sub: &str, kind: &str, verbs: &[&str]| {
        json!({"name": format!("{}/{sub}", resource.plural), "singularName": "", "namespaced": resource.namespaced,
               "kind": kind, "verbs": verbs})
    };
    let mut main = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "shortNames": resource.short,
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    });
    if resource.all {
        main["categories"] = json!(["all"]);
    }
    let mut rows = vec![main];
    if resource.scale {
        let mut scale = row("scale", "Scale", &["get", "patch", "update"]);
        scale["group"] = json!("autoscaling");
        scale["version"] = json!("v1");
        rows.push(scale);
    }
    if resource.status {
        rows.push(row("status", resource.kind, &["get", "patch", "update"]));
    }
    match resource.plural {
        "pods" => {
            rows.push(row("log", "Pod", &["get"]));
            rows.push(row("portforward", "PodPortForwardOptions", &["create", "get"]));
            rows.push(row("proxy", "PodProxyOptions", &["create", "delete", "get", "patch", "update"]));
        }
        "services" => rows.push(row("proxy", "ServiceProxyOptions", &["create", "delete", "get", "patch", "update"])),
        _ => {}
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_names_what_is_served() {
        let apps = answer("/apis/apps/v1").unwrap().unwrap();
        let names: Vec<&str> =
            apps["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(names.contains(&"deployments/scale"), "{names:?}");
        assert!(answer("/apis/external-secrets.io/v1beta1").unwrap().is_err());
        assert!(answer("/api/v1/pods").is_none());
        assert_eq!(group_versions().len(), 9);
    }
}
