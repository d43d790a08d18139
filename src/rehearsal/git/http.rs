//! Smart HTTP at `/git/<owner>/<name>.git`, through `git http-backend`.

use std::sync::Arc;

use axum::Router;

use crate::rehearsal::World;

/// The routes below `/git/`.
pub fn router(world: Arc<World>) -> Router {
    Router::new().with_state(world)
}
