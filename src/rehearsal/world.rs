//! The state of the rehearsed production, shared by its servers and controllers.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Scenario, shape::Shape};
use crate::clock::Clock;
use crate::domain::{Digest, Version};

/// Everything that exists. Each part has its own lock and is changed only through its own functions.
pub struct World {
    pub clock: Clock,
    pub seed: u64,
    pub scenario: Scenario,
    pub shape: Shape,
    /// What happened before the story begins.
    pub past: Past,
    pub kube: super::kube::Store,
    pub registry: super::aws::Registry,
    pub repo: super::git::Repo,
    pub hub: super::github::Hub,
    pub databases: super::postgres::Databases,
    pub traffic: super::traffic::Traffic,
    /// Faults that can be repaired while the world runs.
    pub switches: super::switches::Switches,
    /// Known delays, and what was asked.
    pub measure: super::measure::Measure,
}

/// One set of images that was built from one commit.
#[derive(Debug, Clone)]
pub struct Build {
    /// `None` for a build that was never released.
    pub version: Option<Version>,
    pub commit: String,
    /// World time of the build.
    pub at: Timestamp,
    /// Digest by service.
    pub images: BTreeMap<String, Digest>,
}

/// The releases so far, and what soaks on staging.
#[derive(Debug, Clone)]
pub struct Past {
    /// Oldest first; the last one runs in production.
    pub releases: Vec<Build>,
    /// What staging runs.
    pub candidate: Build,
}
