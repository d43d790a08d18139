//! How long something of others is waited for that may never come, where that is no failure.

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};

use crate::engine::StepIo;

/// At least so long (wall time), however fast the world's clock is.
const AT_LEAST: SignedDuration = SignedDuration::from_secs(10);

/// Begins with the first question.
#[derive(Default)]
pub(super) struct Patience(OnceLock<(Timestamp, Timestamp)>);

impl Patience {
    /// Whether `within` (world time) has passed.
    pub fn is_over(&self, within: SignedDuration, io: &StepIo) -> bool {
        let (now, wall) = (io.now(), io.clock.wall());
        let (since, since_wall) = self.0.get_or_init(|| (now, wall));
        now.duration_since(*since) >= within && wall.duration_since(*since_wall) >= AT_LEAST
    }
}
