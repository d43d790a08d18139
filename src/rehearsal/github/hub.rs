//! What GitHub knows beside the repository.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use crate::rehearsal::git::{RefChange, Repo};
use crate::rehearsal::shape::Shape;
use crate::rehearsal::world::Past;
use crate::rehearsal::{Scenario, World};

/// Checks, runs, deployments, releases and rules.
pub struct Hub {
    /// Base URL of pages for people (`html_url`), without a slash at its end.
    base: OnceLock<String>,
}

impl Hub {
    /// GitHub at the beginning of the story.
    #[must_use]
    pub fn new(
        _shape: &Shape,
        _scenario: &Scenario,
        _repo: &Repo,
        _past: &Past,
        _start: Timestamp,
        _seed: u64,
    ) -> Self {
        Self { base: OnceLock::new() }
    }

    /// Says where [`super::router`] is served (`http://127.0.0.1:4711`); once, before the first request.
    pub fn serve_at(&self, base_url: &str) {
        let _ = self.base.set(base_url.trim_end_matches('/').to_owned());
    }

    /// Reacts to what one push changed. Called by the Git hosting after every push.
    pub fn on_push(&self, _world: &Arc<World>, _changes: &[RefChange]) {}
}
