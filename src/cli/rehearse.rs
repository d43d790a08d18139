//! `rehearse`.

use std::time::Duration;

use clap::{Args, Subcommand};

/// The embedded production: its scenarios, and the same world as a server of its own
#[derive(Debug, Clone, Args)]
pub struct Rehearse {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Describe every scenario: what breaks, and what a good engineer does
    List,
    Serve(Serve),
}

/// Serve a scenario's world on this machine until interrupted, for several commands and other people's clients
///
/// Prints what another shell needs, as lines for sh: variables to export, and the way to the checkout. With --output json it prints one
/// line of JSON, with the URLs too.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    #[arg(default_value = "clean")]
    pub scenario: String,

    /// Seed of everything that looks random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// How many times faster than the wall clock the world's time runs [default: the scenario's, mostly 3600]
    #[arg(long, value_name = "N", value_parser = speed)]
    pub speed: Option<f64>,

    /// Number of services
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub services: u16,

    /// Wall time from a pod's creation until it is ready, such as 500ms [default: some seconds of the world's time]
    #[arg(long, value_name = "DURATION", value_parser = wall_time)]
    pub ready_after: Option<Duration>,

    /// Wall time that services take to answer on their health endpoints
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = wall_time)]
    pub probe_delay: Duration,

    /// Give staging, production and Argo CD a cluster each, staging an account of its own, and the databases a pooler
    #[arg(long)]
    pub separate_clusters: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (1.0..=100_000.0).contains(&speed) => Ok(speed),
        _ => Err("it must be a number from 1 to 100000".into()),
    }
}

fn wall_time(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_mins(1);
    match text.parse::<jiff::SignedDuration>().map(Duration::try_from) {
        Ok(Ok(time)) if time <= longest => Ok(time),
        _ => Err("it must be a duration from 0s to 60s, such as 500ms".into()),
    }
}
