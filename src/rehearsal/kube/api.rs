//! The wire of the API server: which request goes where.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;

use super::auth::{self, AuthTokens};
use super::{Status, Store};
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

async fn handle(State(_store): State<Store>) -> Status {
    Status::not_simulated("this yet")
}
