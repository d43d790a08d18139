//! git and `kubectl kustomize` against the rehearsed repository.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Ran, World, eventually, http, need};

fn git(world: &World, dir: &Path, args: &str) -> Ran {
    world.client("git").dir(dir).args(args.split_whitespace()).run()
}

fn commit(world: &World, dir: &Path, file: &str, message: &str) {
    std::fs::write(dir.join(file), message).unwrap();
    git(world, dir, "add --all").ok();
    world.client("git").dir(dir).args(["commit", "--quiet", "-m", message]).run().ok();
}

#[test]
fn clones_fetches_and_pushes() {
    if !need(&["git"]) {
        return;
    }
    let (world, dir) = (World::shared(), tempfile::tempdir().unwrap());
    let url = world.path("git");
    git(world, dir.path(), &format!("clone --quiet {url} full")).ok();
    let full = dir.path().join("full");
    git(world, &full, "fsck --strict").ok();
    let tags = git(world, &full, "for-each-ref refs/tags --format=%(refname:short)=%(objecttype)").ok();
    assert!(tags.contains("release/v1.1.1=tag"), "{tags}");
    git(world, dir.path(), &format!("clone --quiet --depth=1 {url} shallow")).ok();
    let shallow = dir.path().join("shallow");
    assert_eq!(git(world, &shallow, "rev-list --count HEAD").ok().trim(), "1");
    git(world, &shallow, "fetch --quiet --unshallow --tags").ok();
    let count = |dir: &Path| git(world, dir, "rev-list --count origin/main").ok();
    assert_eq!(count(&shallow), count(&full));

    git(world, &full, "switch --quiet -c topic/one").ok();
    commit(world, &full, "one.txt", "feat: one");
    git(world, &full, "push --quiet origin topic/one").ok();
    let tip = git(world, &full, "rev-parse HEAD").ok();
    git(world, &shallow, "fetch --quiet origin topic/one").ok();
    assert_eq!(git(world, &shallow, "rev-parse FETCH_HEAD").ok(), tip);
    git(world, &shallow, "switch --quiet -c topic/one origin/main").ok();
    commit(world, &shallow, "two.txt", "feat: two");
    let rejected = git(world, &shallow, "push origin topic/one").refused();
    assert!(rejected.contains("[rejected]"), "{rejected}");
    let stale = git(world, &shallow, "push --force-with-lease=topic/one:HEAD origin topic/one").refused();
    assert!(stale.contains("stale info"), "{stale}");
    git(world, &full, "push --quiet origin --delete topic/one").ok();
    assert!(git(world, &full, "ls-remote origin refs/heads/topic/one").ok().is_empty());
}

#[test]
fn a_release_tag_is_accepted_once_and_starts_one_run() {
    if !need(&["git"]) {
        return;
    }
    let (world, dir) = (World::serve("clean", 60), tempfile::tempdir().unwrap());
    let world = &world;
    git(world, dir.path(), &format!("clone --quiet {} work", world.path("git"))).ok();
    let work = dir.path().join("work");
    // Not main's tip, but the commit that runs on staging.
    let candidate = git(world, &work, "rev-parse HEAD~3").ok().trim().to_owned();
    world.client("git").dir(&work).args(["tag", "-a", "release/v1.2.0", "-m", "Release v1.2.0", &candidate]).run().ok();
    git(world, &work, "push --atomic origin refs/tags/release/v1.2.0").ok();
    git(world, &work, "push --atomic origin refs/tags/release/v1.2.0").ok();
    let refs = git(world, &work, "ls-remote origin refs/tags/release/v1.2.0*").ok();
    assert!(refs.contains(&format!("{candidate}\trefs/tags/release/v1.2.0^{{}}")), "{refs}");

    git(world, &work, "tag -d release/v1.2.0").ok();
    world.client("git").dir(&work).args(["tag", "-a", "release/v1.2.0", "-m", "Moved", "HEAD"]).run().ok();
    let plain = git(world, &work, "push origin refs/tags/release/v1.2.0").refused();
    assert!(plain.contains("already exists"), "{plain}");
    let forced = git(world, &work, "push --force origin refs/tags/release/v1.2.0").refused();
    assert!(forced.contains("GH013"), "{forced}");
    let deleted = git(world, &work, "push --delete origin refs/tags/release/v1.2.0").refused();
    assert!(deleted.contains("GH013"), "{deleted}");
    assert_eq!(git(world, &work, "ls-remote origin refs/tags/release/v1.2.0*").ok(), refs);

    let runs = format!("{}/repos/gospelib/gospelib/actions/workflows/cd-production.yml/runs", world.url("github"));
    let authorised = [("authorization", "Bearer ghp_rehearsal"), ("user-agent", "tests")];
    let ours = eventually("the run of the tag appears", Duration::from_secs(60), || {
        let answer = http("GET", &format!("{runs}?head_sha={candidate}&event=push"), &authorised, None)?;
        let found: Vec<Value> = answer.json()["workflow_runs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|run| run["head_branch"] == "release/v1.2.0")
            .cloned()
            .collect();
        if found.is_empty() { Err(answer.body) } else { Ok(found) }
    });
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert_eq!(ours[0]["head_sha"], candidate);
}

#[test]
fn live_objects_are_what_kustomize_renders() {
    if !need(&["git", "kubectl"]) {
        return;
    }
    let (world, dir) = (World::shared(), tempfile::tempdir().unwrap());
    git(world, dir.path(), &format!("clone --quiet {} work", world.path("git"))).ok();
    for environment in ["staging", "production"] {
        let overlay = dir.path().join("work/infra/k8s/overlays").join(environment);
        let rendered = world.client("kubectl").arg("kustomize").arg(&overlay).run().ok();
        let rendered: Vec<Value> = serde_yaml::Deserializer::from_str(&rendered)
            .map(|document| serde::Deserialize::deserialize(document).unwrap())
            .collect();
        let kinds = ["Deployment", "Service", "ExternalSecret"];
        assert!(kinds.iter().all(|kind| rendered.iter().any(|object| object["kind"] == *kind)), "{rendered:?}");
        for object in &rendered {
            let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            let namespace = object["metadata"]["namespace"].as_str().unwrap();
            assert_eq!(namespace, format!("gospelib-{environment}"));
            let live = world.client("kubectl").args(["-n", namespace, "get", kind, name, "-o", "json"]).run().json();
            if let Some(path) = differs(object, &live, String::new()) {
                panic!("{kind} {name} in {namespace} differs at {path}\nrendered {object}\nlive {live}");
            }
        }
        let deployments = rendered.iter().filter(|object| object["kind"] == "Deployment").count();
        let live = format!("-n gospelib-{environment} get deployments -o name");
        assert_eq!(world.client("kubectl").args(live.split(' ')).run().ok().lines().count(), deployments);
    }
}

/// Where `live` lacks something of `wanted`; a server adds defaults, but never changes what it was given.
fn differs(wanted: &Value, live: &Value, at: String) -> Option<String> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(_)) => {
            wanted.iter().find_map(|(key, value)| differs(value, &live[key.as_str()], format!("{at}.{key}")))
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(n, (value, found))| differs(value, found, format!("{at}[{n}]"))),
        _ => (wanted != live).then_some(at),
    }
}
