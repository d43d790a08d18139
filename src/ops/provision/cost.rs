//! `provision cost`: the runbook's cost table, computed, beside the table as the runbook has it.

use serde_json::json;

use crate::cli::args::Output;
use crate::cli::provision::Cost as Args;
use crate::domain::provision::{Compared, Prices, compare, total_disagrees};
use crate::error::Result;
use crate::ops::Invocation;
use crate::ui::out::Out;
use crate::ui::style::Tone;

use super::block::{Block, Part};
use super::measure::{judged, measure};
use super::plan::plans;
use super::sheet::{dollars, prices_note};

/// Compares the table with list prices, and with the last plan where there is one.
pub fn cost(invocation: &mut Invocation, args: &Args, out: &mut Out, output: Output) -> Result<u8> {
    let measure = measure(invocation)?;
    let kept = plans(invocation)?.all().into_iter().rev().map(|kept| kept.json()).find(|file| file.is_file());
    let file = args.plan.clone().or(kept);
    let judgement = file.as_ref().map(|path| judged(path, &measure)).transpose()?;
    let table = &invocation.config.provision.cost_table;
    let lines = compare(table, &measure.prices, judgement.as_ref().map(|judgement| judgement.costs.as_slice()));
    let region = invocation.config.production.aws.region.as_deref();
    match output {
        Output::Json => out.json(&json!({
            "lines": lines,
            "runbook": lines.iter().map(|line| line.runbook).sum::<f64>(),
            "total_disagrees": total_disagrees(&lines),
            "total": judgement.as_ref().map(|judgement| judgement.after),
            "budget": measure.budget,
            "as_of": measure.prices.as_of,
            "region": measure.prices.region,
            "sources": measure.prices.sources(),
            "exit": 0,
        }))?,
        Output::Text => {
            let text = block(&lines, &measure.prices, region, file.is_some()).text(out.style());
            out.bytes(text.as_bytes())?;
        }
        Output::Markdown => {
            out.bytes(block(&lines, &measure.prices, region, file.is_some()).markdown().as_bytes())?;
        }
    }
    Ok(0)
}

fn block(lines: &[Compared], prices: &Prices, region: Option<&str>, planned: bool) -> Block {
    let mut block = Block::new("COST a month: the runbook's table, and what it comes to", Tone::Strong);
    let mut head = vec!["resource", "instance", "runbook", "list price"];
    if planned {
        head.push("plan");
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    let shown = |dollars: Option<f64>, missing: &str| dollars.map_or(missing.to_owned(), self::dollars);
    for line in lines {
        let mut row = vec![line.resource.clone(), line.instance.clone(), dollars(line.runbook), shown(line.list, "")];
        if planned {
            row.push(match line.unknown {
                0 => shown(line.plan, "unknown"),
                unknown => {
                    line.plan.map_or("unknown".to_owned(), |plan| format!("{} + {unknown} unknown", dollars(plan)))
                }
            });
        }
        rows.push(row);
    }
    rows.push(totals(lines, planned));
    block.parts.push(Part::Table { right: 2, rows });
    let wrong: Vec<&Compared> = lines.iter().filter(|line| line.disagrees.is_some()).collect();
    let total = total_disagrees(lines);
    if wrong.is_empty() && total.is_none() {
        block.note("Every line of the runbook holds.");
    } else {
        block.note("These lines of the runbook do not hold:");
    }
    for line in wrong {
        block.item("✗", &line.resource, line.disagrees.iter().cloned().collect());
    }
    total.into_iter().for_each(|why| block.item("✗", "total", vec![why]));
    for line in lines {
        if let (Some(list), Some(assumed)) = (line.list, &line.assumed) {
            block.note(format!("{} is paid by use: {} is for {assumed}.", line.resource, dollars(list)));
        }
    }
    if !planned {
        block.note("There is no plan on this machine: gospel-release provision plan makes one, and a column for it.");
    }
    block.note(prices_note(prices, region));
    block
}

fn totals(lines: &[Compared], planned: bool) -> Vec<String> {
    let runbook = lines.iter().map(|line| line.runbook).sum();
    let list: f64 = lines.iter().filter_map(|line| line.list).sum();
    let mut row = vec!["total".to_owned(), String::new(), dollars(runbook), dollars(list)];
    if planned {
        let plan: f64 = lines.iter().filter_map(|line| line.plan).sum();
        let unknown: usize = lines.iter().map(|line| line.unknown).sum();
        row.push(if unknown == 0 { dollars(plan) } else { format!("{} + {unknown} unknown", dollars(plan)) });
    }
    row
}
