//! How Gospelib's services, its public sites and the monitoring answer over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::rehearsal::World;

/// Answers as the host would. `host` is a Service (`gospelib-gateway`, `gateway.gospelib-production.svc`) seen from
/// `namespace`, or a public name (`api.gospelib.com`).
pub async fn respond(_world: &Arc<World>, _namespace: &str, _host: &str, _port: u16, _request: Request) -> Response {
    StatusCode::NOT_IMPLEMENTED.into_response()
}

/// The same for a loopback listener (`reach: direct`): `/svc/<namespace>/<service>/<port>/<path>`,
/// `/host/<public name>/<path>`, and anything else by its Host header.
pub fn direct(world: Arc<World>) -> Router {
    Router::new().with_state(world)
}
