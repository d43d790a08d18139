//! The defaults: the runbook's own values.

use std::time::Duration;

use super::model::{
    Announce, App, AppKind, Argo, Aws, Checks, Cluster, Config, CostRow, Database, Debt, Environment, Gates, GitHub,
    Health, Hotfix, Images, Lock, Migrations, OutputKey, Policy, Prometheus, Provision, Reach, Repository, Rollout,
    Service, TagRun, Watch, Workflow, migrations_table,
};

impl Default for Config {
    fn default() -> Self {
        let database = |name: &str| Database {
            migrations: format!("services/{name}/migrations"),
            url_env: format!("{}_PG_URL", name.to_uppercase()),
            staging_url_env: format!("STAGING_{}_PG_URL", name.to_uppercase()),
            table: migrations_table(),
            reach: Reach::direct(),
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
            announce: Announce::default(),
            lock: Lock::default(),
            debt: Debt::default(),
            hotfix: Hotfix::default(),
            provision: Provision::default(),
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

impl Default for Debt {
    fn default() -> Self {
        Self { due_after: minutes(24 * 60) }
    }
}

impl Default for Hotfix {
    fn default() -> Self {
        Self {
            builder: None,
            dockerfile: "{path}/Dockerfile".into(),
            context: "{path}".into(),
            build_args: Vec::new(),
            build_within: minutes(30),
            workflow: TagRun::Cancel,
        }
    }
}

impl Default for Provision {
    fn default() -> Self {
        let row = |resource: &str, instance: &str, monthly, types: &[&str], size: Option<&str>| CostRow {
            resource: resource.into(),
            instance: instance.into(),
            monthly,
            types: types.iter().map(|kind| (*kind).to_owned()).collect(),
            size: size.map(Into::into),
            count: 1,
        };
        Self {
            directory: "infra/terraform/environments/production".into(),
            program: None,
            workspace: None,
            var_files: Vec::new(),
            backend_config: Vec::new(),
            lock_timeout: minutes(1),
            plan_within: minutes(30),
            plan_age: minutes(60),
            budget: 213.0,
            prices: None,
            cost_table: vec![
                row("EKS cluster", "1 cluster", 73.0, &["aws_eks_cluster"], Some("cluster")),
                CostRow {
                    count: 2,
                    ..row(
                        "EC2 nodes",
                        "2× t3.medium",
                        60.0,
                        &["aws_eks_node_group", "aws_instance", "aws_autoscaling_group"],
                        Some("t3.medium"),
                    )
                },
                row("RDS PostgreSQL", "db.r6g.large", 50.0, &["aws_db_instance", "aws_rds_*"], Some("db.r6g.large")),
                row("ElastiCache Redis", "cache.r6g.large", 25.0, &["aws_elasticache_*"], Some("cache.r6g.large")),
                row("S3 + CloudFront", "—", 5.0, &["aws_s3_bucket", "aws_cloudfront_distribution"], None),
            ],
            policy: Policy::default(),
            checks: Checks::default(),
        }
    }
}

impl Default for Checks {
    fn default() -> Self {
        let row = |output: &str, key: &str| OutputKey { output: output.into(), key: key.into() };
        Self {
            kubernetes_version: None,
            within: minutes(15),
            nodes: 2,
            outputs: vec![
                row("cluster_name", "production.cluster.eks"),
                row("cluster_arn", "production.cluster.arn"),
                row("ecr_registry", "images.registry"),
            ],
            probe: Vec::new(),
            probe_image: None,
        }
    }
}

impl Default for Announce {
    fn default() -> Self {
        Self { github_release: true, webhook_env: None, webhook: None }
    }
}

const fn minutes(n: u64) -> Duration {
    Duration::from_mins(n)
}
