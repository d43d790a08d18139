//! The files that clients of a served world need: kubeconfig, checkout, configuration, stand-ins.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Endpoints;
use crate::error::{Error, Result};
use crate::process::Program;
use crate::rehearsal::aws::{STAGING_KEY, app_id};
use crate::rehearsal::infrastructure;
use crate::rehearsal::shape::{ClusterShape, Shape};
use crate::rehearsal::{World, git::Repo};

/// The static token of the rehearsed cluster.
pub(super) const TOKEN: &str = "rehearsal-dana-dev";
/// The rehearsed AWS credentials; IAM is not rehearsed, signing in to the cluster is.
pub(super) const ACCESS_KEY: &str = "AKIAREHEARSAL0000000";
pub(super) const SECRET_KEY: &str = "rehearsal/only/this/is/no/secret/at/all0";

/// Where everything is on disk.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub root: PathBuf,
}

impl Layout {
    pub fn repository(&self) -> PathBuf {
        self.root.join("gospelib.git")
    }

    pub fn checkout(&self) -> PathBuf {
        self.root.join("checkout")
    }

    /// Production's is the one that clients are told of.
    pub fn kubeconfig(&self, cluster: &ClusterShape) -> PathBuf {
        match cluster.of {
            "production" => self.root.join("kubeconfig"),
            other => self.root.join(format!("kubeconfig-{other}")),
        }
    }

    pub fn aws_config(&self) -> PathBuf {
        self.root.join("aws-config")
    }

    pub fn config(&self) -> PathBuf {
        self.root.join("gospel-release.yaml")
    }

    pub fn git_config(&self) -> PathBuf {
        self.root.join("gitconfig")
    }

    pub fn terraform_config(&self) -> PathBuf {
        self.root.join("terraform.rc")
    }

    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }
}

/// Writes a file whole.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| Error::outside(format!("write {}", path.display())).because(error))
}

/// Terraform's own settings: it asks no registry, whatever a module wants.
pub(super) fn terraform_config(layout: &Layout) -> Result<()> {
    let text = format!(
        "disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\nhost \
         \"registry.terraform.io\" {{\n  services = {{}}\n}}\n",
        layout.root.join("providers").display()
    );
    let made = std::fs::create_dir_all(layout.root.join("providers"));
    made.map_err(|error| Error::outside("make the directory of no providers").because(error))?;
    write(&layout.terraform_config(), &text)
}

/// Clones the repository, as a developer has it: from disk, because nothing is served yet, with the remote's URL set.
pub(super) async fn clone(layout: &Layout, repo: &Repo, url: &str) -> Result<()> {
    write(&layout.git_config(), "[user]\n\tname = Dana Dev\n\temail = dana@gospelib.example\n")?;
    let git = || {
        Program::new("git")
            .env("GIT_CONFIG_GLOBAL", layout.git_config())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
    };
    git().args(["clone", "--quiet", "--no-hardlinks"]).arg(repo.path()).arg(layout.checkout()).succeed().await?;
    let settings: [&[&str]; 3] = [
        &["remote", "set-url", "origin", url],
        &["config", "user.name", "Dana Dev"],
        &["config", "user.email", "dana@gospelib.example"],
    ];
    for args in settings {
        git().args(args).cwd(layout.checkout()).succeed().await?;
    }
    Ok(())
}

/// A kubeconfig with one context, named like the cluster.
pub(super) fn kubeconfig(shape: &Shape, cluster: &ClusterShape, server: &str, ca_pem: &str) -> Result<String> {
    use base64::Engine as _;
    let name = &cluster.name;
    let namespace = cluster.namespaces.first().cloned().unwrap_or_else(|| shape.namespace("production"));
    yaml(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": {
            "server": server,
            "certificate-authority-data": base64::engine::general_purpose::STANDARD.encode(ca_pem),
        }}],
        "users": [{ "name": "dana-dev", "user": { "token": token(cluster) } }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": "dana-dev", "namespace": namespace } }],
        "current-context": name,
    }))
}

/// The static token of a cluster: one is not good for another.
pub(super) fn token(cluster: &ClusterShape) -> String {
    if cluster.of == "production" { TOKEN.to_owned() } else { format!("{TOKEN}-{}", cluster.of) }
}

/// An AWS configuration with a profile for each account.
pub(super) fn profiles() -> String {
    let profile = |name: &str, key: &str| {
        format!("[profile {name}]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET_KEY}\n")
    };
    profile("production", ACCESS_KEY) + &profile("staging", STAGING_KEY)
}

/// `gospel-release.yaml` for this world: every endpoint is on this machine. Its deadlines are wider than the defaults:
/// in fast time, the seconds that this machine needs to think are minutes.
pub(super) fn config(world: &World, layout: &Layout, at: &Endpoints) -> Result<String> {
    let shape = &world.shape;
    let site = |host: &str, path: &str| format!("{}/host/{host}{path}", at.services);
    let aws = |name: &str| {
        let mut aws = json!({ "account": shape.account_of(name), "region": shape.region, "endpoint": at.aws });
        if shape.separate {
            aws["profile"] = json!(if name == "staging" { name } else { "production" });
        }
        aws
    };
    let cluster = |name: &str| {
        let cluster = shape.cluster_of(name);
        let mut pinned = json!({ "eks": cluster.name, "arn": cluster.arn(&shape.region) });
        if name == "staging" && shape.separate {
            pinned["kubeconfig"] = json!(layout.kubeconfig(&cluster));
            pinned["context"] = json!(cluster.name);
        }
        pinned
    };
    let environment = |name: &str, urls: Vec<String>| {
        json!({
            "aws": aws(name),
            "cluster": cluster(name),
            "namespace": shape.namespace(name),
            "overlay": shape.overlay(name),
            "replicas": shape.replicas,
            "health": { "reach": { "by": "api-proxy", "service": "{service}", "port": 80 } },
            "prometheus": {
                "reach": { "by": "api-proxy", "service": "prometheus", "namespace": "monitoring", "port": 9090 },
            },
            "urls": urls,
        })
    };
    let public =
        vec![site("api.gospelib.com", "/health"), site("api.gospelib.com", "/ready"), site("gospelib.com", "/")];
    let mut argo = json!({
        "namespace": "argocd",
        "application": shape.namespace("production"),
        "staging_application": shape.namespace("staging"),
        "syncs_within": "4h",
    });
    if shape.separate {
        (argo["cluster"], argo["aws"]) = (cluster("argo"), aws("argo"));
    }
    let text = yaml(&json!({
        "project": shape.project,
        "repository": { "slug": shape.slug, "checkout": layout.checkout(), "url": at.git },
        "github": { "api": at.github },
        "workflow": {
            "file": shape.workflow_file,
            "environment": shape.environment,
            // An hour of this world is a second: deadlines leave room for a busy machine.
            "appears_within": "2h",
            "finishes_within": "8h",
        },
        "lock": { "lease": "2s" },
        "services": shape.services.iter().map(|service| self::service(shape, service)).collect::<Vec<_>>(),
        "apps": shape.apps.iter().map(|app| self::app(app, &site)).collect::<Vec<_>>(),
        "staging": environment("staging", Vec::new()),
        "production": environment("production", public),
        "argo": argo,
        "migrations": { "program": layout.bin().join("migrate"), "finish_within": "4h" },
        "rollout": { "within": "4h" },
        "provision": {
            "directory": infrastructure::DIRECTORY,
            "lock_timeout": "2s",
            "checks": infrastructure::checks(&world.scenario.world.infrastructure),
        },
        "announce": { "github_release": true, "webhook": format!("{}/hooks/releases", at.webhook) },
    }))?;
    Ok(format!("# Written by the rehearsal: the {} world, on this machine.\n{text}", world.scenario.name))
}

fn service(shape: &Shape, service: &str) -> Value {
    let mut value = json!({ "name": service });
    if shape.databases.iter().any(|name| name == service) {
        value["database"] = json!({
            "migrations": format!("services/{service}/migrations"),
            "url_env": url_env("production", service),
            "staging_url_env": url_env("staging", service),
            "reach": { "by": "direct" },
        });
    }
    value
}

fn app(app: &str, site: &dyn Fn(&str, &str) -> String) -> Value {
    let mut value =
        json!({ "name": app, "kind": if app == "mobile" { "eas" } else { "amplify" }, "path": format!("apps/{app}") });
    let host = match app {
        "web" => "gospelib.com".to_owned(),
        "mobile" => return value,
        other => format!("{other}.gospelib.com"),
    };
    value["url"] = json!(site(&host, "/"));
    value["amplify_app"] = json!(app_id(app));
    value
}

/// Environment variable with a database's URL: `AUTH_PG_URL`, `STAGING_AUTH_PG_URL`.
pub(super) fn url_env(environment: &str, service: &str) -> String {
    let name = service.to_uppercase().replace('-', "_");
    if environment == "production" {
        format!("{name}_PG_URL")
    } else {
        format!("{}_{name}_PG_URL", environment.to_uppercase())
    }
}

fn yaml(value: &Value) -> Result<String> {
    serde_yaml::to_string(value).map_err(|error| Error::internal("write YAML").because(error))
}
