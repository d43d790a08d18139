//! `gospel-release --version` beside `kubectl version --client`: wall time and peak memory of starting.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench stands outside the house")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its result")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kibibytes and counts")]

mod common;

use std::process::Command;

use common::{cost, millis, spread, table, verdict};

const RUNS: usize = 30;

fn main() {
    if !common::asked() {
        return;
    }
    let mut ours = Command::new(common::BIN);
    ours.arg("--version");
    let mut theirs = Command::new("kubectl");
    theirs.args(["version", "--client"]);
    // The first of each fills the page cache.
    let mut costs = [Vec::new(), Vec::new()];
    for run in 0..=RUNS {
        for (all, command) in costs.iter_mut().zip([&ours, &theirs]) {
            let cost = cost(command).ok("it");
            if run > 0 {
                all.push(cost);
            }
        }
    }
    let wall = costs.each_ref().map(|all| spread(all.iter().map(|cost| cost.wall).collect()));
    let peak = costs.each_ref().map(|all| spread(all.iter().map(|cost| cost.peak_kib).collect()));
    println!("{RUNS} runs of each, in turns; wall time includes the start of GNU time\n");
    let row = |name: &str, at: usize| {
        let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
        vec![name.to_owned(), millis(wall[at].0), millis(wall[at].1), mib(peak[at].0), mib(peak[at].1)]
    };
    let rows = [row("gospel-release --version", 0), row("kubectl version --client", 1)];
    table(&["", "wall, least", "wall, median", "peak memory, least", "peak memory, median"], &rows);
    let time = wall[0].1.as_secs_f64() / wall[1].1.as_secs_f64();
    let memory = peak[0].1 as f64 / peak[1].1 as f64;
    println!("wall: {:.0} % of kubectl's (target 25 %): {}", time * 100.0, verdict(time <= 0.25));
    println!("memory: {:.0} % of kubectl's (target 33 %): {}", memory * 100.0, verdict(memory <= 1.0 / 3.0));
}
