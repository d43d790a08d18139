//! The whole rehearsed world, served on 127.0.0.1.

mod files;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt as _;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use self::files::{ACCESS_KEY, Layout, SECRET_KEY, url_env};
use super::aws::{self, Registry};
use super::controllers::{self, Controllers};
use super::faults::{self, Api};
use super::github::{self, Hub};
use super::kube::{self, AuthTokens, AwsKey, Identity, Store};
use super::measure::{self, Measure, Pace};
use super::postgres::{self, Databases};
use super::programs;
use super::scenario::BuilderFault;
use super::shape::{ClusterShape, Shape};
use super::switches::{self, Switches};
use super::traffic::Traffic;
use super::webhook::Webhook;
use super::world::Past;
use super::{Scenario, World, git, infrastructure, kubelet, prometheus};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// World time at which every story begins: a Tuesday morning.
const START: &str = "2025-03-04T09:00:00Z";
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Which world to serve.
#[derive(Debug, Clone)]
pub struct Options {
    pub scenario: Scenario,
    /// The same seed makes the same world.
    pub seed: u64,
    /// World seconds in a wall second.
    pub speed: f64,
    /// How many services Gospelib has; 6 unless something is measured.
    pub services: usize,
    /// Delays in wall time, for measurements.
    pub pace: Pace,
    /// Staging, production and Argo CD have a cluster each, and staging an account of its own.
    pub separate: bool,
    /// Where its files go; a temporary directory, removed at the end, if `None`.
    pub dir: Option<PathBuf>,
}

impl Options {
    /// `scenario` at its own speed (an hour a second for most), with seed 1 and Gospelib's six services.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let speed = scenario.world.speed.0;
        Self { scenario, seed: 1, speed, services: 6, pace: Pace::default(), separate: false, dir: None }
    }
}

/// What a client needs to know of a served world: one line of JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    pub scenario: String,
    pub kubeconfig: PathBuf,
    /// URL of the Git repository.
    pub git: String,
    /// Path of `gospel-release.yaml`.
    pub config: PathBuf,
    /// The developer's checkout of the repository.
    pub checkout: PathBuf,
    pub urls: BTreeMap<String, String>,
    /// What to export for the tool and for other people's clients.
    pub environment: BTreeMap<String, String>,
}

/// A served world; it ends with [`Rehearsal::shutdown`], or when it is dropped.
pub struct Rehearsal {
    pub world: Arc<World>,
    /// What was announced.
    pub webhook: Webhook,
    manifest: Manifest,
    servers: JoinSet<()>,
    _controllers: Controllers,
    _dir: Option<tempfile::TempDir>,
}

/// Base URLs, without a slash at the end.
#[derive(Debug, Clone)]
struct Endpoints {
    /// One for each cluster.
    kubernetes: Vec<String>,
    github: String,
    git: String,
    aws: String,
    prometheus: String,
    services: String,
    webhook: String,
    control: String,
    databases: BTreeMap<String, SocketAddr>,
}

/// Every port is bound before the world's clock starts, so that everything knows every address.
struct Listeners {
    kubernetes: Vec<TcpListener>,
    github: TcpListener,
    aws: TcpListener,
    prometheus: TcpListener,
    services: TcpListener,
    webhook: TcpListener,
    control: TcpListener,
    databases: BTreeMap<String, TcpListener>,
}

impl Rehearsal {
    /// Builds the world and serves it; returns when every part answers.
    pub async fn start(options: Options) -> Result<Self> {
        let dir = options.dir.is_none().then(temporary).transpose()?;
        let root = dir.as_ref().map_or_else(|| options.dir.clone().unwrap_or_default(), |dir| dir.path().to_owned());
        let root = absolute(root)?;
        let layout = Layout { root };
        let mut shape = Shape::with_services(options.services);
        shape.separate = options.separate;
        let clusters = shape.clusters();
        let listeners = Listeners::bind(clusters.len())?;
        let at = listeners.endpoints(&shape)?;
        let identities = clusters.iter().map(|_| Identity::generate(&Clock::real())).collect::<Result<Vec<_>>>()?;
        for ((cluster, server), identity) in clusters.iter().zip(&at.kubernetes).zip(&identities) {
            let text = files::kubeconfig(&shape, cluster, server, identity.ca_pem())?;
            files::write(&layout.kubeconfig(cluster), &text)?;
        }
        if shape.separate {
            files::write(&layout.aws_config(), &files::profiles())?;
        }
        let program =
            std::env::current_exe().map_err(|error| Error::internal("find our own program").because(error))?;
        let settings = programs::Settings {
            aws: at.aws.clone(),
            registry: shape.registry(),
            region: shape.region.clone(),
            access_key: ACCESS_KEY.into(),
            fault: options.scenario.world.builder,
        };
        let planned = &options.scenario.world.infrastructure;
        let without: &[&str] = if infrastructure::is_planned_by_the_real_one(planned) { &["terraform"] } else { &[] };
        programs::install(&layout.bin(), &program, &settings, without)?;

        // The clock is held meanwhile: at an hour a second, making the past would cost the morning.
        let (scenario, seed, start) = (options.scenario.clone(), options.seed, start());
        let (registry, repo, past) = past(layout.clone(), shape.clone(), scenario.clone(), start, seed).await?;
        files::terraform_config(&layout)?;
        files::clone(&layout, &repo, &at.git).await?;
        infrastructure::past(&layout.root, &layout.checkout(), &shape, &scenario.world.infrastructure)?;
        let databases = databases(&shape, &repo, &past);
        databases.serve_at(&at.databases);
        let hub = Hub::new(&shape, &scenario, &repo, &past, start, seed);
        hub.serve_at(&at.github);

        let switches = Switches::new(&scenario);
        let clock = Clock::held(start, options.speed);
        registry.keep_time(&clock);
        let world = Arc::new(World {
            kube: Store::new(clock.clone()),
            clock,
            seed,
            scenario,
            shape,
            past,
            registry,
            repo,
            hub,
            databases,
            traffic: Traffic::new(start),
            switches,
            measure: Measure::new(options.pace),
        });
        controllers::seed(&world);
        attest(&world)?;
        world.traffic.observe(&world);
        files::write(&layout.config(), &files::config(&world, &layout, &at)?)?;

        world.clock.release();
        let webhook = Webhook::new(world.clock.clone());
        let mut servers = JoinSet::new();
        listeners.serve(&world, &webhook, identities, &at, &mut servers);
        servers.spawn(Traffic::keep_observing(world.clone()));
        servers.spawn(infrastructure::others(world.clone(), layout.root.clone(), layout.checkout()));
        let manifest = manifest(&world, &layout, &at);
        let controllers = controllers::start(world.clone());
        Ok(Self { world, webhook, manifest, servers, _controllers: controllers, _dir: dir })
    }

    /// What a client needs to know.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Stops every server and removes the files, if they were temporary.
    pub async fn shutdown(mut self) {
        self.servers.shutdown().await;
    }
}

fn start() -> Timestamp {
    START.parse().expect("a literal timestamp")
}

fn temporary() -> Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("gospel-release-rehearsal-").tempdir();
    made.map_err(|error| Error::outside("make a temporary directory").because(error))
}

fn absolute(root: PathBuf) -> Result<PathBuf> {
    let failed = |error| Error::outside(format!("use the directory {}", root.display())).because(error);
    std::fs::create_dir_all(&root).map_err(failed)?;
    std::fs::canonicalize(&root).map_err(failed)
}

/// The repository, its past, and the images of that past, dated.
async fn past(
    layout: Layout,
    shape: Shape,
    scenario: Scenario,
    start: Timestamp,
    seed: u64,
) -> Result<(Registry, git::Repo, Past)> {
    let make = move || {
        let registry = Registry::new(&shape, seed, scenario.world.images.multi_platform);
        let (repo, past) = git::create(&layout.repository(), &shape, &scenario, &registry, start, seed)?;
        let builds = past.releases.iter().chain([&past.candidate]).chain(repo.interruption());
        for build in builds {
            for (service, digest) in &build.images {
                registry.date(&shape.object(service), digest, build.at);
            }
        }
        Ok((registry, repo, past))
    };
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(|error| Error::internal("make the rehearsed past").because(error))?
}

/// Staging has the candidate's migrations, production those of the last release.
fn databases(shape: &Shape, repo: &git::Repo, past: &Past) -> Databases {
    let databases = Databases::default();
    let newest = |commit: &str, service: &str| {
        let files = repo.list(commit, &format!("services/{service}/migrations"));
        files.iter().filter_map(|name| name.split_once('_')?.0.parse::<i64>().ok()).max()
    };
    for service in &shape.databases {
        databases.set("staging", service, newest(&past.candidate.commit, service));
        let released = past.releases.last().and_then(|release| newest(&release.commit, service));
        databases.set("production", service, released);
    }
    databases
}

/// A colleague has tried the candidate on staging by hand, an hour before the story begins.
fn attest(world: &World) -> Result<()> {
    let candidate = &world.past.candidate.commit;
    let statement = json!({
        "gate": "smoke",
        "commit": candidate,
        "who": "rhea-reviewer",
        "at": world.traffic.start() - std::time::Duration::from_hours(1),
        "note": "sign-in, search, reading, notes and sharing tried on staging",
        "link": format!("https://github.com/{}/wiki/Smoke-tests", world.shape.slug),
        "rehearsal": true,
    });
    if world.scenario.world.unattested {
        return Ok(());
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "gospel-release-attestations", "namespace": world.shape.namespace("production") },
        "data": { format!("smoke.{candidate}"): statement.to_string() },
    });
    let failed = |status: kube::Status| {
        Error::internal(format!("seed the attestation of the smoke test: {}", status.to_value()["message"]))
    };
    world.kube.create("configmaps", object).map(drop).map_err(failed)
}

/// A port of its own. The queue is long: clients come by hundreds at once, and one that finds it full waits for a second.
fn bind() -> Result<TcpListener> {
    let bound = || -> std::io::Result<TcpListener> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| Error::outside("listen on a port of 127.0.0.1").because(error))
}

fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| Error::outside("ask for a listener's port").because(error))
}

impl Listeners {
    fn bind(clusters: usize) -> Result<Self> {
        let databases = [("staging".to_owned(), bind()?), ("production".to_owned(), bind()?)];
        Ok(Self {
            kubernetes: (0..clusters).map(|_| bind()).collect::<Result<_>>()?,
            github: bind()?,
            aws: bind()?,
            prometheus: bind()?,
            services: bind()?,
            webhook: bind()?,
            control: bind()?,
            databases: databases.into_iter().collect(),
        })
    }

    fn endpoints(&self, shape: &Shape) -> Result<Endpoints> {
        let http = |listener| address(listener).map(|at| format!("http://{at}"));
        let https = |listener| address(listener).map(|at| format!("https://{at}"));
        let github = http(&self.github)?;
        let databases = self.databases.iter().map(|(name, listener)| Ok((name.clone(), address(listener)?)));
        Ok(Endpoints {
            kubernetes: self.kubernetes.iter().map(https).collect::<Result<_>>()?,
            git: format!("{github}/git/{}.git", shape.slug),
            github,
            aws: http(&self.aws)?,
            prometheus: http(&self.prometheus)?,
            services: http(&self.services)?,
            webhook: http(&self.webhook)?,
            control: http(&self.control)?,
            databases: databases.collect::<Result<_>>()?,
        })
    }

    fn serve(
        self,
        world: &Arc<World>,
        webhook: &Webhook,
        identities: Vec<Identity>,
        at: &Endpoints,
        to: &mut JoinSet<()>,
    ) {
        let flaky = |router: Router, api: Api| faults::layer(router, api, world.seed, world.scenario.world.flaky);
        let shapes = world.shape.clusters();
        let described = shapes.iter().zip(&at.kubernetes).zip(&identities).map(|((shape, endpoint), identity)| {
            aws::Cluster { shape: shape.clone(), endpoint: endpoint.clone(), ca_pem: identity.ca_pem().to_owned() }
        });
        let described = described.collect();
        for ((shape, listener), identity) in shapes.into_iter().zip(self.kubernetes).zip(identities) {
            let router = flaky(api_server(world, shape), Api::Kubernetes);
            let router = measure::counted(router, world.clone());
            to.spawn(async move {
                // It serves until it is dropped; there is nobody to tell about a socket that broke.
                let _ = kube::serve_tls(router, listener, &identity).await;
            });
        }
        let hosting = flaky(git::http::router(world.clone()), Api::Git);
        let github = flaky(github::router(world.clone()), Api::GitHub).merge(hosting);
        to.spawn(plain(self.github, switches::outage(github, world.clone())));
        to.spawn(plain(self.control, switches::router(world.clone())));
        to.spawn(plain(self.aws, flaky(aws::router(world.clone(), described), Api::Aws)));
        to.spawn(plain(self.prometheus, flaky(prometheus::router(world.clone()), Api::Prometheus)));
        to.spawn(plain(self.services, kubelet::direct(world.clone())));
        to.spawn(plain(self.webhook, flaky(webhook.router(), Api::Webhook)));
        for (environment, listener) in self.databases {
            to.spawn(postgres::serve(world.clone(), environment, listener));
        }
    }
}

/// The API server of one cluster: it accepts its own tokens alone.
fn api_server(world: &Arc<World>, shape: ClusterShape) -> Router {
    let id = if shape.account == world.shape.account { ACCESS_KEY } else { aws::STAGING_KEY };
    let keys = vec![AwsKey { id: id.into(), secret: SECRET_KEY.into() }];
    let tokens = AuthTokens::new(files::token(&shape), &shape.name, world.clock.clone()).with_aws_keys(keys);
    kube::holding(kube::router(world.clone(), tokens), shape.namespaces)
}

/// Serves plain HTTP until it is dropped.
async fn plain(listener: TcpListener, router: Router) {
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let _ = axum::serve(listener, router).await;
}

fn manifest(world: &World, layout: &Layout, at: &Endpoints) -> Manifest {
    let urls = [
        ("kubernetes", &at.kubernetes[0]),
        ("github", &at.github),
        ("git", &at.git),
        ("aws", &at.aws),
        ("prometheus", &at.prometheus),
        ("services", &at.services),
        ("webhook", &at.webhook),
        ("control", &at.control),
    ];
    Manifest {
        scenario: world.scenario.name.clone(),
        kubeconfig: layout.kubeconfig(&world.shape.cluster_of("production")),
        git: at.git.clone(),
        config: layout.config(),
        checkout: layout.checkout(),
        urls: urls.into_iter().map(|(name, url)| (name.to_owned(), url.clone())).collect(),
        environment: environment(world, layout, at),
    }
}

fn environment(world: &World, layout: &Layout, at: &Endpoints) -> BTreeMap<String, String> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut variables: BTreeMap<String, String> = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ("AWS_REGION", world.shape.region.clone()),
        ("AWS_DEFAULT_REGION", world.shape.region.clone()),
        ("AWS_ENDPOINT_URL", at.aws.clone()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ("KUBECONFIG", path(layout.kubeconfig(&world.shape.cluster_of("production")))),
        ("GH_TOKEN", "ghp_rehearsal".to_owned()),
        ("GITHUB_API_URL", at.github.clone()),
        ("GIT_CONFIG_GLOBAL", path(layout.git_config())),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
        ("no_proxy", "127.0.0.1,localhost".to_owned()),
        ("CHECKPOINT_DISABLE", "1".to_owned()),
        ("TF_CLI_CONFIG_FILE", path(layout.terraform_config())),
        ("PATH", search_path(world, &layout.bin())),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if world.shape.separate {
        // Two accounts: each profile of the configuration has its own keys.
        variables.retain(|name, _| !matches!(name.as_str(), "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY"));
        variables.insert("AWS_CONFIG_FILE".to_owned(), path(layout.aws_config()));
    }
    variables.extend(world.clock.to_env().map(|clock| ("GOSPEL_RELEASE_CLOCK".to_owned(), clock)));
    for (environment, address) in &at.databases {
        variables.extend(world.shape.databases.iter().map(|service| {
            let url = format!("postgres://gospelib:rehearsal@{address}/{service}?sslmode=disable");
            (url_env(environment, service), url)
        }));
    }
    variables
}

/// PATH with our stand-ins first; without a builder it has nothing else, or a real one would be found.
#[allow(clippy::disallowed_methods, reason = "PATH is handed on with one directory more, nothing is configured by it")]
fn search_path(world: &World, bin: &std::path::Path) -> String {
    if world.scenario.world.builder == BuilderFault::Absent {
        return bin.display().to_string();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    format!("{}:{}", bin.display(), path.to_string_lossy())
}
