//! The whole server over TLS, asked by kube's client, which was written by others.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config, Error};
use serde_json::{Value, json};

use super::{AuthTokens, Identity, Store, serve_tls, store_router};
use crate::clock::Clock;

struct Server {
    store: Store,
    kubeconfig: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start() -> Self {
        let clock = Clock::scaled_from_now("2025-03-04T09:00:00Z".parse().unwrap(), 3600.0);
        let store = Store::new(clock.clone());
        for ns in ["default", "gospelib-production"] {
            store.create("namespaces", json!({"metadata": {"name": ns}})).unwrap();
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let identity = Identity::generate(&clock).unwrap();
        let kubeconfig = kubeconfig(&address.to_string(), identity.ca_pem(), "s3cret");
        let router = store_router(store.clone(), AuthTokens::new("s3cret", "gospelib-production", clock));
        let task = tokio::spawn(async move {
            serve_tls(router, listener, &identity).await.unwrap();
        });
        Self { store, kubeconfig, task }
    }

    async fn client(&self) -> Client {
        client(&self.kubeconfig).await
    }
}

fn kubeconfig(address: &str, ca: &str, token: &str) -> String {
    use base64::Engine;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "rehearsal",
        "clusters": [{"name": "rehearsal", "cluster": {"server": format!("https://{address}"), "certificate-authority-data": ca}}],
        "users": [{"name": "rehearsal", "user": {"token": token}}],
        "contexts": [{"name": "rehearsal", "context": {"cluster": "rehearsal", "user": "rehearsal", "namespace": "gospelib-production"}}],
    })
    .to_string()
}

async fn client(kubeconfig: &str) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = kube::config::Kubeconfig::from_yaml(kubeconfig).unwrap();
    Client::try_from(Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await.unwrap())
        .unwrap()
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
           "metadata": {"name": "gospelib-gateway", "namespace": "gospelib-production", "labels": {"app": "gospelib-gateway"}},
           "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "gospelib-gateway"}},
                    "template": {"metadata": {"labels": {"app": "gospelib-gateway"}},
                                 "spec": {"containers": [{"name": "gateway", "image": "x/gospelib-gateway:v1"}]}}}})
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"v": value}}, "data": {"k": value}})).unwrap()
}

fn code(error: Error) -> (u16, String) {
    match error {
        Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("not an answer of the API: {other}"),
    }
}

#[tokio::test]
async fn create_update_conflict_delete() {
    let server = Server::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let made = api.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let twice = api.create(&PostParams::default(), &config_map("a", "1")).await.unwrap_err();
    assert_eq!(code(twice), (409, "AlreadyExists".into()));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry, &config_map("dry", "1")).await.unwrap();
    assert!(api.get_opt("dry").await.unwrap().is_none());
    let mut newer = made.clone();
    newer.data = Some([("k".to_owned(), "2".to_owned())].into());
    api.replace("a", &PostParams::default(), &newer).await.unwrap();
    let stale = api.replace("a", &PostParams::default(), &made).await.unwrap_err();
    assert_eq!(code(stale), (409, "Conflict".into()));
    let wrong = DeleteParams::default()
        .preconditions(kube::api::Preconditions { uid: Some("other".into()), resource_version: None });
    assert_eq!(code(api.delete("a", &wrong).await.unwrap_err()).0, 409);
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(api.get("a").await.unwrap_err()), (404, "NotFound".into()));
    let elsewhere: Api<ConfigMap> = Api::namespaced(server.client().await, "nowhere");
    assert_eq!(code(elsewhere.create(&PostParams::default(), &config_map("a", "1")).await.unwrap_err()).0, 404);
}

#[tokio::test]
async fn lists_select_and_page_consistently() {
    let server = Server::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    for n in 0..7 {
        api.create(&PostParams::default(), &config_map(&format!("cm-{n}"), &(n % 2).to_string())).await.unwrap();
    }
    let odd = api.list(&ListParams::default().labels("v in (1)")).await.unwrap();
    assert_eq!(odd.items.len(), 3);
    let one = api.list(&ListParams::default().fields("metadata.name=cm-3")).await.unwrap();
    assert_eq!(one.items.len(), 1);
    let first = api.list(&ListParams::default().limit(3)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(4));
    // What happens between two pages is not in the second.
    api.delete("cm-5", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let rest = api.list(&ListParams::default().limit(10).continue_token(&token)).await.unwrap();
    assert_eq!(rest.items.len(), 4);
    for n in 0..=super::store::HISTORY {
        server
            .store
            .modify("configmaps", "gospelib-production", "cm-1", |cm| cm["data"]["k"] = json!(n.to_string()))
            .unwrap();
    }
    let late = api.list(&ListParams::default().limit(10).continue_token(&token)).await.unwrap_err();
    assert_eq!(code(late), (410, "Expired".into()));
    let everywhere: Api<ConfigMap> = Api::all(server.client().await);
    assert_eq!(everywhere.list(&ListParams::default()).await.unwrap().items.len(), 6);
}

#[tokio::test]
async fn watches_follow_and_end_with_410() {
    let server = Server::start().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client().await);
    let before = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let params = WatchParams::default().labels("v=1").timeout(2);
    let events = api.watch(&params, &before).await.unwrap();
    let writer = api.clone();
    let writes = tokio::spawn(async move {
        writer.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
        writer.create(&PostParams::default(), &config_map("other", "2")).await.unwrap();
        let patch = json!({"data": {"k": "3"}});
        writer.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        let away = json!({"metadata": {"labels": {"v": "2"}}});
        writer.patch("a", &PatchParams::default(), &Patch::Merge(&away)).await.unwrap();
    });
    let kinds: Vec<&str> = events
        .map(|event| match event.unwrap() {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            WatchEvent::Bookmark(_) => "bookmark",
            WatchEvent::Error(_) => "error",
        })
        .take(3)
        .collect()
        .await;
    writes.await.unwrap();
    assert_eq!(kinds, ["added", "modified", "deleted"]);
    for n in 0..=super::store::HISTORY {
        server
            .store
            .modify("configmaps", "gospelib-production", "a", |cm| cm["data"]["k"] = json!(n.to_string()))
            .unwrap();
    }
    let mut late = api.watch(&WatchParams::default(), &before).await.unwrap().boxed();
    match late.try_next().await.unwrap().unwrap() {
        WatchEvent::Error(status) => assert_eq!(status.code, 410),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn server_side_apply_conflicts_over_the_wire() {
    let server = Server::start().await;
    let api: Api<Deployment> = Api::default_namespaced(server.client().await);
    let apply = |manager: &str| PatchParams::apply(manager);
    api.patch("gospelib-gateway", &apply("argocd-controller"), &Patch::Apply(&deployment())).await.unwrap();
    let ours = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gospelib-gateway"},
                      "spec": {"template": {"spec": {"containers": [{"name": "gateway", "image": "x:v2"}]}}}});
    let refused = api.patch("gospelib-gateway", &apply("gospel-release"), &Patch::Apply(&ours)).await.unwrap_err();
    let Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!(status.code, 409);
    let causes = status.details.as_ref().unwrap().causes.clone();
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    let forced = api.patch("gospelib-gateway", &apply("gospel-release").force(), &Patch::Apply(&ours)).await.unwrap();
    assert_eq!(forced.metadata.generation, Some(2));
    let scale = api.get_scale("gospelib-gateway").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    api.patch_scale("gospelib-gateway", &PatchParams::default(), &patch).await.unwrap();
    let status = Patch::Merge(json!({"status": {"readyReplicas": 3}, "spec": {"replicas": 9}}));
    let after = api.patch_status("gospelib-gateway", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(after.spec.unwrap().replicas, Some(3));
    assert_eq!(after.status.unwrap().ready_replicas, Some(3));
    let strategic = json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}});
    let two = api.patch("gospelib-gateway", &PatchParams::default(), &Patch::Strategic(strategic)).await.unwrap();
    assert_eq!(two.spec.unwrap().template.spec.unwrap().containers.len(), 2);
}

#[tokio::test]
async fn custom_resources_and_what_is_not_there() {
    let server = Server::start().await;
    let client = server.client().await;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application"));
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    let app: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "a"},
        "spec": {"project": "default"}, "status": {"health": {"status": "Healthy"}}}))
    .unwrap();
    // No status subresource: the status is written with the rest.
    let made = api.create(&PostParams::default(), &app).await.unwrap();
    assert_eq!(made.data["status"]["health"]["status"], "Healthy");
    let strategic = Patch::Strategic(json!({"spec": {}}));
    assert_eq!(code(api.patch("a", &PatchParams::default(), &strategic).await.unwrap_err()).0, 415);
    let gone = ApiResource::from_gvk(&GroupVersionKind::gvk("external-secrets.io", "v1beta1", "ExternalSecret"));
    let gone: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &gone);
    assert_eq!(code(gone.list(&ListParams::default()).await.unwrap_err()).0, 404);
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let evict = pods.evict("a", &kube::api::EvictParams::default()).await.unwrap_err();
    assert_eq!(code(evict).0, 501);
    let review: SelfSubjectAccessReview = serde_json::from_value(json!({"spec": {}})).unwrap();
    let review = Api::<SelfSubjectAccessReview>::all(client).create(&PostParams::default(), &review).await.unwrap();
    assert!(review.status.unwrap().reason.unwrap().contains("proves no permission"));
}

#[tokio::test]
async fn strangers_are_refused() {
    let server = Server::start().await;
    let stranger = client(&server.kubeconfig.replace("s3cret", "guess")).await;
    let error = Api::<ConfigMap>::default_namespaced(stranger).list(&ListParams::default()).await.unwrap_err();
    assert_eq!(code(error), (401, "Unauthorized".into()));
}
