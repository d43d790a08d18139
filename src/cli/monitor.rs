//! `monitor`.

use std::time::Duration;

use clap::Args;

use super::args::duration;

/// Watch production: pods, health, restarts, error rate and p95 against their limits
#[derive(Debug, Clone, Args)]
pub struct Monitor {
    /// How long to watch [default: watch.for]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "once")]
    pub lasts: Option<Duration>,

    /// Look once, and say what is seen
    #[arg(long)]
    pub once: bool,
}
