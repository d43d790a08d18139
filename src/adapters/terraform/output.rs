//! `output`: what a state offers to others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Terraform;
use crate::error::{Error, Result};

/// One output.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Output {
    #[serde(default)]
    pub value: Value,
    #[serde(default)]
    pub sensitive: bool,
}

impl Terraform {
    /// The outputs of the selected workspace's state, by name; none where there is no state yet.
    pub async fn outputs(&self) -> Result<BTreeMap<String, Output>> {
        let said = self.command(&["output", "-json", "-no-color"]).succeed().await?;
        serde_json::from_slice(&said.stdout)
            .map_err(|error| Error::outside(format!("{} output -json answers no outputs", self.name())).because(error))
    }
}
