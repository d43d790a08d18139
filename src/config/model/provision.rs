//! Infrastructure: which Terraform configuration is planned, and what its plans are judged by.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span;
pub use crate::domain::provision::{CostRow, Rule};

/// Infrastructure with Terraform or OpenTofu.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Provision {
    /// Directory of the root module, relative to the checkout.
    pub directory: String,
    /// The program; by default the first of `terraform` and `tofu` that is on PATH.
    pub program: Option<String>,
    /// The workspace; by default the one that is selected in the directory.
    pub workspace: Option<String>,
    /// Files of variables, relative to the directory, in the order in which they are given.
    pub var_files: Vec<String>,
    /// What `init` is told about the backend, in this order: files relative to the directory, or `KEY=VALUE`; no secrets.
    pub backend_config: Vec<String>,
    /// How long to wait while somebody else holds the state's lock (wall time).
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub lock_timeout: Duration,
    /// How long init, or a plan, may take (wall time).
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub plan_within: Duration,
    /// How old a plan may be when it is applied (wall time).
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub plan_age: Duration,
    /// What all resources may cost together, in US dollars a month.
    pub budget: f64,
    /// A table of prices in place of the built-in one; relative to the configuration file.
    pub prices: Option<PathBuf>,
    /// The runbook's cost table, which is the layout of ours; `size` is priced where there is no plan.
    pub cost_table: Vec<CostRow>,
    pub policy: Policy,
    pub checks: Checks,
}

/// What is looked at after an apply, beside what other parts of this file name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// Kubernetes' version that the cluster and its node groups should have, such as `1.33`; not checked where it is not set.
    pub kubernetes_version: Option<String>,
    /// How long after an apply things may take to be so; `provision check` looks once.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub within: Duration,
    /// How many nodes must be ready.
    pub nodes: u32,
    /// Outputs of the root module, and the keys of this file that they fill.
    pub outputs: Vec<OutputKey>,
    /// Outputs of the form `host:port` that must take a connection from inside the cluster.
    pub probe: Vec<String>,
    /// An image that has `curl`, for the short Job that connects; without it nothing is probed.
    pub probe_image: Option<String>,
}

/// An output, and the key that it fills.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutputKey {
    /// The output's name.
    pub output: String,
    /// The key of this file: `production.cluster.arn`.
    pub key: String,
}

/// What plans are refused for. The built-in rules are on; docs/provision.md lists them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Built-in rules that refuse a plan, though they would only warn.
    pub deny: Vec<String>,
    /// Built-in rules that only warn.
    pub warn: Vec<String>,
    /// Built-in rules that are switched off.
    pub off: Vec<String>,
    /// Further rules.
    pub rules: Vec<Rule>,
}
