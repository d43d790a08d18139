//! `provision`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

/// Plan the infrastructure with Terraform, judge the plan (risk, cost, rules), and apply it
#[derive(Debug, Clone, Args)]
pub struct Provision {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    Plan(Plan),
    Apply(Apply),
    Drift(Drift),
    Check(Check),
    Cost(Cost),
    Judge(Judge),
}

/// Make a plan, keep it, and show what it means; changes nothing and ends 10 where a rule refuses it
#[derive(Debug, Clone, Args)]
pub struct Plan {}

/// Apply a plan that provision plan made: once, and only what was reviewed
#[derive(Debug, Clone, Args)]
pub struct Apply {
    /// The plan's hash, or its first 8 characters or more, or its id [default: the newest plan]
    #[arg(value_name = "PLAN")]
    pub plan: Option<String>,

    /// Go on although this address loses data, an address or protection; once for each. --yes does not say so
    #[arg(long, value_name = "ADDRESS", action = ArgAction::Append)]
    pub confirm: Vec<String>,
}

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
