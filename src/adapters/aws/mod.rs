//! AWS, as far as a release needs it: who we are, where the cluster is, which images exist.

mod amplify;
mod client;
mod ecr;
mod eks;
mod eks_parts;
mod eks_token;
mod errors;
mod lifecycle;
mod push;
mod secrets;

pub use amplify::AmplifyJob;
pub use client::{Aws, Identity};
pub use ecr::{ImageId, ImageInfo};
pub use eks::ClusterInfo;
pub use eks_parts::EksPart;
pub use eks_token::EksToken;
pub use lifecycle::{CountType, LifecyclePolicy, LifecycleRule, TagStatus};
pub use push::{ImageConfig, RegistryToken, Scan};
pub use secrets::SecretInfo;
