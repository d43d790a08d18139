//! The checklist over 100 services, each of which takes a known time to answer.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench stands outside the house")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its result")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kibibytes and counts")]

mod common;

use std::time::Duration;

use common::{World, cost, seconds, table, verdict};

const SERVICES: usize = 100;

fn main() {
    if !common::asked() {
        return;
    }
    let rows: Vec<_> = [500, 1000, 2000].map(row).into();
    println!("`checklist` of {SERVICES} services, one health sample of each endpoint (staging.health.samples: 1)\n");
    table(
        &["each probe takes", "all gates", "in probes", "gate `health`", "in probes", "whole command", "CPU", "target"],
        &rows,
    );
}

fn row(delay: u64) -> Vec<String> {
    let probe = Duration::from_millis(delay);
    let delay = format!("{delay}ms");
    let world = World::serve(&["clean", "--services", &SERVICES.to_string(), "--probe-delay", &delay]);
    let args = ["checklist", "--events", "jsonl", "--set", "staging.health.samples=1"];
    let cost = cost(&world.tool(&args)).ok("the checklist");
    let begun = cost.when(&["gate-started"]).expect("gates begin");
    let decided =
        |words: &[&str]| cost.stderr.iter().rev().find(|(_, line)| words.iter().all(|word| line.contains(word)));
    let health = decided(&["gate-decided", "\"gate\":\"health\""]).expect("a verdict").0.saturating_sub(begun);
    let all = decided(&["gate-decided"]).expect("verdicts").0.saturating_sub(begun);
    let times = |took: Duration| took.as_secs_f64() / probe.as_secs_f64();
    vec![
        delay,
        seconds(all),
        format!("{:.2}", times(all)),
        seconds(health),
        format!("{:.2}", times(health)),
        seconds(cost.wall),
        format!("{:.2} s", cost.cpu),
        format!("1.5: {}", verdict(times(all) <= 1.5)),
    ]
}
