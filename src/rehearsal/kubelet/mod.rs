//! What the API server passes on to nodes: logs, port-forwards, proxies; and what answers at their other end.

mod routes;
mod services;

pub use routes::router;
pub use services::{direct, respond};
