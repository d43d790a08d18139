use std::collections::BTreeMap;

use super::*;
use crate::adapters::cluster::{Condition, Terminated, Waiting};

const REPOSITORY: &str = "418272771234.dkr.ecr.us-east-1.amazonaws.com/gospelib-gateway";

fn digest(c: char) -> Digest {
    format!("sha256:{}", c.to_string().repeat(64)).parse().unwrap()
}

fn now() -> Timestamp {
    "2025-03-04T10:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Option<Timestamp> {
    Some(now() - jiff::SignedDuration::from_secs(seconds))
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".into(), "gospelib-gateway".into())])
}

fn image(c: char) -> ImageRef {
    format!("{REPOSITORY}@{}", digest(c)).parse().unwrap()
}

fn deployment() -> DeploymentState {
    DeploymentState {
        name: "gospelib-gateway".into(),
        generation: 3,
        observed_generation: 3,
        desired: 2,
        updated: 2,
        replicas: 2,
        ready: 2,
        available: 2,
        images: BTreeMap::from([("gateway".into(), image('b'))]),
        conditions: Vec::new(),
        revision: Some(2),
        paused: false,
        selector: labels(),
        created_at: ago(9000),
    }
}

fn container(c: char) -> ContainerState {
    ContainerState {
        name: "gateway".into(),
        init: false,
        image: image(c).to_string(),
        digest: Some(digest(c)),
        ready: true,
        restarts: 0,
        waiting: None,
        running_since: ago(30),
        terminated: None,
        last_terminated: None,
    }
}

/// A ready pod of image `c`.
fn pod(c: char) -> PodState {
    PodState {
        name: format!("gospelib-gateway-{c}"),
        labels: labels(),
        phase: "Running".into(),
        reason: None,
        message: None,
        ready: true,
        containers: vec![container(c)],
        conditions: Vec::new(),
        replica_set: Some(format!("rs-{c}")),
        node: Some("node-a".into()),
        created_at: ago(40),
        started_at: ago(40),
        deleting: false,
    }
}

/// A new pod whose container waits.
fn waiting(reason: &str, message: &str) -> PodState {
    let mut pod = pod('b');
    pod.ready = false;
    pod.phase = "Pending".into();
    let container = &mut pod.containers[0];
    container.ready = false;
    container.running_since = None;
    container.waiting = Some(Waiting { reason: reason.into(), message: message.into() });
    if reason.contains("Image") {
        container.digest = None;
    }
    pod
}

fn ended_with(reason: &str, exit_code: i32) -> Option<Terminated> {
    Some(Terminated { reason: reason.into(), exit_code, message: String::new(), at: ago(5) })
}

fn expected() -> Expected {
    Expected {
        service: "gateway".parse().unwrap(),
        container: "gateway".into(),
        digests: vec![digest('b')],
        tag: Some("v1.2.0".into()),
        replicas: 2,
    }
}

fn of(pods: &[PodState]) -> Diagnosis {
    diagnose(&expected(), Some(&deployment()), pods, &Rollout::default(), now())
}

fn doomed(pod: PodState) -> Option<(String, Doom)> {
    match of(&[self::pod('b'), pod]) {
        Diagnosis::Doomed { why, kind } => Some((why, kind)),
        _ => None,
    }
}

fn note(diagnosis: Diagnosis) -> String {
    match diagnosis {
        Diagnosis::Progressing(note) => note,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ready_means_new_ready_enough_and_alone() {
    assert_eq!(of(&[pod('b'), pod('b')]), Diagnosis::Ready);
    assert_eq!(note(of(&[pod('b')])), "gateway: 1 of 2 new pods ready");
    assert_eq!(note(of(&[pod('b'), pod('b'), pod('a')])), "gateway: 1 old pod left");
    // Not the new image, however Available the Deployment says it is.
    assert_eq!(note(of(&[pod('a'), pod('a')])), "gateway: 0 of 2 new pods ready");
    let mut other = pod('c');
    other.labels.insert("app".into(), "gospelib-search".into());
    assert_eq!(of(&[pod('b'), pod('b'), other]), Diagnosis::Ready);
}

#[test]
fn the_generation_comes_before_every_count() {
    let stale = DeploymentState { observed_generation: 2, ..deployment() };
    let diagnosis = diagnose(&expected(), Some(&stale), &[pod('b'), pod('b')], &Rollout::default(), now());
    assert_eq!(note(diagnosis), "gateway: generation 3 is not observed yet");
    let old = DeploymentState { images: BTreeMap::from([("gateway".into(), image('a'))]), ..deployment() };
    let diagnosis = diagnose(&expected(), Some(&old), &[pod('a'), pod('a')], &Rollout::default(), now());
    assert_eq!(note(diagnosis), "gateway: its Deployment still names …/gospelib-gateway@sha256:aaaaaaaaaaaa…");
    let none = diagnose::<PodState>(&expected(), None, &[], &Rollout::default(), now());
    assert_eq!(note(none), "gateway: its Deployment is not there");
}

#[test]
fn an_image_that_is_not_found_or_not_allowed_is_doomed_in_the_back_off() {
    let (why, kind) = doomed(waiting(
        "ImagePullBackOff",
        "Back-off pulling image: ErrImagePull: rpc error: code = NotFound desc = …: not found",
    ))
    .unwrap();
    assert_eq!(kind, Doom::ImagePull);
    assert_eq!(why, "gateway: 1 of 2 pods cannot pull …/gospelib-gateway@sha256:bbbbbbbbbbbb… (not found in ECR)");
    let (why, _) = doomed(waiting("ImagePullBackOff", "pull access denied, no basic auth credentials")).unwrap();
    assert!(why.ends_with("(not allowed in ECR)"), "{why}");
}

#[test]
fn a_first_pull_error_is_not_a_failure() {
    assert!(doomed(waiting("ErrImagePull", "not found")).is_none());
    let mut old = waiting("ErrImagePull", "not found");
    old.started_at = ago(600);
    assert!(doomed(old).is_some());
    // A registry that is slow or limits us answers again; a back-off without a cause is one only after a while.
    assert!(doomed(waiting("ImagePullBackOff", "Back-off pulling image: 503 Service Unavailable")).is_none());
    // Digits of a digest are no HTTP status.
    let named = "Back-off pulling image \"x.dkr.ecr.us-east-1.amazonaws.com/gateway@sha256:403a401f\": toomanyrequests";
    assert!(doomed(waiting("ImagePullBackOff", named)).is_none());
    let mut silent = waiting("ImagePullBackOff", "Back-off pulling image \"x\"");
    assert!(doomed(silent.clone()).is_none());
    silent.started_at = ago(600);
    assert!(doomed(silent).is_some());
}

#[test]
fn an_invalid_image_name_is_doomed_at_once() {
    assert_eq!(doomed(waiting("InvalidImageName", "couldn't parse image name")).unwrap().1, Doom::InvalidImage);
}

#[test]
fn a_missing_key_is_doomed_and_a_late_cache_is_not() {
    let (why, kind) =
        doomed(waiting("CreateContainerConfigError", "couldn't find key CLERK_SECRET_KEY in Secret gospelib-secrets"))
            .unwrap();
    assert_eq!(kind, Doom::Config);
    assert!(why.contains("CLERK_SECRET_KEY"), "{why}");
    let late = "failed to sync secret cache: timed out waiting for the condition";
    assert!(doomed(waiting("CreateContainerConfigError", late)).is_none());
}

#[test]
fn a_start_race_with_exit_code_128_is_tried_again_and_a_missing_program_is_not() {
    let mut race = waiting("RunContainerError", "failed to create shim task: ttrpc: closed");
    race.containers[0].last_terminated = ended_with("StartError", 128);
    assert!(doomed(race.clone()).is_none());
    race.containers[0].restarts = 3;
    assert_eq!(doomed(race).unwrap().1, Doom::Start);
    let missing = waiting("RunContainerError", "exec: \"/app\": executable file not found in $PATH");
    assert_eq!(doomed(missing).unwrap().1, Doom::Start);
}

#[test]
fn a_crash_loop_is_doomed_once_the_restarts_grow() {
    let mut crash = waiting("CrashLoopBackOff", "back-off 20s restarting failed container");
    crash.containers[0].last_terminated = ended_with("Error", 1);
    crash.containers[0].restarts = 2;
    assert!(doomed(crash.clone()).is_none());
    crash.containers[0].restarts = 3;
    let (why, kind) = doomed(crash).unwrap();
    assert_eq!(kind, Doom::CrashLoop);
    assert_eq!(why, "gateway: 1 of 2 pods crash again and again: gateway ended with exit code 1, 3 restarts");
}

#[test]
fn out_of_memory_is_named() {
    let mut killed = waiting("CrashLoopBackOff", "back-off");
    killed.containers[0].last_terminated = ended_with("OOMKilled", 137);
    killed.containers[0].restarts = 1;
    let (why, kind) = doomed(killed.clone()).unwrap();
    assert_eq!(kind, Doom::OutOfMemory);
    assert_eq!(why, "gateway: 1 of 2 pods run out of memory in gateway: exit code 137 (OOMKilled), 1 restart");
    // A peak at the start, over when it runs again.
    killed.containers[0].waiting = None;
    killed.containers[0].running_since = ago(2);
    assert!(doomed(killed).is_none());
}

#[test]
fn unschedulable_is_doomed_after_a_grace() {
    let mut pod = pod('b');
    pod.ready = false;
    pod.phase = "Pending".into();
    pod.containers[0].digest = None;
    pod.containers[0].running_since = None;
    let unschedulable = |since| Condition {
        kind: "PodScheduled".into(),
        status: "False".into(),
        reason: "Unschedulable".into(),
        message: "0/3 nodes are available: 3 Insufficient cpu.".into(),
        since,
    };
    pod.conditions = vec![unschedulable(ago(60))];
    assert!(doomed(pod.clone()).is_none());
    pod.conditions = vec![unschedulable(ago(240))];
    let (why, kind) = doomed(pod).unwrap();
    assert_eq!(kind, Doom::Unschedulable);
    assert!(why.starts_with("gateway: 1 of 2 pods find no node for 4 min: 0/3 nodes"), "{why}");
}

#[test]
fn evicted_and_preempted_pods_are_not_failures() {
    let mut evicted = pod('b');
    evicted.phase = "Failed".into();
    evicted.reason = Some("Evicted".into());
    evicted.ready = false;
    assert_eq!(of(&[pod('b'), pod('b'), evicted.clone()]), Diagnosis::Ready);
    assert_eq!(note(of(&[pod('b'), evicted])), "gateway: 1 of 2 new pods ready, one was ended (Evicted)");
}

#[test]
fn terminating_old_pods_are_not_failures() {
    let mut old = waiting("CrashLoopBackOff", "back-off");
    old.containers[0].digest = Some(digest('a'));
    old.containers[0].image = image('a').to_string();
    old.containers[0].restarts = 9;
    // An old pod's troubles say nothing about the new version, terminating or not.
    assert_eq!(note(of(&[pod('b'), pod('b'), old.clone()])), "gateway: 1 old pod left");
    old.deleting = true;
    assert_eq!(of(&[pod('b'), pod('b'), old]), Diagnosis::Ready);
    let mut leaving = waiting("CrashLoopBackOff", "back-off");
    leaving.containers[0].restarts = 9;
    leaving.deleting = true;
    assert_eq!(of(&[pod('b'), pod('b'), leaving]), Diagnosis::Ready);
}

#[test]
fn a_pod_that_runs_and_is_never_ready_is_waited_for() {
    let mut pod = pod('b');
    pod.ready = false;
    pod.containers[0].ready = false;
    assert_eq!(note(of(&[pod.clone(), pod])), "gateway: 0 of 2 new pods ready, 2 running but not ready");
}

#[test]
fn an_image_named_by_tag_is_new_by_its_tag_until_it_is_pulled_and_by_its_digest_after() {
    let tagged = format!("{REPOSITORY}:v1.2.0");
    let deployment =
        DeploymentState { images: BTreeMap::from([("gateway".into(), tagged.parse().unwrap())]), ..deployment() };
    let of = |pods: &[PodState]| diagnose(&expected(), Some(&deployment), pods, &Rollout::default(), now());
    let named = |mut pod: PodState| {
        pod.containers[0].image.clone_from(&tagged);
        pod
    };
    assert_eq!(of(&[named(pod('b')), named(pod('b'))]), Diagnosis::Ready);
    let doomed = of(&[named(waiting("ImagePullBackOff", "not found"))]);
    assert!(matches!(doomed, Diagnosis::Doomed { .. }));
    // The tag meant other bytes when this pod started.
    assert_eq!(note(of(&[named(pod('c')), named(pod('b'))])), "gateway: 1 of 2 new pods ready");
}

#[test]
fn an_index_pinned_by_the_spec_counts_though_the_node_reports_its_platform() {
    let mut platform = pod('b');
    platform.containers[0].digest = Some(digest('d'));
    assert_eq!(of(&[platform, pod('b')]), Diagnosis::Ready);
}

#[test]
fn an_overview_names_what_is_missing() {
    let overview = Overview::of(&[
        Diagnosis::Ready,
        Diagnosis::Progressing("search: 0 of 2 new pods ready".into()),
        Diagnosis::Progressing("study: 1 old pod left".into()),
    ]);
    assert_eq!(overview.note(), "1 of 3 services ready; search: 0 of 2 new pods ready; 1 more");
    assert!(!overview.all_ready() && Overview::of(&[Diagnosis::Ready]).all_ready());
    assert!(!Overview::default().all_ready());
}

#[test]
fn restarts_are_told_with_their_last_end() {
    let mut pod = pod('b');
    pod.containers[0].restarts = 3;
    pod.containers[0].last_terminated = ended_with("OOMKilled", 137);
    let said = restarted(&[pod.clone(), self::pod('b')], 2, &BTreeMap::new());
    assert_eq!(said[0].said, "gospelib-gateway-b restarted 3 times, last: exit code 137 (OOMKilled)");
    assert_eq!(said.len(), 1);
    pod.deleting = true;
    assert!(restarted(&[pod], 2, &BTreeMap::new()).is_empty());
}
