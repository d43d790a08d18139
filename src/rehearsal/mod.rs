//! The embedded production: a house of its own, which speaks the same wires and imports no adapter.
//!
//! Faithful where it matters (the Kubernetes API over TLS, watches, conflicts, Argo CD's behaviour, GitHub's and
//! AWS' bytes, a real Git repository) and honest where it is not: an unknown route answers 501.

pub mod aws;
pub mod controllers;
pub mod faults;
pub mod git;
pub mod github;
pub mod infrastructure;
pub mod kube;
pub mod kubelet;
pub mod measure;
pub mod postgres;
pub mod programs;
pub mod prometheus;
pub mod promql;
pub mod scenario;
pub mod serve;
pub mod shape;
pub mod switches;
pub mod traffic;
pub mod webhook;
pub mod world;

pub use scenario::Scenario;
pub use serve::{Manifest, Options, Rehearsal};
pub use world::World;
