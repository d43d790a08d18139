//! The names of the rehearsed production: Gospelib's.

/// What exists, by name. The same for every scenario, but for the number of services.
#[derive(Debug, Clone)]
pub struct Shape {
    /// `gospelib`: project, image prefix, and prefix of both namespaces.
    pub project: String,
    /// `owner/name` on the rehearsed GitHub.
    pub slug: String,
    pub account: String,
    pub region: String,
    /// EKS cluster that holds staging, production and Argo CD.
    pub cluster: String,
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

    /// ARN of the EKS cluster.
    #[must_use]
    pub fn cluster_arn(&self) -> String {
        format!("arn:aws:eks:{}:{}:cluster/{}", self.region, self.account, self.cluster)
    }

    /// Directory of an environment's overlay in the repository.
    #[must_use]
    pub fn overlay(&self, environment: &str) -> String {
        format!("infra/k8s/overlays/{environment}")
    }
}
