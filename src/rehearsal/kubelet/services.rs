//! How Gospelib's services and the monitoring answer over HTTP, computed from the pods that are there.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper_util::service::TowerToHyperService;
use serde_json::{Map, Value, json};

use super::sites;
use crate::rehearsal::World;
use crate::rehearsal::controllers::object::{
    condition_is_true, is_terminating, label, name, namespace, number, selects, text,
};

/// Why a Service does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Unknown,
    /// The Service is there, and has no such port.
    Port,
    /// No pod of it is ready.
    Unready,
}

/// Answers as `host` would. `host` is a Service seen from `namespace` (`gospelib-gateway`,
/// `gospelib-gateway.gospelib-production.svc`), or a public name (`api.gospelib.com`). A name that does not resolve and a
/// Service without ready pods are answered with 502 and 503, as a gateway would.
pub async fn respond(world: &Arc<World>, namespace: &str, host: &str, port: u16, request: Request) -> Response {
    match reach(world, namespace, host, port, request).await {
        Some(response) => response,
        None if is_service(world, namespace, host) => plain(StatusCode::SERVICE_UNAVAILABLE, "no ready endpoint\n"),
        None => plain(StatusCode::BAD_GATEWAY, "no such host\n"),
    }
}

/// The same; `None` where no connection comes about.
pub async fn reach(world: &Arc<World>, namespace: &str, host: &str, port: u16, request: Request) -> Option<Response> {
    if let Some(site) = sites::site(world, host) {
        return Some(sites::answer(world, site, request).await);
    }
    let (name, space) = service_name(namespace, host);
    let (pod, port) = endpoint(world, space, name, &port.to_string()).ok()?;
    ask_pod(world, &pod, port, request).await
}

/// Name and namespace of the Service behind an in-cluster host name.
fn service_name<'a>(namespace: &'a str, host: &'a str) -> (&'a str, &'a str) {
    let mut parts = host.split('.');
    let name = parts.next().unwrap_or_default();
    (name, parts.next().unwrap_or(namespace))
}

fn is_service(world: &World, namespace: &str, host: &str) -> bool {
    let (name, space) = service_name(namespace, host);
    world.kube.get("services", space, name).is_some()
}

/// The pod and its port behind a Service's port (number, name, or empty for the only one).
pub fn endpoint(world: &World, space: &str, service: &str, port: &str) -> Result<(Arc<Value>, u16), Refusal> {
    let service = world.kube.get("services", space, service).ok_or(Refusal::Unknown)?;
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let named =
        |entry: &&Value| entry["name"] == port || port.parse() == Ok(entry["port"].as_u64().unwrap_or_default());
    let entry = if port.is_empty() { ports.first() } else { ports.iter().find(named) };
    let target = entry.ok_or(Refusal::Port)?["targetPort"].clone();
    let ready = ready_pods(world, space, &service["spec"]["selector"]);
    // Round robin would need memory; the world's second is as good.
    let turn = usize::try_from(world.clock.now().as_second()).unwrap_or_default() % ready.len().max(1);
    let pod = ready.get(turn).cloned().ok_or(Refusal::Unready)?;
    let number = match target.as_str() {
        Some(name) => port_named(&pod, name),
        None => target.as_u64().and_then(|port| u16::try_from(port).ok()),
    };
    Ok((pod, number.ok_or(Refusal::Port)?))
}

fn ready_pods(world: &World, space: &str, selector: &Value) -> Vec<Arc<Value>> {
    let pods = world.kube.list("pods", Some(space)).into_iter();
    pods.filter(|pod| selects(selector, &pod["metadata"]["labels"]))
        .filter(|pod| condition_is_true(pod, "Ready") && !is_terminating(pod))
        .collect()
}

fn ports(pod: &Value) -> impl Iterator<Item = &Value> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    containers.flat_map(|container| container["ports"].as_array().into_iter().flatten())
}

fn port_named(pod: &Value, name: &str) -> Option<u16> {
    let port = ports(pod).find(|port| port["name"] == name)?;
    port["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok())
}

/// The ports that a pod's containers declare.
pub fn container_ports(pod: &Value) -> Vec<u16> {
    ports(pod).filter_map(|port| port["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok())).collect()
}

/// Whether something listens on a pod's port.
pub fn listens(pod: &Value, port: u16) -> bool {
    let running = pod.pointer("/status/containerStatuses/0/state/running").is_some();
    running && container_ports(pod).contains(&port)
}

/// A pod's own answer; `None` when nothing listens there.
pub async fn ask_pod(world: &Arc<World>, pod: &Value, port: u16, request: Request) -> Option<Response> {
    if !listens(pod, port) {
        return None;
    }
    if namespace(pod) == "monitoring" && label(pod, "app") == "prometheus" {
        return Some(call(crate::rehearsal::prometheus::router(world.clone()), request).await);
    }
    let service = world.shape.service_of(label(pod, "app"))?;
    tokio::time::sleep(world.measure.pace.probe_delay).await;
    Some(service_answer(world, pod, service, request.method(), request.uri().path()))
}

/// Calls a router without a connection.
pub async fn call(router: axum::Router, request: Request) -> Response {
    use hyper::service::Service as _;
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn service_answer(world: &World, pod: &Value, service: &str, method: &Method, path: &str) -> Response {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    }
    match path {
        "/health" => health(pod, service, "ok", StatusCode::OK, Map::new()),
        "/ready" => {
            let (ok, checks) = checks(world, pod, service);
            let (word, code) =
                if ok { ("ok", StatusCode::OK) } else { ("unavailable", StatusCode::SERVICE_UNAVAILABLE) };
            health(pod, service, word, code, checks)
        }
        _ => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn health(pod: &Value, service: &str, status: &str, code: StatusCode, checks: Map<String, Value>) -> Response {
    let image = text(pod, "/spec/containers/0/image");
    let tag = image.split('@').next().and_then(|name| name.rsplit_once(':')).map_or("", |(_, tag)| tag);
    let digest = text(pod, "/status/containerStatuses/0/imageID").split_once('@').map_or("", |(_, digest)| digest);
    let body = json!({
        "status": status,
        "service": service,
        "version": tag,
        "digest": digest,
        "pod": name(pod),
        "restarts": number(pod, "/status/containerStatuses/0/restartCount").unwrap_or(0),
        "checks": checks,
    });
    (code, axum::Json(body)).into_response()
}

/// What a service depends on, and whether that answers.
fn checks(world: &World, pod: &Value, service: &str) -> (bool, Map<String, Value>) {
    let mut checks = Map::new();
    if world.shape.databases.iter().any(|database| database == service) {
        checks.insert("postgres".into(), json!("ok"));
    }
    if service == "search" {
        checks.insert("falkordb".into(), json!("ok"));
    }
    checks.insert("redis".into(), json!("ok"));
    let unhealthy = world.scenario.world.staging_unhealthy.as_deref() == Some(service)
        && namespace(pod) == world.shape.namespace("staging");
    let starting = !condition_is_true(pod, "Ready");
    if unhealthy || starting {
        let why = if unhealthy { "dial tcp 10.0.41.12:6379: connect: connection refused" } else { "not connected yet" };
        checks.insert("redis".into(), json!(why));
    }
    (!unhealthy && !starting, checks)
}

pub fn plain(code: StatusCode, text: &'static str) -> Response {
    (code, text).into_response()
}
