//! One integration test binary.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests stand outside the house")]
#![allow(clippy::format_collect, clippy::items_after_statements, reason = "shorter to read in a test")]

mod adapters;
mod argo_sources;
mod bad_input;
mod careful;
mod clusters;
mod crash;
mod docs;
mod documented;
mod e2e;
mod hotfix;
mod hotfix_finish;
mod house;
mod incidents;
mod init;
mod known;
mod lock;
mod outages;
mod plans;
mod provision;
mod reference;
mod requests;
mod scenarios;
mod sessions;
mod steps;
mod support;
mod told;
mod way_back;
