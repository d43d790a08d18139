//! The rehearsed AWS: one endpoint for every service, as the SDKs call it.

mod amplify;
mod ecr;
mod eks;
mod registry;
mod router;
mod secrets;
mod sts;
mod upload;
mod wire;

pub use amplify::app_id;
pub use ecr::PASSWORD;
pub use registry::{Image, Registry, TagTaken, compose};
pub use router::{Cluster, STAGING_KEY, router};
pub use secrets::SECRETS;
