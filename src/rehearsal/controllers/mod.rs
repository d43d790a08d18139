//! What keeps the rehearsed cluster moving: one function per controller over the object store.

mod run;
mod seed;

pub use run::{Controllers, start};
pub use seed::seed;
