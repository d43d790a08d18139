//! What pods, logs and metrics say, judged: pure functions over what the adapters read.

mod doom;
pub mod fingerprint;
pub mod pods;
pub mod sli;

pub use doom::Doom;
