//! What the repository says: Git, services, overlays, workflows, Terraform, Argo CD.

use std::path::Path;

use serde::Deserialize;
use serde_yaml::Value;

use crate::adapters::git::Git;
use crate::domain::{ServiceName, TagPattern};
use crate::error::Result;

use super::draft::Draft;
use super::infrastructure::terraform;
use super::tree::{Text, directories, texts};

/// Looks at everything; `api` is the GitHub that is configured.
pub(super) fn look(git: &Git, root: &Path, api: &str) -> Result<Draft> {
    let mut draft = Draft::default();
    remote(git, api, &mut draft)?;
    let files = texts(root);
    services(root, &mut draft);
    overlays(&files, &mut draft);
    apps(root, &mut draft);
    workflows(&files, &mut draft);
    terraform(&files, &mut draft);
    argo(&files, &mut draft);
    questions(&mut draft);
    Ok(draft)
}

/// Slug (where the host is GitHub) and project from the remote's URL; the main branch from what the remote calls its HEAD.
fn remote(git: &Git, api: &str, draft: &mut Draft) -> Result<()> {
    let Some((name, url)) = git.first_remote()? else { return Ok(()) };
    let from = format!("the Git remote {name}");
    let path = url.trim_end_matches('/').trim_end_matches(".git");
    let mut parts = path.rsplit(['/', ':']).filter(|part| !part.is_empty());
    if let (Some(repository), Some(owner)) = (parts.next(), parts.next()) {
        if host(&url).is_some_and(|host| is_github(host, api)) {
            draft.value("repository.slug", format!("{owner}/{repository}"), from.as_str());
        }
        let project = repository.to_lowercase().replace(['_', '.'], "-");
        if project.parse::<ServiceName>().is_ok() {
            draft.value("project", project, from.as_str());
        }
    }
    if name != "origin" {
        draft.value("repository.remote", name.clone(), "the only Git remote");
    }
    if let Some(branch) = git.remote_head(&name)? {
        draft.value("repository.main", branch, format!("HEAD of {from}"));
    }
    Ok(())
}

/// The host of a remote: `https://host/…`, `ssh://git@host:22/…`, `git@host:…`; `None` for a path.
fn host(url: &str) -> Option<&str> {
    let rest = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split('/').next()?,
        // Git takes what has a slash before its colon for a path.
        None => url.split_once(':').map(|(host, _)| host).filter(|host| !host.contains('/'))?,
    };
    let host = rest.rsplit('@').next()?;
    host.split(':').next().filter(|host| !host.is_empty())
}

/// Whether a host is github.com, or the GitHub whose API is configured.
fn is_github(host: &str, api: &str) -> bool {
    let configured = self::host(api).unwrap_or_default();
    ["github.com", "ssh.github.com", configured].iter().any(|known| known.eq_ignore_ascii_case(host))
}

/// Directories below `services/` that hold code.
fn services(root: &Path, draft: &mut Draft) {
    const CODE: [&str; 7] =
        ["Dockerfile", "go.mod", "package.json", "Cargo.toml", "pyproject.toml", "requirements.txt", "pom.xml"];
    for name in directories(root, "services") {
        let dir = root.join("services").join(&name);
        if name.parse::<ServiceName>().is_err() || !CODE.iter().any(|file| dir.join(file).is_file()) {
            continue;
        }
        let migrations = std::fs::read_dir(dir.join("migrations")).into_iter().flatten().flatten();
        let golang = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".up.sql");
        let database = migrations.into_iter().any(|entry| golang(&entry));
        let migrations = database.then(|| format!("services/{name}/migrations"));
        draft.service(&name, &format!("services/{name}"), migrations);
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Kustomization {
    namespace: Option<String>,
    images: Vec<Image>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Image {
    name: String,
    new_name: Option<String>,
}

/// `…/overlays/production/kustomization.yaml`, and what its images are called.
fn overlays(files: &[Text], draft: &mut Draft) {
    for environment in ["staging", "production"] {
        let ends = ["yaml", "yml"].map(|end| format!("overlays/{environment}/kustomization.{end}"));
        let Some(file) = files.iter().find(|file| ends.iter().any(|end| file.path.ends_with(end))) else { continue };
        let dir = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        draft.value(&format!("{environment}.overlay"), dir, file.path.as_str());
        let Ok(overlay) = serde_yaml::from_str::<Kustomization>(&file.text) else { continue };
        if let Some(namespace) = overlay.namespace {
            draft.value(&format!("{environment}.namespace"), namespace, file.path.as_str());
        }
        images(&overlay.images, &file.path, draft);
    }
}

/// The registry, and what stands before a service's name.
fn images(images: &[Image], from: &str, draft: &mut Draft) {
    let project = draft.get("project").unwrap_or_default().to_owned();
    for image in images {
        let full = image.new_name.as_deref().unwrap_or(&image.name);
        let (registry, name) = full.rsplit_once('/').map_or((None, full), |(registry, name)| (Some(registry), name));
        let prefix = draft.services().find_map(|service| name.strip_suffix(service)).map(str::to_owned);
        let Some(prefix) = prefix else { continue };
        if let Some(registry) = registry.filter(|registry| registry.contains('.')) {
            draft.value("images.registry", registry, from);
        }
        if prefix != format!("{project}-") {
            draft.value("images.prefix", prefix, from);
        }
    }
}

/// Directories below `apps/` whose pipeline is known by its file.
fn apps(root: &Path, draft: &mut Draft) {
    const KINDS: [(&str, &str); 3] = [("eas.json", "eas"), ("amplify.yml", "amplify"), ("amplify.yaml", "amplify")];
    for name in directories(root, "apps") {
        let path = format!("apps/{name}");
        let known = KINDS.iter().find(|(file, _)| root.join(&path).join(file).is_file());
        match known {
            Some((file, kind)) if name.parse::<ServiceName>().is_ok() => {
                draft.app(&name, kind, &path, &format!("{path}/{file}"));
            }
            _ => {
                draft.ask(&format!("apps: {name}"), &format!("does {path} ship by itself: with amplify, or with eas?"));
            }
        }
    }
}

/// The workflow that a release tag starts.
fn workflows(files: &[Text], draft: &mut Draft) {
    for file in files.iter().filter(|file| file.path.starts_with(".github/workflows/")) {
        let Ok(workflow) = serde_yaml::from_str::<Value>(&file.text) else { continue };
        // YAML 1.1 reads a bare `on` as true.
        let on = workflow.get("on").or_else(|| workflow.get(Value::Bool(true)));
        let tags = on.and_then(|on| on.get("push")?.get("tags")).map(texts_of).unwrap_or_default();
        let Some(pattern) = tags.iter().find(|tag| tag.parse::<TagPattern>().is_ok()) else { continue };
        let name = file.path.trim_start_matches(".github/workflows/");
        if name.contains('/') {
            continue;
        }
        draft.value("workflow.file", name, file.path.as_str());
        draft.value("repository.tags", pattern.as_str(), file.path.as_str());
        let jobs = workflow.get("jobs").and_then(Value::as_mapping).into_iter().flatten();
        for (_, job) in jobs {
            let environment = job.get("environment").and_then(|one| one.as_str().or_else(|| one.get("name")?.as_str()));
            if let Some(environment) = environment.filter(|name| !name.contains("${{")) {
                draft.value("workflow.environment", environment, file.path.as_str());
            }
        }
        return;
    }
}

/// A text, or a list of texts.
fn texts_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Sequence(all) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// Applications of Argo CD, found by the overlay that they sync.
fn argo(files: &[Text], draft: &mut Draft) {
    let yaml = files.iter().filter(|file| !file.path.ends_with(".tf") && file.text.contains("argoproj.io/"));
    for file in yaml {
        for document in serde_yaml::Deserializer::from_str(&file.text) {
            let Ok(object) = Value::deserialize(document) else { break };
            if object.get("kind").and_then(Value::as_str) != Some("Application") {
                continue;
            }
            let text = |path: &[&str]| {
                path.iter().try_fold(&object, |value, key| value.get(*key)).and_then(Value::as_str).map(str::to_owned)
            };
            let Some(name) = text(&["metadata", "name"]) else { continue };
            let several = object.get("spec").and_then(|spec| spec.get("sources")).and_then(Value::as_sequence);
            let several = several.into_iter().flatten().filter_map(|source| source.get("path")?.as_str());
            let one = text(&["spec", "source", "path"]);
            let paths: Vec<&str> = several.chain(one.as_deref()).map(|path| path.trim_matches('/')).collect();
            for (environment, key) in [("production", "argo.application"), ("staging", "argo.staging_application")] {
                if draft.get(&format!("{environment}.overlay")).is_some_and(|overlay| paths.contains(&overlay)) {
                    draft.value(key, name.as_str(), file.path.as_str());
                    if let Some(namespace) = text(&["metadata", "namespace"]) {
                        draft.value("argo.namespace", namespace, file.path.as_str());
                    }
                }
            }
        }
    }
}

/// What a release cannot do without, or should not guess.
fn questions(draft: &mut Draft) {
    draft.ask("repository.slug", "which repository on GitHub is this (owner/name)?");
    if draft.services().next().is_none() {
        draft.ask("services", "which services are released? No directory below services/ holds one");
    }
    for (key, ask) in [
        ("workflow.file", "which workflow does a release tag start?"),
        ("staging.overlay", "which Kustomize overlay is staging's?"),
        ("production.overlay", "which Kustomize overlay is production's?"),
        ("production.aws.account", "which AWS account is production in (12 digits, quoted)?"),
        ("production.aws.region", "which region is production in?"),
        ("production.cluster.eks", "what is production's EKS cluster called?"),
        ("production.cluster.arn", "what is its ARN? It pins the cluster"),
        ("staging.aws.account", "which AWS account is staging in?"),
        ("staging.cluster.eks", "what is staging's EKS cluster called?"),
        ("production.urls", "which public addresses must answer after a release?"),
        ("argo.application", "which Argo CD Application deploys production?"),
        ("argo.staging_application", "which one deploys staging?"),
        ("provision.directory", "where is production's Terraform configuration?"),
    ] {
        draft.ask(key, ask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_github_host_names_a_repository() {
        let github = |url: &str| host(url).is_some_and(|host| is_github(host, "https://api.github.com"));
        for url in [
            "https://github.com/a/b.git",
            "https://token@github.com/a/b",
            "git@github.com:a/b.git",
            "ssh://git@ssh.github.com:443/a/b",
        ] {
            assert!(github(url), "{url}");
        }
        for url in ["https://gitlab.com/a/b", "git@work:a/b", "/srv/git/github.com/b", "file:///a/b", "./a:b/c", "../b"]
        {
            assert!(!github(url), "{url}");
        }
        assert!(is_github("git.example.com", "https://git.example.com/api/v3"));
    }
}
