//! Server-side apply: merge, conflicts, and the removal of what a manager no longer applies.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::{self, FieldSet, Path, elements, get};
use super::managed::{self, Managers};
use super::resources::{self, Resource};
use super::schema::is_atomic_map;
use super::{Status, Store, validate};

/// Who applies, and how.
#[derive(Debug, Clone)]
pub(super) struct Applier {
    pub manager: String,
    /// Takes fields that others own instead of refusing.
    pub force: bool,
    /// `Some("status")` for that subresource.
    pub sub: Option<String>,
    /// `managedFields[].time` of a change.
    pub time: String,
}

impl Store {
    /// Server-side apply from inside the world (Argo CD's controller applies so): creates or merges, and records the
    /// ownership of `manager`. `config` has apiVersion, kind and metadata.name.
    pub fn apply(&self, config: &Value, manager: &str, force: bool) -> Result<Arc<Value>, Status> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = resources::by_kind(&text(&config["apiVersion"]), &text(&config["kind"])).ok_or_else(|| {
            Status::not_simulated(&format!("{} {}", text(&config["apiVersion"]), text(&config["kind"])))
        })?;
        let ns = if resource.namespaced { text(&config["metadata"]["namespace"]) } else { String::new() };
        let applier = Applier { manager: manager.into(), force, sub: None, time: self.timestamp() };
        let name = text(&config["metadata"]["name"]);
        self.apply_as(resource, &ns, &name, config, &applier, false).map(|(object, _)| object)
    }

    /// As [`Store::apply`]; also says whether the object was created.
    pub(super) fn apply_as(
        &self,
        resource: &'static Resource,
        ns: &str,
        name: &str,
        config: &Value,
        applier: &Applier,
        dry_run: bool,
    ) -> Result<(Arc<Value>, bool), Status> {
        if !config["metadata"]["managedFields"].is_null() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        loop {
            if self.get(resource.plural, ns, name).is_some() {
                let merged = self.transact(resource.plural, ns, name, dry_run, |live| {
                    let merged = merge_config(resource, live, config, applier)?;
                    validate::update(resource, &merged)?;
                    validate::unchanged(resource, live, &merged)?;
                    *live = merged;
                    Ok(())
                });
                return merged.map(|object| (object, false));
            }
            if applier.sub.is_some() || !config["metadata"]["uid"].is_null() {
                return Err(Status::not_found(resource, name));
            }
            let empty = json!({"apiVersion": config["apiVersion"], "kind": config["kind"],
                               "metadata": {"name": name, "namespace": ns}});
            let object = merge_config(resource, &empty, config, applier)?;
            validate::create(resource, &object)?;
            match self.create_or_try(resource.plural, object, dry_run) {
                Err(status) if status.reason == "AlreadyExists" => {}
                created => return created.map(|object| (object, true)),
            }
        }
    }
}

/// The live object with an applied configuration in it.
pub(super) fn merge_config(
    resource: &Resource,
    live: &Value,
    config: &Value,
    applier: &Applier,
) -> Result<Value, Status> {
    let custom = resource.custom;
    let config = relevant(resource, config, applier.sub.as_deref());
    check_version(resource, live, &config)?;
    let wanted = FieldSet::of(&config, custom);
    let mut managers = Managers::read(live);
    let before = managers.take_applied(&applier.manager, applier.sub.as_deref());
    let conflicts = conflicts(&managers, &wanted, live, &config, custom);
    if !conflicts.is_empty() {
        if !applier.force {
            return Err(refusal(resource, live, &conflicts));
        }
        managers.give_up(&conflicts.into_iter().map(|conflict| conflict.path).collect());
    }
    let mut merged = live.clone();
    merge(&mut merged, &config, &mut Vec::new(), custom);
    let old_set = before.as_ref().map(|entry| entry.fields.clone()).unwrap_or_default();
    prune(&mut merged, &old_set, &wanted, &managers, custom);
    let unchanged = before.as_ref().is_some_and(|entry| entry.fields == wanted) && same_content(&merged, live);
    let time = before.filter(|_| unchanged).map_or_else(|| applier.time.clone(), |entry| entry.time);
    managers.put_applied(applier, resource, wanted, time);
    managers.write(&mut merged);
    Ok(merged)
}

fn same_content(a: &Value, b: &Value) -> bool {
    managed::without(a) == managed::without(b)
}

/// The part of a configuration that its endpoint writes.
fn relevant(resource: &Resource, config: &Value, sub: Option<&str>) -> Value {
    let mut config = config.clone();
    if let Some(map) = config.as_object_mut() {
        match sub {
            Some(sub) => {
                map.retain(|name, _| name == sub || matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
            }
            None if resource.status => drop(map.remove("status")),
            None => {}
        }
    }
    if sub.is_some() {
        let version = config["metadata"]["resourceVersion"].take();
        config["metadata"] = if version.is_null() { json!({}) } else { json!({"resourceVersion": version}) };
    }
    config
}

fn check_version(resource: &Resource, live: &Value, config: &Value) -> Result<(), Status> {
    let wanted = &config["metadata"]["resourceVersion"];
    if wanted.is_null() || *wanted == live["metadata"]["resourceVersion"] {
        return Ok(());
    }
    Err(Status::stale(resource, live["metadata"]["name"].as_str().unwrap_or_default()))
}

struct Conflict {
    path: Path,
    /// `"argocd-controller" using apps/v1`
    with: String,
}

fn conflicts(managers: &Managers, wanted: &FieldSet, live: &Value, config: &Value, custom: bool) -> Vec<Conflict> {
    let mut found = Vec::new();
    for entry in &managers.0 {
        for path in wanted.0.intersection(&entry.fields.0) {
            let is_item = path.last().is_some_and(|last| !last.starts_with("f:"));
            let ours = get(config, path, custom);
            let is_empty_map = ours.and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
            if !is_item && !is_empty_map && get(live, path, custom) != ours {
                found.push(Conflict { path: path.clone(), with: entry.shown() });
            }
        }
    }
    found
}

/// The message and the causes of a refused apply, in the words of the API server.
fn refusal(resource: &Resource, live: &Value, conflicts: &[Conflict]) -> Status {
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|conflict| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {}", conflict.with),
                   "field": fields::shown(&conflict.path)})
        })
        .collect();
    let message = if let [only] = conflicts {
        format!("Apply failed with 1 conflict: conflict with {}: {}", only.with, fields::shown(&only.path))
    } else {
        let managers: BTreeSet<&str> = conflicts.iter().map(|conflict| conflict.with.as_str()).collect();
        let lists = managers.into_iter().map(|with| {
            let paths = conflicts.iter().filter(|conflict| conflict.with == with);
            let paths: Vec<String> = paths.map(|conflict| format!("- {}", fields::shown(&conflict.path))).collect();
            format!("conflicts with {with}:\n{}", paths.join("\n"))
        });
        format!("Apply failed with {} conflicts: {}", conflicts.len(), lists.collect::<Vec<_>>().join("\n"))
    };
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    let mut status = Status::new(409, "Conflict", message).about(resource, name);
    status.details["causes"] = json!(causes);
    status
}

/// Merges a configuration into an object.
fn merge(live: &mut Value, config: &Value, path: &mut Path, custom: bool) {
    match (&mut *live, config) {
        (Value::Object(map), Value::Object(wanted)) if !is_atomic_map(path, custom) => {
            for (name, value) in wanted.iter().filter(|(_, value)| !value.is_null()) {
                if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind") {
                    continue;
                }
                path.push(format!("f:{name}"));
                merge(map.entry(name.clone()).or_insert(Value::Null), value, path, custom);
                path.pop();
            }
        }
        (Value::Array(items), Value::Array(wanted)) => {
            let pair = elements(items, path, custom).zip(elements(wanted, path, custom));
            let Some((have, want)) = pair else {
                items.clone_from(wanted);
                return;
            };
            for (element, value) in want.into_iter().zip(wanted) {
                match have.iter().position(|known| *known == element) {
                    Some(at) => {
                        path.push(element);
                        merge(&mut items[at], value, path, custom);
                        path.pop();
                    }
                    None => items.push(value.clone()),
                }
            }
        }
        // Through an empty map, so that nulls inside are dropped.
        (absent, Value::Object(wanted))
            if !absent.is_object() && !wanted.is_empty() && !is_atomic_map(path, custom) =>
        {
            *absent = json!({});
            merge(absent, config, path, custom);
        }
        _ => *live = config.clone(),
    }
}

/// Removes what the manager applied before, does not apply now, and nobody else owns.
fn prune(object: &mut Value, before: &FieldSet, now: &FieldSet, others: &Managers, custom: bool) {
    let mut gone: Vec<&Path> = before.0.difference(&now.0).collect();
    // Items before their fields: without its key an item could not be found again.
    gone.sort_by_key(|path| path.len());
    for path in gone {
        if is_key_of_item(path) || others.0.iter().any(|entry| entry.fields.reaches(path)) || now.reaches(path) {
            continue;
        }
        // What stands above and is still owned or applied stays, even if it is empty.
        let keep = (1..path.len())
            .rev()
            .find(|&depth| {
                let above = path[..depth].to_vec();
                now.reaches(&above) || others.0.iter().any(|entry| entry.fields.reaches(&above))
            })
            .unwrap_or(1);
        fields::remove(object, path, custom, keep);
    }
}

/// Whether the path names a key field of a list item: it goes with the item, never alone.
fn is_key_of_item(path: &Path) -> bool {
    let [.., item, field] = path.as_slice() else { return false };
    let key = item.strip_prefix("k:").and_then(|key| serde_json::from_str::<Value>(key).ok());
    key.zip(field.strip_prefix("f:")).is_some_and(|(key, field)| key.get(field).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn deployment(containers: &Value, labels: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
               "metadata": {"name": "d", "namespace": "n", "labels": labels},
               "spec": {"selector": {"matchLabels": {"a": "b"}},
                        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}}})
    }

    fn store() -> Store {
        Store::new(Clock::real())
    }

    fn image(object: &Value) -> &Value {
        &object["spec"]["template"]["spec"]["containers"][0]["image"]
    }

    #[test]
    fn conflicts_name_manager_and_field_and_force_takes_over() {
        let store = store();
        let by_argo = deployment(&json!([{"name": "c", "image": "1"}]), &json!({"x": "1"}));
        store.apply(&by_argo, "argocd-controller", false).unwrap();
        let ours = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
                          "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "2"}]}}}});
        let refused = store.apply(&ours, "gospel-release", false).unwrap_err();
        assert_eq!((refused.code, refused.reason), (409, "Conflict"));
        let cause = &refused.details["causes"][0];
        assert_eq!(cause["reason"], "FieldManagerConflict");
        assert_eq!(cause["field"], r#".spec.template.spec.containers[name="c"].image"#);
        assert!(refused.message.contains(r#"conflict with "argocd-controller" using apps/v1"#), "{}", refused.message);
        let taken = store.apply(&ours, "gospel-release", true).unwrap();
        assert_eq!(image(&taken), "2");
        assert_eq!(taken["metadata"]["generation"], 2);
        // Now it is the other one who conflicts.
        assert!(store.apply(&by_argo, "argocd-controller", false).is_err());
    }

    #[test]
    fn the_same_value_is_shared_and_the_same_apply_changes_nothing() {
        let store = store();
        let config = deployment(&json!([{"name": "c", "image": "1"}]), &json!({"x": "1"}));
        let first = store.apply(&config, "a", false).unwrap();
        let again = store.apply(&config, "a", false).unwrap();
        assert_eq!(first["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"]);
        let shared = store.apply(&config, "b", false).unwrap();
        assert_eq!(shared["metadata"]["managedFields"].as_array().unwrap().len(), 2);
        // Dropped by one, still owned by the other.
        let less = deployment(&json!([{"name": "c", "image": "1"}]), &json!({}));
        assert_eq!(store.apply(&less, "a", false).unwrap()["metadata"]["labels"]["x"], "1");
        assert_eq!(store.apply(&less, "b", false).unwrap()["metadata"]["labels"]["x"], Value::Null);
    }

    #[test]
    fn what_is_no_longer_applied_is_removed_and_defaults_return() {
        let store = store();
        let mut config = deployment(
            &json!([{"name": "c", "image": "1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
                    {"name": "side", "image": "s"}]),
            &json!({"x": "1"}),
        );
        config["spec"]["replicas"] = json!(5);
        store.apply(&config, "a", false).unwrap();
        let containers = json!([{"name": "c", "image": "1", "env": [{"name": "Y", "value": "2"}]}]);
        let less = store.apply(&deployment(&containers, &json!({})), "a", false).unwrap();
        let template = &less["spec"]["template"]["spec"]["containers"];
        assert_eq!(template.as_array().unwrap().len(), 1);
        assert_eq!(template[0]["env"], json!([{"name": "Y", "value": "2"}]));
        assert_eq!(less["spec"]["replicas"], 1);
        assert!(less["metadata"]["labels"]["x"].is_null());
    }

    #[test]
    fn a_plain_write_owns_what_it_changes() {
        let store = store();
        let config = deployment(&json!([{"name": "c", "image": "1"}]), &json!({}));
        store.apply(&config, "argocd-controller", false).unwrap();
        let writer = Applier { manager: "kubectl-edit".into(), force: false, sub: None, time: "t".into() };
        let resource = resources::by_plural("deployments").unwrap();
        let edited = store.transact("deployments", "n", "d", false, |object| {
            let old = object.clone();
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("edited");
            managed::track(resource, &old, object, &writer);
            Ok(())
        });
        let managers = Managers::read(&edited.unwrap());
        assert_eq!(managers.0.len(), 2);
        let refused = store.apply(&config, "argocd-controller", false).unwrap_err();
        assert!(refused.message.contains("kubectl-edit"), "{}", refused.message);
    }

    #[test]
    fn lists_of_custom_resources_are_one_value() {
        let store = store();
        let app = |items: &Value| {
            json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": "a", "namespace": "argocd"}, "spec": {"syncPolicy": {"syncOptions": items}}})
        };
        store.apply(&app(&json!(["A=true"])), "a", false).unwrap();
        assert!(store.apply(&app(&json!(["B=true"])), "b", false).is_err());
        let forced = store.apply(&app(&json!(["B=true"])), "b", true).unwrap();
        assert_eq!(forced["spec"]["syncPolicy"]["syncOptions"], json!(["B=true"]));
    }
}
