//! The rehearsed Kubernetes API: one generic object store, and the wire of an API server in front of it.

mod api;
mod auth;
mod defaults;
pub mod resources;
mod status;
mod store;
mod tls;

pub use api::{router, store_router};
pub use auth::{AuthTokens, AwsKey};
pub use resources::Resource;
pub use status::Status;
pub use store::{Event, Preconditions, Propagation, Store};
pub use tls::{Identity, serve_tls};
