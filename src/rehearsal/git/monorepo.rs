//! Generates the Gospelib-shaped monorepo, with its past.

use std::path::Path;

use jiff::Timestamp;

use super::Repo;
use crate::error::{Error, Result};
use crate::rehearsal::aws::Registry;
use crate::rehearsal::world::Past;
use crate::rehearsal::{Scenario, shape::Shape};

/// Makes the repository in `dir` and builds the images of its past in `registry`. The same arguments make the same
/// commits, byte for byte.
pub fn create(
    _dir: &Path,
    _shape: &Shape,
    _scenario: &Scenario,
    _registry: &Registry,
    _start: Timestamp,
    _seed: u64,
) -> Result<(Repo, Past)> {
    Err(Error::outside("make the monorepo: not yet"))
}
