//! What keeps the rehearsed cluster moving: one function per controller over the object store.

mod argo;
#[cfg(test)]
mod argo_tests;
mod compare;
mod cron;
mod deployment;
mod events;
mod jobs;
mod kubelet;
mod memory;
pub mod object;
mod owners;
mod pods;
mod replicaset;
mod rollout;
mod run;
mod secrets;
mod seed;
mod sources;
mod sync;
#[cfg(test)]
pub(crate) mod tests;

pub use jobs::OUTPUT as JOB_OUTPUT;
pub use kubelet::{LOG_INTERVAL, running_since};
pub use run::{Controllers, start};
pub use seed::{POOLER, seed};
