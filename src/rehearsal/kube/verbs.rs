//! The writing verbs: create, update, patch, delete.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::apply::Applier;
use super::request::{Call, Target};
use super::resources::Resource;
use super::status::json_response;
use super::store::{Preconditions, Propagation, end, grace_of, on_a_node};
use super::{Status, Store, convert, managed, patch, scale, strategic, table, validate};

/// What a write answers: the object, and what the server warns of.
struct Written {
    code: StatusCode,
    object: Arc<Value>,
    warnings: Vec<String>,
}

fn writer(store: &Store, call: &Call, target: &Target) -> Applier {
    Applier { manager: call.manager(), force: call.flag("force"), sub: target.sub.clone(), time: store.timestamp() }
}

/// The namespace of the target, checked against the one in the object.
fn place(target: &Target, object: &mut Value) -> Result<String, Status> {
    let resource = target.resource;
    if !object.is_object() {
        return Err(Status::bad_request("the object is not a map"));
    }
    let kind = object["kind"].as_str().unwrap_or(resource.kind);
    let version = object["apiVersion"].as_str().unwrap_or_default();
    if kind != resource.kind || !(version.is_empty() || version == resource.api_version()) {
        let (wanted, kind) = (resource.api_version(), format!("{version}, Kind={kind}"));
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}, {wanted}): {kind}",
            resource.kind
        )));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let Some(ns) = target.ns.clone() else { return Ok(String::new()) };
    let given = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if !given.is_empty() && given != ns {
        return Err(Status::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request: {given} != {ns}"
        )));
    }
    object["metadata"]["namespace"] = json!(ns);
    Ok(ns)
}

/// POST to a collection.
pub(super) fn create(store: &Store, call: &Call, target: &Target) -> Result<Response, Status> {
    let resource = target.resource;
    let mut object = call.object()?;
    let ns = place(target, &mut object)?;
    if resource.namespaced && ns.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let mut object = convert::inward(resource, object);
    let warnings = field_check(call, resource, &object)?;
    if !object["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    namespace_exists(store, resource, &ns)?;
    if resource.status
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        for field in ["uid", "creationTimestamp", "generation", "managedFields", "selfLink", "deletionTimestamp"] {
            meta.remove(field);
        }
    }
    super::defaults::fill(resource, &mut object);
    validate::create(resource, &object)?;
    let before = json!({"metadata": {}});
    managed::track(resource, &before, &mut object, &writer(store, call, target));
    let object = store.create_or_try(resource.plural, object, call.dry_run()?)?;
    Ok(answer(call, target, Written { code: StatusCode::CREATED, object, warnings }))
}

fn namespace_exists(store: &Store, resource: &Resource, ns: &str) -> Result<(), Status> {
    if !resource.namespaced || store.get("namespaces", "", ns).is_some() {
        return Ok(());
    }
    let namespaces = super::resources::by_plural("namespaces").unwrap_or(resource);
    Err(Status::not_found(namespaces, ns))
}

/// Unknown fields, as `fieldValidation` asks: refused, warned of, or ignored. Custom resources are not checked.
fn field_check(call: &Call, resource: &Resource, object: &Value) -> Result<Vec<String>, Status> {
    let mode = call.ask("fieldValidation").unwrap_or("Warn");
    if mode == "Ignore" {
        return Ok(Vec::new());
    }
    let unknown =
        validate::unknown_fields(resource, object).into_iter().map(|path| format!("unknown field \"{path}\""));
    let unknown: Vec<String> = unknown.collect();
    if mode == "Strict" && !unknown.is_empty() {
        let (kind, version) = (resource.kind, resource.version);
        let why = unknown.join(", ");
        return Err(Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {why}"
        )));
    }
    Ok(unknown)
}

/// PUT of one object or of its subresource.
pub(super) fn update(store: &Store, call: &Call, target: &Target) -> Result<Response, Status> {
    let (resource, name) = (target.resource, target.name.as_deref().unwrap_or_default());
    let mut object = call.object()?;
    if target.sub.as_deref() == Some("scale") {
        return scale::write(store, call, target, |scale| {
            *scale = object;
            Ok(())
        });
    }
    let ns = place(target, &mut object)?;
    if object["metadata"]["name"].as_str().is_some_and(|given| given != name) {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            object["metadata"]["name"]
        )));
    }
    let object = convert::inward(resource, object);
    let warnings = field_check(call, resource, &object)?;
    let stored = write(store, call, target, &ns, |live| {
        *live = object;
        Ok(())
    })?;
    Ok(answer(call, target, Written { code: StatusCode::OK, object: stored, warnings }))
}

/// One plain write: change, then everything that the server holds fast.
fn write(
    store: &Store,
    call: &Call,
    target: &Target,
    ns: &str,
    change: impl FnOnce(&mut Value) -> Result<(), Status>,
) -> Result<Arc<Value>, Status> {
    let (resource, name) = (target.resource, target.name.as_deref().unwrap_or_default());
    let writer = writer(store, call, target);
    store.transact(resource.plural, ns, name, call.dry_run()?, |live| {
        let old = live.clone();
        change(live)?;
        let wanted = live["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !wanted.is_empty() && live["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            return Err(Status::stale(resource, name));
        }
        let uid = &live["metadata"]["uid"];
        if uid.is_string() && *uid != old["metadata"]["uid"] {
            let why = "Precondition failed: UID in precondition and UID in object meta differ";
            return Err(Status::conflict(resource, name, why));
        }
        confine(resource, target.sub.as_deref(), &old, live)?;
        super::defaults::fill(resource, live);
        validate::update(resource, live)?;
        validate::unchanged(resource, &old, live)?;
        managed::track(resource, &old, live, &writer);
        Ok(())
    })
}

/// The main endpoint does not write status; `/status` writes nothing else.
fn confine(resource: &Resource, sub: Option<&str>, old: &Value, new: &mut Value) -> Result<(), Status> {
    let Some(map) = new.as_object_mut() else { return Err(Status::bad_request("the object is not a map")) };
    if sub == Some("status") {
        let status = map.remove("status");
        *map = old.as_object().cloned().unwrap_or_default();
        map.remove("status");
        map.extend(status.map(|status| ("status".to_owned(), status)));
    } else if resource.status {
        map.remove("status");
        map.extend(old.get("status").map(|status| ("status".to_owned(), status.clone())));
    }
    Ok(())
}

/// PATCH in one of its four kinds.
pub(super) fn patch(store: &Store, call: &Call, target: &Target) -> Result<Response, Status> {
    let resource = target.resource;
    let media = call.media().to_owned();
    let ns = target.ns.clone().unwrap_or_default();
    if media == "application/apply-patch+yaml" {
        return apply(store, call, target, &ns);
    }
    let body = match media.as_str() {
        "application/strategic-merge-patch+json" if resource.custom => {
            let why = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            return Err(Status::unsupported_media(why));
        }
        "application/json-patch+json" | "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            call.object()?
        }
        other => return Err(Status::unsupported_media(format!("the patch type {other} is not served"))),
    };
    let change = move |object: &mut Value| match media.as_str() {
        "application/json-patch+json" => patch::json_patch(object, &body),
        "application/merge-patch+json" => {
            patch::merge(object, &body);
            Ok(())
        }
        _ => strategic::merge(object, &body),
    };
    if target.sub.as_deref() == Some("scale") {
        return scale::write(store, call, target, change);
    }
    let mut warnings = Vec::new();
    let stored = write(store, call, target, &ns, |live| {
        // The patch is of the object as this group shows it.
        let mut shown = convert::outward(resource, live);
        change(&mut shown)?;
        *live = convert::inward(resource, shown);
        warnings = field_check(call, resource, live)?;
        Ok(())
    })?;
    Ok(answer(call, target, Written { code: StatusCode::OK, object: stored, warnings }))
}

fn apply(store: &Store, call: &Call, target: &Target, ns: &str) -> Result<Response, Status> {
    let (resource, name) = (target.resource, target.name.as_deref().unwrap_or_default());
    if call.ask("fieldManager").is_none() {
        return Err(Status::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    if target.sub.as_deref() == Some("scale") {
        return Err(Status::not_simulated("server-side apply on the scale subresource"));
    }
    // YAML has JSON in it, so that one reader serves both.
    let mut config: Value = serde_yaml::from_slice(&call.body)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    place(target, &mut config)?;
    if config["apiVersion"].is_null() || config["kind"].is_null() {
        return Err(Status::bad_request("Object 'Kind' or 'apiVersion' is missing in the applied configuration"));
    }
    if config["metadata"]["name"].as_str().is_some_and(|given| given != name) {
        return Err(Status::bad_request(format!("the name in the applied configuration is not {name}")));
    }
    config["metadata"]["name"] = json!(name);
    let warnings = field_check(call, resource, &config)?;
    namespace_exists(store, resource, ns)?;
    let config = convert::inward(resource, config);
    let applier = writer(store, call, target);
    let (object, created) = store.apply_as(resource, ns, name, &config, &applier, call.dry_run()?)?;
    let code = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer(call, target, Written { code, object, warnings }))
}

/// The options of a deletion, from the body or the query.
struct Deletion {
    propagation: Propagation,
    conditions: Preconditions,
    dry_run: bool,
    /// `gracePeriodSeconds`.
    grace: Option<i64>,
}

fn deletion(call: &Call, resource: &Resource) -> Result<Deletion, Status> {
    let body = if call.body.is_empty() { Value::Null } else { call.object()? };
    let policy = body["propagationPolicy"].as_str().or_else(|| call.ask("propagationPolicy"));
    let orphan = body["orphanDependents"].as_bool();
    let propagation = match (policy, orphan) {
        (Some("Orphan"), _) | (None, Some(true)) => Propagation::Orphan,
        (Some("Background" | "Foreground"), _) | (None, Some(false)) => Propagation::Background,
        (Some(other), _) => return Err(Status::bad_request(format!("propagationPolicy: {other} is unknown"))),
        // batch/v1 keeps its first default: a Job deleted without a policy leaves its pods (kubernetes#20902).
        (None, None) if resource.plural == "jobs" => Propagation::Orphan,
        (None, None) => Propagation::Background,
    };
    let text = |name: &str| body["preconditions"][name].as_str().map(str::to_owned);
    let conditions = Preconditions { uid: text("uid"), version: text("resourceVersion") };
    let dry_run = call.dry_run()? || body["dryRun"].as_array().is_some_and(|modes| !modes.is_empty());
    let grace = body["gracePeriodSeconds"].as_i64();
    let grace = grace.or_else(|| call.ask("gracePeriodSeconds").and_then(|seconds| seconds.parse().ok()));
    Ok(Deletion { propagation, conditions, dry_run, grace })
}

impl Deletion {
    /// Removes the object, or asks its kubelet to end it: a pod on a node lives until its grace period is over.
    fn of(&self, store: &Store, resource: &Resource, ns: &str, name: &str) -> Result<Arc<Value>, Status> {
        let pod = store.get(resource.plural, ns, name).filter(|object| on_a_node(object));
        if let Some(pod) = pod {
            let grace = self.grace.unwrap_or_else(|| grace_of(&pod));
            if grace > 0 {
                self.conditions.check(resource, &pod)?;
                if self.dry_run || pod["metadata"]["deletionTimestamp"].is_string() {
                    return Ok(pod);
                }
                return store.modify("pods", ns, name, |pod| end(pod, grace, store.clock().now()));
            }
        }
        store.delete_with(resource.plural, ns, name, self.propagation, &self.conditions, self.dry_run)
    }
}

/// DELETE of one object.
pub(super) fn delete(store: &Store, call: &Call, target: &Target) -> Result<Response, Status> {
    let (resource, name) = (target.resource, target.name.as_deref().unwrap_or_default());
    if target.sub.is_some() {
        return Err(Status::method_not_allowed());
    }
    let ns = target.ns.as_deref().unwrap_or_default();
    let gone = deletion(call, resource)?.of(store, resource, ns, name)?;
    if gone["metadata"]["deletionTimestamp"].is_string() {
        return Ok(json_response(StatusCode::OK, &convert::outward(resource, &gone)));
    }
    let mut warnings = Vec::new();
    if gone["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty()) {
        warnings.push("the rehearsal does not wait for finalizers: the object is gone".to_owned());
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": name, "group": resource.group, "kind": resource.plural, "uid": gone["metadata"]["uid"]},
    });
    let mut response = json_response(StatusCode::OK, &status);
    warn(&mut response, &warnings);
    Ok(response)
}

/// DELETE of a collection: each object that the selectors match.
pub(super) fn delete_collection(store: &Store, call: &Call, target: &Target) -> Result<Response, Status> {
    let resource = target.resource;
    let deletion = deletion(call, resource)?;
    let (objects, version) = super::list::matching(store, call, target)?;
    let mut gone = Vec::new();
    for object in objects {
        let (ns, name) = super::store::key_of(&object);
        match deletion.of(store, resource, &ns, &name) {
            Ok(object) => gone.push(convert::outward(resource, &object)),
            Err(status) if status.is_not_found() => {}
            Err(status) => return Err(status),
        }
    }
    let list = json!({
        "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
        "metadata": {"resourceVersion": version.to_string()}, "items": gone,
    });
    Ok(json_response(StatusCode::OK, &list))
}

fn answer(call: &Call, target: &Target, written: Written) -> Response {
    let form = table::Form::asked(call);
    let shown = convert::outward(target.resource, &written.object);
    let mut response = json_response(written.code, &form.one(target.resource, shown, call));
    warn(&mut response, &written.warnings);
    response
}

/// `Warning: 299 - "…"`, which kubectl shows to the person.
fn warn(response: &mut Response, warnings: &[String]) {
    for warning in warnings {
        let text = warning.replace(['"', '\\'], "'");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
