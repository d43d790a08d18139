//! One integration test binary.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests stand outside the house")]

mod adapters;
mod bad_input;
mod crash;
mod docs;
mod house;
mod reference;
mod scenarios;
mod support;
