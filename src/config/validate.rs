//! What types cannot say: values that are well-formed each, and wrong in their place or together.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Component;
use std::time::Duration;

use url::Url;

use super::Config;
use super::model::{Announce, App, Database, Gates, Reach, ReachBy, Repository, Service, Watch, Workflow};
use super::problem::Problem;
use super::tree::{Node, Path};

mod environment;
mod provision;

/// Everything that is wrong with a configuration whose types are right.
pub(super) fn all(config: &Config, tree: &Node) -> Vec<Problem> {
    let mut check = Check { tree, problems: Vec::new() };
    let root = Path::default();
    check.dns_label(&root.key("project"), &config.project);
    repository(&mut check, &config.repository);
    check.url(&root.keys("github.api"), &config.github.api);
    for (index, name) in config.github.token_env.iter().enumerate() {
        check.variable(&root.keys("github.token_env").index(index), name);
    }
    workflow(&mut check, &config.workflow);
    services(&mut check, &config.services);
    apps(&mut check, &config.apps);
    images(&mut check, config);
    environment::environment(&mut check, &root.key("staging"), &config.staging);
    environment::environment(&mut check, &root.key("production"), &config.production);
    environment::apart(&mut check, config);
    environment::argo(&mut check, &config.argo);
    check.not_blank(&root.keys("migrations.program"), &config.migrations.program);
    check.lasting(&root.keys("migrations.finish_within"), config.migrations.finish_within);
    gates(&mut check, &config.gates);
    check.lasting(&root.keys("rollout.within"), config.rollout.within);
    check.at_least_one(&root.keys("rollout.restarts"), config.rollout.restarts);
    watch(&mut check, &config.watch);
    announce(&mut check, &config.announce);
    hotfix(&mut check, config);
    provision::provision(&mut check, &config.provision);
    let lease = config.lock.lease;
    let seconds = lease.as_secs() >= 1 && lease.subsec_nanos() == 0;
    check.unless(seconds, &root.keys("lock.lease"), "a Lease lasts whole seconds, at least 1s");
    check.problems
}

/// Collects problems, each at the place of its value.
struct Check<'a> {
    tree: &'a Node,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn wrong(&mut self, path: &Path, message: impl Into<String>) {
        self.problems.push(Problem::new(self.tree.origin_near(path), path.to_string(), message));
    }

    fn unless(&mut self, right: bool, path: &Path, message: impl Display) {
        if !right {
            self.wrong(path, message.to_string());
        }
    }

    fn not_blank(&mut self, path: &Path, text: &str) {
        self.unless(!text.trim().is_empty(), path, "it must not be empty");
    }

    /// RFC 1123: what Kubernetes demands of names.
    fn dns_label(&mut self, path: &Path, text: &str) {
        let right = text.parse::<crate::domain::ServiceName>().is_ok();
        let message =
            format!("{text:?} is not a name that Kubernetes takes (lower-case letters, digits and '-', at most 63)");
        self.unless(right, path, message);
    }

    /// `http` or `https`, with a host, and no password in it.
    fn url(&mut self, path: &Path, text: &str) {
        match Url::parse(text) {
            // The text may hold a password: it is not repeated.
            Ok(url) if url.password().is_some() || !url.username().is_empty() => {
                self.wrong(path, "it holds a user or a password; a configuration holds no secret");
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {}
            Ok(url) => self.wrong(path, format!("an http or https address is wanted, found {:?}", url.scheme())),
            Err(error) => self.wrong(path, format!("it is not a URL: {error}")),
        }
    }

    /// The name of an environment variable. Somebody may have put the secret itself here: it is not repeated.
    fn variable(&mut self, path: &Path, name: &str) {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let right = name.bytes().all(word) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
        self.unless(
            right,
            path,
            "the name of an environment variable is wanted (letters, digits and '_'), not its value",
        );
    }

    /// A directory or file below the checkout.
    fn inside(&mut self, path: &Path, text: &str) {
        let below = std::path::Path::new(text)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let right = below && !text.is_empty() && !text.contains(['\\', '\0', '\n']);
        self.unless(right, path, format!("{text:?} is not a path inside the checkout (relative, without '..')"));
    }

    fn lasting(&mut self, path: &Path, duration: Duration) {
        self.unless(!duration.is_zero(), path, "it must be longer than 0s");
    }

    fn ratio(&mut self, path: &Path, share: f64) {
        self.unless((0.0..=1.0).contains(&share), path, format!("a share from 0 to 1 is wanted, found {share}"));
    }

    fn positive(&mut self, path: &Path, number: f64) {
        self.unless(number > 0.0 && number.is_finite(), path, format!("it must be above 0, found {number}"));
    }

    fn at_least_one(&mut self, path: &Path, number: u32) {
        self.unless(number >= 1, path, "it must be at least 1");
    }

    /// Each name once.
    fn unique<'n>(&mut self, list: &Path, key: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen = BTreeMap::new();
        for (index, name) in names.enumerate() {
            if let Some(first) = seen.insert(name, index) {
                self.wrong(
                    &list.index(index).key(key),
                    format!("{name} stands here twice; first as {}", list.index(first)),
                );
            }
        }
    }
}

fn repository(check: &mut Check<'_>, repository: &Repository) {
    let path = Path::default().key("repository");
    let part = |part: &str| {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !part.is_empty() && part.bytes().all(safe) && !part.starts_with('-') && part != "." && part != ".."
    };
    let right = repository.slug.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name));
    check.unless(right, &path.key("slug"), format!("{:?} is not owner/name", repository.slug));
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    let name = |text: &str| {
        !text.is_empty() && text.bytes().all(safe) && !text.starts_with(['-', '/', '.']) && !text.contains("..")
    };
    let message = |text: &str, what| format!("{text:?} is not {what}");
    check.unless(
        name(&repository.remote),
        &path.key("remote"),
        message(&repository.remote, "the name of a Git remote"),
    );
    let branch = name(&repository.main) && !repository.main.ends_with(['/', '.']);
    check.unless(branch, &path.key("main"), message(&repository.main, "the name of a branch"));
    if let Some(url) = &repository.url {
        // SSH's own form, `git@github.com:owner/name`, and local paths are not URLs: only a password is looked for.
        let secret = Url::parse(url).is_ok_and(|url| url.password().is_some());
        check.unless(!secret, &path.key("url"), "it holds a password; a configuration holds no secret");
        check.unless(!url.is_empty() && !url.starts_with('-'), &path.key("url"), "it is not the URL of a remote");
    }
}

fn workflow(check: &mut Check<'_>, workflow: &Workflow) {
    let path = Path::default().key("workflow");
    let file = &workflow.file;
    let extension = std::path::Path::new(file).extension();
    let yaml = extension.is_some_and(|extension| extension == "yml" || extension == "yaml");
    let message = format!("{file:?} is not the name of a file under .github/workflows/ (it ends in .yml or .yaml)");
    check.unless(yaml && !file.contains(['/', '\\']), &path.key("file"), message);
    check.not_blank(&path.key("environment"), &workflow.environment);
    check.lasting(&path.key("appears_within"), workflow.appears_within);
    check.lasting(&path.key("finishes_within"), workflow.finishes_within);
}

fn services(check: &mut Check<'_>, services: &[Service]) {
    let list = Path::default().key("services");
    check.unless(!services.is_empty(), &list, "there must be at least one service");
    check.unique(&list, "name", services.iter().map(|service| service.name.as_str()));
    for (index, service) in services.iter().enumerate() {
        let path = list.index(index);
        if let Some(image) = &service.image {
            repository_name(check, &path.key("image"), image);
        }
        if let Some(deployment) = &service.deployment {
            check.dns_label(&path.key("deployment"), deployment);
        }
        if let Some(directory) = &service.path {
            check.inside(&path.key("path"), directory);
        }
        if let Some(database) = &service.database {
            self::database(check, &path.key("database"), database);
        }
    }
}

fn hotfix(check: &mut Check<'_>, config: &Config) {
    let path = Path::default().key("hotfix");
    check.inside(&path.key("dockerfile"), &config.hotfix.dockerfile);
    check.inside(&path.key("context"), &config.hotfix.context);
    check.lasting(&path.key("build_within"), config.hotfix.build_within);
}

/// The path of an OCI repository (distribution specification): it ends up in image references.
fn repository_name(check: &mut Check<'_>, path: &Path, text: &str) {
    let part = |part: &str| {
        let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        let edge = |c: char| c.is_ascii_alphanumeric();
        part.bytes().all(safe) && part.starts_with(edge) && part.ends_with(edge)
    };
    let message = format!("{text:?} is not the name of an image repository (no registry, no tag)");
    check.unless(text.split('/').all(part), path, message);
}

fn database(check: &mut Check<'_>, path: &Path, database: &Database) {
    check.inside(&path.key("migrations"), &database.migrations);
    check.variable(&path.key("url_env"), &database.url_env);
    check.variable(&path.key("staging_url_env"), &database.staging_url_env);
    let word = |b: u8| b.is_ascii_alphanumeric() || b"_.".contains(&b);
    let table = !database.table.is_empty() && database.table.bytes().all(word);
    check.unless(table, &path.key("table"), format!("{:?} is not the name of a table", database.table));
    let reach = path.key("reach");
    match database.reach.by {
        // The URL is in the environment.
        ReachBy::Direct => {}
        ReachBy::PortForward => service_and_port(check, &reach, &database.reach, "port-forward"),
        ReachBy::ApiProxy | ReachBy::Job => {
            check.wrong(&reach.key("by"), "a database is reached by direct or by port-forward");
        }
    }
}

fn service_and_port(check: &mut Check<'_>, path: &Path, reach: &Reach, by: &str) {
    check.unless(reach.service.is_some(), path, format!("{by} needs `service`, the Kubernetes Service"));
    check.unless(reach.port.is_some_and(|port| port > 0), path, format!("{by} needs `port`"));
}

fn apps(check: &mut Check<'_>, apps: &[App]) {
    let list = Path::default().key("apps");
    check.unique(&list, "name", apps.iter().map(|app| app.name.as_str()));
    for (index, app) in apps.iter().enumerate() {
        let path = list.index(index);
        check.dns_label(&path.key("name"), &app.name);
        check.inside(&path.key("path"), &app.path);
        if let Some(url) = &app.url {
            check.url(&path.key("url"), url);
        }
    }
}

fn images(check: &mut Check<'_>, config: &Config) {
    let path = Path::default().key("images");
    if let Some(registry) = &config.images.registry {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_./:".contains(&b);
        let right =
            !registry.contains("://") && !registry.ends_with('/') && !registry.is_empty() && registry.bytes().all(safe);
        let message = format!("{registry:?} is not a registry's host and path (no https://, no '/' at the end)");
        check.unless(right, &path.key("registry"), message);
    }
    if let Some(prefix) = &config.images.prefix {
        let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let message = format!("{prefix:?} cannot begin a name (lower-case letters, digits and '-')");
        check.unless(prefix.bytes().all(safe) && !prefix.starts_with('-'), &path.key("prefix"), message);
    }
}

fn gates(check: &mut Check<'_>, gates: &Gates) {
    let path = Path::default().key("gates");
    check.lasting(&path.key("soak"), gates.soak);
    check.lasting(&path.key("window"), gates.window);
    check.lasting(&path.key("attestation_age"), gates.attestation_age);
    check.ratio(&path.key("error_ratio"), gates.error_ratio);
    check.positive(&path.key("p95_seconds"), gates.p95_seconds);
    check.positive(&path.key("p95_ratio"), gates.p95_ratio);
    for (index, name) in gates.required_checks.iter().enumerate() {
        check.not_blank(&path.key("required_checks").index(index), name);
    }
}

fn watch(check: &mut Check<'_>, watch: &Watch) {
    let path = Path::default().key("watch");
    check.lasting(&path.key("for"), watch.lasts);
    check.lasting(&path.key("every"), watch.every);
    check.unless(watch.every <= watch.lasts, &path.key("every"), "it must not be longer than watch.for");
    check.ratio(&path.key("error_ratio"), watch.error_ratio);
    check.positive(&path.key("p95_seconds"), watch.p95_seconds);
    check.at_least_one(&path.key("restarts"), watch.restarts);
    check.at_least_one(&path.key("bad_looks"), watch.bad_looks);
}

fn announce(check: &mut Check<'_>, announce: &Announce) {
    let path = Path::default().key("announce");
    if let Some(name) = &announce.webhook_env {
        check.variable(&path.key("webhook_env"), name);
    }
    if let Some(url) = &announce.webhook {
        check.url(&path.key("webhook"), url);
        check.unless(announce.webhook_env.is_none(), &path.key("webhook"), "announce.webhook_env names one already");
    }
}

/// An address inside the cluster must say all that its way needs.
fn reach(check: &mut Check<'_>, path: &Path, reach: &Reach) {
    match reach.by {
        ReachBy::Direct => match &reach.url {
            None => check.wrong(path, "direct needs `url`"),
            Some(url) => {
                let filled = url.replace("{service}", "service").replace("{namespace}", "namespace");
                check.url(&path.key("url"), &filled);
            }
        },
        ReachBy::PortForward => service_and_port(check, path, reach, "port-forward"),
        ReachBy::ApiProxy => service_and_port(check, path, reach, "api-proxy"),
        ReachBy::Job => {
            service_and_port(check, path, reach, "job");
            check.unless(reach.job_image.is_some(), path, "job needs `job_image`, an image that has curl");
        }
    }
    if let Some(namespace) = &reach.namespace {
        check.dns_label(&path.key("namespace"), namespace);
    }
}
