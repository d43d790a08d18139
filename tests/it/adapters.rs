//! The AWS and Kubernetes adapters against the rehearsed wires.
//!
//! Credentials come from the environment, which a test must not change for its neighbours: so the checks run in a process
//! of their own, this binary again, with the rehearsal's environment.

use std::time::Duration;

use gospel_release::adapters::aws::{Aws, ImageId};
use gospel_release::adapters::cluster::{
    Access, Applications, Cluster, ConfigMaps, DeploymentState, Events, ExternalSecretState, ExternalSecrets,
    LeaseWrite, Leases, Logs, Operation, Refresh, StoredMap, Workloads,
};
use gospel_release::adapters::reach::{Route, Tunnel};
use gospel_release::config::model::{self, Config, ReachBy};
use gospel_release::process::Program;
use gospel_release::rehearsal::{Options, Rehearsal, Scenario};
use gospel_release::{Kind, clock::Clock};

const CONFIG: &str = "GOSPEL_TEST_CONFIG";
const PRODUCTION: &str = "gospelib-production";

#[tokio::test(flavor = "multi_thread")]
async fn the_adapters_speak_the_rehearsed_wires() {
    let rehearsal = Rehearsal::start(Options::new(Scenario::named("clean").unwrap())).await.unwrap();
    let manifest = rehearsal.manifest();
    let inside = Program::new(std::env::current_exe().unwrap())
        .args(["--exact", "adapters::inside", "--ignored", "--nocapture"])
        .env(CONFIG, &manifest.config);
    let inside = manifest.environment.iter().fold(inside, |program, (name, value)| program.env(name, value));
    let finished = inside.timeout(Duration::from_mins(1)).output().await.unwrap();
    assert!(finished.success(), "{}\n{}", finished.text(), finished.error_text());
    rehearsal.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the_adapters_speak_the_rehearsed_wires, with its environment"]
async fn inside() {
    let text = std::fs::read_to_string(std::env::var(CONFIG).unwrap()).unwrap();
    let config: Config = serde_yaml::from_str(&text).unwrap();
    let aws = Aws::connect(&config.production.aws).await.unwrap();
    registry(&aws, &config).await;
    let cluster = Cluster::connect(&config.production.cluster, Some(&aws)).await.unwrap();
    identity(&aws, &config, &cluster).await;
    workloads(&cluster).await;
    stores(&cluster).await;
    argo(&cluster).await;
    reach(&cluster).await;
}

async fn registry(aws: &Aws, config: &Config) {
    assert_eq!(aws.verified_identity().await.unwrap().account, "418272771234");
    assert_eq!(aws.credentials_expire_at().await.unwrap(), None);
    let mut other = config.production.aws.clone();
    other.account = Some("000000000000".into());
    let error = Aws::connect(&other).await.unwrap().verified_identity().await.unwrap_err();
    assert_eq!(error.kind(), Kind::WrongWorld);
    let digest = aws.digest_of("gospelib-gateway", "v1.1.1").await.unwrap().unwrap();
    assert!(aws.equivalents("gospelib-gateway", &digest).await.unwrap().contains(&digest));
    assert!(aws.exists("gospelib-gateway", &digest).await.unwrap().unwrap().tags.contains(&"v1.1.1".to_owned()));
    let wanted: Vec<(String, ImageId)> = config
        .services
        .iter()
        .flat_map(|service| ["v1.1.1", "v9.9.9"].map(|tag| (config.image_of(service), ImageId::Tag(tag.into()))))
        .collect();
    let found = aws.images(&wanted).await.unwrap();
    assert_eq!(found.values().filter(|image| image.is_some()).count(), 6);
    assert!(!aws.describe_image("nobody", &wanted[0].1).await.unwrap_err().hints().is_empty());
    let app = config.apps.iter().find_map(|app| app.amplify_app.as_deref()).unwrap();
    assert!(aws.last_amplify_job(app, "main").await.unwrap().unwrap().succeeded());
}

async fn identity(aws: &Aws, config: &Config, cluster: &Cluster) {
    let settings = &config.production.cluster;
    let arn = settings.arn.clone().unwrap();
    assert_eq!(cluster.identity().id, arn);
    assert!(cluster.version().await.unwrap().starts_with('v'));
    assert!(cluster.has_namespace(PRODUCTION).await.unwrap() && !cluster.has_namespace("elsewhere").await.unwrap());

    let refused = async |settings: model::Cluster, aws| match Cluster::connect(&settings, aws).await {
        Ok(_) => panic!("connected to what is not pinned: {settings:?}"),
        Err(error) => error,
    };
    let wrong = model::Cluster { arn: Some(arn.replace("production", "other")), ..settings.clone() };
    assert_eq!(refused(wrong, Some(aws)).await.kind(), Kind::WrongWorld);
    let loose = model::Cluster { arn: None, ..settings.clone() };
    assert!(refused(loose, Some(aws)).await.hints()[0].contains(&arn));

    let kubeconfig = std::env::var_os("KUBECONFIG").map(Into::into);
    let both = model::Cluster { kubeconfig, ..settings.clone() };
    assert_eq!(Cluster::connect(&both, Some(aws)).await.unwrap().identity().id, arn);
    let unpinned = model::Cluster { eks: None, arn: None, ..both };
    let error = refused(unpinned.clone(), None).await;
    let hint = error.hints()[0].clone();
    let uid = hint.split("kube_system_uid: ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let wrong = model::Cluster { kube_system_uid: Some("another".into()), ..unpinned.clone() };
    assert_eq!(refused(wrong, None).await.kind(), Kind::WrongWorld);
    let pinned = model::Cluster { kube_system_uid: Some(uid.clone()), ..unpinned };
    assert_eq!(Cluster::connect(&pinned, None).await.unwrap().identity().id, format!("kube-system:{uid}"));
}

async fn workloads(cluster: &Cluster) {
    let workloads = Workloads::new(cluster, PRODUCTION);
    let mut deployments = workloads.deployments().await.unwrap();
    assert_eq!(deployments.len(), 6);
    // The world's controllers may still be counting when its first client comes.
    for _ in 0..200 {
        if deployments.iter().all(DeploymentState::rolled_out) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        deployments = workloads.deployments().await.unwrap();
    }
    let gateway = deployments.iter().find(|d| d.name == "gospelib-gateway").unwrap();
    assert!(gateway.rolled_out() && gateway.revision.is_some(), "{gateway:?}");
    assert!(gateway.image("gateway").unwrap().digest.is_some());
    let pods = workloads.pods(Some("app=gospelib-gateway")).await.unwrap();
    assert_eq!(pods.len(), 2);
    let container = pods[0].main("gateway").unwrap();
    assert!(pods[0].ready && container.digest.is_some() && container.running_since.is_some(), "{:?}", pods[0]);
    let sets = workloads.replica_sets().await.unwrap();
    assert!(sets.iter().any(|set| Some(&set.name) == pods[0].replica_set.as_ref() && set.ready == 2), "{sets:?}");
    Logs::new(cluster, PRODUCTION).tail(&pods[0].name, Some("gateway"), 5, false).await.unwrap();
    assert!(Logs::new(cluster, PRODUCTION).tail(&pods[0].name, None, 5, true).await.unwrap().is_empty());
    Events::new(cluster, PRODUCTION).about("Pod", &pods[0].name, 5).await.unwrap();
    assert!(cluster.may(&Access::new("update", "coordination.k8s.io", "leases", PRODUCTION)).await.unwrap().allowed);
    let secrets = ExternalSecrets::new(cluster, PRODUCTION).list().await.unwrap();
    assert!(secrets.iter().all(ExternalSecretState::current), "{secrets:?}");
    let live = workloads.live();
    let (seen, pods) = live.look().await.unwrap();
    assert_eq!((seen.len(), pods.len()), (6, 12));
    // The first news is that the watches have begun; the next is what we change.
    tokio::time::timeout(Duration::from_secs(5), live.changed()).await.unwrap();
    let image = gateway.image("gateway").unwrap();
    let mut other = image.clone();
    other.tag = Some("v0.0.0-watched".into());
    workloads.apply_image("gospelib-gateway", "gateway", &other).await.unwrap();
    let told = async {
        loop {
            live.changed().await;
            let (seen, _) = live.look().await.unwrap();
            let gateway = seen.iter().find(|d| d.name == "gospelib-gateway").unwrap();
            if gateway.image("gateway").unwrap().tag == other.tag {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
    workloads.apply_image("gospelib-gateway", "gateway", image).await.unwrap();
}

async fn stores(cluster: &Cluster) {
    let leases = Leases::new(cluster, PRODUCTION);
    assert_eq!(leases.get().await.unwrap(), None);
    let write = LeaseWrite {
        holder: Some("dana@laptop".into()),
        run: Some("promote-1".into()),
        renewed_at: Clock::real().wall(),
        duration: Duration::from_secs(30),
        transitions: 0,
        stop_asked_by: None,
    };
    let made = leases.create(&write).await.unwrap();
    assert_eq!(made.described().as_deref(), Some("dana@laptop (run promote-1)"));
    assert!(leases.create(&write).await.unwrap_err().is_conflict());
    let renewed = LeaseWrite { renewed_at: Clock::real().wall(), ..write };
    let newer = leases.update(&renewed, &made.resource_version).await.unwrap();
    assert!(leases.update(&renewed, &made.resource_version).await.unwrap_err().is_conflict());
    assert!(leases.delete(&made.resource_version).await.unwrap_err().is_conflict());
    leases.delete(&newer.resource_version).await.unwrap();
    leases.delete(&newer.resource_version).await.unwrap();
    assert_eq!(leases.get().await.unwrap(), None);

    let maps = ConfigMaps::new(cluster, PRODUCTION);
    let map = StoredMap {
        name: "gospel-release-promote-1".into(),
        labels: [("gospel-release.dev/kind".to_owned(), "run".to_owned())].into(),
        data: [("state".to_owned(), "{}".to_owned())].into(),
        ..StoredMap::default()
    };
    let made = maps.create(&map).await.unwrap();
    assert!(maps.create(&map).await.unwrap_err().is_conflict());
    let mut next = StoredMap { resource_version: made, ..map.clone() };
    next.data.insert("state".into(), "{\"step\":1}".into());
    let newer = maps.replace(&next).await.unwrap();
    assert!(maps.replace(&next).await.unwrap_err().is_conflict());
    let kept = maps.get(&map.name).await.unwrap().unwrap();
    assert_eq!((kept.data, kept.resource_version), (next.data, newer));
    assert_eq!(maps.list("gospel-release.dev/kind=run").await.unwrap().len(), 1);
    maps.delete(&map.name).await.unwrap();
    maps.delete(&map.name).await.unwrap();
    assert_eq!(maps.get(&map.name).await.unwrap(), None);
}

async fn argo(cluster: &Cluster) {
    let applications = Applications::new(cluster, "argocd");
    let app = applications.application(PRODUCTION).await.unwrap();
    assert_eq!((app.sync_status.as_str(), app.health.as_str()), ("Synced", "Healthy"));
    assert!(app.auto_sync && app.self_heal && !app.history.is_empty(), "{app:?}");
    assert_eq!((app.source_path.as_str(), app.target_revision.as_str()), ("infra/k8s/overlays/production", "main"));
    assert!(applications.application("nobody").await.unwrap_err().is_not_found());
    assert!(!applications.terminate(PRODUCTION).await.unwrap());
    applications.refresh(PRODUCTION, Refresh::Hard).await.unwrap();
    let revision = app.revision.unwrap();
    // The controller writes the Application too: a conflict is its turn, and ours comes.
    for attempt in 0.. {
        match applications.sync(PRODUCTION, &revision).await {
            Err(error) if error.is_conflict() && attempt < 50 => tokio::time::sleep(Duration::from_millis(20)).await,
            other => {
                other.unwrap();
                break;
            }
        }
    }
    for _ in 0..200 {
        let app = applications.application(PRODUCTION).await.unwrap();
        if !app.operation_requested && app.operation.as_ref().is_some_and(Operation::succeeded) {
            assert_eq!(app.operation.unwrap().revision, Some(revision));
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the sync never ended: {:?}", applications.application(PRODUCTION).await);
}

async fn reach(cluster: &Cluster) {
    let patience = Duration::from_secs(5);
    // The Service's own port, whichever the world's repository gives it.
    let missing = cluster.target(PRODUCTION, "gospelib-gateway", 1).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing:?}");
    let port = if cluster.target(PRODUCTION, "gospelib-gateway", 8080).await.is_ok() { 8080 } else { 80 };
    for by in [ReachBy::ApiProxy, ReachBy::PortForward, ReachBy::Job] {
        let job_image = Some("curlimages/curl:8.11.0".to_owned());
        let reach = model::Reach { by, port: Some(port), job_image: job_image.clone(), ..model::Reach::default() };
        let route = Route::new(&reach, PRODUCTION, "gospelib-gateway", Some(cluster)).unwrap();
        let answer = route.get("/health", patience).await.unwrap();
        assert_eq!(answer.status, 200, "{}: {}", route.described(), answer.text());
        let nowhere = Route::new(&reach, PRODUCTION, "gospelib-nobody", Some(cluster)).unwrap();
        assert!(nowhere.get("/health", patience).await.is_err(), "{}", nowhere.described());

        let (service, namespace) = (Some("prometheus".into()), Some("monitoring".into()));
        let metrics = model::Reach { by, service, namespace, port: Some(9090), job_image, ..model::Reach::default() };
        let route = Route::new(&metrics, PRODUCTION, "", Some(cluster)).unwrap();
        let answer = route.post_form("/api/v1/query", &[("query", "vector(1)")], patience).await.unwrap();
        assert!(answer.is_success() && answer.text().contains("vector"), "{}: {}", route.described(), answer.text());
    }
    let tunnel = Tunnel::open(cluster, PRODUCTION, "gospelib-gateway", port).await.unwrap();
    let url = Some(format!("http://{}", tunnel.address()));
    let direct = model::Reach { by: ReachBy::Direct, url, ..model::Reach::default() };
    let route = Route::new(&direct, PRODUCTION, "gospelib-gateway", None).unwrap();
    assert_eq!(route.get("/ready", patience).await.unwrap().status, 200);
}
