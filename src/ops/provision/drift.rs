//! `provision drift`: what changed outside Terraform. Nothing is planned to be changed, and nothing is kept.

use serde_json::json;

use crate::adapters::terraform::Mode;
use crate::cli::args::Output;
use crate::domain::provision::{Action, Change, OutputChange};
use crate::domain::{count, printable};
use crate::error::{Error, Kind, Result};
use crate::ops::Invocation;
use crate::ui::out::Out;
use crate::ui::style::Tone;

use super::block::{Block, comment};
use super::plan::make;
use super::sheet::{self, Tense, tree};

/// Looks at what exists and compares it with the state. Ends 18 where they differ.
pub async fn drift(invocation: &mut Invocation, out: &mut Out, output: Output) -> Result<u8> {
    let made = make(invocation, Mode::RefreshOnly).await?;
    // A plan that only refreshes is not for apply; and it holds secrets.
    made.kept.remove();
    let drift = &made.judgement.drift;
    let risks = &made.judgement.drift_risks;
    // What is only declared, or no more, is no drift: a plan shows it.
    let outputs: Vec<OutputChange> =
        made.judgement.outputs.iter().filter(|output| output.action == Action::Update).cloned().collect();
    let resources =
        (!drift.is_empty()).then(|| format!("{} changed outside Terraform", count(drift.len(), "resource")));
    let values = (!outputs.is_empty()).then(|| {
        let are = if outputs.len() == 1 { "is" } else { "are" };
        format!("{} {are} no longer what the state says", count(outputs.len(), "output"))
    });
    let differs: Vec<String> = resources.into_iter().chain(values).collect();
    let exit = if differs.is_empty() { 0 } else { Kind::Drift.exit_code() };
    let title = "OUTPUTS that differ: what they read has changed, or how they are declared";
    let blocks: Vec<Block> = [block(drift, &outputs, &made.record.directory)]
        .into_iter()
        .chain(sheet::outputs(title, &outputs))
        .chain(sheet::outside(risks))
        .collect();
    match output {
        Output::Json => {
            out.json(&json!({
                "drift": drift, "outputs": outputs, "risks": risks, "directory": made.record.directory,
                "workspace": made.record.workspace, "commit": made.record.commit, "at": made.record.made,
                "notes": made.notes, "exit": exit,
            }))?;
            return Ok(exit);
        }
        Output::Text => {
            let texts: Vec<String> = blocks.iter().map(|block| block.text(out.style())).collect();
            out.bytes(texts.join("\n").as_bytes())?;
        }
        Output::Markdown => out.bytes(comment(&blocks).as_bytes())?,
    }
    if differs.is_empty() {
        return Ok(0);
    }
    Err(Error::new(Kind::Drift, differs.join(", and "))
        .hint("what applying the configuration would make of it: gospel-release provision plan"))
}

fn block(drift: &[Change], outputs: &[OutputChange], directory: &str) -> Block {
    let directory = printable(directory);
    if drift.is_empty() && !outputs.is_empty() {
        return Block::new(
            format!("DRIFT in {directory}: no resource, {}", count(outputs.len(), "output")),
            Tone::Strong,
        );
    }
    tree(&format!("DRIFT in {directory}: {}", count(drift.len(), "resource")), drift, Tense::Has).unwrap_or_else(|| {
        let mut block = Block::new(format!("DRIFT in {directory}: none"), Tone::Good);
        block.note("What exists is as Terraform left it.");
        block
    })
}
