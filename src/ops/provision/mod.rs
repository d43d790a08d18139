//! `provision`: a Terraform plan that a person can judge.

mod after;
mod again;
mod apply;
mod applying;
mod block;
mod check;
mod cost;
mod drift;
mod elsewhere;
mod explain;
mod measure;
mod plan;
mod reviewed;
mod second;
mod sheet;
mod store;

use crate::cli::args::Output;
use crate::cli::provision::Action;
use crate::error::{Error, Result};
use crate::ui::out::Out;

use super::Invocation;

pub use again::{Open, abort, open, resume};
pub(super) use apply::VERB;
pub use apply::{Options as ApplyOptions, apply};
pub use sheet::Sheet;
pub use store::{Kept, Plans, sha256};

/// One of its verbs that have no run; `apply` has one.
pub async fn provision(invocation: &mut Invocation, action: &Action, out: &mut Out, output: Output) -> Result<u8> {
    match action {
        Action::Plan(_) => plan::plan(invocation, out, output).await,
        Action::Check(_) => check::run(invocation, out, output).await,
        Action::Drift(_) => drift::drift(invocation, out, output).await,
        Action::Cost(args) => cost::cost(invocation, args, out, output),
        Action::Judge(args) => elsewhere::elsewhere(invocation, args, out, output),
        Action::Apply(_) => Err(Error::internal("provision apply has a run, and came to the verbs that have none")),
    }
}
