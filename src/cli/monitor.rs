//! `monitor`.

use std::time::Duration;

use clap::Args;

use super::args::duration;

/// Watch production: pods, health, restarts, error rate and p95 against their limits
///
/// Each look says the limits and whether each figure holds. Red health, restarts and a service without pods decide at once; errors, p95
/// and too few pods do when `watch.bad_looks` looks in a row have them. With --output json each look is a document on a line of its own
/// (JSON Lines), and a failure is the last line; with --once there is one document, with the failure in it.
#[derive(Debug, Clone, Args)]
pub struct Monitor {
    /// How long to watch [default: watch.for]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "once")]
    pub lasts: Option<Duration>,

    /// Look once, and say what is seen
    #[arg(long)]
    pub once: bool,
}
