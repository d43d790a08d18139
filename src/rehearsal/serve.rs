//! The whole rehearsed world, served on 127.0.0.1.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::{Scenario, World};
use crate::error::{Error, Result};

/// Which world to serve.
#[derive(Debug, Clone)]
pub struct Options {
    pub scenario: Scenario,
    /// The same seed makes the same world.
    pub seed: u64,
    /// World seconds in a wall second.
    pub speed: f64,
    /// How many services Gospelib has; 6 unless something is measured.
    pub services: usize,
    /// Where its files go; a temporary directory, removed at the end, if `None`.
    pub dir: Option<PathBuf>,
}

impl Options {
    /// `scenario` with seed 1, an hour a second, Gospelib's six services.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario, seed: 1, speed: 3600.0, services: 6, dir: None }
    }
}

/// What a client needs to know of a served world: one line of JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    pub scenario: String,
    pub kubeconfig: PathBuf,
    /// URL of the Git repository.
    pub git: String,
    /// Path of `gospel-release.yaml`.
    pub config: PathBuf,
    pub urls: BTreeMap<String, String>,
    /// What to export for the tool and for other people's clients.
    pub environment: BTreeMap<String, String>,
}

/// A served world; it ends with [`Rehearsal::shutdown`], or when it is dropped.
pub struct Rehearsal {
    pub world: Arc<World>,
    manifest: Manifest,
}

impl Rehearsal {
    /// Builds the world and serves it; returns when every part answers.
    pub async fn start(options: Options) -> Result<Self> {
        Err(Error::internal(format!("the {} world is not assembled yet", options.scenario.name)))
    }

    /// What a client needs to know.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Stops every server and removes the files, if they were temporary.
    pub async fn shutdown(self) {}
}
