//! The kubelet: a pod's life from Pending to its end, one step at a time, each dated when it was due.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::events::{Happened, record};
use super::memory::Memory;
use super::object::{
    condition_is_true, controller, created, fnv, is_terminating, later, name, namespace, number, seconds, text, uid,
};
use super::pods::{self, Pulled};
use crate::rehearsal::World;
use crate::rehearsal::scenario::PodFaultKind;

const BY: &str = "kubelet";
/// Longest wait between two pulls or two restarts (kubelet, MaxContainerBackOff).
const LONGEST_BACKOFF: i64 = 300;
/// At most so many overdue steps of one pod in one turn.
const CATCH_UP: usize = 64;

/// What the kubelet does next with a pod, and when.
#[derive(Debug, Clone)]
pub struct Life {
    step: Step,
    due: Option<Timestamp>,
    pulls: u32,
    restarts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Schedule,
    Pull,
    /// After a failed pull: wait, in ImagePullBackOff.
    BackOff,
    BecomeReady,
    /// The readiness probe fails again.
    Probe,
    Crash,
    Restart,
    /// A Job's container ends.
    Finish,
    Settled,
    /// After SIGTERM: gone.
    Vanish,
}

pub fn reconcile(world: &World, memory: &mut Memory, now: Timestamp) {
    let pods = world.kube.list("pods", None);
    let alive: HashSet<String> = pods.iter().map(|pod| uid(pod).to_owned()).collect();
    memory.keep_lives(&alive);
    for pod in pods {
        let mut life = memory.lives.remove(uid(&pod)).unwrap_or_else(|| adopt(world, &pod, now));
        if is_terminating(&pod) && life.step != Step::Vanish {
            let message = format!("Stopping container {}", pods::container_name(&pod));
            record(world, &pod, &Happened::normal(BY, "Killing", message), now);
            // The service drains its connections and ends: 2 to 4 s.
            life.go(Step::Vanish, now, 2 + i64::from(vary(&pod, 2)));
        }
        for _ in 0..CATCH_UP {
            let Some(due) = life.due.filter(|due| *due <= now) else { break };
            let Some(fresh) = world.kube.get("pods", namespace(&pod), name(&pod)) else { break };
            advance(world, memory, &fresh, &mut life, due);
        }
        if let Some(due) = life.due {
            memory.wake(due);
        }
        memory.lives.insert(uid(&pod).to_owned(), life);
    }
}

impl Life {
    fn go(&mut self, step: Step, from: Timestamp, after: i64) {
        self.step = step;
        self.due = Some(later(from, seconds(after)));
    }

    /// The next step is due `after` from a time; in a world with a pace of its own, at once.
    fn go_unless_paced(&mut self, world: &World, step: Step, from: Timestamp, after: i64) {
        self.go(step, from, if world.measure.pace.ready_after.is_some() { 0 } else { after });
    }

    fn settle(&mut self) {
        self.step = Step::Settled;
        self.due = None;
    }
}

/// A number below `below` that is the pod's own.
fn vary(pod: &Value, below: u32) -> u32 {
    u32::try_from(fnv(&[name(pod)]) % u64::from(below.max(1))).unwrap_or_default()
}

/// Where a pod stands that the kubelet has not seen before.
fn adopt(world: &World, pod: &Value, now: Timestamp) -> Life {
    let mut life = Life { step: Step::Settled, due: None, pulls: 0, restarts: 0 };
    match text(pod, "/status/phase") {
        // Objects are dated in whole seconds; a pace is finer than that.
        "" | "Pending" if world.measure.pace.ready_after.is_some() => life.go(Step::Schedule, now, 0),
        "" | "Pending" => life.go(Step::Schedule, created(pod).unwrap_or(now), 0),
        "Running" if !condition_is_true(pod, "Ready") => life.go(Step::BecomeReady, now, 4),
        _ => {}
    }
    life
}

fn advance(world: &World, memory: &mut Memory, pod: &Value, life: &mut Life, at: Timestamp) {
    match life.step {
        Step::Schedule => {
            pods::schedule(world, pod, at);
            life.go_unless_paced(world, Step::Pull, at, 2 + i64::from(vary(pod, 3)));
        }
        Step::Pull => pull(world, memory, pod, life, at),
        Step::BackOff => {
            let image = text(pod, "/spec/containers/0/image");
            let message = format!("Back-off pulling image \"{image}\"");
            pods::waiting(world, pod, "ImagePullBackOff", &message);
            record(world, pod, &Happened::normal(BY, "BackOff", message), at);
            let failed = Happened::warning(BY, "Failed", "Error: ImagePullBackOff");
            record(world, pod, &failed, at);
            life.go(Step::Pull, at, backoff(life.pulls));
        }
        Step::BecomeReady => {
            pods::ready(world, pod, at);
            life.settle();
        }
        Step::Probe => {
            let message = "Readiness probe failed: HTTP probe failed with statuscode: 503";
            record(world, pod, &Happened::warning(BY, "Unhealthy", message), at);
            life.go(Step::Probe, at, 30);
        }
        Step::Crash => {
            let wait = if life.restarts == 0 { 1 } else { backoff(life.restarts) };
            pods::crashed(world, pod, life.restarts > 0, wait, at);
            if life.restarts > 0 {
                let message = format!(
                    "Back-off restarting failed container {} in pod {}_{}({})",
                    pods::container_name(pod),
                    name(pod),
                    namespace(pod),
                    uid(pod)
                );
                record(world, pod, &Happened::warning(BY, "BackOff", message), at);
            }
            life.go(Step::Restart, at, wait);
        }
        Step::Restart => {
            life.restarts += 1;
            pods::restarted(world, pod, life.restarts, at);
            started(world, pod, at);
            life.go(Step::Crash, at, 1);
        }
        Step::Finish => finish(world, pod, life, at),
        Step::Settled => life.settle(),
        Step::Vanish => {
            let _ = world.kube.delete("pods", namespace(pod), name(pod));
            life.settle();
        }
    }
}

/// 10, 20, 40 … s (kubelet, back-off of pulls and of restarts).
fn backoff(attempts: u32) -> i64 {
    10_i64.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(LONGEST_BACKOFF)
}

fn pull(world: &World, memory: &mut Memory, pod: &Value, life: &mut Life, at: Timestamp) {
    if let Some(secret) = pods::missing_secret(world, pod) {
        let message = format!("secret \"{secret}\" not found");
        pods::waiting(world, pod, "CreateContainerConfigError", &message);
        record(world, pod, &Happened::warning(BY, "Failed", format!("Error: {message}")), at);
        return life.go(Step::Pull, at, 10);
    }
    let image = text(pod, "/spec/containers/0/image");
    record(world, pod, &Happened::normal(BY, "Pulling", format!("Pulling image \"{image}\"")), at);
    match pods::resolve(world, pod) {
        Pulled::No(why) => {
            pods::waiting(world, pod, "ErrImagePull", &why);
            let message = format!("Failed to pull image \"{image}\": {why}");
            record(world, pod, &Happened::warning(BY, "Failed", message), at);
            record(world, pod, &Happened::warning(BY, "Failed", "Error: ErrImagePull"), at);
            life.pulls += 1;
            life.go(Step::BackOff, at, 2);
        }
        Pulled::Yes(ids) => {
            let took = format!("{}.{:03}s", 1 + vary(pod, 2), vary(pod, 997));
            let message = format!(
                "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {} bytes.",
                61_000_000 + vary(pod, 9_000_000)
            );
            record(world, pod, &Happened::normal(BY, "Pulled", message), at);
            pods::running(world, pod, &ids, at);
            started(world, pod, at);
            after_start(world, memory, pod, life, at);
        }
    }
}

fn started(world: &World, pod: &Value, at: Timestamp) {
    let container = pods::container_name(pod);
    record(world, pod, &Happened::normal(BY, "Created", format!("Created container: {container}")), at);
    record(world, pod, &Happened::normal(BY, "Started", format!("Started container {container}")), at);
}

fn after_start(world: &World, memory: &mut Memory, pod: &Value, life: &mut Life, at: Timestamp) {
    if controller(pod).is_some_and(|owner| owner["kind"] == "Job") {
        if super::jobs::request_of(pod).is_some() {
            memory.requests.push(pod.clone());
        }
        return life.go(Step::Finish, at, 3 + i64::from(vary(pod, 4)));
    }
    match pods::fault(world, pod) {
        Some(PodFaultKind::CrashLoop) => life.go(Step::Crash, at, 1),
        Some(PodFaultKind::NeverReady) => life.go(Step::Probe, at, 10),
        Some(PodFaultKind::ImagePull) | None => {
            let period = number(pod, "/spec/containers/0/readinessProbe/periodSeconds").unwrap_or(5);
            life.go(Step::BecomeReady, at, period + i64::from(vary(pod, 3)));
            if let Some(after) = world.measure.pace.ready_after {
                life.due = at.checked_add(after.mul_f64(world.clock.speed())).ok();
            }
        }
    }
}

/// A Job's container ends with what its request came to, or well.
fn finish(world: &World, pod: &Value, life: &mut Life, at: Timestamp) {
    let exit = super::object::annotation(pod, super::jobs::EXIT_CODE);
    if super::jobs::request_of(pod).is_some() && exit.is_empty() {
        // The answer is still under way.
        return life.go(Step::Finish, at.max(world.clock.now()), 1);
    }
    pods::finished(world, pod, exit.parse().unwrap_or(0), at);
    life.settle();
}

/// How long a pod has been running, for its log; `None` before it runs.
pub fn running_since(pod: &Value) -> Option<Timestamp> {
    super::object::time(pod, "/status/containerStatuses/0/state/running/startedAt")
}

/// World time between two lines of a service's log.
pub const LOG_INTERVAL: SignedDuration = SignedDuration::from_secs(20);
