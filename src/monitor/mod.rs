//! What pods, logs and metrics say, judged; most of it pure functions over what the adapters read.

pub mod agreement;
pub mod databases;
mod doom;
pub mod endpoints;
pub mod fingerprint;
pub mod metrics;
pub mod pods;
pub mod running;
pub mod sli;

pub use doom::Doom;
