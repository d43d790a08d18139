//! What the cluster held before the story begins: the last deployment of each environment is played through the same
//! controllers, quickly, at the time that Git gives it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::compare::Place;
use super::memory::Memory;
use super::object::{later, seconds, stamp};
use super::{argo, deployment, kubelet, owners, replicaset, secrets, sync};
use crate::rehearsal::World;

/// The Lease that release tools of this project share.
const LEASE: &str = "gospel-release";
/// What stands between clients in a cluster and the databases outside it: Deployment, Service and label `app`.
pub const POOLER: &str = "pgbouncer";
/// Deployments of the past of which ReplicaSets are left; older ones are in Argo's history only.
const KEPT: usize = 3;

/// Fills the object store from the world's past. Call it once, before any client.
pub fn seed(world: &World) {
    let start = world.clock.now();
    let mut memory = Memory::new("past");
    ground(world, start);
    // Oldest first: the past is played forwards.
    around(world, start);
    for environment in ["production", "staging"] {
        application(world, &mut memory, environment, start);
    }
    lease(world);
    for external in world.kube.list("externalsecrets", None) {
        secrets::sync(world, &external, later(start, seconds(-17 * 60)));
    }
    // Argo's last look before the story: it finds everything as Git says.
    argo::reconcile(world, &mut memory, start);
}

pub(super) fn put(world: &World, plural: &str, object: Value) {
    // The store is empty but for what it made itself: what is there already stays.
    let _ = world.kube.create(plural, object);
}

fn days_ago(start: Timestamp, days: i64) -> Timestamp {
    later(start, seconds(-86_400 * days))
}

/// Namespaces, nodes, and what every namespace has.
fn ground(world: &World, start: Timestamp) {
    let founded = stamp(days_ago(start, 96));
    let shape = &world.shape;
    let own = [shape.namespace("staging"), shape.namespace("production")];
    let shared =
        ["default", "kube-system", "kube-public", "kube-node-lease", "argocd", "monitoring", "external-secrets"];
    for space in own.iter().map(String::as_str).chain(shared) {
        let labels = json!({ "kubernetes.io/metadata.name": space });
        let metadata = json!({ "name": space, "labels": labels, "creationTimestamp": founded });
        put(world, "namespaces", json!({ "metadata": metadata, "status": { "phase": "Active" } }));
        let metadata = json!({ "name": "kube-root-ca.crt", "namespace": space, "creationTimestamp": founded });
        put(world, "configmaps", json!({ "metadata": metadata, "data": { "ca.crt": "" } }));
        let metadata = json!({ "name": "default", "namespace": space, "creationTimestamp": founded });
        put(world, "serviceaccounts", json!({ "metadata": metadata }));
    }
    for (zone, host) in [("a", "10.0.11.23"), ("b", "10.0.12.87")] {
        node(world, zone, host, start, &founded);
    }
}

fn node(world: &World, zone: &str, host: &str, start: Timestamp, founded: &str) {
    let region = &world.shape.region;
    let node_name = format!("ip-{}.ec2.internal", host.replace('.', "-"));
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({ "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": stamp(start), "lastTransitionTime": founded })
    };
    let capacity = json!({ "cpu": "2", "memory": "3955652Ki", "pods": "17", "ephemeral-storage": "20959212Ki" });
    let object = json!({
        "metadata": { "name": node_name, "creationTimestamp": founded, "labels": {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            "kubernetes.io/hostname": node_name,
            "node.kubernetes.io/instance-type": "t3.medium",
            "topology.kubernetes.io/region": region,
            "topology.kubernetes.io/zone": format!("{region}{zone}"),
            "eks.amazonaws.com/nodegroup": "general",
        }},
        "spec": { "providerID": format!("aws:///{region}{zone}/i-0{:016x}", super::object::fnv(&[host])) },
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": host },
                { "type": "InternalDNS", "address": node_name },
                { "type": "Hostname", "address": node_name },
            ],
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "nodeInfo": {
                "kubeletVersion": "v1.33.1-eks-1fbb135",
                "kubeProxyVersion": "v1.33.1-eks-1fbb135",
                "osImage": "Amazon Linux 2023.7.20250609",
                "kernelVersion": "6.1.140-154.222.amzn2023.x86_64",
                "containerRuntimeVersion": "containerd://1.7.27",
                "operatingSystem": "linux",
                "architecture": "amd64",
                "machineID": "", "systemUUID": "", "bootID": "",
            },
        },
    });
    put(world, "nodes", object);
}

/// A commit that changed what an overlay renders to, and when it was made.
struct Deploy {
    revision: String,
    at: Timestamp,
    objects: Vec<Value>,
}

/// The deployments that Git remembers of an environment, oldest first.
fn deploys(world: &World, overlay: &str) -> Vec<Deploy> {
    let Some(head) = world.repo.head("main") else { return Vec::new() };
    let mut commits = world.repo.log(&head, None, 2000);
    commits.reverse();
    let mut found: Vec<Deploy> = Vec::new();
    for commit in commits {
        let touches = commit.parents.first().is_none_or(|parent| {
            let paths = world.repo.differing(parent, &commit.sha);
            paths.iter().any(|(path, _)| path.starts_with(overlay) || path.starts_with("infra/k8s/base"))
        });
        let Some(objects) = touches.then(|| world.repo.render(&commit.sha, overlay).ok()).flatten() else { continue };
        if found.last().is_none_or(|last| last.objects != objects) {
            found.push(Deploy { revision: commit.sha, at: commit.committer.at, objects });
        }
    }
    found
}

/// An environment's Application, and its last deployment played through.
fn application(world: &World, memory: &mut Memory, environment: &str, start: Timestamp) {
    let shape = &world.shape;
    let overlay = shape.overlay(environment);
    let deploys = deploys(world, &overlay);
    let app_name = shape.namespace(environment);
    let source = json!({
        "repoURL": format!("https://github.com/{}.git", shape.slug),
        "path": overlay,
        "targetRevision": "main",
    });
    let mut app = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {
            "name": app_name,
            "namespace": "argocd",
            "creationTimestamp": stamp(days_ago(start, 95)),
            "labels": { "app.kubernetes.io/part-of": shape.project },
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
        },
        "spec": {
            "project": "default",
            "source": source,
            "destination": { "server": "https://kubernetes.default.svc", "namespace": app_name },
            "syncPolicy": sync_policy(),
        },
    });
    let kept = &deploys[deploys.len().saturating_sub(KEPT)..];
    for (left, deploy) in (0..kept.len()).rev().zip(kept) {
        let at = later(deploy.at, seconds(40));
        for object in &deploy.objects {
            let place = Place::of(object, &app_name);
            let _ = sync::put(world, &app, &place, object, at);
        }
        if left == 0 {
            play(world, memory, at);
        } else {
            // Of what was replaced long ago, its ReplicaSets and their revisions are left.
            secrets::reconcile(world, memory, at);
            deployment::remember(world, &app_name, at);
        }
    }
    app["status"] = status(world, &source, &deploys, environment);
    if environment == "production" && world.scenario.world.argo.stuck {
        hang(&mut app, &deploys, start);
    }
    owners::own(world, &mut app, environment);
    put(world, "applications", app);
}

/// How both Applications sync.
pub(super) fn sync_policy() -> Value {
    json!({
        "automated": { "prune": true, "selfHeal": true },
        "retry": { "limit": 5, "backoff": { "duration": "5s", "factor": 2, "maxDuration": "3m" } },
    })
}

/// `status` as the last sync left it.
fn status(world: &World, source: &Value, deploys: &[Deploy], environment: &str) -> Value {
    let since = world.past.releases.iter().rev().nth(1).map(|release| release.at);
    let by = json!({ "automated": true });
    let history: Vec<Value> = (0_i64..)
        .zip(deploys)
        .filter(|(_, deploy)| environment != "production" || since.is_none_or(|since| deploy.at >= since))
        .map(|(id, deploy)| {
            json!({
                "id": id,
                "revision": deploy.revision,
                "deployStartedAt": stamp(later(deploy.at, seconds(37))),
                "deployedAt": stamp(later(deploy.at, seconds(41))),
                "initiatedBy": by,
                "source": source,
            })
        })
        .collect();
    let head = world.repo.head("main").unwrap_or_default();
    let mut status = json!({
        "history": history,
        "sync": { "status": "Synced", "revision": head },
        "health": { "status": "Healthy" },
    });
    if let Some(last) = deploys.last() {
        status["operationState"] = json!({
            "operation": { "sync": { "revision": last.revision, "prune": true }, "initiatedBy": by,
                "retry": { "limit": 5 } },
            "phase": "Succeeded",
            "message": "successfully synced (all tasks run)",
            "startedAt": stamp(later(last.at, seconds(37))),
            "finishedAt": stamp(later(last.at, seconds(41))),
            "syncResult": { "revision": last.revision, "source": source },
        });
        status["health"]["lastTransitionTime"] = json!(stamp(later(last.at, seconds(70))));
    }
    status
}

/// Another person's sync waits for a hook that never ends, since two hours.
fn hang(app: &mut Value, deploys: &[Deploy], start: Timestamp) {
    let revision = deploys.last().map(|deploy| deploy.revision.clone()).unwrap_or_default();
    let operation = json!({
        "sync": { "revision": revision, "syncOptions": ["Replace=false"] },
        "initiatedBy": { "username": "amon-oncall" },
        "info": [{ "name": "Reason", "value": "re-run the search index hook" }],
    });
    app["operation"] = operation.clone();
    app["status"]["operationState"] = json!({
        "operation": operation,
        "phase": "Running",
        "message": "waiting for completion of hook batch/Job/search-reindex-presync",
        "startedAt": stamp(later(start, seconds(-2 * 3600))),
        "syncResult": { "revision": revision, "source": app["spec"]["source"] },
    });
}

/// Gives the controllers their turns from `from` on, until nothing moves any more.
fn play(world: &World, memory: &mut Memory, from: Timestamp) {
    let end = later(from, seconds(590));
    let mut now = from;
    while now < end {
        let before = world.kube.version();
        secrets::reconcile(world, memory, now);
        deployment::reconcile(world, memory, now);
        replicaset::reconcile(world, memory, now);
        kubelet::reconcile(world, memory, now);
        let wake = memory.take_wake();
        if world.kube.version() == before {
            let Some(wake) = wake else { break };
            // The kubelet dates its steps by itself: a few seconds at a time are near enough.
            now = wake.max(later(now, seconds(3)));
        }
    }
}

/// What is in the cluster beside Gospelib's services.
fn around(world: &World, start: Timestamp) {
    let production = world.shape.namespace("production");
    let founded = stamp(days_ago(start, 90));
    let pod = json!({
        "restartPolicy": "OnFailure",
        "containers": [{
            "name": "ingest",
            "image": "ghcr.io/gospelib/ingest:2025.2",
            "command": ["/bin/ingest", "--incremental"],
            "envFrom": [{ "secretRef": { "name": format!("{}-secrets", world.shape.project) } }],
        }],
    });
    let template = json!({ "metadata": { "labels": { "app": "ingest" } }, "spec": pod });
    let job = json!({ "backoffLimit": 2, "activeDeadlineSeconds": 3600, "template": template });
    let last = later(start, seconds(-(start.as_second().rem_euclid(21_600))));
    put(
        world,
        "cronjobs",
        json!({
            "metadata": { "name": "ingest-incremental", "namespace": production, "creationTimestamp": founded },
            "spec": { "schedule": "0 */6 * * *", "concurrencyPolicy": "Forbid", "jobTemplate": { "spec": job } },
            "status": { "lastScheduleTime": stamp(last), "lastSuccessfulTime": stamp(later(last, seconds(95))) },
        }),
    );
    helper(world, "monitoring", "prometheus", "quay.io/prometheus/prometheus:v3.2.1", 9090, &founded);
    if world.shape.separate {
        for environment in ["staging", "production"] {
            let space = world.shape.namespace(environment);
            helper(world, &space, POOLER, "ghcr.io/gospelib/pgbouncer:1.24.0", 5432, &founded);
        }
    }
    play(world, &mut Memory::new("monitoring"), days_ago(start, 90));
}

/// A Deployment of one pod with a Service of its name, on one port.
fn helper(world: &World, space: &str, name: &str, image: &str, port: u16, founded: &str) {
    let labels = json!({ "app": name });
    let metadata = json!({ "name": name, "namespace": space, "labels": labels, "creationTimestamp": founded });
    let address = format!("172.20.114.{}", super::object::fnv(&[space, name]) % 250 + 2);
    put(
        world,
        "services",
        json!({
            "metadata": metadata,
            "spec": { "selector": labels, "clusterIP": address,
                "ports": [{ "name": "web", "port": port, "targetPort": port }] },
        }),
    );
    let container = json!({ "name": name, "image": image, "ports": [{ "name": "web", "containerPort": port }] });
    put(
        world,
        "deployments",
        json!({
            "metadata": metadata,
            "spec": { "replicas": 1, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } } },
        }),
    );
}

/// `metav1.MicroTime` of wall time now: Leases are renewed in real time.
fn micro_now(world: &World) -> String {
    world.clock.wall().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// The Lease of somebody else's run, where the scenario has one.
fn lease(world: &World) {
    let Some(lock) = &world.scenario.world.lock else { return };
    let now = micro_now(world);
    put(
        world,
        "leases",
        json!({
            "metadata": {
                "name": LEASE,
                "namespace": world.shape.namespace("production"),
                "annotations": { "gospel-release.dev/run": lock.run },
            },
            "spec": {
                "holderIdentity": lock.by,
                "leaseDurationSeconds": 15,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }),
    );
}

/// Renews the other run's Lease every 5 s of wall time, while its holder lives and nobody has taken it over.
pub async fn keep_lease(world: Arc<World>) {
    let Some(lock) = world.scenario.world.lock.clone().filter(|lock| lock.alive) else { return };
    let space = world.shape.namespace("production");
    loop {
        world.clock.sleep_wall(Duration::from_secs(5)).await;
        let now = micro_now(&world);
        let renewed = world.kube.modify("leases", &space, LEASE, |lease| {
            if lease["spec"]["holderIdentity"] == lock.by.as_str() {
                lease["spec"]["renewTime"] = json!(now);
            }
        });
        if renewed.is_err() {
            return;
        }
    }
}
