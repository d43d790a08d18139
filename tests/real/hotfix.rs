//! A hotfix built by buildah and pushed to a registry, neither of them ours: what the overlay names is what the registry has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::{Client, Ran, Server, World, find, free_port, need, need_modules};

const OVERLAY: &str = "infra/k8s/overlays/production/kustomization.yaml";
/// Nothing to pull: this machine may have no network.
const DOCKERFILE: &str = "FROM scratch\nCOPY main.go /main.go\n";

/// A registry that speaks TLS, and the files with which clients trust it.
struct Registry {
    _server: Server,
    dir: TempDir,
    host: String,
}

impl Registry {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let host = format!("127.0.0.1:{}", free_port());
        let (key, certificate) = (at("key.pem"), at("certificate.pem"));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
        let files = ["-keyout", &key, "-out", &certificate, "-days", "2"];
        Client::new("openssl").args(["req", "-x509"]).args(curve).args(files).args(subject).run().ok();
        let settings = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: {host}\n  tls: {{certificate: \
             {certificate}, key: {key}}}\n",
            at("registry"),
        );
        fs::write(at("registry.yml"), settings).unwrap();
        let storage =
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n", at("graph"), at("run"));
        fs::write(at("storage.conf"), storage).unwrap();
        let server = Server::start("docker-registry", &["serve", &at("registry.yml")], |_| {});
        let registry = Self { _server: server, dir, host };
        let ping = || {
            Ok::<_, String>(()).and_then(|()| std::net::TcpStream::connect(&registry.host).map_err(|e| e.to_string()))
        };
        crate::harness::eventually("the registry listens", std::time::Duration::from_secs(20), ping);
        registry
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A program that finds the registry trustworthy, and keeps its own images apart.
    fn client(&self, client: Client) -> Client {
        client
            .env("SSL_CERT_FILE", self.path("certificate.pem"))
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"))
            .env("BUILDAH_ISOLATION", "chroot")
    }

    /// What the registry has under a name.
    fn digest(&self, name: &str) -> String {
        let reference = format!("docker://{}/{name}", self.host);
        let skopeo = Client::new("skopeo").args(["inspect", "--format", "{{.Digest}}", &reference]);
        self.client(skopeo).run().ok().trim().to_owned()
    }
}

/// `git` in the world's checkout.
fn git(world: &World, args: &[&str]) -> String {
    world.client("git").args(args.iter().copied()).dir(&checkout(world)).run().ok().trim().to_owned()
}

fn checkout(world: &World) -> std::path::PathBuf {
    let settings: serde_yaml::Value = serde_yaml::from_str(&fs::read_to_string(world.path("config")).unwrap()).unwrap();
    settings["repository"]["checkout"].as_str().unwrap().into()
}

/// The tool, with the programs of this machine before the rehearsed ones, and no engine for docker to find.
fn tool(world: &World, registry: &Registry, programs: &Path, args: &[&str]) -> Ran {
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let images = format!("images.registry={}", registry.host);
    let client = world.client(env!("CARGO_BIN_EXE_gospel-release")).args(["--config", world.path("config")]);
    let client = client.args(args.iter().copied()).args(["--set", &images]);
    let client = client.env("PATH", path).env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    registry.client(client).env("XDG_STATE_HOME", registry.path("state")).run()
}

/// buildah itself; what it has pushed, ECR is told of.
fn carrying_buildah(dir: &Path) {
    let (real, python) = (find("buildah").unwrap(), find("python3").unwrap());
    let carry = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/carry.py");
    let script = format!(
        "#!/bin/sh\n'{}' \"$@\" || exit $?\n[ \"$1\" = push ] || exit 0\nfor last; do :; done\n\
         exec '{}' '{carry}' \"${{last#docker://}}\"\n",
        real.display(),
        python.display(),
    );
    let file = dir.join("buildah");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn buildah_builds_and_the_overlay_names_what_the_registry_has() {
    if !need(&["buildah", "docker", "docker-registry", "openssl", "skopeo"]) || !need_modules(&["boto3"]) {
        return;
    }
    let registry = Registry::start();
    let world = World::serve("clean", 3600);
    let programs = tempfile::tempdir().unwrap();
    let ship = |flags: &[&str]| {
        let ship = ["hotfix", "ship", "--yes", "--reason", "login is down", "--output", "json"];
        tool(&world, &registry, programs.path(), &[&ship[..], flags].concat())
    };
    tool(&world, &registry, programs.path(), &["hotfix", "start", "login"]).ok();
    let service = checkout(&world).join("services/auth");
    fs::write(service.join("Dockerfile"), DOCKERFILE).unwrap();
    git(&world, &["commit", "-qam", "fix(auth): nothing but the binary"]);
    let commit = git(&world, &["rev-parse", "HEAD"]);
    // docker's client is there, and no engine: it is named, with its own words.
    let refused = ship(&["--builder", "docker"]);
    assert_eq!(refused.code, Some(15), "{refused:?}");
    assert!(
        refused.err.contains("docker: ") && refused.err.contains("Cannot connect to the Docker daemon"),
        "{refused:?}"
    );
    assert!(refused.err.contains("Nothing was changed"), "{refused:?}");
    // Without a name, docker is passed over and buildah is taken.
    carrying_buildah(programs.path());
    let ran = ship(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("building with buildah"), "{ran:?}");
    let name = format!("gospelib-auth:hotfix-{}", &commit[..12]);
    let digest = registry.digest(&name);
    git(&world, &["fetch", "-q", "origin", "main"]);
    let overlay = git(&world, &["show", &format!("origin/main:{OVERLAY}")]);
    assert!(overlay.contains(&digest), "skopeo says {digest}\n{overlay}");
    // The labels say what it is an image of, to a reader that is not ours.
    let reference = format!("docker://{}/{name}", registry.host);
    let config = registry.client(Client::new("skopeo").args(["inspect", "--config", "--raw", &reference])).run().json();
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.revision"], commit.as_str());
    assert_eq!(labels["org.opencontainers.image.source"], "https://github.com/gospelib/gospelib");
}
