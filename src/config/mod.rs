//! `gospel-release.yaml`: the model, its layers, and where each value came from.

mod check;
mod defaults;
pub mod env;
mod layers;
pub mod load;
pub mod model;
pub mod origin;
pub mod patch;
mod problem;
pub mod reference;
pub mod schema;
pub mod show;
pub mod span;
mod tree;
mod validate;
mod yaml;

#[cfg(test)]
mod tests;

pub use env::Env;
pub use load::{FileSource, Loaded, Sources, load};
pub use model::Config;
pub use origin::Origin;
