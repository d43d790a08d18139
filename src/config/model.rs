//! What can be configured. Every default is the runbook's own value, so that Gospelib needs an almost empty file.
//!
//! The model holds no secret: tokens and passwords are named by the environment variable that carries them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod provision;

pub use self::provision::{Checks, CostRow, OutputKey, Policy, Provision, Rule};
pub use super::span;
use crate::domain::{ServiceName, TagPattern};

/// The whole of `gospel-release.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Names the journal's directory and what people read.
    pub project: String,
    pub repository: Repository,
    pub github: GitHub,
    pub workflow: Workflow,
    /// The services that are released, in the order in which people read them.
    pub services: Vec<Service>,
    /// Front ends that ship by themselves; shown, and checked at their URL.
    pub apps: Vec<App>,
    pub images: Images,
    pub staging: Environment,
    pub production: Environment,
    pub argo: Argo,
    pub migrations: Migrations,
    pub gates: Gates,
    pub rollout: Rollout,
    pub watch: Watch,
    pub announce: Announce,
    pub lock: Lock,
    pub debt: Debt,
    pub hotfix: Hotfix,
    pub provision: Provision,
}

/// Where the code is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Repository {
    /// `owner/name` on GitHub.
    pub slug: String,
    /// The local checkout; relative to the configuration file.
    pub checkout: PathBuf,
    /// The Git remote that is production's source of truth.
    pub remote: String,
    /// What the remote's URL must be, if it is to be pinned; by default it must end with the slug.
    pub url: Option<String>,
    /// The branch from which releases are made.
    pub main: String,
    /// Release tags: ends with `v*`.
    #[schemars(schema_with = "super::schema::tag_pattern")]
    pub tags: TagPattern,
}

impl Repository {
    /// Its page, for links that people follow.
    #[must_use]
    pub fn page(&self) -> String {
        format!("https://github.com/{}", self.slug)
    }
}

/// How GitHub is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GitHub {
    /// Base of the REST API.
    pub api: String,
    /// Environment variables that may carry a token, first found wins; then `gh auth token`.
    pub token_env: Vec<String>,
}

/// The GitHub Actions workflow that a release tag starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Workflow {
    /// File name under `.github/workflows/`.
    pub file: String,
    /// The GitHub environment whose reviewers approve.
    pub environment: String,
    /// Whether the workflow deploys the candidate's own digests instead of building the images again.
    pub deploys_by_digest: bool,
    /// How long the run may take to appear after the tag was pushed.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub appears_within: Duration,
    /// How long its jobs may run, without the wait for approval.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub finishes_within: Duration,
    /// How long to wait for the approval before the run is left waiting (exit 11).
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub wait_approval: Duration,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// A DNS label: lower-case letters, digits and `-`.
    #[schemars(schema_with = "super::schema::service_name")]
    pub name: ServiceName,
    /// Repository name of its image; by default `<project>-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Name of its Deployment and Service; by default `<project>-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Directory of its code, for "what changed"; by default `services/<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its database, if it has migrations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
}

/// A service's PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Directory of golang-migrate files, relative to the checkout.
    pub migrations: String,
    /// Environment variable with the production URL (`postgres://…`).
    pub url_env: String,
    /// Environment variable with the staging URL.
    pub staging_url_env: String,
    /// golang-migrate's `x-migrations-table`.
    #[serde(default = "migrations_table")]
    pub table: String,
    /// How the database is reached: `direct` or `port-forward` (`service` and `port` say to what).
    #[serde(default = "Reach::direct")]
    pub reach: Reach,
}

pub(super) fn migrations_table() -> String {
    "schema_migrations".into()
}

/// A front end with its own pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// What people call it.
    pub name: String,
    /// What ships it: AWS Amplify or Expo Application Services.
    pub kind: AppKind,
    /// Directory whose changes ship it.
    pub path: String,
    /// Its public URL, which must answer below 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Amplify application id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amplify_app: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AppKind {
    Amplify,
    Eas,
}

/// Where images are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// Registry and path before the repository's name: `<account>.dkr.ecr.<region>.amazonaws.com`.
    pub registry: Option<String>,
    /// What stands before a service's name in its repository and Deployment; by default `<project>-`.
    pub prefix: Option<String>,
    /// Whether production must run the very digests that soaked on staging. Needs `workflow.deploys_by_digest`.
    pub require_soaked_bytes: bool,
}

/// Staging or production.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = super::schema::nothing_required)]
pub struct Environment {
    #[serde(default)]
    pub aws: Aws,
    #[serde(default)]
    pub cluster: Cluster,
    /// Its namespace; staging and production may share a cluster, never a namespace.
    pub namespace: String,
    /// Directory of its Kustomize overlay, relative to the checkout.
    pub overlay: String,
    /// Replicas that each service must have ready.
    pub replicas: u32,
    /// How each service's `/health` and `/ready` are reached.
    pub health: Health,
    pub prometheus: Prometheus,
    /// Public URLs that must answer below 400 (the runbook's `curl` lines).
    #[serde(default)]
    pub urls: Vec<String>,
}

/// An AWS account, and how it is reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Aws {
    /// The 12 digits that `sts:GetCallerIdentity` must answer.
    pub account: Option<String>,
    /// The region of its cluster and registry, such as `us-east-1`.
    pub region: Option<String>,
    /// Named profile; by default the environment's credential chain decides.
    pub profile: Option<String>,
    /// One endpoint for all AWS APIs (a rehearsal, moto, a proxy).
    pub endpoint: Option<String>,
}

/// A Kubernetes cluster, pinned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// EKS cluster name: the client is built from `eks:DescribeCluster`.
    pub eks: Option<String>,
    /// The ARN that EKS must answer for it.
    pub arn: Option<String>,
    /// A cluster that is not EKS is pinned by the uid of its `kube-system` namespace.
    pub kube_system_uid: Option<String>,
    /// A kubeconfig instead of EKS' answer; its server and CA are checked against EKS where `eks` is set.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; never its current one by default.
    pub context: Option<String>,
}

/// How an address inside the cluster is reached from here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reach {
    /// The way in: `direct`, `port-forward`, `api-proxy` (the API server's Service proxy), or `job` (a short Job asks).
    pub by: ReachBy,
    /// For `direct`: the base URL. `{service}` and `{namespace}` are filled in.
    pub url: Option<String>,
    /// For the others: the Kubernetes Service; `{service}` is the service's Deployment name.
    pub service: Option<String>,
    /// Its namespace; by default the environment's.
    pub namespace: Option<String>,
    /// For the others: the Service's port.
    pub port: Option<u16>,
    /// For `job`: an image that has `curl`.
    pub job_image: Option<String>,
}

impl Reach {
    /// As it is from here.
    pub(super) fn direct() -> Self {
        Self { by: ReachBy::Direct, ..Self::default() }
    }
}

/// The four ways in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReachBy {
    /// The address answers from here (VPN, public, `kubectl proxy`).
    Direct,
    /// Through a port-forward to a ready pod of the Service.
    PortForward,
    /// Through the API server's Service proxy.
    #[default]
    ApiProxy,
    /// A short Job in the cluster asks, and its log is the answer.
    Job,
}

/// The health endpoints of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    pub reach: Reach,
    /// What is asked of each service; each must answer 200.
    pub paths: Vec<String>,
    /// How often each endpoint is asked before it is called healthy.
    pub samples: u32,
    /// An answer slower than this is not healthy.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub timeout: Duration,
}

/// Where metrics are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prometheus {
    pub reach: Reach,
    /// PromQL for the request rate by service. `{namespace}` and `{window}` are filled in; the result's `service` label
    /// names the service (see `label`).
    pub requests: String,
    /// PromQL for the rate of failed requests by service.
    pub errors: String,
    /// PromQL for p95 latency in seconds by service.
    pub p95: String,
    /// The label of the results that holds the service's Deployment name or name.
    pub label: String,
}

/// Argo CD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Argo {
    /// Argo CD's own cluster, where it is not production's.
    pub cluster: Option<Cluster>,
    pub aws: Option<Aws>,
    /// The namespace of its Applications.
    pub namespace: String,
    /// The Application that deploys production.
    pub application: String,
    /// The Application that deploys staging, for soak history.
    pub staging_application: String,
    /// How long a sync may take after the overlay commit.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub syncs_within: Duration,
    /// How old another's running operation must be before it counts as stuck.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub stuck_after: Duration,
}

/// How migrations are run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Migrations {
    /// The golang-migrate program.
    pub program: String,
    /// How long one service's migrations may take.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub finish_within: Duration,
}

/// The checklist's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gates {
    /// How long the candidate's digests must have run on staging without interruption.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub soak: Duration,
    /// Whether a check that ended `neutral` counts as passed.
    pub neutral_passes: bool,
    /// Checks that must exist and succeed besides those that GitHub requires.
    pub required_checks: Vec<String>,
    /// Highest share of failed requests, 0 to 1, per service.
    pub error_ratio: f64,
    /// Over which window errors and latency are judged.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub window: Duration,
    /// Highest p95 of a service on staging in seconds.
    pub p95_seconds: f64,
    /// How much slower than the baseline p95 may be: 1.25 is 25 %.
    pub p95_ratio: f64,
    /// How old a smoke-test attestation may be.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub attestation_age: Duration,
}

/// Waiting for the rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rollout {
    /// How long until every pod of every service must run the new digest and be ready.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub within: Duration,
    /// How long a cause such as Unschedulable may last before the rollout counts as doomed.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub grace: Duration,
    /// Restarts of a new container from which a crash loop counts as doomed.
    pub restarts: u32,
}

/// The hour after the release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Watch {
    /// How long production is watched before the release is announced.
    #[serde(rename = "for", with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub lasts: Duration,
    /// How often it looks.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub every: Duration,
    /// Highest share of failed requests, 0 to 1, per service.
    pub error_ratio: f64,
    /// Highest p95 per service in seconds.
    pub p95_seconds: f64,
    /// Restarts of a pod, since the release, from which it counts as unhealthy.
    pub restarts: u32,
    /// How many looks in a row must be bad before it is a regression.
    pub bad_looks: u32,
}

/// The lock on production.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lock {
    /// How long the Lease may go without renewal before its holder counts as dead (wall time; whole seconds).
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub lease: Duration,
}

/// What break glass leaves open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Debt {
    /// How long a debt may stay open before `status` ends 17.
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub due_after: Duration,
}

/// How a hotfix is built, and what becomes of the workflow that its tag starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hotfix {
    /// The program that builds images; by default the first of docker, buildah and podman that works here.
    pub builder: Option<BuilderName>,
    /// A service's Dockerfile, relative to the checkout. `{path}` and `{service}` are filled in.
    pub dockerfile: String,
    /// What the build sees, relative to the checkout. `{path}` and `{service}` are filled in.
    pub context: String,
    /// Further arguments of `build`, as they are: `--platform=linux/amd64`.
    pub build_args: Vec<String>,
    /// How long one image's build, or its push, may take (wall time).
    #[serde(with = "span")]
    #[schemars(schema_with = "span::schema")]
    pub build_within: Duration,
    /// The hotfix's own release tag starts the release workflow: whether that run is cancelled, or followed to its end.
    pub workflow: TagRun,
}

/// What builds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BuilderName {
    Docker,
    Buildah,
    Podman,
}

impl BuilderName {
    /// In the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Buildah, Self::Podman];

    /// The program's name.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Buildah => "buildah",
            Self::Podman => "podman",
        }
    }
}

/// What becomes of the workflow run that a hotfix's tag starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TagRun {
    /// It would build and deploy again what is live already.
    Cancel,
    /// It is approved and goes to its end, as for any release.
    Follow,
}

/// Telling people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Announce {
    /// Whether a GitHub Release is made.
    pub github_release: bool,
    /// Environment variable with a webhook URL (Slack's form of JSON: `{"text": …}`).
    pub webhook_env: Option<String>,
    /// Webhook URL, where it is no secret.
    pub webhook: Option<String>,
}

impl Environment {
    /// The file of its overlay that names the images: `<overlay>/kustomization.yaml`.
    #[must_use]
    pub fn kustomization(&self) -> String {
        format!("{}/kustomization.yaml", self.overlay)
    }
}

impl Config {
    /// What stands before a service's name in images and Deployments: `gospelib-`.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.images.prefix.clone().unwrap_or_else(|| format!("{}-", self.project))
    }

    /// The image repository's short name of a service: `gospelib-gateway`.
    #[must_use]
    pub fn image_of(&self, service: &Service) -> String {
        service.image.clone().unwrap_or_else(|| format!("{}{}", self.prefix(), service.name))
    }

    /// The Deployment (and Kubernetes Service) of a service: `gospelib-gateway`.
    #[must_use]
    pub fn deployment_of(&self, service: &Service) -> String {
        service.deployment.clone().unwrap_or_else(|| format!("{}{}", self.prefix(), service.name))
    }

    /// The directory of a service's code: `services/gateway`.
    #[must_use]
    pub fn path_of(&self, service: &Service) -> String {
        service.path.clone().unwrap_or_else(|| format!("services/{}", service.name))
    }

    /// A service's Dockerfile for a hotfix, relative to the checkout.
    #[must_use]
    pub fn dockerfile_of(&self, service: &Service) -> String {
        self.filled(&self.hotfix.dockerfile, service)
    }

    /// What the build of a service's hotfix sees, relative to the checkout.
    #[must_use]
    pub fn context_of(&self, service: &Service) -> String {
        self.filled(&self.hotfix.context, service)
    }

    fn filled(&self, text: &str, service: &Service) -> String {
        text.replace("{path}", &self.path_of(service)).replace("{service}", service.name.as_str())
    }

    /// The registry host and path that images are pulled from, when it is known.
    #[must_use]
    pub fn registry(&self) -> Option<String> {
        self.images.registry.clone().or_else(|| {
            let aws = &self.production.aws;
            Some(format!("{}.dkr.ecr.{}.amazonaws.com", aws.account.as_ref()?, aws.region.as_ref()?))
        })
    }

    /// The services by name.
    #[must_use]
    pub fn service_map(&self) -> BTreeMap<&ServiceName, &Service> {
        self.services.iter().map(|service| (&service.name, service)).collect()
    }
}
