//! `provision check`: what an apply left, looked at. Also after an apply that was made by hand.

use serde_json::json;

use crate::adapters::terraform::Terraform;
use crate::cli::args::Output;
use crate::domain::count;
use crate::error::{Error, Kind, Result};
use crate::ops::Invocation;
use crate::ui::out::Out;

use super::after::{AfterApply, Check, Checks};
use super::plan::root_module;

/// Looks at everything that an apply should have brought about. Ends 10 where something is not as it should be.
pub async fn run(invocation: &mut Invocation, out: &mut Out, output: Output) -> Result<u8> {
    let dir = root_module(invocation)?;
    let profile = invocation.config.production.aws.profile.clone();
    let terraform = Terraform::find(&invocation.config.provision, &dir, profile.as_deref()).await?;
    let checks = AfterApply::new(invocation, terraform).look().await?;
    show(&checks, out, output)
}

/// The checks, and the exit code.
pub(super) fn show(checks: &Checks, out: &mut Out, output: Output) -> Result<u8> {
    let wrong: Vec<&Check> = checks.wrong().collect();
    let exit = if wrong.is_empty() { 0 } else { Kind::GateBlocked.exit_code() };
    match output {
        Output::Json => {
            out.json(&json!({
                "checks": checks.all, "patch": checks.patch, "by_hand": checks.by_hand, "exit": exit,
            }))?;
            return Ok(exit);
        }
        Output::Text => out.bytes(checks.text(out.style()).as_bytes())?,
        Output::Markdown => out.bytes(checks.markdown().as_bytes())?,
    }
    if wrong.is_empty() {
        return Ok(0);
    }
    out.flush()?;
    let error = Error::new(Kind::GateBlocked, format!("{} not as it should be", count(wrong.len(), "check")));
    let error = wrong.into_iter().take(20).fold(error, |error, one| error.seen(format!("{}: {}", one.about, one.said)));
    Err(error.hint("what is still being made may need minutes: gospel-release provision check"))
}
