//! The routes of the Kubernetes API that end at a kubelet.

use std::sync::Arc;

use axum::Router;

use crate::rehearsal::World;

/// `pods/{name}/log`, `pods/{name}/portforward`, and `/proxy/` below pods and services. The server in front of it must
/// serve HTTP/1.1 connections with upgrades.
pub fn router(world: Arc<World>) -> Router {
    Router::new().with_state(world)
}
