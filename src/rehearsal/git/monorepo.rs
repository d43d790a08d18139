//! Generates the Gospelib-shaped monorepo, with its past.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{Author, Repo};
use crate::domain::{Digest, Version};
use crate::error::{Error, Result};
use crate::rehearsal::aws::Registry;
use crate::rehearsal::infrastructure;
use crate::rehearsal::scenario::Deed;
use crate::rehearsal::world::{Build, Past};
use crate::rehearsal::{Scenario, shape::Shape};

/// Who commits for the workflow.
pub const BOT: &str = "gospelib-bot";

/// Makes the repository in `dir` and builds the images of its past in `registry`. The same arguments make the same
/// commits, byte for byte.
pub fn create(
    dir: &Path,
    shape: &Shape,
    scenario: &Scenario,
    registry: &Registry,
    start: Timestamp,
    seed: u64,
) -> Result<(Repo, Past)> {
    let mut maker = Maker {
        repo: Repo::init(dir)?,
        shape,
        rebuild: scenario.world.rebuild,
        infrastructure: infrastructure::files(shape, &scenario.world.infrastructure)?,
        registry,
        start,
        minutes: fastrand::Rng::with_seed(seed),
        migrations: parse("migrations.yaml", include_str!("files/migrations.yaml"))?,
        files: BTreeMap::new(),
        releases: Vec::new(),
        candidate: None,
        interruption: None,
    };
    for (hours, event) in events(scenario)? {
        maker.apply(hours, event)?;
    }
    let Maker { repo, releases, candidate, interruption, .. } = maker;
    let candidate = candidate.ok_or_else(|| Error::internal("the rehearsed history has no candidate"))?;
    if let Some(expired) = &scenario.world.images.expired {
        let released = releases.iter().find(|build| build.version.as_ref() == Some(&expired.version));
        if let Some(digest) = released.and_then(|build| build.images.get(&expired.service)) {
            registry.remove(&shape.object(&expired.service), digest);
        }
    }
    let repo = repo.with_races(scenario.world.git_race, scenario.world.main.moves).with_interruption(interruption);
    Ok((repo, Past { releases, candidate }))
}

/// One commit of `files/history.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    hours: Option<f64>,
    by: String,
    message: String,
    #[serde(default)]
    append: BTreeMap<String, String>,
    #[serde(default)]
    replace: Vec<Replace>,
    #[serde(default)]
    migrations: Vec<String>,
    /// Tagged, and brought to production `at` these hours before the start.
    release: Option<Version>,
    at: Option<f64>,
    #[serde(default)]
    candidate: bool,
    #[serde(default)]
    later: bool,
    /// In the scenarios whose `past` names it; `None`: always.
    story: Option<Deed>,
}

/// A text that a commit changes, once, where it is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    file: String,
    from: String,
    to: String,
}

#[derive(Debug, Deserialize)]
struct Migration {
    up: String,
    down: String,
}

/// What happens to the repository at one time.
enum Event {
    Code(Entry),
    Release(Version),
    Staging(Staged),
}

/// Which build staging gets.
enum Staged {
    Release(Version),
    Candidate,
    Interruption,
}

/// Everything that happens, oldest first, with its hours before the start.
fn events(scenario: &Scenario) -> Result<Vec<(f64, Event)>> {
    let soak = &scenario.world.soak;
    let interrupted = soak.interrupted_hours_ago;
    let entries: Vec<Entry> = parse("history.yaml", include_str!("files/history.yaml"))?;
    let mut events = Vec::new();
    let told = |entry: &Entry| entry.story.is_none_or(|story| scenario.world.past.contains(&story));
    for entry in entries.into_iter().filter(told) {
        let hours = match entry.hours {
            None => (soak.hours + 1.0).max(27.0),
            // What interrupts the soak was built before it did.
            Some(hours) if entry.later => interrupted.map_or(hours, |ago| hours.max(ago + 1.0)),
            Some(hours) => hours,
        };
        let release = entry.release.clone().zip(entry.at);
        events.push((hours, Event::Code(entry)));
        if let Some((version, at)) = release {
            events.push((at + 12.0, Event::Staging(Staged::Release(version.clone()))));
            events.push((at, Event::Release(version)));
        }
    }
    events.push((soak.hours, Event::Staging(Staged::Candidate)));
    if let Some(ago) = interrupted {
        events.push((ago + 0.5, Event::Staging(Staged::Interruption)));
        events.push((ago, Event::Staging(Staged::Candidate)));
    }
    events.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(events)
}

struct Maker<'a> {
    repo: Repo,
    shape: &'a Shape,
    rebuild: bool,
    infrastructure: BTreeMap<String, String>,
    registry: &'a Registry,
    start: Timestamp,
    /// Spreads commits over the hour.
    minutes: fastrand::Rng,
    migrations: BTreeMap<String, Migration>,
    /// The text of each file that commits append to.
    files: BTreeMap<String, String>,
    releases: Vec<Build>,
    candidate: Option<Build>,
    interruption: Option<Build>,
}

impl Maker<'_> {
    fn apply(&mut self, hours: f64, event: Event) -> Result<()> {
        match event {
            Event::Code(entry) => self.code(hours, &entry),
            Event::Release(version) => self.release(hours, &version),
            Event::Staging(staged) => {
                let named = |version: &Version| {
                    self.releases.iter().find(|build| build.version.as_ref() == Some(version)).cloned()
                };
                let build = match staged {
                    Staged::Release(version) => named(&version),
                    Staged::Candidate => self.candidate.clone(),
                    Staged::Interruption => self.interruption.clone(),
                };
                let build = build.ok_or_else(|| Error::internal("the rehearsed history deploys before it builds"))?;
                let tag = sha_tag(&build.commit);
                self.deploy("staging", &tag, &build.images, &format!("chore(staging): deploy {tag}"), self.ago(hours))
            }
        }
    }

    fn ago(&self, hours: f64) -> Timestamp {
        #[allow(clippy::cast_possible_truncation, reason = "seconds of a few years")]
        let seconds = (hours * 3600.0) as i64;
        self.start.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(self.start)
    }

    fn code(&mut self, hours: f64, entry: &Entry) -> Result<()> {
        let first = self.repo.head("main").is_none();
        let mut changed = if first { self.initial() } else { BTreeMap::new() };
        for (path, text) in &entry.append {
            if !self.exists(path) {
                continue;
            }
            let file = self.text(path) + text;
            self.files.insert(path.clone(), file.clone());
            changed.insert(path.clone(), file);
        }
        for Replace { file, from, to } in &entry.replace {
            if !self.exists(file) {
                continue;
            }
            let text = changed.remove(file).unwrap_or_else(|| self.text(file)).replacen(from, to, 1);
            self.files.insert(file.clone(), text.clone());
            changed.insert(file.clone(), text);
        }
        for name in &entry.migrations {
            changed.extend(self.migration(name));
        }
        if first {
            self.files.clone_from(&changed);
        }
        let spread = if entry.candidate || hours < 48.0 { 0 } else { self.minutes.i64(0..50) };
        let at = self.ago(hours).checked_add(SignedDuration::from_mins(spread)).unwrap_or(self.start);
        let commit = self.commit(&changed, &entry.message, &author(&entry.by, at))?;
        if entry.candidate {
            self.candidate = Some(self.build(None, &commit, at));
        }
        if entry.later {
            self.interruption = Some(self.build(None, &commit, at));
        }
        if let Some(version) = &entry.release {
            let build = self.build(Some(version.clone()), &commit, at);
            self.releases.push(build);
        }
        Ok(())
    }

    /// Tags the release's commit, and commits the production overlay, as the workflow does.
    fn release(&mut self, hours: f64, version: &Version) -> Result<()> {
        let at = self.ago(hours);
        let named = |build: &&Build| build.version.as_ref() == Some(version);
        let Some(build) = self.releases.iter().find(named).cloned() else {
            return Err(Error::internal(format!("the rehearsed history releases {version} before it builds it")));
        };
        let tagged = at.checked_sub(SignedDuration::from_mins(19)).unwrap_or(at);
        let message = format!("Release {version}\n");
        self.repo.create_tag(&format!("release/{version}"), &build.commit, &message, &author("dana-dev", tagged))?;
        for (repository, digest) in named_images(self.shape, &build.images) {
            // The tag of a past release was given when its workflow ran.
            let _ = self.registry.tag(&repository, &version.to_string(), digest);
        }
        let tag = version.to_string();
        self.deploy("production", &tag, &build.images, &format!("chore(release): production {tag}"), at)
    }

    /// Builds every image of a commit and tags it `sha-<7>`, as continuous integration does on main.
    fn build(&self, version: Option<Version>, commit: &str, at: Timestamp) -> Build {
        let mut images = BTreeMap::new();
        for service in &self.shape.services {
            let repository = self.shape.object(service);
            let digest = self.registry.build(&repository, commit, "");
            self.registry.date(&repository, &digest, at);
            let _ = self.registry.tag(&repository, &sha_tag(commit), &digest);
            images.insert(service.clone(), digest);
        }
        Build { version, commit: commit.to_owned(), at, images }
    }

    fn deploy(
        &self,
        environment: &str,
        tag: &str,
        images: &BTreeMap<String, Digest>,
        message: &str,
        at: Timestamp,
    ) -> Result<()> {
        let overlay = self.shape.overlay(environment);
        let path = format!("{overlay}/kustomization.yaml");
        let bot = author(BOT, at);
        let tip = self.repo.head("main").unwrap_or_default();
        if self.repo.file(&tip, &path).is_none() {
            let text = self.overlay(environment, tag, images);
            return self.repo.commit_files("main", &[(&path, &text)], message, &bot).map(drop);
        }
        let named = |(name, digest): (String, &Digest)| (name, (tag.to_owned(), digest.clone()));
        let images = named_images(self.shape, images).map(named).collect();
        self.repo.set_overlay_images("main", &overlay, &images, message, &bot).map(drop)
    }

    fn commit(&self, files: &BTreeMap<String, String>, message: &str, author: &Author) -> Result<String> {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let message = format!("{}\n", message.trim_end());
        self.repo.commit_files("main", &files, &message, author)
    }

    /// A file as main has it; empty where it does not.
    fn text(&self, path: &str) -> String {
        let committed = || self.repo.head("main").and_then(|tip| self.repo.file(&tip, path));
        // The workflow's commits change overlays beside us.
        let known = self.files.get(path).filter(|_| !path.starts_with("infra/k8s/overlays/")).cloned();
        known.or_else(committed).unwrap_or_default()
    }

    /// Whether a path belongs to a service that this world has (or to none).
    fn exists(&self, path: &str) -> bool {
        path.strip_prefix("services/")
            .and_then(|rest| rest.split('/').next())
            .is_none_or(|service| self.shape.services.iter().any(|name| name == service))
    }

    fn migration(&self, name: &str) -> Vec<(String, String)> {
        let (service, file) = name.split_once('/').unwrap_or_default();
        if !self.shape.databases.iter().any(|database| database == service) {
            return Vec::new();
        }
        let Some(migration) = self.migrations.get(name) else { return Vec::new() };
        let path = |direction| format!("services/{service}/migrations/{file}.{direction}.sql");
        vec![(path("up"), migration.up.clone()), (path("down"), migration.down.clone())]
    }

    /// The files of the first commit.
    fn initial(&self) -> BTreeMap<String, String> {
        let shape = self.shape;
        let mut files = BTreeMap::new();
        let mut resources = String::from("resources:\n");
        for service in &shape.services {
            let fill = |text: &str| fill(text, shape, &[("service", service), ("object", &shape.object(service))]);
            files.insert(format!("services/{service}/Dockerfile"), fill(include_str!("files/Dockerfile")));
            files.insert(format!("services/{service}/main.go"), fill(include_str!("files/main.go.txt")));
            files.insert(format!("services/{service}/go.mod"), fill("module {{project}}.com/{{service}}\n\ngo 1.24\n"));
            let base = format!("infra/k8s/base/{service}");
            files.insert(format!("{base}/deployment.yaml"), fill(include_str!("files/deployment.yaml")));
            files.insert(format!("{base}/service.yaml"), fill(include_str!("files/service.yaml")));
            let _ = write!(resources, "  - {service}/deployment.yaml\n  - {service}/service.yaml\n");
        }
        let kustomization = format!("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n{resources}");
        files.insert("infra/k8s/base/kustomization.yaml".into(), kustomization);
        for environment in ["staging", "production"] {
            let secret = fill(include_str!("files/external-secret.yaml"), shape, &[("environment", environment)]);
            files.insert(format!("{}/external-secret.yaml", shape.overlay(environment)), secret);
        }
        for app in &shape.apps {
            let package = format!("{{\n  \"name\": \"@{}/{app}\",\n  \"private\": true\n}}\n", shape.project);
            files.insert(format!("apps/{app}/package.json"), package);
        }
        files.extend(self.infrastructure.clone());
        files.insert("README.md".into(), include_str!("files/README.md").into());
        files.insert("Makefile".into(), include_str!("files/Makefile").into());
        files.insert(".github/workflows/ci.yml".into(), include_str!("files/ci.yml").into());
        files.insert(format!(".github/workflows/{}", shape.workflow_file), self.workflow());
        files
    }

    fn workflow(&self) -> String {
        let build = if self.rebuild {
            "      - run: |\n          docker build -t \"$REGISTRY/{{project}}-${{ matrix.service }}:${VERSION#release/}\" services/${{ matrix.service }}\n          docker push \"$REGISTRY/{{project}}-${{ matrix.service }}:${VERSION#release/}\"\n"
        } else {
            "      # The bytes that soaked: the image of this commit gets the release's tag, nothing is built again.\n      - run: crane tag \"$REGISTRY/{{project}}-${{ matrix.service }}:sha-${GITHUB_SHA::7}\" \"${VERSION#release/}\"\n"
        };
        let services = self.shape.services.join(", ");
        let text = include_str!("files/cd-production.yml").replace("{{build}}", build);
        fill(&text, self.shape, &[("services", &services), ("environment", &self.shape.environment)])
    }

    /// The first text of an overlay: people's comments, two styles of lists, quotes here and there.
    fn overlay(&self, environment: &str, tag: &str, images: &BTreeMap<String, Digest>) -> String {
        let shape = self.shape;
        let production = environment == "production";
        let head = if production { include_str!("files/production.yaml") } else { include_str!("files/staging.yaml") };
        let mut text = fill(head, shape, &[]);
        for (n, service) in shape.services.iter().enumerate() {
            let (object, count) = (shape.object(service), shape.replicas);
            let _ = match (production, n) {
                (true, 0) => writeln!(text, "    - name: {object}   # the edge\n      count: {count}"),
                (true, _) => writeln!(text, "    - name: {object}\n      count: {count}"),
                (false, _) => writeln!(text, "- {{name: {object}, count: {count}}}"),
            };
        }
        text.push_str(if production { "\nimages:\n" } else { "images:\n" });
        for (n, (object, digest)) in named_images(shape, images).enumerate() {
            let name = format!("{}/{object}", shape.registry());
            let _ = match (production, n) {
                (true, 0) => write!(
                    text,
                    "  - name: {object}\n    newName: {name}\n    newTag: {tag}   # set by {}\n    digest: \"{digest}\"\n",
                    shape.workflow_file
                ),
                (true, 1) => write!(
                    text,
                    "  -   name: '{object}'   # the one with the migrations\n      newName: {name}\n      newTag: \"{tag}\"\n      digest: {digest}\n"
                ),
                (true, _) => {
                    write!(text, "  - name: {object}\n    newName: {name}\n    newTag: {tag}\n    digest: {digest}\n")
                }
                (false, _) => {
                    write!(text, "- digest: {digest}\n  name: {object}\n  newName: {name}\n  newTag: {tag}\n")
                }
            };
        }
        text
    }
}

/// `gospelib-gateway` and its digest, for each service.
fn named_images<'a>(
    shape: &'a Shape,
    images: &'a BTreeMap<String, Digest>,
) -> impl Iterator<Item = (String, &'a Digest)> {
    shape.services.iter().filter_map(|service| images.get(service).map(|digest| (shape.object(service), digest)))
}

/// `sha-a1b2c3d`: the tag of an image by its commit.
pub fn sha_tag(commit: &str) -> String {
    format!("sha-{}", commit.get(..7).unwrap_or(commit))
}

/// A person of the rehearsed world, by GitHub login.
pub fn author(login: &str, at: Timestamp) -> Author {
    let name = match login {
        "dana-dev" => "Dana Okafor",
        "rhea-reviewer" => "Rhea Lindqvist",
        "amon-oncall" => "Amon Reyes",
        "mira-w" => "Mira Weiss",
        "joel-k" => "Joël Kimura",
        other => other,
    };
    Author::new(name, format!("{login}@gospelib.example"), at)
}

/// Fills in the names of the world, `{{project}}` and the like.
pub fn fill(text: &str, shape: &Shape, more: &[(&str, &str)]) -> String {
    let registry = shape.registry();
    let fixed = [
        ("project", shape.project.as_str()),
        ("registry", &registry),
        ("account", &shape.account),
        ("region", &shape.region),
        ("cluster", &shape.cluster),
    ];
    let fill = |text: String, (name, value): &(&str, &str)| text.replace(&format!("{{{{{name}}}}}"), value);
    fixed.iter().chain(more).fold(text.to_owned(), fill)
}

fn parse<T: for<'de> Deserialize<'de>>(name: &str, text: &str) -> Result<T> {
    serde_yaml::from_str(text).map_err(|error| Error::internal(format!("read the rehearsal's {name}")).because(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stopwatch;

    fn scenario(world: &str) -> Scenario {
        let text = format!("{{name: t, summary: t, breaks: t, engineer: t, exit: {{}}, world: {world}}}");
        serde_yaml::from_str(&text).unwrap()
    }

    fn make(shape: &Shape, world: &str, seed: u64) -> (tempfile::TempDir, Repo, Past) {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(shape, seed, false);
        let start = "2025-03-04T09:00:00Z".parse().unwrap();
        let (repo, past) =
            create(&dir.path().join("gospelib.git"), shape, &scenario(world), &registry, start, seed).unwrap();
        (dir, repo, past)
    }

    #[test]
    fn the_past_is_as_the_story_says_and_repeatable() {
        let shape = Shape::gospelib();
        let watch = Stopwatch::start();
        let (_dir, repo, past) = make(&shape, "{}", 7);
        let took = watch.elapsed();
        assert!(took.as_millis() < 3000, "{took:?}");
        let tags: Vec<String> = repo.refs("refs/tags/").into_keys().collect();
        assert_eq!(tags, ["v1.0.0", "v1.1.0", "v1.1.1"].map(|v| format!("refs/tags/release/{v}")));
        let main = repo.head("main").unwrap();
        let last = past.releases.last().unwrap();
        assert_eq!(repo.tag("release/v1.1.1").unwrap().commit, last.commit);
        assert!(repo.is_ancestor(&last.commit, &past.candidate.commit));
        assert_eq!(repo.log(&main, Some(&past.candidate.commit), 100).len(), 3);
        let since = repo.log(&past.candidate.commit, Some(&last.commit), 100);
        assert!(since.iter().any(|commit| commit.message.starts_with("feat")));
        assert!(since.iter().any(|commit| commit.message.contains('\u{1b}')));
        let migrations = |commit: &str| repo.list(commit, "services/content/migrations").len();
        assert_eq!((migrations(&last.commit), migrations(&past.candidate.commit)), (14, 16));
        let (_other, twin, _) = make(&shape, "{}", 7);
        assert_eq!(twin.head("main"), Some(main));
    }

    #[test]
    fn the_overlays_render_to_what_ran() {
        let shape = Shape::gospelib();
        let (_dir, repo, past) = make(&shape, "{soak: {hours: 26, interrupted_hours_ago: 3}}", 1);
        let main = repo.head("main").unwrap();
        let objects = repo.render(&main, &shape.overlay("production")).unwrap();
        assert_eq!(objects.len(), 13);
        let release = past.releases.last().unwrap();
        for (environment, tag, images) in [
            ("production", "v1.1.1".to_owned(), &release.images),
            ("staging", sha_tag(&past.candidate.commit), &past.candidate.images),
        ] {
            let objects = repo.render(&main, &shape.overlay(environment)).unwrap();
            let content = objects.iter().find(|object| object["metadata"]["name"] == "gospelib-content").unwrap();
            let image = format!("{}/gospelib-content:{tag}@{}", shape.registry(), images["content"]);
            assert_eq!(content["spec"]["template"]["spec"]["containers"][0]["image"], image);
            assert_eq!(content["spec"]["replicas"], 2);
            assert_eq!(content["metadata"]["namespace"], shape.namespace(environment));
        }
        assert_ne!(repo.interruption().unwrap().images, past.candidate.images);
    }

    #[test]
    fn a_hundred_services_are_no_matter() {
        let shape = Shape::with_services(100);
        let (_dir, repo, past) = make(&shape, "{}", 1);
        assert_eq!(past.candidate.images.len(), 100);
        let objects = repo.render(&repo.head("main").unwrap(), &shape.overlay("staging")).unwrap();
        assert_eq!(objects.len(), 201);
    }

    #[test]
    fn stories_change_the_past() {
        let shape = Shape::gospelib();
        let (_dir, repo, past) = make(&shape, "{past: [renamed-column]}", 1);
        let plans = |build: &Build| repo.file(&build.commit, "services/study/plans.go").unwrap();
        assert!(plans(&past.releases[1]).contains("starts_on") && !plans(&past.releases[2]).contains("starts_on"));
        let migrations = |build: &Build| repo.list(&build.commit, "services/study/migrations");
        let renamed = "000003_rename_plan_start.up.sql".to_owned();
        assert!(!migrations(&past.releases[1]).contains(&renamed) && migrations(&past.releases[2]).contains(&renamed));

        let (_dir, repo, past) = make(&shape, "{past: [overlay-edits]}", 1);
        let main = repo.head("main").unwrap();
        let overlay = repo.file(&main, "infra/k8s/overlays/production/kustomization.yaml").unwrap();
        assert!(overlay.contains("count: 3   # until") && overlay.contains("  # auth: tell #security"), "{overlay}");
        let objects = repo.render(&main, &shape.overlay("production")).unwrap();
        let search = objects.iter().find(|object| object["metadata"]["name"] == "gospelib-search").unwrap();
        assert_eq!(search["spec"]["replicas"], 3);
        assert_eq!(search["spec"]["template"]["metadata"]["annotations"]["gospelib.com/on-call"], "platform");
        assert!(overlay.contains(past.releases[2].images["search"].as_str()), "the released images stay");

        let (_dir, repo, past) = make(&shape, "{past: [same-line]}", 1);
        let gateway = |commit: &str| repo.file(commit, "services/gateway/main.go").unwrap();
        let line = "func ready(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }";
        assert!(gateway(&past.releases[2].commit).contains(line) && gateway(&past.candidate.commit).contains(line));
        assert!(gateway(&repo.head("main").unwrap()).contains("{ w.WriteHeader(routesReady()) }"));
    }
}
