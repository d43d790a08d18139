//! The API server's proxies to Services and pods.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};

use super::services::{self, Refusal};
use crate::rehearsal::World;
use crate::rehearsal::kube::{Status, resources};

/// `services/{name}`, `services/{name}:{port}` or `services/{scheme}:{name}:{port}`, then `/proxy/{path}`.
pub async fn service(
    State(world): State<Arc<World>>,
    Path(parts): Path<HashMap<String, String>>,
    request: Request,
) -> Response {
    let (scheme, name, port) = split(part(&parts, "name"));
    if scheme == "https" {
        return unreachable("tls: first record does not look like a TLS handshake");
    }
    let namespace = part(&parts, "namespace");
    match services::endpoint(&world, namespace, name, port) {
        Ok((pod, port)) => match services::ask_pod(&world, &pod, port, without_prefix(request)).await {
            Some(response) => response,
            None => unreachable("connect: connection refused"),
        },
        Err(Refusal::Unknown) => refuse("services", name),
        Err(Refusal::Port) => unavailable(format!("no service port \"{port}\" found for service \"{name}\"")),
        Err(Refusal::Unready) => unavailable(format!("no endpoints available for service \"{name}\"")),
    }
}

/// `pods/{name}` or `pods/{name}:{port}`, then `/proxy/{path}`.
pub async fn pod(
    State(world): State<Arc<World>>,
    Path(parts): Path<HashMap<String, String>>,
    request: Request,
) -> Response {
    let (_, name, port) = split(part(&parts, "name"));
    let Some(pod) = world.kube.get("pods", part(&parts, "namespace"), name) else { return refuse("pods", name) };
    let first = || services::container_ports(&pod).first().copied().unwrap_or(80);
    let port = if port.is_empty() { first() } else { port.parse().unwrap_or_default() };
    let answer = services::ask_pod(&world, &pod, port, without_prefix(request)).await;
    answer.unwrap_or_else(|| unreachable("connect: connection refused"))
}

fn part<'a>(parts: &'a HashMap<String, String>, key: &str) -> &'a str {
    parts.get(key).map(String::as_str).unwrap_or_default()
}

/// Scheme, name and port of `[scheme:]name[:port]`.
fn split(text: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [scheme, name, port] => (scheme, name, port),
        [name, port] => ("", name, port),
        _ => ("", text, ""),
    }
}

/// The request as the pod sees it: the path behind `/proxy`.
fn without_prefix(mut request: Request) -> Request {
    let uri = request.uri().path_and_query().map(|p| p.as_str().to_owned()).unwrap_or_default();
    let rest = uri.split_once("/proxy").map(|(_, rest)| rest).unwrap_or_default();
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    if let Ok(uri) = rest.parse() {
        *request.uri_mut() = uri;
    }
    request
}

fn refuse(plural: &str, name: &str) -> Response {
    match resources::by_plural(plural) {
        Some(resource) => Status::not_found(resource, name).into_response(),
        None => Status::bad_request(format!("no resource {plural}")).into_response(),
    }
}

fn unavailable(message: String) -> Response {
    Status::new(503, "ServiceUnavailable", message).into_response()
}

fn unreachable(why: &str) -> Response {
    unavailable(format!("error trying to reach service: {why}"))
}
