//! A rollback of 100 services, and the three ways in which people do it by hand, each on a world of its own and the same.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench stands outside the house")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its result")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kibibytes and counts")]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::{Cost, World, cost, seconds, table, verdict};
use serde_json::Value;

const NAMESPACE: &str = "gospelib-production";
/// Real time, but for pods: each is ready half a second after it was made.
const WORLD: [&str; 5] = ["clean", "--speed", "1", "--ready-after", "500ms"];

/// One way back, measured until every service runs the old image.
struct Row {
    way: &'static str,
    until_rolled_out: Duration,
    /// From the command to the last change of an image, where it is known.
    last_write: Option<Duration>,
    whole: Cost,
    requests: BTreeMap<String, u64>,
}

impl Row {
    /// Without what the API server only passes on to services.
    fn asked(&self) -> u64 {
        self.requests.iter().filter(|(what, _)| !what.starts_with("proxy ")).map(|(_, count)| count).sum()
    }

    fn proxied(&self) -> u64 {
        self.requests.iter().filter(|(what, _)| what.starts_with("proxy ")).map(|(_, count)| count).sum()
    }
}

fn main() {
    if !common::asked() {
        return;
    }
    let services: usize = std::env::var("SERVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let rows = [
        ours("rollback --direct --pause-sync", &["--direct", "--pause-sync"], services),
        ours("rollback", &[], services),
        by_hand("(a) kubectl set image + rollout status, each", services, set_image),
        by_hand("(b) kubectl rollout undo + status, each", services, undo),
        by_hand("(c) kubectl apply --server-side -k + status -l", services, apply),
    ];
    println!("{services} services of 2 pods; a pod is ready 0.5 s after it was made\n");
    let shown = rows.iter().map(|row| {
        vec![
            row.way.to_owned(),
            seconds(row.until_rolled_out),
            row.last_write.map(seconds).unwrap_or_default(),
            seconds(row.whole.wall),
            format!("{:.2} s", row.whole.cpu),
            format!("{:.0} MiB", row.whole.peak_mib()),
            row.asked().to_string(),
            row.proxied().to_string(),
        ]
    });
    table(
        &["", "all rolled out", "last write", "whole command", "CPU", "peak", "requests", "health probes by proxy"],
        &shown.collect::<Vec<_>>(),
    );
    targets(&rows, services);
    for row in &rows {
        let counts: Vec<String> = row.requests.iter().map(|(what, count)| format!("{count} {what}")).collect();
        println!("{}: {}", row.way, counts.join(", "));
    }
}

fn targets(rows: &[Row], services: usize) {
    let [direct, _, set, undo, apply] = rows else { return };
    let fastest = set.until_rolled_out.min(undo.until_rolled_out);
    let share = direct.until_rolled_out.as_secs_f64() / fastest.as_secs_f64();
    println!("wall: {:.1} % of the faster loop's (target 10 %): {}", share * 100.0, verdict(share <= 0.1));
    println!(
        "requests: {} for {services} services (target {} and a constant); the loops: {}, {}, {}",
        direct.asked(),
        2 * services,
        set.asked(),
        undo.asked(),
        apply.asked()
    );
    println!("CPU: {:.2} s (target 0.5 s): {}", direct.whole.cpu, verdict(direct.whole.cpu <= 0.5));
    let last = direct.last_write.unwrap_or_default();
    println!("last write: {} (target 2 s): {}\n", seconds(last), verdict(last <= Duration::from_secs(2)));
}

fn world(services: usize) -> World {
    let services = services.to_string();
    World::serve(&[&WORLD[..], &["--services", &services]].concat())
}

fn ours(way: &'static str, flags: &[&str], services: usize) -> Row {
    let world = world(services);
    let before = world.requests();
    let args = ["rollback", "--yes", "--reason", "measured", "--events", "jsonl", "--set", "lock.lease=15s"];
    let args = [&args[..], flags].concat();
    let whole = cost(&world.tool(&args)).ok(way);
    let done = |step: &str| whole.when(&["\"step-done\"", &format!("\"step\":\"{step}\"")]);
    Row {
        way,
        until_rolled_out: done("rollout").expect("the rollout ends"),
        last_write: done("apply").or_else(|| done("commit")),
        requests: world.requests_since(&before),
        whole,
    }
}

/// One of the loops, with Argo CD's automated sync switched off first: it would undo them.
fn by_hand(way: &'static str, services: usize, make: fn(&World, &Before) -> String) -> Row {
    let world = world(services);
    let found = Before::look(&world);
    let script = make(&world, &found);
    let off = r#"{"spec":{"syncPolicy":{"automated":null}}}"#;
    run(&mut world.kubectl(&["-n", "argocd", "patch", "application", NAMESPACE, "--type", "merge", "-p", off]));
    let before = world.requests();
    let mut shell = world.program("sh");
    shell.args(["-euc", &script]);
    let whole = cost(&shell).ok(way);
    Row { way, until_rolled_out: whole.wall, last_write: None, requests: world.requests_since(&before), whole }
}

/// What somebody who rolls back by hand has looked up already.
struct Before {
    /// Deployment, container and the image that it ran before.
    images: Vec<(String, String, String)>,
    /// The last release but one.
    tag: String,
}

impl Before {
    fn look(world: &World) -> Self {
        let sets = json(&mut world.kubectl(&["-n", NAMESPACE, "get", "replicasets", "-o", "json"]));
        let revision = |set: &Value| {
            let text = set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
            text.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0)
        };
        let mut by_deployment: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for set in sets["items"].as_array().expect("a list") {
            let owner = set["metadata"]["ownerReferences"][0]["name"].as_str().expect("an owner");
            by_deployment.entry(owner.to_owned()).or_default().push(set);
        }
        let images = by_deployment.into_iter().map(|(deployment, mut sets)| {
            sets.sort_by_key(|set| revision(set));
            let earlier = sets[sets.len() - 2];
            let container = &earlier["spec"]["template"]["spec"]["containers"][0];
            let text = |key: &str| container[key].as_str().expect("text").to_owned();
            (deployment, text("name"), text("image"))
        });
        let tags = world.program("git").args(["tag", "--list", "release/*", "--sort=-v:refname"]).said_in(world);
        Self { images: images.collect(), tag: tags.lines().nth(1).expect("an earlier release").to_owned() }
    }
}

trait InCheckout {
    fn said_in(&mut self, world: &World) -> String;
}

impl InCheckout for Command {
    fn said_in(&mut self, world: &World) -> String {
        run(self.current_dir(world.checkout()))
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("start it");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&run(command)).expect("JSON")
}

fn set_image(_: &World, before: &Before) -> String {
    let line = |(deployment, container, image): &(String, String, String)| {
        format!(
            "kubectl -n {NAMESPACE} set image deployment/{deployment} {container}={image}\n\
             kubectl -n {NAMESPACE} rollout status deployment/{deployment} --timeout=5m\n"
        )
    };
    before.images.iter().map(line).collect()
}

fn undo(_: &World, before: &Before) -> String {
    let line = |(deployment, _, _): &(String, String, String)| {
        format!(
            "kubectl -n {NAMESPACE} rollout undo deployment/{deployment}\n\
             kubectl -n {NAMESPACE} rollout status deployment/{deployment} --timeout=5m\n"
        )
    };
    before.images.iter().map(line).collect()
}

/// The overlay of the earlier release, from a worktree that is there already.
fn apply(world: &World, before: &Before) -> String {
    let dir: PathBuf = world.dir().join("earlier");
    let path = dir.to_string_lossy().into_owned();
    world.program("git").args(["worktree", "add", "--detach", &path, &before.tag]).said_in(world);
    format!(
        "kubectl -n {NAMESPACE} apply --server-side --force-conflicts -k {path}/infra/k8s/overlays/production\n\
         kubectl -n {NAMESPACE} rollout status deployment -l app.kubernetes.io/part-of=gospelib --timeout=5m\n"
    )
}
