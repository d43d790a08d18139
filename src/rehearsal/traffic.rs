//! Generated traffic: what each pod has served, as a function of world time. Nothing is sampled or stored but the
//! lives of pods; every counter is an integral that can be asked for any moment.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::World;
use crate::domain::ImageRef;

/// How often Prometheus would scrape, in seconds.
pub const SCRAPE: f64 = 15.0;
/// Share of requests that fail on an ordinary day.
const ORDINARY_ERRORS: f64 = 0.001;
/// Share that fails in a service named by `staging_errors`, and for how long it already did when the story begins.
const SPIKE: f64 = 0.08;
const SPIKE_BEGAN: Duration = Duration::from_mins(40);

/// The lives of all pods so far.
#[derive(Debug)]
pub struct Traffic {
    /// World time at which the story begins.
    start: Timestamp,
    lives: Mutex<Vec<Life>>,
    /// The latest change of a pod that was observed; at first none.
    seen: AtomicU64,
}

/// A time in which one container answered: from ready to not ready. Its counters begin at 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    pub namespace: String,
    /// The Deployment's name: `gospelib-gateway`.
    pub service: String,
    pub pod: String,
    pub version: String,
    /// Which container of the pod: its restart count.
    restarts: i64,
    /// Seconds since the epoch.
    pub from: f64,
    /// `None` while it lives.
    pub until: Option<f64>,
    /// From when this container fails more than others of its service, and how much.
    fails: Option<(f64, f64)>,
}

impl Traffic {
    /// No pod has lived yet; the story begins at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { start, lives: Mutex::default(), seen: AtomicU64::new(u64::MAX) }
    }

    /// World time at which the story begins.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// Looks at the pods as they are now: a new ready one begins a life, a vanished or unready one ends it.
    pub fn observe(&self, world: &World) {
        let mut lives = self.lock();
        let latest = world.kube.last_change(&["pods"]);
        if self.seen.swap(latest, Ordering::Relaxed) == latest {
            return;
        }
        let now = world.clock.now();
        let ready: Vec<Life> = world.kube.list("pods", None).iter().filter_map(|pod| life_of(world, pod)).collect();
        for life in lives.iter_mut().filter(|life| life.until.is_none()) {
            let goes_on = ready
                .iter()
                .any(|seen| seen.pod == life.pod && seen.namespace == life.namespace && seen.restarts == life.restarts);
            if !goes_on {
                life.until = Some(seconds(now));
            }
        }
        for seen in ready {
            let known = lives
                .iter()
                .any(|life| life.until.is_none() && life.pod == seen.pod && life.namespace == seen.namespace);
            if !known {
                if let Some(ancestor) = ancestor(world, &lives, &seen) {
                    lives.push(ancestor);
                }
                lives.push(seen);
            }
        }
    }

    /// Goes on observing for as long as the task is kept.
    pub async fn keep_observing(world: Arc<World>) {
        let mut changed = world.kube.changed();
        loop {
            world.traffic.observe(&world);
            if changed.changed().await.is_err() {
                return;
            }
            // Changes come in bursts; a life that is this much too long in wall time harms nothing.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The lives of the service's pods in a namespace, for each pair for which `wanted` says so.
    #[must_use]
    pub fn services(&self, wanted: impl Fn(&str, &str) -> bool) -> BTreeMap<(String, String), Vec<Life>> {
        let mut found: BTreeMap<_, Vec<Life>> = BTreeMap::new();
        for life in self.lock().iter().filter(|life| wanted(&life.namespace, &life.service)) {
            found.entry((life.namespace.clone(), life.service.clone())).or_default().push(life.clone());
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Life>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life that a ready pod of the project shows; `None` for other pods.
fn life_of(world: &World, pod: &Value) -> Option<Life> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    let service = text("/metadata/labels/app")?;
    world.shape.service_of(service)?;
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|found| found["type"] == "Ready" && found["status"] == "True")?;
    let began = ready["lastTransitionTime"].as_str().or(text("/status/startTime"))?;
    let image: ImageRef = text("/spec/containers/0/image")?.parse().ok()?;
    let version = image.tag.or_else(|| image.digest.map(|digest| digest.short().to_owned()))?;
    Some(Life {
        namespace: text("/metadata/namespace")?.to_owned(),
        service: service.to_owned(),
        pod: text("/metadata/name")?.to_owned(),
        version,
        restarts: pod.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_i64).unwrap_or(0),
        from: seconds(began.parse().ok()?),
        until: None,
        fails: sick_since(world, pod).map(|began| (seconds(began), SPIKE)),
    })
}

/// From when a ready pod answers requests with errors: pods of the candidate that the scenario spoils, in production.
#[must_use]
pub fn sick_since(world: &World, pod: &Value) -> Option<Timestamp> {
    let bad = world.scenario.world.bad_release.as_ref()?;
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    let service = world.shape.service_of(text("/metadata/labels/app")?)?;
    if service != bad.service || text("/metadata/namespace")? != world.shape.namespace("production") {
        return None;
    }
    let image: ImageRef = text("/spec/containers/0/image")?.parse().ok()?;
    let digest = world.registry.resolve(&image).or(image.digest)?;
    if world.past.candidate.images.get(service) != Some(&digest) {
        return None;
    }
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|found| found["type"] == "Ready" && found["status"] == "True")?;
    let began: Timestamp = ready["lastTransitionTime"].as_str()?.parse().ok()?;
    began.checked_add(super::controllers::object::duration(&bad.after)?).ok()
}

/// Before the first pod that we saw of a service there was another, of the last release: metrics are older than pods.
fn ancestor(world: &World, lives: &[Life], first: &Life) -> Option<Life> {
    let known = lives.iter().any(|life| life.namespace == first.namespace && life.service == first.service);
    let past = first.from - 30.0 * 86_400.0;
    let version = world.past.releases.last().and_then(|build| build.version.as_ref())?;
    (!known).then(|| Life {
        pod: format!("{}-5f6d7c8b9-x2k4q", first.service),
        version: version.to_string(),
        from: past,
        until: Some(first.from),
        fails: None,
        ..first.clone()
    })
}

/// Seconds since the epoch.
#[must_use]
pub fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// How one service is used in one namespace: rates, errors and latency over time.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Requests a second, on average over a day.
    base: f64,
    /// Amplitude, period in seconds and phase of each wave on top of it: the day, and what looks like noise.
    waves: Vec<(f64, f64, f64)>,
    /// Scale of the log-logistic latency distribution, in seconds.
    latency_scale: f64,
    /// From when the service fails more, and how much.
    spike: Option<(f64, f64)>,
}

/// Shape of the latency distribution: with 3, one request in 20 takes 2.67 times the median.
const LATENCY_SHAPE: f64 = 3.0;

impl Usage {
    /// The use of `service` (a Deployment's name) in `namespace`: the same for the same seed.
    #[must_use]
    pub fn of(world: &World, namespace: &str, service: &str) -> Self {
        let staging = namespace == world.shape.namespace("staging");
        let mut random = fastrand::Rng::with_seed(hash(world.seed, service));
        let (base, p95) = (8.0 + 40.0 * random.f64(), 0.125 + 0.11 * random.f64());
        let mut place = fastrand::Rng::with_seed(hash(world.seed, &format!("{namespace}/{service}")));
        let periods = [(0.45, 86_400.0), (0.05, 3660.0), (0.04, 1380.0), (0.03, 420.0), (0.02, 97.0)];
        let waves = periods.map(|(share, period)| (share, period, TAU * place.f64())).to_vec();
        let p95 = p95 * (0.97 + 0.06 * place.f64());
        let sick = world.scenario.world.staging_errors.as_deref();
        let spikes = staging && sick.is_some() && sick == world.shape.service_of(service);
        Self {
            base: if staging { base / 8.0 } else { base },
            waves,
            latency_scale: p95 / 19_f64.powf(1.0 / LATENCY_SHAPE),
            spike: spikes.then(|| (seconds(world.traffic.start - SPIKE_BEGAN), SPIKE)),
        }
    }

    /// Requests of the whole service from `from` to `to`, in seconds since the epoch.
    fn requests(&self, from: f64, to: f64) -> f64 {
        let wave = |(share, period, phase): &(f64, f64, f64)| {
            let at = |t: f64| -(TAU * t / period + phase).cos() * share * period / TAU;
            at(to) - at(from)
        };
        if to <= from { 0.0 } else { self.base * (to - from + self.waves.iter().map(wave).sum::<f64>()) }
    }

    /// Requests that fail; `own` is what the answering container adds to what its service does.
    fn failed(&self, from: f64, to: f64, own: Option<(f64, f64)>) -> f64 {
        let ordinary = |from, to| self.requests(from, to) * ORDINARY_ERRORS;
        match own.or(self.spike) {
            Some((began, share)) if to > began => {
                ordinary(from, began.max(from)) + self.requests(began.max(from), to) * share
            }
            _ => ordinary(from, to),
        }
    }

    /// Share of requests that took at most `seconds`.
    fn within(&self, seconds: f64) -> f64 {
        if seconds.is_infinite() { 1.0 } else { 1.0 / (1.0 + (seconds / self.latency_scale).powf(-LATENCY_SHAPE)) }
    }

    /// Mean of the latency distribution in seconds.
    fn mean(&self) -> f64 {
        let angle = std::f64::consts::PI / LATENCY_SHAPE;
        self.latency_scale * angle / angle.sin()
    }
}

/// What a counter counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Counted {
    /// Requests answered with this status code.
    Code(&'static str),
    /// Requests that took at most so many seconds.
    Within(f64),
    /// All requests.
    Requests,
    /// Seconds spent on requests.
    Seconds,
}

/// Status codes that occur.
pub const CODES: [&str; 4] = ["200", "404", "500", "503"];
/// Upper bounds of the latency buckets, as clients of Prometheus write them.
pub const BUCKETS: [(&str, f64); 16] = [
    ("0.005", 0.005),
    ("0.01", 0.01),
    ("0.025", 0.025),
    ("0.05", 0.05),
    ("0.075", 0.075),
    ("0.1", 0.1),
    ("0.15", 0.15),
    ("0.2", 0.2),
    ("0.25", 0.25),
    ("0.3", 0.3),
    ("0.4", 0.4),
    ("0.5", 0.5),
    ("1", 1.0),
    ("2.5", 2.5),
    ("10", 10.0),
    ("+Inf", f64::INFINITY),
];

/// What a life counted from its beginning until `at`; `peers` are all lives of the service, which share its requests.
#[must_use]
pub fn counter(usage: &Usage, peers: &[Life], life: &Life, counted: Counted, at: f64) -> f64 {
    let end = life.until.map_or(at, |until| until.min(at));
    let mut edges: Vec<f64> = peers.iter().flat_map(|peer| [Some(peer.from), peer.until]).flatten().collect();
    edges.retain(|edge| *edge > life.from && *edge < end);
    edges.push(end);
    edges.sort_by(f64::total_cmp);
    let (mut from, mut total) = (life.from, 0.0);
    for to in edges {
        let alive = peers.iter().filter(|peer| peer.from <= from && peer.until.is_none_or(|until| until >= to)).count();
        total += amount(usage, life.fails, counted, from, to) / alive.max(1) as f64;
        from = from.max(to);
    }
    if counted == Counted::Seconds { total } else { total.floor() }
}

fn amount(usage: &Usage, fails: Option<(f64, f64)>, counted: Counted, from: f64, to: f64) -> f64 {
    let requests = usage.requests(from, to);
    match counted {
        Counted::Requests => requests,
        Counted::Seconds => requests * usage.mean(),
        Counted::Within(bound) => requests * usage.within(bound),
        Counted::Code("404") => requests * 0.02,
        Counted::Code("500") => usage.failed(from, to, fails) * 0.7,
        Counted::Code("503") => usage.failed(from, to, fails) * 0.3,
        Counted::Code(_) => requests * 0.98 - usage.failed(from, to, fails),
    }
}

/// FNV-1a of a text, with a seed: the same on every machine.
fn hash(seed: u64, text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(spike: Option<(f64, f64)>) -> Usage {
        Usage { base: 10.0, waves: vec![(0.45, 86_400.0, 1.0), (0.05, 420.0, 2.0)], latency_scale: 0.06, spike }
    }

    fn life(pod: &str, from: f64, until: Option<f64>) -> Life {
        let text = str::to_owned;
        Life {
            namespace: text("n"),
            service: text("s"),
            pod: text(pod),
            version: text("v"),
            restarts: 0,
            from,
            until,
            fails: None,
        }
    }

    #[test]
    fn pods_share_the_requests_of_their_service_and_codes_add_up() {
        let usage = usage(None);
        let peers = [life("a", 0.0, None), life("b", 0.0, Some(5000.0)), life("c", 5000.0, None)];
        let all: f64 = peers.iter().map(|life| counter(&usage, &peers, life, Counted::Requests, 9000.0)).sum();
        assert!((all - usage.requests(0.0, 9000.0)).abs() < 4.0, "{all}");
        let codes: f64 = CODES.iter().map(|code| counter(&usage, &peers, &peers[0], Counted::Code(code), 9000.0)).sum();
        let requests = counter(&usage, &peers, &peers[0], Counted::Requests, 9000.0);
        assert!((codes - requests).abs() < 5.0, "{codes} of {requests}");
        let inf = counter(&usage, &peers, &peers[0], Counted::Within(f64::INFINITY), 9000.0);
        assert_eq!(inf.to_bits(), requests.to_bits());
    }

    #[test]
    fn a_spike_raises_only_what_comes_after_it() {
        let (well, sick) = (usage(None), usage(Some((1000.0, 0.08))));
        assert_eq!(well.failed(0.0, 900.0, None).to_bits(), sick.failed(0.0, 900.0, None).to_bits());
        let share = sick.failed(1000.0, 2000.0, None) / sick.requests(1000.0, 2000.0);
        assert!((share - 0.08).abs() < 1e-9, "{share}");
    }

    #[test]
    fn a_bad_container_fails_beside_a_good_one() {
        let usage = usage(None);
        let bad = Life { fails: Some((1000.0, 0.08)), ..life("new", 0.0, None) };
        let peers = [life("old", 0.0, None), bad];
        let failed = |life: &Life, at| {
            let code = |code| counter(&usage, &peers, life, Counted::Code(code), at);
            (code("500") + code("503")) / counter(&usage, &peers, life, Counted::Requests, at)
        };
        assert!(failed(&peers[1], 900.0) < 0.01, "not before its time");
        assert!((0.06..0.08).contains(&failed(&peers[1], 9000.0)) && failed(&peers[0], 9000.0) < 0.01);
    }
}
