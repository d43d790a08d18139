//! The checkout: git2 for the object database, the `git` program for the network and for signing, so that people's
//! SSH agents, credential helpers, pre-push hooks and signing keys work as they do by hand.

mod branch;
mod checkout;
mod merge;
mod network;
mod objects;
mod porcelain;
mod tags;
mod worktree;

#[cfg(test)]
mod tests;

pub use checkout::{CheckoutState, Git, url_names_slug};
pub use merge::Merged;
pub use network::{Pushed, RemoteRef};
pub use objects::PathChange;
pub use tags::ReleaseTag;
pub use worktree::Uncommitted;
