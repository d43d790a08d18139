//! Placeholder.
pub struct Repo;
