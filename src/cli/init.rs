//! `init`.

use clap::Args;

/// Write a first gospel-release.yaml by looking at the repository; --dry-run prints it
#[derive(Debug, Clone, Args)]
pub struct Init {
    /// Replace a gospel-release.yaml that is there
    #[arg(long)]
    pub force: bool,
}
