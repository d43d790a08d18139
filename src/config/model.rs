//! What can be configured. Every default is the runbook's own value, so that Gospelib needs an almost empty file.
//!
//! The model holds no secret: tokens and passwords are named by the environment variable that carries them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    #[schemars(with = "String")]
    pub tags: TagPattern,
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
    #[schemars(with = "String")]
    pub appears_within: Duration,
    /// How long its jobs may run, without the wait for approval.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub finishes_within: Duration,
    /// How long to wait for the approval before the run is left waiting (exit 11).
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub wait_approval: Duration,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    #[schemars(with = "String")]
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
    #[serde(default)]
    pub reach: Reach,
}

fn migrations_table() -> String {
    "schema_migrations".into()
}

/// A front end with its own pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct App {
    pub name: String,
    pub kind: AppKind,
    /// Directory whose changes ship it.
    pub path: String,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// Registry and path before the repository's name: `<account>.dkr.ecr.<region>.amazonaws.com`.
    pub registry: Option<String>,
    /// What stands before a service's name in its repository and Deployment; by default `<project>-`.
    pub prefix: Option<String>,
    /// Whether production must run the very digests that soaked on staging. Needs `workflow.deploys-by-digest`.
    pub require_soaked_bytes: bool,
}

/// Staging or production.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    #[serde(default)]
    pub aws: Aws,
    #[serde(default)]
    pub cluster: Cluster,
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
    pub by: ReachBy,
    /// For `direct`: the base URL. `{service}` and `{namespace}` are filled in.
    pub url: Option<String>,
    /// For the others: the Kubernetes Service; `{service}` is the service's Deployment name.
    pub service: Option<String>,
    /// Its namespace; by default the environment's.
    pub namespace: Option<String>,
    pub port: Option<u16>,
    /// For `job`: an image that has `curl`.
    pub job_image: Option<String>,
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
    pub paths: Vec<String>,
    /// How often each endpoint is asked before it is called healthy.
    pub samples: u32,
    /// An answer slower than this is not healthy.
    #[serde(with = "span")]
    #[schemars(with = "String")]
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
    pub namespace: String,
    /// The Application that deploys production.
    pub application: String,
    /// The Application that deploys staging, for soak history.
    pub staging_application: String,
    /// How long a sync may take after the overlay commit.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub syncs_within: Duration,
    /// How old another's running operation must be before it counts as stuck.
    #[serde(with = "span")]
    #[schemars(with = "String")]
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
    #[schemars(with = "String")]
    pub finish_within: Duration,
}

/// The checklist's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gates {
    /// How long the candidate's digests must have run on staging without interruption.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub soak: Duration,
    /// Checks that count as passed when neutral.
    pub neutral_passes: bool,
    /// Checks that must exist and succeed besides those that GitHub requires.
    pub required_checks: Vec<String>,
    /// Highest share of failed requests, 0 to 1, per service.
    pub error_ratio: f64,
    /// Over which window errors and latency are judged.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub window: Duration,
    /// Highest p95 of a service on staging in seconds.
    pub p95_seconds: f64,
    /// How much slower than the baseline p95 may be: 1.25 is 25 %.
    pub p95_ratio: f64,
    /// How old a smoke-test attestation may be.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub attestation_age: Duration,
}

/// Waiting for the rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rollout {
    /// How long until every pod of every service must run the new digest and be ready.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub within: Duration,
    /// How long a cause such as Unschedulable may last before the rollout counts as doomed.
    #[serde(with = "span")]
    #[schemars(with = "String")]
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
    #[schemars(with = "String")]
    pub lasts: Duration,
    /// How often it looks.
    #[serde(with = "span")]
    #[schemars(with = "String")]
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
    #[schemars(with = "String")]
    pub lease: Duration,
}

/// Telling people.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Announce {
    /// Whether a GitHub Release is made.
    pub github_release: bool,
    /// Environment variable with a webhook URL (Slack's form of JSON: `{"text": …}`).
    pub webhook_env: Option<String>,
    /// Webhook URL, where it is no secret.
    pub webhook: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let database = |name: &str| Database {
            migrations: format!("services/{name}/migrations"),
            url_env: format!("{}_PG_URL", name.to_uppercase()),
            staging_url_env: format!("STAGING_{}_PG_URL", name.to_uppercase()),
            table: migrations_table(),
            reach: Reach { by: ReachBy::Direct, ..Reach::default() },
        };
        let service = |name: &str, database: Option<Database>| Service {
            name: name.parse().expect("a literal service name"),
            image: None,
            deployment: None,
            path: None,
            database,
        };
        let app = |name: &str, kind, url: Option<&str>| App {
            name: name.into(),
            kind,
            path: format!("apps/{name}"),
            url: url.map(Into::into),
            amplify_app: None,
        };
        Self {
            project: "gospelib".into(),
            repository: Repository::default(),
            github: GitHub::default(),
            workflow: Workflow::default(),
            services: vec![
                service("gateway", None),
                service("content", Some(database("content"))),
                service("auth", Some(database("auth"))),
                service("search", None),
                service("study", Some(database("study"))),
                service("notify", None),
            ],
            apps: vec![
                app("web", AppKind::Amplify, Some("https://gospelib.com")),
                app("admin", AppKind::Amplify, Some("https://admin.gospelib.com")),
                app("mobile", AppKind::Eas, None),
            ],
            images: Images::default(),
            staging: Environment::named("staging", &[]),
            production: Environment::named(
                "production",
                &["https://api.gospelib.com/health", "https://api.gospelib.com/ready", "https://gospelib.com"],
            ),
            argo: Argo::default(),
            migrations: Migrations::default(),
            gates: Gates::default(),
            rollout: Rollout::default(),
            watch: Watch::default(),
            announce: Announce { github_release: true, webhook_env: None, webhook: None },
            lock: Lock::default(),
        }
    }
}

impl Default for Repository {
    fn default() -> Self {
        Self {
            slug: "gospelib/gospelib".into(),
            checkout: ".".into(),
            remote: "origin".into(),
            url: None,
            main: "main".into(),
            tags: "release/v*".parse().expect("a literal tag pattern"),
        }
    }
}

impl Default for GitHub {
    fn default() -> Self {
        Self { api: "https://api.github.com".into(), token_env: vec!["GH_TOKEN".into(), "GITHUB_TOKEN".into()] }
    }
}

impl Default for Workflow {
    fn default() -> Self {
        Self {
            file: "cd-production.yml".into(),
            environment: "production".into(),
            deploys_by_digest: false,
            appears_within: minutes(5),
            finishes_within: minutes(60),
            wait_approval: minutes(24 * 60),
        }
    }
}

impl Default for Images {
    fn default() -> Self {
        Self { registry: None, prefix: None, require_soaked_bytes: false }
    }
}

impl Environment {
    /// The runbook's staging or production.
    fn named(name: &str, urls: &[&str]) -> Self {
        Self {
            aws: Aws::default(),
            cluster: Cluster::default(),
            namespace: format!("gospelib-{name}"),
            overlay: format!("infra/k8s/overlays/{name}"),
            replicas: 2,
            health: Health::default(),
            prometheus: Prometheus::default(),
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            reach: Reach { service: Some("{service}".into()), port: Some(8080), ..Reach::default() },
            paths: vec!["/health".into(), "/ready".into()],
            samples: 3,
            timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            reach: Reach {
                service: Some("prometheus".into()),
                namespace: Some("monitoring".into()),
                port: Some(9090),
                ..Reach::default()
            },
            requests: r#"sum by (service) (rate(http_requests_total{namespace="{namespace}"}[{window}]))"#.into(),
            errors: r#"sum by (service) (rate(http_requests_total{namespace="{namespace}",code=~"5.."}[{window}]))"#
                .into(),
            p95: concat!(
                "histogram_quantile(0.95, sum by (service, le) ",
                r#"(rate(http_request_duration_seconds_bucket{namespace="{namespace}"}[{window}])))"#
            )
            .into(),
            label: "service".into(),
        }
    }
}

impl Default for Argo {
    fn default() -> Self {
        Self {
            cluster: None,
            aws: None,
            namespace: "argocd".into(),
            application: "gospelib-production".into(),
            staging_application: "gospelib-staging".into(),
            syncs_within: minutes(15),
            stuck_after: minutes(10),
        }
    }
}

impl Default for Migrations {
    fn default() -> Self {
        Self { program: "migrate".into(), finish_within: minutes(15) }
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            soak: minutes(24 * 60),
            neutral_passes: false,
            required_checks: Vec::new(),
            error_ratio: 0.01,
            window: minutes(60),
            p95_seconds: 0.5,
            p95_ratio: 1.25,
            attestation_age: minutes(7 * 24 * 60),
        }
    }
}

impl Default for Rollout {
    fn default() -> Self {
        Self { within: minutes(15), grace: minutes(3), restarts: 3 }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { lasts: minutes(60), every: minutes(1), error_ratio: 0.01, p95_seconds: 0.5, restarts: 2, bad_looks: 3 }
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15) }
    }
}

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
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

/// Durations in YAML: `24h`, `90s`, `1h30m`, `250ms`, `7d`.
pub mod span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the shortest exact form: `24h`.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*duration))
    }

    /// Reads [`parse`]'s form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map_err(serde::de::Error::custom)
    }

    /// `1h30m` → 5400 s. Each unit once at most, largest first; a bare number is refused: a unit must be named.
    pub fn parse(text: &str) -> Result<Duration, String> {
        const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let wrong = || format!("{text:?} is not a duration (for example 24h, 90s, 1h30m)");
        let (mut rest, mut from, mut total) = (text, 0, 0_u64);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let amount: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let unit = &rest[..letters];
            rest = &rest[letters..];
            let index = UNITS[from..].iter().position(|(name, _)| *name == unit).ok_or_else(wrong)? + from;
            from = index + 1;
            total = amount.checked_mul(UNITS[index].1).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
        }
        if from == 0 { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
    }

    /// The inverse of [`parse`].
    #[must_use]
    pub fn format(duration: Duration) -> String {
        let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut out = String::new();
        for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            // People say 24h, not 1d, and 36h, not 1d12h.
            if unit == "d" && (millis % size != 0 || millis < 2 * size) {
                continue;
            }
            if millis >= size {
                out.push_str(&format!("{}{unit}", millis / size));
                millis %= size;
            }
        }
        if out.is_empty() { "0s".into() } else { out }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn durations_round_trip() {
            for text in ["24h", "90s", "1h30m", "250ms", "7d", "36h", "0s"] {
                let duration = parse(text).unwrap();
                assert_eq!(parse(&format(duration)).unwrap(), duration, "{text}");
            }
            assert_eq!(format(Duration::from_secs(86_400)), "24h");
            for bad in ["", "24", "h", "1m1h", "1h1h", "-1h", "1.5h", "1 h", "99999999999999999999h"] {
                assert!(parse(bad).is_err(), "{bad:?}");
            }
        }
    }
}
