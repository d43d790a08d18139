//! The routes of the Kubernetes API that end at a kubelet.

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

use super::{forward, log, proxy};
use crate::rehearsal::World;

/// `pods/{name}/log`, `pods/{name}/portforward`, and `/proxy/` below pods and services. The server in front of it must
/// serve HTTP/1.1 connections with upgrades.
pub fn router(world: Arc<World>) -> Router {
    const NAMESPACE: &str = "/api/v1/namespaces/{namespace}";
    let mut router = Router::new()
        .route(&format!("{NAMESPACE}/pods/{{name}}/log"), get(log::log))
        .route(&format!("{NAMESPACE}/pods/{{name}}/portforward"), any(forward::port_forward));
    for end in ["proxy", "proxy/", "proxy/{*path}"] {
        router = router
            .route(&format!("{NAMESPACE}/pods/{{name}}/{end}"), any(proxy::pod))
            .route(&format!("{NAMESPACE}/services/{{name}}/{end}"), any(proxy::service));
    }
    router.with_state(world)
}
