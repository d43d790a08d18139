//! What pods, logs and metrics say, judged: pure functions over what the adapters read.

pub mod fingerprint;
pub mod sli;
