//! `config`.

use clap::{Args, Subcommand};

/// Show, check and describe the configuration
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Print every value that is in force
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origins: bool,
    },
    /// Print the JSON Schema of gospel-release.yaml, for editors
    Schema,
    /// Read and check every layer, and contact nothing
    Check,
}
