//! The names of the rehearsed production: Gospelib's.

/// Staging's account, where it has one of its own.
const STAGING_ACCOUNT: &str = "418272775678";

/// One EKS cluster, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterShape {
    /// `production`, `staging` or `argo`.
    pub of: &'static str,
    pub name: String,
    /// 12 digits.
    pub account: String,
    /// Its namespaces; empty: all that there are.
    pub namespaces: Vec<String>,
}

impl ClusterShape {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self, region: &str) -> String {
        format!("arn:aws:eks:{region}:{}:cluster/{}", self.account, self.name)
    }
}

/// What exists, by name. The same for every scenario, but for the number of services.
#[derive(Debug, Clone)]
pub struct Shape {
    /// `gospelib`: project, image prefix, and prefix of both namespaces.
    pub project: String,
    /// `owner/name` on the rehearsed GitHub.
    pub slug: String,
    pub account: String,
    pub region: String,
    /// EKS cluster that holds production, and staging and Argo CD too where they are not separate.
    pub cluster: String,
    /// Staging, production and Argo CD have a cluster each, and staging an account of its own.
    pub separate: bool,
    pub services: Vec<String>,
    /// The services that have a PostgreSQL database and migrations.
    pub databases: Vec<String>,
    pub apps: Vec<String>,
    pub replicas: u32,
    pub workflow_file: String,
    /// GitHub environment with the approval gate.
    pub environment: String,
}

impl Shape {
    /// Gospelib as the runbook describes it.
    #[must_use]
    pub fn gospelib() -> Self {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Self {
            project: "gospelib".into(),
            slug: "gospelib/gospelib".into(),
            account: "418272771234".into(),
            region: "us-east-1".into(),
            cluster: "gospelib-production".into(),
            separate: false,
            services: names(&["gateway", "content", "auth", "search", "study", "notify"]),
            databases: names(&["content", "auth", "study"]),
            apps: names(&["web", "admin", "mobile"]),
            replicas: 2,
            workflow_file: "cd-production.yml".into(),
            environment: "production".into(),
        }
    }

    /// The same with `count` services (for measurements): Gospelib's six, then `svc-007`, `svc-008`, …
    #[must_use]
    pub fn with_services(count: usize) -> Self {
        let mut shape = Self::gospelib();
        shape.services.truncate(count);
        shape.databases.retain(|name| shape.services.contains(name));
        shape.services.extend((shape.services.len() + 1..=count).map(|n| format!("svc-{n:03}")));
        shape
    }

    /// Namespace of `staging` or `production`.
    #[must_use]
    pub fn namespace(&self, environment: &str) -> String {
        format!("{}-{environment}", self.project)
    }

    /// Image repository, Deployment and Kubernetes Service of a service: `gospelib-gateway`.
    #[must_use]
    pub fn object(&self, service: &str) -> String {
        format!("{}-{service}", self.project)
    }

    /// The service behind an object's name: the inverse of [`Shape::object`].
    #[must_use]
    pub fn service_of<'a>(&self, object: &'a str) -> Option<&'a str> {
        object.strip_prefix(self.project.as_str())?.strip_prefix('-')
    }

    /// `<account>.dkr.ecr.<region>.amazonaws.com`: the name in image references; nothing ever connects to it.
    #[must_use]
    pub fn registry(&self) -> String {
        format!("{}.dkr.ecr.{}.amazonaws.com", self.account, self.region)
    }

    /// The account of `staging`, `production` or `argo`.
    #[must_use]
    pub fn account_of(&self, environment: &str) -> &str {
        if self.separate && environment == "staging" { STAGING_ACCOUNT } else { &self.account }
    }

    /// The EKS clusters; production's is the first.
    #[must_use]
    pub fn clusters(&self) -> Vec<ClusterShape> {
        let cluster = |of: &'static str, name: String, namespaces: &[String]| ClusterShape {
            of,
            name,
            account: self.account_of(of).to_owned(),
            namespaces: namespaces.to_vec(),
        };
        if !self.separate {
            return vec![cluster("production", self.cluster.clone(), &[])];
        }
        let own = |environment| [self.namespace(environment), "monitoring".to_owned()];
        vec![
            cluster("production", self.cluster.clone(), &own("production")),
            cluster("staging", self.namespace("staging"), &own("staging")),
            cluster("argo", format!("{}-tools", self.project), &["argocd".to_owned()]),
        ]
    }

    /// The cluster that holds `environment`.
    #[must_use]
    pub fn cluster_of(&self, environment: &str) -> ClusterShape {
        let mut all = self.clusters();
        let at = all.iter().position(|cluster| cluster.of == environment).unwrap_or(0);
        all.swap_remove(at)
    }

    /// Directory of an environment's overlay in the repository.
    #[must_use]
    pub fn overlay(&self, environment: &str) -> String {
        format!("infra/k8s/overlays/{environment}")
    }
}
