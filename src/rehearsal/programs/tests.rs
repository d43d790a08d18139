//! The builders, against a rehearsed ECR on the wire.

use std::collections::BTreeSet;
use std::future::IntoFuture as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::builder::{Engine, Settings};
use super::{Ended, NAMES, SETTINGS, buildah, docker, install};
use crate::domain::ImageRef;
use crate::rehearsal::github::testing;
use crate::rehearsal::scenario::BuilderFault;
use crate::rehearsal::{World, aws};

const REGISTRY: &str = "418272771234.dkr.ecr.us-east-1.amazonaws.com";

struct Machine {
    world: Arc<World>,
    engine: Engine,
    settings: Settings,
    dir: tempfile::TempDir,
    _world_dir: tempfile::TempDir,
}

impl Machine {
    async fn new(knobs: &str) -> Self {
        let (world_dir, world) = testing::world(knobs);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, aws::router(world.clone(), Vec::new())).into_future());
        let settings = Settings {
            aws: url,
            registry: REGISTRY.into(),
            region: "us-east-1".into(),
            access_key: "AKIA".into(),
            fault: world.scenario.world.builder,
        };
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(SETTINGS), serde_json::to_string(&settings).unwrap()).unwrap();
        let context = dir.path().join("gateway");
        std::fs::create_dir_all(&context).unwrap();
        std::fs::write(context.join("Dockerfile"), "FROM golang:1.24\nCOPY . .\nRUN go build .\n").unwrap();
        std::fs::write(context.join("main.go"), "package main\n").unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        Self { world, engine, settings, dir, _world_dir: world_dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    async fn run(&self, program: &str, args: &[&str], stdin: &str) -> Ended {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        match program {
            "docker" => docker::run(&self.engine, &args, &mut stdin.as_bytes()).await,
            other => buildah::run(&self.engine, other, &args, &mut stdin.as_bytes()).await,
        }
    }

    async fn build(&self, program: &str, tag: &str) -> Ended {
        let (context, reference) = (self.path("gateway"), format!("{REGISTRY}/gospelib-gateway:{tag}"));
        let file = format!("{context}/Dockerfile");
        let label = "org.opencontainers.image.revision=c0ffee";
        self.run(program, &["build", "-f", &file, "-t", &reference, "--label", label, &context], "").await
    }

    async fn login(&self, program: &str) -> Ended {
        self.run(program, &["login", "--username", "AWS", "--password-stdin", REGISTRY], "rehearsal\n").await
    }

    async fn ecr(&self, operation: &str, body: Value) -> Value {
        let request = reqwest::Client::new().post(&self.settings.aws).header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIA/20250304/us-east-1/ecr/aws4_request, Signature=0",
        );
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
        request.header("x-amz-target", target).body(body.to_string()).send().await.unwrap().json().await.unwrap()
    }

    fn named(&self, tag: &str) -> Option<String> {
        let image: ImageRef = format!("{REGISTRY}/gospelib-gateway:{tag}").parse().unwrap();
        self.world.registry.resolve(&image).map(|digest| digest.to_string())
    }
}

/// What follows `digest: ` in a line of docker's.
fn digest_of(pushed: &Ended) -> String {
    let line = pushed.stdout.lines().last().unwrap_or_default();
    line.split("digest: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn docker_builds_and_pushes_what_is_in_the_context() {
    let machine = Machine::new("{}").await;
    assert_eq!(machine.run("docker", &["info"], "").await.code, 0);
    let reference = format!("{REGISTRY}/gospelib-gateway:hotfix-1");
    let refused = machine.run("docker", &["push", &reference], "").await;
    assert!(refused.code == 1 && refused.stderr.contains("does not exist locally"), "{refused:?}");
    let built = machine.build("docker", "hotfix-1").await;
    assert_eq!((built.code, built.stdout.as_str()), (0, ""), "BuildKit speaks on standard error: {built:?}");
    let refused = machine.run("docker", &["push", &reference], "").await;
    assert_eq!((refused.code, refused.stderr.as_str()), (1, "no basic auth credentials\n"));
    let wrong = machine.run("docker", &["login", "-u", "AWS", "--password-stdin", REGISTRY], "other").await;
    assert!(wrong.code == 1 && wrong.stderr.contains("400 Bad Request"), "{wrong:?}");
    assert_eq!(machine.login("docker").await.stdout, "Login Succeeded\n");
    let pushed = machine.run("docker", &["push", &reference], "").await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    let digest = digest_of(&pushed);
    assert_eq!(machine.named("hotfix-1"), Some(digest.clone()));
    let shown =
        machine.run("docker", &["image", "inspect", "--format", "{{index .RepoDigests 0}}", &reference], "").await;
    assert_eq!(shown.stdout, format!("{REGISTRY}/gospelib-gateway@{digest}\n"));
    assert_eq!(digest_of(&machine.run("docker", &["push", &reference], "").await), digest, "again is the same");

    let id = json!([{ "imageTag": "hotfix-1" }]);
    let image = machine.ecr("BatchGetImage", json!({ "repositoryName": "gospelib-gateway", "imageIds": id })).await;
    let manifest: Value = serde_json::from_str(image["images"][0]["imageManifest"].as_str().unwrap()).unwrap();
    let asked = json!({ "repositoryName": "gospelib-gateway", "layerDigest": manifest["config"]["digest"] });
    let url = machine.ecr("GetDownloadUrlForLayer", asked).await["downloadUrl"].as_str().unwrap().to_owned();
    let config: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], "c0ffee");

    machine.build("docker", "hotfix-2").await;
    let same = digest_of(&machine.run("docker", &["push", &reference.replace("hotfix-1", "hotfix-2")], "").await);
    assert_eq!(same, digest, "the same source is the same image");
    std::fs::write(machine.path("gateway/main.go"), "package main // repaired\n").unwrap();
    machine.build("docker", "hotfix-1").await;
    let taken = machine.run("docker", &["push", &reference], "").await;
    assert!(taken.code == 1 && taken.stderr.starts_with("tag invalid: The image tag 'hotfix-1' already"), "{taken:?}");
}

#[tokio::test]
async fn buildah_and_podman_write_the_digest_to_a_file() {
    for program in ["buildah", "podman"] {
        let machine = Machine::new("{}").await;
        let built = machine.build(program, "hotfix-1").await;
        assert_eq!(built.code, 0, "{built:?}");
        let (reference, file) = (format!("{REGISTRY}/gospelib-gateway:hotfix-1"), machine.path("digest"));
        let push = ["push", "--digestfile", &file, &reference];
        let refused = machine.run(program, &push, "").await;
        assert!(refused.code == 125 && refused.stderr.contains("authentication required"), "{refused:?}");
        assert_eq!(machine.login(program).await.stdout, "Login Succeeded!\n");
        let pushed = machine.run(program, &push, "").await;
        assert_eq!(pushed.code, 0, "{pushed:?}");
        assert_eq!(std::fs::read_to_string(file).ok(), machine.named("hotfix-1"));
    }
}

#[tokio::test]
async fn builders_fail_as_the_scenario_says() {
    let machine = Machine::new("{builder: absent}").await;
    for args in [&["info"][..], &["version"], &["build", "."], &["push", "x"]] {
        let away = machine.run("docker", args, "").await;
        assert!(away.code == 1 && away.stderr.contains("Cannot connect to the Docker daemon"), "{args:?} {away:?}");
    }
    assert_eq!(machine.run("docker", &["info", "--format", "{{.ServerVersion}}"], "").await.stdout, "\n");

    let machine = Machine::new("{builder: fails}").await;
    for program in ["docker", "buildah", "podman"] {
        let failed = machine.build(program, "hotfix-1").await;
        assert!(failed.code == 1 && failed.stderr.contains("./main.go:17:3: undefined: retryAfter"), "{failed:?}");
    }

    for (knobs, words) in [
        (
            "{images: {push_denied: true}}",
            "not authorized to perform: ecr:InitiateLayerUpload on resource: arn:aws:ecr",
        ),
        ("{images: {retag: true}}", "tag invalid: The image tag 'hotfix-1' already exists"),
    ] {
        let machine = Machine::new(knobs).await;
        machine.build("docker", "hotfix-1").await;
        machine.login("docker").await;
        let reference = format!("{REGISTRY}/gospelib-gateway:hotfix-1");
        let refused = machine.run("docker", &["push", &reference], "").await;
        assert!(refused.code == 1 && refused.stderr.contains(words), "{refused:?}");
        let denied = knobs.contains("push_denied");
        assert_eq!(refused.stderr.starts_with("denied: User: "), denied);
        assert_eq!(machine.named("hotfix-1").is_none(), denied, "the earlier try's image is there");
        let taken = machine.run("docker", &["push", &reference], "").await;
        assert_eq!(taken.stderr, refused.stderr, "it stays so");
    }
}

#[tokio::test]
async fn a_world_without_a_builder_hides_the_real_ones() {
    let machine = Machine::new("{}").await;
    let names = |dir: &Path, fault| {
        let settings = Settings { fault, ..machine.settings.clone() };
        install(&dir.join("bin"), Path::new("/proc/self/exe"), &settings, &[]).unwrap();
        let entries = std::fs::read_dir(dir.join("bin")).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    let (well, absent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let well = names(well.path(), BuilderFault::None);
    assert_eq!(well, NAMES.map(str::to_owned).into());
    let absent = names(absent.path(), BuilderFault::Absent);
    assert!(["docker", "migrate", "git", "sh"].iter().all(|name| absent.contains(*name)), "{absent:?}");
    assert!(!absent.contains("buildah") && !absent.contains("podman"));
}
