//! The tool on a cluster that nobody here wrote. `GOSPEL_E2E_KUBECONFIG` names its kubeconfig; everything else (GitHub, AWS,
//! Git, staging) is a rehearsed world's. What is tried is what a bare cluster with the CRDs of Argo CD can do: identity, Lease,
//! journal, attestations, an Application, a rollout that the kubelet refuses. Nothing here but the Kubernetes API is asked of it.

use std::io::Write;
use std::path::PathBuf;

use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::support::{Ran, World, eventually};

const VARIABLE: &str = "GOSPEL_E2E_KUBECONFIG";
const APPLICATION: &str = "gospel-release-e2e";
/// A small image that runs on every node, and whose tag never moved.
const PAUSE: &str = "registry.k8s.io/pause:3.10";

/// A namespace of our own on the given cluster, removed at the end.
struct Place {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
    kubeconfig: PathBuf,
    context: String,
    uid: String,
    namespace: String,
}

impl Place {
    /// `None`, with a line that says so, where no cluster was given.
    fn given(test: &str) -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
            let _ = writeln!(std::io::stderr(), "skipped: {VARIABLE} names no cluster");
            return None;
        };
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
        let context = config.current_context.clone().expect("a current context");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let namespace = format!("e2e-{test}-{}", std::process::id());
        let (client, uid) = runtime.block_on(async {
            let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            let config = kube::Config::from_custom_kubeconfig(config, &options).await.expect("a usable kubeconfig");
            let client = kube::Client::try_from(config).expect("a client");
            let system = namespaces(&client).get("kube-system").await.expect("the namespace kube-system");
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            let object = serde_json::from_value(object).unwrap();
            namespaces(&client).create(&PostParams::default(), &object).await.expect("a namespace of our own");
            (client, system.metadata.uid.expect("a uid"))
        });
        Some(Self { runtime, client, kubeconfig, context, uid, namespace })
    }

    fn api(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    fn apply(&self, group: &str, version: &str, kind: &str, name: &str, mut object: Value) {
        let joined = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        object["apiVersion"] = json!(joined);
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": name});
        let api = self.api(group, version, kind);
        let patch = Patch::Apply(&object);
        let applied = self.runtime.block_on(api.patch(name, &PatchParams::apply("gospel-release-e2e").force(), &patch));
        applied.unwrap_or_else(|error| panic!("apply {kind} {name}: {error}"));
    }

    /// One object as JSON; null where there is none.
    fn get(&self, group: &str, version: &str, kind: &str, name: &str) -> Value {
        let found = self.runtime.block_on(self.api(group, version, kind).get_opt(name));
        serde_json::to_value(found.unwrap_or_else(|error| panic!("get {kind} {name}: {error}"))).unwrap()
    }

    fn list(&self, group: &str, version: &str, kind: &str) -> Vec<Value> {
        let found = self.runtime.block_on(self.api(group, version, kind).list(&ListParams::default()));
        let found = found.unwrap_or_else(|error| panic!("list {kind}: {error}"));
        found.items.into_iter().map(|item| serde_json::to_value(item).unwrap()).collect()
    }

    /// Who holds the lock; empty when it is free.
    fn holder(&self) -> String {
        let lease = self.get("coordination.k8s.io", "v1", "Lease", "gospel-release");
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// A rehearsed world whose production, and whose Argo CD, are here.
    fn world(&self) -> World {
        // Another seed than the stand-in's: this cluster has none of the images.
        let mut world = World::serve_with("clean", &["--speed", "3600", "--seed", "77"]);
        let text = std::fs::read_to_string(world.manifest["config"].as_str().unwrap()).unwrap();
        let mut config: Value = serde_yaml::from_str(&text).unwrap();
        config["production"]["cluster"] =
            json!({"kubeconfig": self.kubeconfig, "context": self.context, "kube_system_uid": self.uid});
        config["production"]["namespace"] = json!(self.namespace);
        config["argo"]["namespace"] = json!(self.namespace);
        config["argo"]["application"] = json!(APPLICATION);
        config["lock"]["lease"] = json!("15s");
        let path = world.state("e2e.yaml");
        std::fs::write(&path, serde_yaml::to_string(&config).unwrap()).unwrap();
        world.manifest["config"] = json!(path);
        world
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let gone = self.runtime.block_on(namespaces(&self.client).delete(&self.namespace, &DeleteParams::default()));
        if let Err(error) = gone {
            let _ = writeln!(std::io::stderr(), "namespace {} was left: {error}", self.namespace);
        }
    }
}

fn namespaces(client: &kube::Client) -> Api<k8s_openapi::api::core::v1::Namespace> {
    Api::all(client.clone())
}

/// The pinned cluster and no other; and what is not there is said to be missing.
#[test]
fn doctor_knows_the_cluster() {
    let Some(place) = Place::given("doctor") else { return };
    let world = place.world();
    let ran = world.tool(&["doctor"]);
    assert_ne!(ran.exit, 0, "{ran}");
    ran.says(&format!("kube-system:{}", place.uid)).says(&format!("{} has no Deployment", place.namespace));
    let other = ["--set", "production.cluster.kube_system_uid=00000000-0000-0000-0000-000000000000"];
    for verb in [&["doctor"][..], &["promote", "--yes", "--first-release"]] {
        world.tool(&[verb, &other].concat()).ended(14);
    }
    assert!(place.list("coordination.k8s.io", "v1", "Lease").is_empty(), "another cluster is not touched");
}

/// A promotion takes the Lease, shares its journal, is blocked by what nobody attested, and gives the Lease back.
#[test]
fn a_run_is_locked_and_recorded() {
    let Some(place) = Place::given("lock") else { return };
    let world = place.world();
    let promote = ["promote", "--yes", "--first-release", "--output", "json"];
    let ran = world.tool(&promote);
    let report = ran.ended(10).json();
    assert_eq!(report["world"]["kind"], "mixed", "{ran}");
    let smoke = report["gates"].as_array().unwrap().iter().find(|gate| gate["id"] == "smoke").expect("the gate smoke");
    assert_ne!(smoke["verdict"], "pass");
    assert_eq!(place.holder(), "", "{ran}");
    let run = report["run"].as_str().expect("a run");
    let kept = place.get("", "v1", "ConfigMap", &format!("gospel-release-{run}"));
    assert!(kept["data"].to_string().contains("blocked"), "{kept}");
    // What a person attests is kept beside it, and read again.
    let attest = ["checklist", "attest", "smoke", "--note", "tried", "--link", "https://example.com/tried"];
    world.tool(&attest).ended(0);
    let gates = world.tool(&["checklist", "--first-release", "--output", "json"]).json()["gates"].clone();
    assert_eq!(gates["smoke"]["verdict"], "pass", "{gates}");
    // Another's Lease is respected.
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let held = json!({"spec": {"holderIdentity": "olga@oncall", "leaseDurationSeconds": 300, "renewTime": now}});
    place.apply("coordination.k8s.io", "v1", "Lease", "gospel-release", held);
    world.tool(&promote).ended(13).says("olga@oncall");
    assert_eq!(place.holder(), "olga@oncall");
}

/// Past Git: self-heal is paused, the Deployment gets the image, and what the kubelet says about it is told.
#[test]
fn a_direct_rollback_tells_what_the_kubelet_says() {
    let Some(place) = Place::given("rollback") else { return };
    let world = place.world();
    let labels = json!({"app": "gospelib-gateway"});
    let container = json!({"name": "gateway", "image": PAUSE});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let deployment = json!({"spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}});
    place.apply("apps", "v1", "Deployment", "gospelib-gateway", deployment);
    // No controller looks after an Application outside its own namespace: it stays as it is written.
    let application = json!({"spec": {
        "project": "default",
        "source": {"repoURL": "https://example.com/none.git", "path": ".", "targetRevision": "main"},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": place.namespace},
        "syncPolicy": {"automated": {"selfHeal": true}},
    }});
    place.apply("argoproj.io", "v1alpha1", "Application", APPLICATION, application);
    eventually("the Deployment is seen", || {
        !place.get("apps", "v1", "Deployment", "gospelib-gateway")["status"]["observedGeneration"].is_null()
    });
    let back = ["rollback", "--yes", "--direct", "--pause-sync", "--service", "gateway", "--to", "v1.1.0"];
    let ran = world.tool(&[&back[..], &["--reason", "a test"]].concat());
    refused_by_the_kubelet(&place, &ran);
    let open = world.tool(&["status", "--output", "json", "--set", "debt.due_after=9000h"]).json();
    assert_eq!(open["open"].as_array().map(Vec::len), Some(1), "{open}");
    world.tool(&["abort", "--reason", "a test"]).ended(0);
}

fn refused_by_the_kubelet(place: &Place, ran: &Ran) {
    ran.ended(15).says("cannot pull");
    assert_eq!(place.holder(), "", "{ran}");
    let deployment = place.get("apps", "v1", "Deployment", "gospelib-gateway");
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    assert!(image.contains("/gospelib-gateway") && image.contains("@sha256:"), "{image}");
    let application = place.get("argoproj.io", "v1alpha1", "Application", APPLICATION);
    assert!(application["spec"]["syncPolicy"]["automated"].is_null(), "{application}");
    let debts = place.get("", "v1", "ConfigMap", "gospel-release-debts");
    assert_eq!(debts["data"].as_object().map(serde_json::Map::len), Some(2), "{debts}");
}
