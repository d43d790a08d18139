//! The outside, spoken to: one narrow client per system. The wire is the seam; nothing here knows what a release is.

pub mod aws;
pub mod builder;
pub mod cluster;
pub mod git;
pub mod github;
pub mod http;
pub mod migrate;
pub mod postgres;
pub mod prometheus;
pub mod reach;
pub mod retry;
pub mod site;
pub mod terraform;
pub mod webhook;
