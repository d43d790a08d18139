//! `provision`: a Terraform plan that a person can judge.

mod plan;
mod sheet;
mod store;

use crate::cli::args::Output;
use crate::cli::provision::Action;
use crate::error::Result;
use crate::ui::out::Out;

use super::Invocation;

pub use store::{Kept, Plans, sha256};

/// One of its verbs.
pub async fn provision(invocation: &mut Invocation, action: &Action, out: &mut Out, output: Output) -> Result<u8> {
    match action {
        Action::Plan(args) => plan::plan(invocation, args, out, output).await,
    }
}
