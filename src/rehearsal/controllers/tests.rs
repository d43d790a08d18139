//! The controllers together, on worlds of their own, with time that the test moves.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::memory::Memory;
use super::object::{condition, condition_is_true, later, name, number, seconds, text, time};
use super::run::turn;
use super::seed;
use crate::clock::Clock;
use crate::rehearsal::git::{self, Author};
use crate::rehearsal::measure::Measure;
use crate::rehearsal::{Scenario, World, aws, github, kube, postgres, shape::Shape, switches::Switches, traffic};

pub struct Stage {
    pub world: Arc<World>,
    memory: Memory,
    pub now: Timestamp,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub fn new(knobs: &str) -> Self {
        Self::with(knobs, Shape::gospelib())
    }

    fn with(knobs: &str, shape: Shape) -> Self {
        let text = format!("{{name: t, summary: t, breaks: t, engineer: t, exit: {{}}, world: {knobs}}}");
        let scenario: Scenario = serde_yaml::from_str(&text).unwrap();
        let start: Timestamp = "2025-03-04T09:00:00Z".parse().unwrap();
        // World time all but stands still by itself: the test moves it.
        let clock = Clock::scaled_from_now(start, 0.001);
        let dir = tempfile::tempdir().unwrap();
        let registry = aws::Registry::new(&shape, 1, false);
        let (repo, past) = git::create(&dir.path().join("r.git"), &shape, &scenario, &registry, start, 1).unwrap();
        let hub = github::Hub::new(&shape, &scenario, &repo, &past, start, 1);
        let kube = kube::Store::new(clock.clone());
        let (databases, traffic) = (postgres::Databases::default(), traffic::Traffic::new(start));
        let (switches, measure) = (Switches::new(&scenario), Measure::default());
        let world = World {
            clock,
            seed: 1,
            scenario,
            shape,
            past,
            kube,
            registry,
            repo,
            hub,
            databases,
            traffic,
            switches,
            measure,
        };
        seed(&world);
        Self { world: Arc::new(world), memory: Memory::new("present"), now: start, _dir: dir }
    }

    /// Lets `duration` seconds of world time pass.
    pub fn pass(&mut self, duration: i64) {
        let end = later(self.now, seconds(duration));
        loop {
            let before = self.world.kube.version();
            turn(&self.world, &mut self.memory, self.now);
            let wake = self.memory.take_wake().unwrap_or(end);
            if self.world.kube.version() == before {
                if self.now >= end {
                    return;
                }
                self.now = wake.max(later(self.now, seconds(1))).min(end);
            }
        }
    }

    pub fn get(&self, plural: &str, space: &str, name: &str) -> Arc<Value> {
        self.world.kube.get(plural, space, name).unwrap()
    }

    pub fn pods(&self, environment: &str, service: &str) -> Vec<Arc<Value>> {
        let pods = self.world.kube.list("pods", Some(&self.world.shape.namespace(environment)));
        let app = self.world.shape.object(service);
        pods.into_iter().filter(|pod| pod["metadata"]["labels"]["app"] == app.as_str()).collect()
    }

    fn app(&self) -> Arc<Value> {
        self.get("applications", "argocd", "gospelib-production")
    }

    fn deployment(&self) -> Arc<Value> {
        self.get("deployments", "gospelib-production", "gospelib-gateway")
    }

    /// Brings the candidate to the production overlay, as the workflow does.
    pub fn release(&self) -> String {
        let world = &self.world;
        let images: BTreeMap<_, _> = world
            .past
            .candidate
            .images
            .iter()
            .map(|(service, digest)| (world.shape.object(service), ("v1.2.0".to_owned(), digest.clone())))
            .collect();
        let author = Author::new("gospelib-bot", "bot@gospelib.example", self.now);
        let overlay = world.shape.overlay("production");
        world.repo.set_overlay_images("main", &overlay, &images, "release v1.2.0", &author).unwrap()
    }
}

fn image_ids(pods: &[Arc<Value>]) -> Vec<String> {
    pods.iter()
        .map(|pod| text(pod, "/status/containerStatuses/0/imageID").split_once('@').unwrap().1.to_owned())
        .collect()
}

#[test]
fn the_past_is_there_and_at_rest() {
    let mut stage = Stage::new("{soak: {hours: 26}}");
    let start = stage.now;
    let before = stage.deployment();
    stage.pass(120);
    assert_eq!(stage.deployment(), before);
    assert_eq!(before["status"]["availableReplicas"], 2, "{before:#}");
    assert_eq!(condition(&before, "Progressing").unwrap()["reason"], "NewReplicaSetAvailable");
    for environment in ["staging", "production"] {
        let app = stage.get("applications", "argocd", &stage.world.shape.namespace(environment));
        assert_eq!(app["status"]["sync"]["status"], "Synced", "{app:#}");
        assert_eq!(app["status"]["health"]["status"], "Healthy", "{app:#}");
        assert!(app.get("operation").is_none());
        for service in &stage.world.shape.services {
            let pods = stage.pods(environment, service);
            let past = &stage.world.past;
            let build = if environment == "staging" { &past.candidate } else { past.releases.last().unwrap() };
            assert_eq!(image_ids(&pods), vec![build.images[service].to_string(); 2]);
            assert!(pods.iter().all(|pod| condition_is_true(pod, "Ready")), "{pods:#?}");
        }
    }
    let soaked = start.duration_since(time(&stage.pods("staging", "gateway")[0], "/status/startTime").unwrap());
    assert!((25..=26).contains(&soaked.as_hours()), "{soaked}");
    let sets = stage.world.kube.list("replicasets", Some("gospelib-production"));
    let gateway = sets.iter().filter(|set| name(set).starts_with("gospelib-gateway-"));
    let wanted: Vec<_> = gateway.map(|set| number(set, "/spec/replicas").unwrap()).collect();
    assert!(wanted.contains(&0) && wanted.iter().sum::<i64>() == 2, "{wanted:?}");
    assert!(stage.app()["status"]["history"].as_array().unwrap().len() >= 2);
}

#[test]
fn an_interrupted_soak_shows_in_history_and_revisions() {
    let stage = Stage::new("{soak: {hours: 26, interrupted_hours_ago: 3}}");
    let sets = stage.world.kube.list("replicasets", Some("gospelib-staging"));
    let sets = sets.iter().filter(|set| name(set).starts_with("gospelib-gateway-"));
    let mut wanted: Vec<_> = sets.map(|set| number(set, "/spec/replicas").unwrap()).collect();
    wanted.sort_unstable();
    assert_eq!(wanted, [0, 2]);
    let deployment = stage.get("deployments", "gospelib-staging", "gospelib-gateway");
    assert_eq!(super::object::annotation(&deployment, super::deployment::REVISION), "3");
    let ago = stage.now.duration_since(time(&stage.pods("staging", "gateway")[0], "/status/startTime").unwrap());
    assert_eq!(ago.as_hours(), 2);
    let app = stage.get("applications", "argocd", "gospelib-staging");
    let history = app["status"]["history"].as_array().unwrap();
    let revisions: Vec<_> = history[history.len() - 3..].iter().map(|entry| text(entry, "/revision")).collect();
    let images = |revision: &str| stage.world.repo.file(revision, "infra/k8s/overlays/staging/kustomization.yaml");
    assert_eq!(images(revisions[0]), images(revisions[2]));
    assert_ne!(images(revisions[0]), images(revisions[1]));
}

#[test]
fn a_commit_becomes_pods() {
    let mut stage = Stage::new("{}");
    stage.pass(10);
    let history = stage.app()["status"]["history"].as_array().unwrap().len();
    let commit = stage.release();
    stage.pass(240);
    let app = stage.app();
    assert_eq!(app["status"]["sync"]["revision"], commit.as_str());
    assert_eq!(app["status"]["operationState"]["phase"], "Succeeded");
    assert_eq!(app["status"]["history"].as_array().unwrap().len(), history + 1);
    assert_eq!(app["status"]["health"]["status"], "Healthy");
    for service in &stage.world.shape.services {
        let wanted = stage.world.past.candidate.images[service].to_string();
        assert_eq!(image_ids(&stage.pods("production", service)), vec![wanted; 2]);
    }
    let deployment = stage.deployment();
    assert_eq!(deployment["status"]["observedGeneration"], deployment["metadata"]["generation"]);
    assert_eq!(condition(&deployment, "Progressing").unwrap()["reason"], "NewReplicaSetAvailable");
}

#[test]
fn a_stale_argo_means_the_old_revision() {
    let mut stage = Stage::new("{argo: {stale_for: 6m}}");
    stage.pass(60);
    let commit = stage.release();
    stage.pass(300);
    let app = stage.app();
    assert_eq!(
        (&app["status"]["sync"]["status"], &app["status"]["health"]["status"]),
        (&json!("Synced"), &json!("Healthy"))
    );
    assert_ne!(app["status"]["sync"]["revision"], commit.as_str());
    stage.pass(300);
    assert_eq!(stage.app()["status"]["sync"]["revision"], commit.as_str());
    assert_eq!(stage.pods("production", "gateway").len(), 2);
}

#[test]
fn a_stuck_operation_blocks_until_it_is_terminated() {
    let mut stage = Stage::new("{argo: {stuck: true}}");
    let commit = stage.release();
    stage.pass(600);
    let app = stage.app();
    assert_eq!(app["status"]["sync"]["status"], "OutOfSync");
    assert_eq!(app["status"]["operationState"]["phase"], "Running");
    let end = |app: &mut Value| app["status"]["operationState"]["phase"] = json!("Terminating");
    stage.world.kube.modify("applications", "argocd", "gospelib-production", end).unwrap();
    turn(&stage.world, &mut stage.memory, stage.now);
    let message = stage.app()["status"]["operationState"]["message"].clone();
    assert!(message.is_null() || message == "Operation terminated", "{message}");
    stage.pass(240);
    let app = stage.app();
    assert_eq!(app["status"]["operationState"]["syncResult"]["revision"], commit.as_str());
    assert_eq!(app["status"]["sync"]["status"], "Synced");
}

#[test]
fn self_heal_undoes_what_git_does_not_say() {
    let mut stage = Stage::new("{}");
    stage.pass(10);
    let history = stage.app()["status"]["history"].clone();
    let was = stage.deployment()["spec"].clone();
    let space = "gospelib-production";
    let hot = format!("{}/gospelib-gateway:v1.0.0", stage.world.shape.registry());
    stage
        .world
        .kube
        .modify("deployments", space, "gospelib-gateway", |d| {
            d["spec"]["template"]["spec"]["containers"][0]["image"] = json!(hot);
        })
        .unwrap();
    stage.pass(2);
    assert_eq!(stage.app()["status"]["sync"]["status"], "OutOfSync");
    assert_ne!(stage.deployment()["spec"], was);
    stage.pass(10);
    assert_eq!(stage.deployment()["spec"], was);
    stage.pass(60);
    let app = stage.app();
    assert_eq!(app["status"]["sync"]["status"], "Synced");
    assert_eq!(app["status"]["history"], history);
    assert_eq!(app["status"]["operationState"]["operation"]["sync"]["resources"].as_array().unwrap().len(), 1);
    assert_eq!(stage.pods(space.trim_start_matches("gospelib-"), "gateway").len(), 2);
}

#[test]
fn a_crash_loop_keeps_the_old_pods_and_passes_the_deadline() {
    let mut stage = Stage::new("{pod: {service: gateway, kind: crash-loop}}");
    stage.release();
    stage.pass(900);
    let pods = stage.pods("production", "gateway");
    assert_eq!(pods.iter().filter(|pod| condition_is_true(pod, "Ready")).count(), 2);
    let broken = pods.iter().find(|pod| !condition_is_true(pod, "Ready")).unwrap();
    let status = &broken["status"]["containerStatuses"][0];
    assert!(status["restartCount"].as_i64().unwrap() > 4, "{status}");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(condition(&stage.deployment(), "Progressing").unwrap()["reason"], "ProgressDeadlineExceeded");
    assert_eq!(stage.app()["status"]["health"]["status"], "Degraded");
    assert_eq!(stage.pods("production", "content").len(), 2);
}

#[test]
fn an_image_that_is_not_there_is_not_pulled() {
    let mut stage = Stage::new("{pod: {service: content, kind: never-ready}}");
    stage.world.registry.remove("gospelib-search", &stage.world.past.candidate.images["search"]);
    stage.release();
    stage.pass(240);
    let waiting = |pod: &Arc<Value>| text(pod, "/status/containerStatuses/0/state/waiting/reason").to_owned();
    let reasons: Vec<_> = stage.pods("production", "search").iter().map(waiting).collect();
    assert!(reasons.iter().any(|reason| reason == "ImagePullBackOff" || reason == "ErrImagePull"), "{reasons:?}");
    let running = stage.pods("production", "content");
    assert_eq!(running.len(), 3);
    assert!(running.iter().any(|pod| text(pod, "/status/phase") == "Running" && !condition_is_true(pod, "Ready")));
    let events = stage.world.kube.list("events", Some("gospelib-production"));
    for reason in ["Pulling", "Pulled", "Failed", "BackOff", "Unhealthy", "Started", "Killing"] {
        assert!(events.iter().any(|event| event["reason"] == reason), "{reason}");
    }
}

#[test]
fn cron_jobs_make_jobs_that_end() {
    let mut stage = Stage::new("{}");
    stage.now = later(stage.now, seconds(3 * 3600 - 60));
    stage.pass(300);
    let jobs = stage.world.kube.list("jobs", Some("gospelib-production"));
    assert_eq!(jobs.len(), 1);
    assert!(condition_is_true(&jobs[0], "Complete"), "{:#}", jobs[0]);
    let pods = stage.world.kube.list("pods", Some("gospelib-production"));
    let selected = |pod: &&Arc<Value>| {
        super::object::selects(&jobs[0]["spec"]["selector"]["matchLabels"], &pod["metadata"]["labels"])
    };
    assert_eq!(pods.iter().filter(selected).count(), 1);
}

#[test]
fn a_hundred_services_are_seeded_soon() {
    let watch = crate::clock::Stopwatch::start();
    let mut stage = Stage::with("{}", Shape::with_services(100));
    let seeded = watch.elapsed();
    stage.pass(60);
    assert_eq!(stage.app()["status"]["health"]["status"], "Healthy");
    assert!(seeded.as_secs() < 60, "{seeded:?}");
}
