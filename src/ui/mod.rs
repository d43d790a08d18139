//! What people and machines see: results on standard output, everything else on standard error.

pub mod error;
pub mod out;
pub mod style;
