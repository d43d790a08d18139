//! Placeholder.
pub struct Hub;
