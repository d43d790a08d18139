//! The wire of the API server: which request goes where.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::auth::{self, AuthTokens};
use super::request::{self, Call, Target};
use super::status::json_response;
use super::{Status, Store, discovery, list, openapi, verbs, watch};
use crate::rehearsal::World;

/// The whole API of a world: objects, and what kubelets answer.
pub fn router(world: Arc<World>, auth: AuthTokens) -> Router {
    let kubelet = crate::rehearsal::kubelet::router(world.clone());
    guarded(objects(world.kube.clone()).merge(kubelet), auth)
}

/// The API of a store alone.
pub fn store_router(store: Store, auth: AuthTokens) -> Router {
    guarded(objects(store), auth)
}

fn guarded(router: Router, auth: AuthTokens) -> Router {
    router.layer(axum::middleware::from_fn_with_state(auth, auth::check))
}

/// Everything is one fallback: the paths are the same for each resource, and the kubelet's routes come first.
fn objects(store: Store) -> Router {
    Router::new().fallback(handle).with_state(store)
}

async fn handle(State(store): State<Store>, request: Request) -> Response {
    let answer = async { route(&store, Call::read(request, store.clock().now()).await?) };
    answer.await.unwrap_or_else(Status::into_response)
}

fn route(store: &Store, call: Call) -> Result<Response, Status> {
    if matches!(call.path.as_str(), "/healthz" | "/livez" | "/readyz") {
        return Ok("ok".into_response());
    }
    if call.method == Method::GET {
        if let Some(answer) = discovery::answer(&call.path) {
            return answer.map(|value| json_response(StatusCode::OK, &value));
        }
        if let Some(answer) = openapi::answer(&call) {
            return answer;
        }
    }
    if let Some(answer) = review(&call) {
        return answer;
    }
    let target = request::target(&call.path)?;
    check_sub(&target)?;
    serve(store, call, target)
}

fn check_sub(target: &Target) -> Result<(), Status> {
    let resource = target.resource;
    match target.sub.as_deref() {
        None => Ok(()),
        Some("status") if resource.status => Ok(()),
        Some("scale") if resource.scale => Ok(()),
        Some(sub) => Err(Status::not_simulated(&format!("{}/{sub}", resource.qualified()))),
    }
}

fn serve(store: &Store, call: Call, target: Target) -> Result<Response, Status> {
    match (call.method.as_str(), target.name.is_some()) {
        ("GET", true) => list::get(store, &call, &target),
        ("GET", false) if call.flag("watch") => watch::watch(store, call, target),
        ("GET", false) => list::list(store, &call, &target),
        ("POST", false) => verbs::create(store, &call, &target),
        ("PUT", true) => verbs::update(store, &call, &target),
        ("PATCH", true) => verbs::patch(store, &call, &target),
        ("DELETE", true) => verbs::delete(store, &call, &target),
        ("DELETE", false) => verbs::delete_collection(store, &call, &target),
        _ => Err(Status::method_not_allowed()),
    }
}

/// Questions about oneself. Everything is allowed here, and the answer says that this proves nothing.
fn review(call: &Call) -> Option<Result<Response, Status>> {
    let status = match call.path.as_str() {
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            json!({"allowed": true, "reason": "rehearsal: everything is allowed; this proves no permission"})
        }
        "/apis/authentication.k8s.io/v1/selfsubjectreviews" => {
            json!({"userInfo": {"username": call.user, "groups": ["system:authenticated"]}})
        }
        _ => return None,
    };
    if call.method != Method::POST {
        return Some(Err(Status::method_not_allowed()));
    }
    Some(call.object().map(|mut review: Value| {
        review["status"] = status;
        json_response(StatusCode::CREATED, &review)
    }))
}
