//! `gospel-release.yaml`: the model, its layers, and where each value came from.

pub mod env;
pub mod load;
pub mod model;
pub mod origin;

pub use env::Env;
pub use load::{FileSource, Loaded, Sources, load};
pub use model::Config;
pub use origin::Origin;
