//! gospel-release: ship a service to production, and bring it back.
//!
//! The map of the house, from the roof down (docs/architecture.md draws it):
//!
//! | floor | rooms | what they know |
//! |---|---|---|
//! | roof | [`cli`], [`config`] | flags, settings, wiring, the exit code |
//! | 4 | [`ops`] | one verb, one file: builds a plan and runs it |
//! | 3 | [`gates`], [`steps`] | release knowledge: what must hold, what changes the world |
//! | 2 | [`adapters`], [`engine`], [`monitor`] | the outside, spoken to; how a plan is run, recorded and resumed |
//! | 1 | [`domain`], [`error`], [`clock`], [`process`] | plain values, time, programs |
//! | balcony | [`ui`] | listens to events, and draws them |
//! | next door | [`rehearsal`] | the simulated production, behind the same wires |
//!
//! Data flows one way: arguments → plan → steps → events → screen.

pub mod adapters;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod error;
pub mod gates;
pub mod monitor;
pub mod ops;
pub mod process;
pub mod rehearsal;
pub mod steps;
pub mod ui;

pub use error::{Error, Kind, Result};
