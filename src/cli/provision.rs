//! `provision`.

use clap::{Args, Subcommand};

/// Plan the infrastructure with Terraform, and judge the plan: risk, cost, rules
#[derive(Debug, Clone, Args)]
pub struct Provision {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    Plan(Plan),
}

/// Make a plan, keep it for apply, and show what it means; changes nothing
#[derive(Debug, Clone, Args)]
pub struct Plan {}
