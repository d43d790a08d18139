//! The rehearsed GitHub: REST, Actions, releases and rules over the rehearsed repository.

mod api;
mod hub;

pub use api::router;
pub use hub::Hub;
