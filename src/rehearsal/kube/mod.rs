//! Placeholder.
pub struct Store;
