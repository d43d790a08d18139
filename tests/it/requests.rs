//! What a rollback of many services asks of the Kubernetes API: counted there, so that nothing is polled object by object again.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::World;

const SERVICES: u64 = 100;
/// What a run asks however many services there are: identity, lists, lock, shared copy, registers, Argo CD, and watches that
/// are begun again.
const CONSTANT: u64 = 100;

fn counts(world: &World) -> BTreeMap<String, u64> {
    let value: Value = world.control("requests");
    let counts = value["requests"].as_object().expect("counts").iter();
    counts.map(|(what, count)| (what.clone(), count.as_u64().expect("a number"))).collect()
}

#[test]
fn a_rollback_of_100_services_asks_twice_a_service_at_most() {
    let services = SERVICES.to_string();
    // Slow enough that a busy machine is not a stalled rollout, and the watch for reverts is a second.
    let world = World::serve_with("clean", &["--services", &services, "--speed", "60", "--ready-after", "100ms"]);
    let before = counts(&world);
    // Health probes go past the API server here, so that all that is counted is asked of Kubernetes itself.
    let url = format!("production.health.reach.url={}/svc/{{namespace}}/{{service}}/80", world.url("services"));
    let direct = ["--set", "production.health.reach.by=direct", "--set", &url, "--set", "lock.lease=15s"];
    let args = ["rollback", "--yes", "--reason", "a test", "--direct", "--pause-sync"];
    let ran = world.tool(&[&args[..], &direct].concat());
    ran.ended(0);
    let mut asked = counts(&world);
    asked.retain(|what, count| {
        *count -= before.get(what).copied().unwrap_or(0);
        *count > 0
    });
    assert_eq!(asked.get("patch deployments"), Some(&SERVICES), "one write a service: {asked:?}");
    let total: u64 = asked.values().sum();
    assert!(total <= 2 * SERVICES + CONSTANT, "{total} requests: {asked:?}\n{ran}");
    // What does not depend on the number of services must not hide a poll of each.
    let rest = total - SERVICES;
    assert!(rest <= CONSTANT, "{rest} requests besides the writes: {asked:?}\n{ran}");
}
