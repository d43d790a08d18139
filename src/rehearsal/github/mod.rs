//! The rehearsed GitHub: REST, Actions, releases and rules over the rehearsed repository.

mod api;
mod hub;
mod json;
mod seed;
mod state;
#[cfg(test)]
pub(crate) mod testing;
mod workflow;

pub use api::router;
pub use hub::Hub;
