//! GitHub's REST API.

use std::sync::Arc;

use axum::Router;

use crate::rehearsal::World;

/// GitHub's REST routes below `/`.
pub fn router(world: Arc<World>) -> Router {
    Router::new().with_state(world)
}
