//! kubectl against the rehearsed Kubernetes API.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Ran, World, eventually, need};

const PRODUCTION: &str = "gospelib-production";
const SOON: Duration = Duration::from_secs(30);

fn kubectl(args: &str) -> Client {
    World::shared().client("kubectl").args(args.split_whitespace())
}

fn run(args: &str) -> Ran {
    kubectl(args).run()
}

fn names(args: &str) -> BTreeSet<String> {
    run(&format!("{args} -o name")).ok().lines().map(ToOwned::to_owned).collect()
}

/// An image that is in the rehearsed registry.
fn image(tag: &str) -> String {
    format!("418272771234.dkr.ecr.us-east-1.amazonaws.com/gospelib-gateway:{tag}")
}

/// A Deployment of our own: Argo CD would undo changes of Gospelib's.
fn deployment(name: &str, tag: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{
                    "name": "gateway", "image": image(tag), "ports": [{ "name": "http", "containerPort": 8080 }],
                    "readinessProbe": { "httpGet": { "path": "/ready", "port": "http" } },
                }] },
            },
        },
    })
}

fn apply(object: &Value, how: &str) -> Ran {
    kubectl(&format!("-n default apply {how} -f -")).input(object.to_string()).run()
}

#[test]
fn gets_with_selectors_columns_and_pages() {
    if !need(&["kubectl"]) {
        return;
    }
    let wide = run(&format!("-n {PRODUCTION} get pods -o wide -l app=gospelib-gateway")).ok();
    let (header, rows) = wide.split_once('\n').unwrap();
    for column in ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"] {
        assert!(header.contains(column), "{wide}");
    }
    assert_eq!(rows.lines().filter(|row| row.contains("1/1") && row.contains("Running")).count(), 2, "{wide}");
    let wide = run("get deployments -A -o wide").ok();
    assert!(wide.lines().next().unwrap().contains("IMAGES") && wide.contains("app=gospelib-study"), "{wide}");

    // Jobs have pods too, and come and go.
    let services = format!("-n {PRODUCTION} get pods -l environment=production");
    let all = names(&services);
    assert_eq!(all.len(), 12, "{all:?}");
    assert_eq!(names(&format!("{services} --chunk-size=5")), all);
    assert_eq!(names(&format!("{services} --field-selector=status.phase=Running")), all);
    assert!(names(&format!("{services} --field-selector=status.phase!=Running")).is_empty());
    assert_eq!(names(&format!("{services},app!=gospelib-auth,app!=gospelib-study")).len(), 8);
    let either = ["-n", PRODUCTION, "get", "pods", "-o", "name", "-l", "app in (gospelib-auth, gospelib-study)"];
    assert_eq!(World::shared().client("kubectl").args(either).run().ok().lines().count(), 4);
    let missing = run(&format!("-n {PRODUCTION} get deployment nobody")).refused();
    assert!(missing.contains("(NotFound): deployments.apps \"nobody\" not found"), "{missing}");
    let ready = run(&format!("-n {PRODUCTION} get deploy gospelib-auth -o jsonpath={{.status.readyReplicas}}")).ok();
    assert_eq!(ready, "2");
}

#[test]
fn discovers_the_api() {
    if !need(&["kubectl"]) {
        return;
    }
    let resources = run("api-resources --no-headers").ok();
    for (name, version) in [
        ("deployments", "apps/v1"),
        ("applications", "argoproj.io/v1alpha1"),
        ("externalsecrets", "external-secrets.io/v1"),
        ("leases", "coordination.k8s.io/v1"),
    ] {
        let known = resources.lines().any(|line| line.starts_with(name) && line.contains(version));
        assert!(known, "{name} in {version}:\n{resources}");
    }
    assert!(run("version -o json").json()["serverVersion"]["gitVersion"].as_str().unwrap().starts_with('v'));
    assert!(run("get --raw /readyz").ok().contains("ok"));
    run("get crontabs").refused();
}

#[test]
fn logs_are_read_and_followed() {
    if !need(&["kubectl"]) {
        return;
    }
    let logs = run(&format!("-n {PRODUCTION} logs deployment/gospelib-gateway --tail=3")).ok();
    assert_eq!(logs.lines().count(), 3, "{logs}");
    let logs = run(&format!("-n {PRODUCTION} logs -l app=gospelib-gateway --prefix --tail=2")).ok();
    let pods: BTreeSet<_> = logs.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!((logs.lines().count(), pods.len()), (4, 2), "{logs}");

    let pod = names(&format!("-n {PRODUCTION} get pods -l app=gospelib-content")).pop_first().unwrap();
    let follow = format!("-n {PRODUCTION} logs -f {pod} --tail=1");
    let followed = kubectl(&follow).follow(|text| text.lines().count() > 5);
    assert_eq!(followed.code, None, "it should have followed until it was ended: {followed:?}");
    let times: Vec<String> = followed.out.lines().filter_map(time_of).collect();
    assert!(times.len() > 5 && times.is_sorted(), "{}", followed.out);
}

fn time_of(line: &str) -> Option<String> {
    Some(serde_json::from_str::<Value>(line).ok()?["time"].as_str()?.to_owned())
}

#[test]
fn server_side_apply_keeps_owners_apart() {
    if !need(&["kubectl"]) {
        return;
    }
    let mut object = deployment("owned", "v1.1.0", 1);
    assert!(apply(&object, "--server-side").ok().contains("serverside-applied"));
    let read = || run("-n default get deployment owned -o json --show-managed-fields").json();
    let version = read()["metadata"]["resourceVersion"].clone();
    run("-n default set env deployment/owned LOG_LEVEL=debug").ok();
    run(&format!("-n default set image deployment/owned gateway={}", image("v1.1.1"))).ok();
    let after = read();
    assert_ne!(after["metadata"]["resourceVersion"], version);
    let managers = after["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        managers.iter().any(|entry| entry["manager"] == "kubectl" && entry["operation"] == "Apply"),
        "{managers:?}"
    );

    let conflict = apply(&object, "--server-side").refused();
    assert!(conflict.contains("conflict") && conflict.contains(".image"), "{conflict}");
    apply(&object, "--server-side --force-conflicts").ok();
    let container = read()["spec"]["template"]["spec"]["containers"][0].clone();
    // What was applied is ours again; what others set and we never named stays.
    assert_eq!(container["image"], image("v1.1.0"));
    assert_eq!(container["env"][0]["value"], "debug");
    // What is no longer applied goes.
    object["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("readinessProbe");
    apply(&object, "--server-side").ok();
    assert!(read()["spec"]["template"]["spec"]["containers"][0].get("readinessProbe").is_none());
    run("-n default delete deployment owned").ok();
}

#[test]
fn client_side_apply_and_diff() {
    if !need(&["kubectl"]) {
        return;
    }
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "applied", "namespace": "default" },
        "data": { "a": "1", "b": "2" },
    });
    assert!(apply(&object, "").ok().contains("created"));
    assert!(apply(&object, "").ok().contains("unchanged"));
    object["data"] = json!({ "a": "2" });
    let diff = kubectl("-n default diff -f -").input(object.to_string()).run();
    assert_eq!(diff.code, Some(1), "{diff:?}");
    assert!(diff.out.contains("-  b: \"2\""), "{}", diff.out);
    assert!(apply(&object, "").ok().contains("configured"));
    assert_eq!(run("-n default get configmap applied -o json").json()["data"], json!({ "a": "2" }));
    run("-n default delete configmap applied").ok();
}

#[test]
fn patches_of_three_kinds() {
    if !need(&["kubectl"]) {
        return;
    }
    apply(&deployment("patched", "v1.1.0", 1), "--server-side").ok();
    let patch = |kind: &str, patch: Value| {
        let args = format!("-n default patch deployment patched --type={kind} -p");
        kubectl(&args).arg(patch.to_string()).run()
    };
    let containers =
        || run("-n default get deployment patched -o json").json()["spec"]["template"]["spec"]["containers"].clone();
    let of_template = |containers: Value| json!({ "spec": { "template": { "spec": { "containers": containers } } } });

    let env = json!([{ "name": "gateway", "env": [{ "name": "A", "value": "1" }] }]);
    patch("strategic", of_template(env)).ok();
    let found = containers();
    assert_eq!(found[0]["image"], image("v1.1.0"), "a strategic merge goes by the container's name");
    assert_eq!(found[0]["env"], json!([{ "name": "A", "value": "1" }]));

    let replaced = json!([{ "name": "other", "image": image("v1.1.1") }]);
    patch("merge", of_template(replaced)).ok();
    assert_eq!(containers().as_array().unwrap().len(), 1, "a merge patch replaces lists whole");
    assert_eq!(containers()[0]["name"], "other");

    let at = "/spec/template/spec/containers/0/image";
    patch("json", json!([{ "op": "test", "path": at, "value": "another" }, { "op": "remove", "path": at }])).refused();
    patch("json", json!([{ "op": "replace", "path": at, "value": image("v1.1.0") }])).ok();
    assert_eq!(containers()[0]["image"], image("v1.1.0"));
    let stale = json!({ "metadata": { "resourceVersion": "1" }, "spec": { "replicas": 2 } });
    let conflict = patch("merge", stale).refused();
    assert!(conflict.contains("the object has been modified"), "{conflict}");
    run("-n default delete deployment patched").ok();
}

#[test]
fn a_rollout_is_waited_for() {
    if !need(&["kubectl"]) {
        return;
    }
    apply(&deployment("rolled", "v1.1.0", 2), "--server-side").ok();
    run("-n default wait --for=condition=Available deployment/rolled --timeout=30s").ok();
    let done = run("-n default rollout status deployment/rolled --timeout=30s").ok();
    assert!(done.contains("successfully rolled out"), "{done}");
    run(&format!("-n default set image deployment/rolled gateway={}", image("v1.1.1"))).ok();
    run("-n default rollout status deployment/rolled --timeout=30s").ok();
    let pods = run("-n default get pods -l app=rolled -o json").json();
    let running: Vec<&Value> = pods["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
        .collect();
    assert_eq!(running.len(), 2);
    for pod in running {
        assert_eq!(pod["spec"]["containers"][0]["image"], image("v1.1.1"));
        assert!(pod["status"]["containerStatuses"][0]["imageID"].as_str().unwrap().contains("@sha256:"));
    }
    run("-n default rollout undo deployment/rolled").ok();
    run("-n default rollout status deployment/rolled --timeout=30s").ok();
    let now = run("-n default get deployment rolled -o json").json();
    assert_eq!(now["spec"]["template"]["spec"]["containers"][0]["image"], image("v1.1.0"));
    assert_eq!(now["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");

    run(&format!("-n default set image deployment/rolled gateway={}", image("v0.0.0"))).ok();
    run("-n default rollout status deployment/rolled --timeout=2s").refused();
    eventually("a pod says that its image is not there", SOON, || {
        let pods = run("-n default get pods -l app=rolled").ok();
        if pods.contains("ErrImagePull") || pods.contains("ImagePullBackOff") { Ok(()) } else { Err(pods) }
    });
    run("-n default delete deployment rolled").ok();
    eventually("its pods go", SOON, || {
        let pods = names("-n default get pods -l app=rolled");
        if pods.is_empty() { Ok(()) } else { Err(format!("{pods:?}")) }
    });
    assert!(names("-n default get replicasets -l app=rolled").is_empty());
}

#[test]
fn watches_see_a_pod_come_and_age() {
    if !need(&["kubectl"]) {
        return;
    }
    let gone = |text: &str| text.lines().any(|line| line.starts_with("watched-") && line.contains("Terminating"));
    let watching = std::thread::spawn(move || kubectl("-n default get pods -w").follow(gone).out);
    // The watch must stand before there is anything to see; kubectl says nothing when it does.
    std::thread::sleep(Duration::from_secs(3));
    apply(&deployment("watched", "v1.1.0", 1), "--server-side").ok();
    run("-n default rollout status deployment/watched --timeout=30s").ok();
    // Some world minutes, so that it is no newborn when it goes.
    std::thread::sleep(Duration::from_secs(1));
    let pod = names("-n default get pods -l app=watched").pop_first().unwrap();
    run(&format!("-n default delete {pod}")).ok();
    run("-n default delete deployment watched").ok();
    let seen = watching.join().unwrap();
    let rows: Vec<Vec<&str>> = seen
        .lines()
        .filter(|line| line.starts_with("watched-"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let position = |status: &str| rows.iter().position(|row| row[2] == status);
    assert!(position("Pending") < position("ContainerCreating"), "{seen}");
    assert!(position("ContainerCreating") < position("Running"), "{seen}");
    let leaving = position("Terminating").unwrap_or_else(|| panic!("{seen}"));
    assert!(position("Running").unwrap() < leaving, "{seen}");
    assert_ne!(*rows[leaving].last().unwrap(), "0s", "{seen}");
}

#[test]
fn watches_resume_where_they_ended() {
    if !need(&["kubectl"]) {
        return;
    }
    let map = |name: &str| {
        let object =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": { "t": "w" } } });
        apply(&object, "--server-side").ok();
    };
    map("watch-1");
    let from = text(&run("get --raw /api/v1/namespaces/default/configmaps").json()["metadata"]["resourceVersion"]);
    map("watch-2");
    run("-n default delete configmap watch-1").ok();
    let watch = |version: &str| {
        let url = "/api/v1/namespaces/default/configmaps?watch=1&labelSelector=t%3Dw&timeoutSeconds=1&resourceVersion=";
        kubectl("get --raw").arg(format!("{url}{version}")).run()
    };
    let events: Vec<(String, String)> = watch(&from)
        .ok()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| (text(&event["type"]), text(&event["object"]["metadata"]["name"])))
        .collect();
    let pair = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    assert_eq!(events, [pair("ADDED", "watch-2"), pair("DELETED", "watch-1")]);
    run("-n default delete configmap -l t=w").ok();
    assert!(names("-n default get configmaps -l t=w").is_empty());
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_job_is_made_from_a_cron_job() {
    if !need(&["kubectl"]) {
        return;
    }
    let create =
        format!("-n {PRODUCTION} create job ingest-now --from=cronjob/ingest-incremental --dry-run=client -o yaml");
    let yaml = run(&create).ok();
    kubectl(&format!("-n {PRODUCTION} apply -f -")).input(yaml).run().ok();
    run(&format!("-n {PRODUCTION} wait --for=condition=Complete job/ingest-now --timeout=40s")).ok();
    let logs = run(&format!("-n {PRODUCTION} logs job/ingest-now")).ok();
    assert!(!logs.is_empty());
    assert!(run(&format!("-n {PRODUCTION} get jobs")).ok().contains("1/1"));
    run(&format!("-n {PRODUCTION} delete job ingest-now")).ok();
    run(&format!("-n {PRODUCTION} wait --for=delete job/ingest-now --timeout=30s")).ok();
}

#[test]
fn services_are_reached_through_the_api_server() {
    if !need(&["kubectl"]) {
        return;
    }
    let services = format!("/api/v1/namespaces/{PRODUCTION}/services");
    for path in ["health", "ready"] {
        let answer = run(&format!("get --raw {services}/gospelib-gateway:80/proxy/{path}")).json();
        assert!(answer.is_object(), "{answer}");
    }
    run(&format!("get --raw {services}/gospelib-gateway:81/proxy/health")).refused();
    // kubectl forwards ports over SPDY, also inside a WebSocket: that is not rehearsed, and it says so.
    let refused = run(&format!("-n {PRODUCTION} port-forward service/gospelib-gateway :80")).refused();
    assert!(refused.contains("SPDY"), "{refused}");
}
