//! What the rehearsed API serves: one row a resource.

/// A served resource. The storage key is `plural`: no two served groups hold different objects under one plural
/// (`events` of both groups are the same objects).
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub namespaced: bool,
    pub short: &'static [&'static str],
    /// `status` is a subresource: the main endpoint ignores it, and only `/status` writes it.
    pub status: bool,
    pub scale: bool,
    /// Defined by a CustomResourceDefinition: no strategic merge, lists are atomic.
    pub custom: bool,
    /// In `kubectl get all`.
    pub all: bool,
}

const CORE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    namespaced: true,
    short: &[],
    status: false,
    scale: false,
    custom: false,
    all: false,
};
const APPS: Resource = Resource { group: "apps", status: true, scale: true, all: true, ..CORE };
const BATCH: Resource = Resource { group: "batch", status: true, all: true, ..CORE };
const ARGO: Resource = Resource { group: "argoproj.io", version: "v1alpha1", custom: true, ..CORE };

/// Every served resource, in discovery order. Sources: `kubectl api-resources` of Kubernetes 1.33, the CRDs of
/// Argo CD and External Secrets (which serves `v1` and no longer `v1beta1`).
pub static RESOURCES: &[Resource] = &[
    Resource { kind: "ConfigMap", plural: "configmaps", singular: "configmap", short: &["cm"], ..CORE },
    Resource { kind: "Event", plural: "events", singular: "event", short: &["ev"], ..CORE },
    Resource {
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short: &["ns"],
        namespaced: false,
        status: true,
        ..CORE
    },
    Resource {
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short: &["no"],
        namespaced: false,
        status: true,
        ..CORE
    },
    Resource { kind: "Pod", plural: "pods", singular: "pod", short: &["po"], status: true, all: true, ..CORE },
    Resource { kind: "Secret", plural: "secrets", singular: "secret", ..CORE },
    Resource { kind: "ServiceAccount", plural: "serviceaccounts", singular: "serviceaccount", short: &["sa"], ..CORE },
    Resource {
        kind: "Service",
        plural: "services",
        singular: "service",
        short: &["svc"],
        status: true,
        all: true,
        ..CORE
    },
    Resource { kind: "Deployment", plural: "deployments", singular: "deployment", short: &["deploy"], ..APPS },
    Resource { kind: "ReplicaSet", plural: "replicasets", singular: "replicaset", short: &["rs"], ..APPS },
    Resource { kind: "CronJob", plural: "cronjobs", singular: "cronjob", short: &["cj"], ..BATCH },
    Resource { kind: "Job", plural: "jobs", singular: "job", ..BATCH },
    Resource { group: "coordination.k8s.io", kind: "Lease", plural: "leases", singular: "lease", ..CORE },
    Resource { group: "events.k8s.io", kind: "Event", plural: "events", singular: "event", short: &["ev"], ..CORE },
    // Argo's Application has no status subresource: its controller writes status through the main endpoint.
    Resource { kind: "Application", plural: "applications", singular: "application", short: &["app", "apps"], ..ARGO },
    Resource {
        kind: "ApplicationSet",
        plural: "applicationsets",
        singular: "applicationset",
        short: &["appset", "appsets"],
        status: true,
        ..ARGO
    },
    Resource {
        kind: "AppProject",
        plural: "appprojects",
        singular: "appproject",
        short: &["appproj", "appprojs"],
        ..ARGO
    },
    Resource {
        group: "external-secrets.io",
        kind: "ExternalSecret",
        plural: "externalsecrets",
        singular: "externalsecret",
        short: &["es"],
        status: true,
        custom: true,
        ..CORE
    },
];

impl Resource {
    /// `v1`, `apps/v1`, …
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `deployments.apps`: the name in messages.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.into() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Pod`, `Deployment.apps`.
    #[must_use]
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.into() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// Whether objects of this resource count generations. Objects without a spec (data, events, identities) do not.
    #[must_use]
    pub fn generations(&self) -> bool {
        !matches!(
            self.plural,
            "configmaps" | "secrets" | "events" | "serviceaccounts" | "leases" | "namespaces" | "nodes"
        )
    }
}

/// The resource stored under `plural`.
#[must_use]
pub fn by_plural(plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.plural == plural)
}

/// The resource served at `group`/`version`/`plural`.
#[must_use]
pub fn served(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The resource of an object's `apiVersion` and `kind`.
#[must_use]
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.kind == kind && r.api_version() == api_version)
}
