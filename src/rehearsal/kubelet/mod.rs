//! What the API server passes on to nodes: logs, port-forwards, proxies; and what answers at their other end.

mod forward;
mod log;
mod proxy;
mod routes;
mod services;
mod sites;
#[cfg(test)]
mod tests;

pub use routes::router;
pub use services::{reach, respond};
pub use sites::direct;
