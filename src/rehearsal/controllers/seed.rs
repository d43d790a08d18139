//! What the cluster held before the story begins.

use crate::rehearsal::World;

/// Fills the object store from the world's past.
pub fn seed(_world: &World) {}
