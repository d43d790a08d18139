//! `gospel-release.yaml`: the model, its layers, and where each value came from.

pub mod model;

pub use model::Config;
