//! The command line: one file per command's arguments, thin over `ops`.

pub mod args;
pub mod checklist;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod hotfix;
pub mod init;
pub mod monitor;
pub mod promote;
pub mod provision;
pub mod reference;
pub mod rehearse;
pub mod rollback;
pub mod run;
pub mod runs;
mod signals;
pub mod tag;

pub use args::{Cli, Command, Events, Global, Output};
