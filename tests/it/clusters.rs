//! Staging, production and Argo CD in clusters of their own, staging in an account of its own; and every way to an address
//! inside a cluster, taken by a whole promotion.

use serde_json::{Value, json};

use crate::support::{Ran, World};

const SPEED: &str = "7200";

fn separate() -> World {
    World::serve_with("clean", &["--speed", SPEED, "--separate-clusters"])
}

/// The `--set` flags that send health, metrics and databases of both environments by these ways.
fn by(health: &str, prometheus: &str) -> Vec<String> {
    let mut flags = Vec::new();
    let mut set = |key: String, value: &str| flags.extend(["--set".to_owned(), format!("{key}={value}")]);
    for environment in ["staging", "production"] {
        set(format!("{environment}.health.reach.by"), health);
        set(format!("{environment}.prometheus.reach.by"), prometheus);
        for reach in ["health", "prometheus"] {
            set(format!("{environment}.{reach}.reach.job_image"), "curlimages/curl:8.12.1");
        }
    }
    flags
}

/// The configuration with every database behind a port-forward to the pooler.
fn databases_by_port_forward(world: &mut World) {
    let text = std::fs::read_to_string(world.manifest["config"].as_str().unwrap()).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    for service in config["services"].as_array_mut().unwrap() {
        if !service["database"].is_null() {
            service["database"]["reach"] = json!({"by": "port-forward", "service": "pgbouncer", "port": 5432});
        }
    }
    let path = world.state("by-port-forward.yaml");
    std::fs::write(&path, serde_yaml::to_string(&config).unwrap()).unwrap();
    world.manifest["config"] = json!(path);
    // The host of the URL is not reachable from here: only the way through the cluster is.
    for (name, url) in world.manifest["environment"].as_object_mut().unwrap() {
        if name.ends_with("_PG_URL") {
            let database = url.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            *url = json!(format!("postgres://gospelib:rehearsal@10.255.0.1:1/{database}"));
        }
    }
}

/// Everything went from one cluster's staging to the other's production.
fn released(world: &World, ran: &Ran) {
    let report = ran.ended(0).json();
    assert_eq!(report["outcome"], "released", "{ran}");
    assert_eq!(report["world"]["kind"], "rehearsal");
    for image in report["images"].as_array().unwrap() {
        let deployment = format!("gospelib-{}", image["service"].as_str().unwrap());
        let digest = image["digest"].as_str().unwrap();
        assert!(world.serving()[&deployment].contains(digest), "{deployment}: {digest}\n{ran}");
    }
    assert!(world.tags().contains("release/v1.2.0"));
}

/// What came to the API servers shows by which way services and Prometheus were asked, and that nothing went another way.
fn asked_by(world: &World, request: &str) {
    let asked = world.control("requests")["requests"].clone();
    assert!(asked[request].as_u64().unwrap_or(0) > 20, "{asked}");
    assert!(asked["proxy services"].is_null(), "{asked}");
}

fn promote(world: &World, more: &[String]) -> Ran {
    let flags: Vec<&str> = more.iter().map(String::as_str).collect();
    world.tool(&[&["promote", "--yes", "--output", "json"], flags.as_slice()].concat())
}

#[test]
fn staging_and_argo_cd_may_be_elsewhere() {
    let world = separate();
    // Production's cluster knows nothing of the others.
    let staging = world.kube("/api/v1/namespaces/gospelib-staging");
    assert_eq!(staging["reason"], "NotFound", "{staging}");
    assert_eq!(world.kube("/api/v1/namespaces/argocd")["reason"], "NotFound");
    let looks = world.tool(&["doctor"]);
    let looks = looks.ended(0).says("account 418272775678").says("account 418272771234");
    looks.says("cluster/gospelib-staging").says("cluster/gospelib-production");
    let ran = promote(&world, &by("api-proxy", "api-proxy"));
    assert_eq!(ran.json()["world"]["cluster"], "arn:aws:eks:us-east-1:418272771234:cluster/gospelib-production");
    released(&world, &ran);
    world.tool(&["rollback", "--yes", "--reason", "a test"]).ended(0);
}

/// A kubeconfig that leads to another of the clusters is a wrong world, and nothing is asked of it.
#[test]
fn each_cluster_is_checked_by_itself() {
    let world = separate();
    let production = world.manifest["kubeconfig"].as_str().unwrap().to_owned();
    let swapped = ["--set", &format!("staging.cluster.kubeconfig={production}")];
    let context = ["--set", "staging.cluster.context=gospelib-production"];
    let ran = world.tool(&[&["promote", "--yes"][..], &swapped, &context].concat());
    ran.ended(14).says("staging");
    // An account that is not the configured one, in one of the two.
    let ran = world.tool(&["promote", "--yes", "--set", "staging.aws.profile=production"]);
    ran.ended(14).says("418272775678");
    assert_eq!(world.lock_holder(), "");
}

#[test]
fn a_promotion_by_port_forward() {
    let mut world = separate();
    databases_by_port_forward(&mut world);
    let ran = promote(&world, &by("port-forward", "port-forward"));
    released(&world, &ran);
    asked_by(&world, "get pods/portforward");
    let migrations = ran.json()["steps"].as_array().unwrap().iter().find(|step| step["id"] == "migrations").cloned();
    assert_eq!(migrations.expect("the step migrations")["state"], "done");
}

#[test]
fn a_promotion_by_job() {
    let world = separate();
    let ran = promote(&world, &by("job", "job"));
    released(&world, &ran);
    asked_by(&world, "create jobs");
    let jobs = world.kube_list("/apis/batch/v1/namespaces/gospelib-production/jobs");
    let left: Vec<&Value> = jobs.iter().map(|job| &job["metadata"]["name"]).collect();
    assert!(left.iter().all(|name| !name.as_str().unwrap_or_default().contains("gospel-release-ask")), "{left:?}");
}
