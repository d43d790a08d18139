//! The runbook's checklist, one file per item: each gate asks the world, and answers with evidence.

pub mod attestation;
pub mod ci;
pub mod errors;
pub mod health;
pub mod migrations;
pub mod performance;
pub mod smoke;
pub mod soak;
mod timeline;
mod waived;
mod words;

pub use attestation::Attestation;
pub use ci::Ci;
pub use errors::Errors;
pub use health::Health;
pub use migrations::Migrations;
pub use performance::Performance;
pub use smoke::Smoke;
pub use soak::Soak;
pub use waived::waived;
