//! `hotfix start`.

use clap::{Args, Subcommand};

use crate::domain::{HotfixName, Version};

/// Mend production at once: branch from what it runs
#[derive(Debug, Clone, Args)]
pub struct Hotfix {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    Start(Start),
}

/// Make the branch hotfix/NAME from the release that production runs, and switch to it
#[derive(Debug, Clone, Args)]
pub struct Start {
    /// What the hotfix is called: lower-case letters, digits and '-'
    pub name: HotfixName,

    /// The release to begin from [default: the one that production runs]
    #[arg(long, value_name = "VERSION")]
    pub from: Option<Version>,
}
