//! The rehearsed AWS: one endpoint for every service, as the SDKs call it.

mod registry;

pub use registry::{Image, Registry, TagTaken};
