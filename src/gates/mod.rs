//! The runbook's checklist, one file per item: each gate asks the world, and answers with evidence.

pub mod attestation;
pub mod ci;
pub mod errors;
pub mod health;
pub mod hotfix;
mod image_fate;
pub mod migrations;
pub mod performance;
mod ready;
pub mod rollback;
mod secrets;
pub mod smoke;
pub mod soak;
mod timeline;
mod waived;
mod wayback;
mod words;

pub use attestation::Attestation;
pub use ci::Ci;
pub use errors::Errors;
pub use health::Health;
pub use migrations::Migrations;
pub use performance::{Baseline, Performance};
pub use ready::Ready;
pub use rollback::Rollback;
pub use smoke::Smoke;
pub use soak::Soak;
pub use waived::{Waiver, waived};
