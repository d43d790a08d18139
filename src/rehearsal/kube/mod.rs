//! The rehearsed Kubernetes API: one generic object store, and the wire of an API server in front of it.

mod api;
mod apply;
mod auth;
mod columns;
mod convert;
mod defaults;
mod discovery;
mod fields;
mod holding;
mod list;
mod managed;
mod openapi;
mod patch;
mod request;
pub mod resources;
mod scale;
mod schema;
mod selector;
mod status;
mod store;
mod strategic;
mod table;
mod tls;
mod validate;
mod verbs;
mod watch;
#[cfg(test)]
mod wire_tests;

pub use api::{router, store_router};
pub use auth::{AuthTokens, AwsKey};
pub use discovery::VERSION;
pub use holding::holding;
pub use request::verb_and_resource;
pub use resources::Resource;
pub use selector::Labels;
pub use status::Status;
pub use store::{Event, Preconditions, Propagation, Store};
pub use tls::{Identity, serve_tls};
