//! A whole rehearsed promote of six services; and the memory of a promote over 100.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench stands outside the house")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its result")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kibibytes and counts")]

mod common;

use std::process::Command;

use common::{World, cost, seconds, spread, table, verdict};

const RUNS: usize = 5;

fn main() {
    if !common::asked() {
        return;
    }
    embedded();
    hundred();
}

/// `promote --rehearse`: the world and the tool, from nothing to the end of the watch.
fn embedded() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let costs: Vec<_> = (0..RUNS)
        .map(|_| {
            let mut tool = Command::new(common::BIN);
            tool.args(["promote", "--rehearse"]).env("HOME", home.path()).env_remove("XDG_STATE_HOME");
            cost(&tool).ok("the rehearsed promote")
        })
        .collect();
    let (least, median) = spread(costs.iter().map(|cost| cost.wall).collect());
    let (_, cpu) = spread(costs.iter().map(|cost| cost.cpu).collect());
    let most = costs.iter().map(|cost| cost.wall).max().expect("runs");
    table(
        &["`promote --rehearse`", "wall, least", "wall, median", "wall, most", "CPU, median", "target"],
        &[vec![
            format!("{RUNS} runs"),
            seconds(least),
            seconds(median),
            seconds(most),
            format!("{cpu:.2} s"),
            format!("10 s: {}", verdict(most.as_secs_f64() <= 10.0)),
        ]],
    );
}

/// The tool's process alone, against worlds of different sizes.
fn hundred() {
    let rows = [6, 100].map(|services| {
        let world = World::serve(&["clean", "--services", &services.to_string()]);
        let cost = cost(&world.tool(&["promote", "--yes"])).ok("the promote");
        let met = if services == 100 { verdict(cost.peak_mib() <= 80.0) } else { String::new() };
        vec![
            services.to_string(),
            format!("{:.1} MiB", cost.peak_mib()),
            seconds(cost.wall),
            format!("{:.2} s", cost.cpu),
            format!("80 MiB {met}"),
        ]
    });
    table(&["services", "peak memory of the tool", "wall", "CPU", "target"], &rows);
}
