//! `provision`.

use std::path::PathBuf;

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
    Drift(Drift),
    Check(Check),
    Cost(Cost),
    Judge(Judge),
}

/// Make a plan, keep it, and show what it means; changes nothing and ends 10 where a rule refuses it
#[derive(Debug, Clone, Args)]
pub struct Plan {}

/// Say what changed outside Terraform; ends 18 where something did
#[derive(Debug, Clone, Args)]
pub struct Drift {}

/// Look at what an apply left: cluster, nodes, add-ons, outputs, addresses; ends 10 where something is not as it should be
#[derive(Debug, Clone, Args)]
pub struct Check {}

/// Compare the runbook's cost table with list prices, and with the last plan
#[derive(Debug, Clone, Args)]
pub struct Cost {
    /// The JSON of a plan (terraform show -json) [default: the last plan on this machine]
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

/// Judge a plan that was made elsewhere; ends 10 where a rule refuses it
#[derive(Debug, Clone, Args)]
pub struct Judge {
    /// The JSON of a plan (terraform show -json); - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}
