//! The rehearsed Kubernetes API: one generic object store, and the wire of an API server in front of it.

mod defaults;
pub mod resources;
mod status;
mod store;

pub use resources::Resource;
pub use status::Status;
pub use store::{Event, Preconditions, Propagation, Store};
