//! `checklist`: the runbook's eight gates, asked at once; and attesting what only a person can see.

use crate::engine::Gate;
use crate::error::Result;

use super::Invocation;
use super::connect::Connected;

/// The eight gates of the release checklist.
pub async fn gates(_invocation: &Invocation, _connected: &Connected, _first: bool) -> Result<Vec<Box<dyn Gate>>> {
    Ok(Vec::new())
}

pub async fn checklist(
    _invocation: &mut Invocation,
    _args: &crate::cli::checklist::Checklist,
    _out: &mut crate::ui::out::Out,
    _json: bool,
) -> Result<u8> {
    Ok(0)
}
