//! `hotfix start` and `hotfix ship`, seen from outside.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Ran, Running, World, eventually};

pub const SPEED: u32 = 3600;
pub const GATEWAY: &str = "services/gateway/main.go";

pub const OVERLAY: &str = "infra/k8s/overlays/production/kustomization.yaml";
/// A day of this world is 24 s: debts must not be overdue because this machine is busy.
pub const PATIENT: [&str; 2] = ["--set", "debt.due_after=2000h"];

/// A world with a hotfix of the gateway in its checkout, committed; and the commit.
fn mended(scenario: &str) -> (World, String) {
    mended_in(World::serve(scenario, SPEED))
}

pub fn mended_in(world: World) -> (World, String) {
    world.tool(&["hotfix", "start", "login"]).ended(0);
    let path = world.checkout().join(GATEWAY);
    let old = std::fs::read_to_string(&path).expect("the gateway");
    // The line that merge-conflict's main has changed as well.
    let new = old.replace("{ w.WriteHeader(http.StatusOK) }\n", "{ w.WriteHeader(http.StatusNoContent) }\n");
    assert_ne!(old, new);
    std::fs::write(path, new).expect("write the gateway");
    world.dev(&["commit", "-qam", "fix: answer /ready without a body"]);
    let commit = world.dev(&["rev-parse", "HEAD"]);
    (world, commit)
}

pub fn ship(world: &World, flags: &[&str]) -> Ran {
    world.tool(&[&["hotfix", "ship", "--yes", "--reason", "login is down"][..], &PATIENT, flags].concat())
}

/// The tag that a commit's images have.
pub fn tag(commit: &str) -> String {
    format!("hotfix-{}", &commit[..12])
}

pub fn image(world: &World, commit: &str) -> Option<String> {
    world.digest_of("gospelib-gateway", &tag(commit))
}

/// The kinds of debt that `status` lists; a waived gate by its name.
pub fn debts(world: &World) -> BTreeSet<String> {
    let status = world.tool(&[&["status", "--output", "json"][..], &PATIENT].concat());
    let debts = status.ended(0).json()["debts"].as_array().cloned().unwrap_or_default();
    let kind = |debt: &serde_json::Value| match debt["gate"].as_str() {
        Some(gate) => format!("waived {gate}"),
        None => debt["debt"].as_str().unwrap_or_default().to_owned(),
    };
    debts.iter().map(kind).collect()
}

/// Production is as it was, the lock is free, and nothing of the hotfix is owed.
#[track_caller]
fn untouched(world: &World, before: &std::collections::BTreeMap<String, BTreeSet<String>>, overlay: &str, ran: &Ran) {
    assert_eq!(world.serving(), *before, "{ran}");
    assert_eq!(world.file_on_main(OVERLAY), overlay, "{ran}");
    assert_eq!(world.lock_holder(), "", "{ran}");
    assert_eq!(debts(world), BTreeSet::new(), "{ran}");
}

/// Appends to a file of the checkout, as an editor does.
pub fn append(world: &World, path: &str, text: &str) {
    let path = world.checkout().join(path);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(path, old + text).expect("write a file of the checkout");
}

pub fn release_commit(world: &World, version: &str) -> String {
    world.refs()[&format!("refs/tags/release/{version}^{{}}")].clone()
}

#[test]
fn start_begins_at_what_production_runs() {
    let world = World::serve("clean", SPEED);
    let base = release_commit(&world, "v1.1.1");
    let refs = world.refs();
    let dry = world.tool(&["hotfix", "start", "login", "--dry-run"]);
    dry.ended(0).says("would begin at v1.1.1");
    assert_eq!(world.dev(&["branch", "--list", "hotfix/*"]), "");
    let ran = world.tool(&["hotfix", "start", "login"]);
    ran.ended(0).says("hotfix/login begins at v1.1.1").says("gospel-release hotfix ship");
    assert_eq!(world.dev(&["symbolic-ref", "HEAD"]), "refs/heads/hotfix/login");
    assert_eq!(world.dev(&["rev-parse", "HEAD"]), base);
    assert_eq!(world.dev(&["status", "--porcelain"]), "");
    assert_eq!(world.refs(), refs, "nothing is pushed");
    // Again, with work on it, and from elsewhere.
    append(&world, GATEWAY, "// mended\n");
    world.dev(&["commit", "-qam", "fix: mended"]);
    world.dev(&["switch", "-q", "main"]);
    let again = world.tool(&["hotfix", "start", "login", "--output", "json"]);
    assert_eq!(again.ended(0).json()["made"], false);
    assert_eq!(world.dev(&["symbolic-ref", "HEAD"]), "refs/heads/hotfix/login");
    world.tool(&["hotfix", "start", "login"]).ended(0).says("is there already").says("1 commit on it");
    assert_eq!(world.lock_holder(), "");
}

#[test]
fn start_keeps_what_no_commit_has() {
    let world = World::serve("clean", SPEED);
    append(&world, GATEWAY, "// half done\n");
    let ran = world.tool(&["hotfix", "start", "login"]);
    ran.ended(2).says(GATEWAY).says("git stash");
    assert_eq!(world.dev(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(world.dev(&["branch", "--list", "hotfix/*"]), "");
    world.dev(&["stash"]);
    // A note that Git does not know is in nobody's way.
    append(&world, "notes.txt", "call Dana\n");
    world.tool(&["hotfix", "start", "login"]).ended(0);
    world.tool(&["hotfix", "start", "No/Good"]).ended(2).says("hotfix name");
}

#[test]
fn start_refuses_what_is_not_one_release() {
    let world = World::serve("clean", SPEED);
    world.tool(&["rollback", "--yes", "--reason", "a test", "--service", "gateway"]).ended(0);
    let ran = world.tool(&["hotfix", "start", "login"]);
    ran.ended(10).says("gateway runs").says("v1.1.0").says("auth runs").says("--from VERSION");
    assert_eq!(world.dev(&["branch", "--list", "hotfix/*"]), "");
    world.tool(&["hotfix", "start", "login", "--from", "v9.9.9"]).ended(10).says("no release tag").says("v1.1.1");
    let ran = world.tool(&["hotfix", "start", "login", "--from", "v1.1.0"]);
    ran.ended(0).says("production runs no one release, not v1.1.0");
    assert_eq!(world.dev(&["rev-parse", "HEAD"]), release_commit(&world, "v1.1.0"));
    // Its branch does not contain a later release.
    world.dev(&["switch", "-q", "main"]);
    world.tool(&["hotfix", "start", "login", "--from", "v1.1.1"]).ended(2).says("does not contain");
}

#[test]
fn ship_brings_one_commit_to_production() {
    let (world, commit) = mended("clean");
    let (before, overlay) = (world.serving(), world.file_on_main(OVERLAY));
    let main = world.refs()["refs/heads/main"].clone();
    world.tool(&["hotfix", "ship", "--yes"]).ended(2).says("--reason");
    let dry = ship(&world, &["--dry-run"]);
    dry.ended(0);
    assert!(!world.refs().contains_key("refs/heads/hotfix/login") && image(&world, &commit).is_none(), "{dry}");
    let ran = ship(&world, &["--output", "json"]);
    ran.ended(0).says("waived by name").says("2 LOW").says("building with docker");
    let report = ran.json();
    assert_eq!(
        (&report["outcome"], &report["command"], &report["version"]),
        (&"shipped".into(), &"hotfix ship".into(), &"v1.1.1".into())
    );
    // ECR has the commit's image; production's gateway runs it, and nothing else changed.
    let digest = image(&world, &commit).expect("it is in ECR");
    let mut expected = before.clone();
    expected.insert("gospelib-gateway".into(), BTreeSet::from([digest.clone()]));
    assert_eq!(world.serving(), expected, "{ran}");
    let after = world.file_on_main(OVERLAY);
    let (old, new): (Vec<&str>, Vec<&str>) = (overlay.lines().collect(), after.lines().collect());
    let added: Vec<&&str> = new.iter().filter(|line| !old.contains(line)).collect();
    assert!(
        added.len() <= 2 && added.iter().all(|line| line.contains(&digest) || line.contains(&tag(&commit))),
        "{added:?}"
    );
    assert!(after.contains(&digest) && after.contains(&tag(&commit)), "{after}");
    let log = world.log(&format!("{main}..origin/main"));
    assert_eq!(log, ["fix(production): hotfix login on v1.1.1"]);
    assert!(world.message("origin/main").contains("Reason: login is down"));
    assert_eq!(world.refs()["refs/heads/hotfix/login"], commit);
    assert_eq!(world.application()["status"]["sync"]["status"], "Synced");
    assert_eq!(world.lock_holder(), "");
    assert!(world.told()[0].to_string().contains("a hotfix of gateway is in production"), "{:?}", world.told());
    // What it leaves open is written down.
    let owed: BTreeSet<String> = [
        "not-merged",
        "waived ci",
        "waived soak",
        "waived health",
        "waived errors",
        "waived smoke",
        "waived performance",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(debts(&world), owed, "{ran}");
    let late = world.tool(&["status", "--set", "debt.due_after=1s"]);
    late.says("gospel-release hotfix finish login").says("hotfix/login");
    // Once more: nothing is built, pushed or committed twice.
    let refs = world.refs();
    ship(&world, &[]).ended(0).says("already").says("nothing was changed");
    assert_eq!((world.refs(), world.told().len()), (refs, 1));
    assert_eq!(world.tool(&["hotfix", "start", "second"]).exit, 10, "a hotfix that is no release is no place to begin");
}

/// The image may be there although the process died before production was changed: it is not built again.
#[test]
fn ship_builds_nothing_that_ecr_has() {
    let (world, commit) = mended("protected-main");
    let ran = ship(&world, &[]);
    ran.ended(11).says("GH006").says("--direct");
    let digest = image(&world, &commit).expect("built and pushed");
    let again = ship(&world, &[]);
    again.ended(11).says("nothing was built").says("gives up");
    assert_eq!(image(&world, &commit), Some(digest.clone()));
    world.tool(&["resume"]).ended(11);
    // Past Git, the same bytes go live; the commit is a debt.
    let ran = ship(&world, &["--direct", "--pause-sync"]);
    ran.ended(0).says("nothing was built");
    assert_eq!(world.serving()["gospelib-gateway"], BTreeSet::from([digest]));
    let open = debts(&world);
    assert!(open.contains("live-differs") && open.contains("sync-paused") && open.contains("not-merged"), "{open:?}");
}

#[test]
fn ship_wants_a_commit_on_a_hotfix_branch() {
    let world = World::serve("clean", SPEED);
    ship(&world, &[]).ended(2).says("on main, and not on a hotfix branch").says("hotfix start");
    world.tool(&["hotfix", "start", "login"]).ended(0);
    ship(&world, &[]).ended(2).says("nothing on top of release/v1.1.1");
    append(&world, GATEWAY, "// mended\n");
    ship(&world, &[]).ended(2).says(GATEWAY).says("git commit");
    world.dev(&["checkout", "-q", "--", "."]);
    append(&world, "README.md", "A note.\n");
    world.dev(&["commit", "-qam", "docs: a note"]);
    ship(&world, &[]).ended(2).says("changes no service's code").says("it changes README.md").says("--service");
    ship(&world, &["--service", "nobody"]).ended(2).says("there is no service nobody");
    assert_eq!(world.lock_holder(), "");
}

/// A schema does not go back in a minute.
#[test]
fn ship_refuses_a_migration() {
    let world = World::serve("clean", SPEED);
    let before = world.serving();
    world.tool(&["hotfix", "start", "login"]).ended(0);
    append(&world, "services/auth/migrations/000099_more.up.sql", "ALTER TABLE users ADD COLUMN more text;\n");
    world.dev(&["add", "-A"]);
    world.dev(&["commit", "-qm", "fix: a column"]);
    let ran = ship(&world, &[]);
    ran.ended(10).says("migrations").says("000099_more").says("gospel-release promote");
    assert_eq!((world.serving(), world.lock_holder()), (before, String::new()));
    assert!(!world.refs().contains_key("refs/heads/hotfix/login"), "{ran}");
}

/// Two hotfixes at once: the later one does not take the earlier one out unseen.
#[test]
fn ship_refuses_to_take_out_another_hotfix() {
    let (world, first) = mended("clean");
    ship(&world, &[]).ended(0);
    let serving = world.serving();
    world.tool(&["hotfix", "start", "other", "--from", "v1.1.1"]).ended(0);
    append(&world, GATEWAY, "// mended elsewhere\n");
    world.dev(&["commit", "-qam", "fix: another"]);
    let ran = ship(&world, &[]);
    ran.ended(10).says(&format!("gateway runs {}, which hotfix/other", tag(&first))).says("bring it in: git merge");
    assert_eq!(world.serving(), serving, "{ran}");
    world.dev(&["merge", "-q", "-X", "ours", "--no-edit", &first]);
    ship(&world, &[]).ended(0);
}

#[test]
fn builder_absent() {
    let (world, commit) = mended("builder-absent");
    let (before, overlay, refs) = (world.serving(), world.file_on_main(OVERLAY), world.refs());
    let ran = ship(&world, &[]);
    ran.ended(15)
        .says("no image can be built")
        .says("Cannot connect to the Docker daemon")
        .says("buildah: not on PATH")
        .says("podman: not on PATH");
    ship(&world, &["--builder", "buildah"]).ended(15).says("buildah: not on PATH");
    untouched(&world, &before, &overlay, &ran);
    assert_eq!((world.refs(), image(&world, &commit)), (refs, None), "nothing is begun without a builder");
}

#[test]
fn build_fails() {
    let (world, commit) = mended("build-fails");
    let (before, overlay) = (world.serving(), world.file_on_main(OVERLAY));
    let ran = ship(&world, &[]);
    ran.ended(15)
        .says("undefined: retryAfter")
        .says("gospel-release hotfix ship")
        .says("Nothing in production was changed");
    untouched(&world, &before, &overlay, &ran);
    assert_eq!(image(&world, &commit), None);
    for builder in ["buildah", "podman"] {
        ship(&world, &["--builder", builder]).ended(15).says("undefined: retryAfter");
    }
}

#[test]
fn push_denied() {
    let (world, commit) = mended("push-denied");
    let (before, overlay) = (world.serving(), world.file_on_main(OVERLAY));
    for builder in ["docker", "buildah", "podman"] {
        let ran = ship(&world, &["--builder", builder]);
        ran.ended(15).says("not authorized to perform: ecr:InitiateLayerUpload").says("docs/permissions.md");
        untouched(&world, &before, &overlay, &ran);
    }
    assert_eq!(image(&world, &commit), None);
}

#[test]
fn ecr_immutable_retag() {
    let (world, commit) = mended("ecr-immutable-retag");
    let (before, overlay) = (world.serving(), world.file_on_main(OVERLAY));
    let ran = ship(&world, &[]);
    let theirs = image(&world, &commit).expect("an earlier try's");
    ran.ended(15).says(&theirs).says("built here: image sha256:").says("do not delete the tag");
    untouched(&world, &before, &overlay, &ran);
    // It is not deployed on the next try either.
    let again = ship(&world, &[]);
    again.ended(15).says(&theirs).says("is not an image of");
    untouched(&world, &before, &overlay, &again);
    // Another commit has another tag.
    world.dev(&["commit", "-q", "--allow-empty", "-m", "chore: ship again"]);
    let commit = world.dev(&["rev-parse", "HEAD"]);
    ship(&world, &[]).ended(0);
    assert_eq!(world.serving()["gospelib-gateway"], BTreeSet::from([image(&world, &commit).expect("ours")]));
}

#[test]
fn ship_without_docker() {
    for builder in ["buildah", "podman"] {
        let (world, commit) = mended("clean");
        let ran = ship(&world, &["--builder", builder]);
        ran.ended(0).says(&format!("building with {builder}"));
        assert_eq!(world.serving()["gospelib-gateway"], BTreeSet::from([image(&world, &commit).expect("ours")]));
    }
}

/// A laptop of another kind than production's nodes: found out before main names what could not start.
#[test]
fn ship_refuses_an_image_for_another_platform() {
    let (world, commit) = mended("clean");
    let (before, overlay) = (world.serving(), world.file_on_main(OVERLAY));
    for builder in ["docker", "buildah"] {
        let ran = ship(&world, &["--builder", builder, "--set", "hotfix.build_args=[--platform=linux/arm64]"]);
        ran.ended(15)
            .says("gateway: the new image is for linux/arm64, and production runs it on linux/amd64")
            .says("set hotfix.build_args to [--platform=linux/amd64]");
        untouched(&world, &before, &overlay, &ran);
    }
    assert!(image(&world, &commit).is_some());
    world.dev(&["commit", "-q", "--allow-empty", "-m", "chore: ship again"]);
    ship(&world, &["--set", "hotfix.build_args=[--platform=linux/amd64]"]).ended(0);
}

/// Production's images are for two platforms, and ours is for one of them: which one the nodes are of, nobody can tell from here.
#[test]
fn ship_says_for_which_platform_an_image_is() {
    let (world, commit) = mended("multi-platform");
    let ran = ship(&world, &[]);
    ran.ended(0).says("gateway: the new image is for linux/amd64 only, the running one for linux/amd64, linux/arm64");
    assert_eq!(world.serving()["gospelib-gateway"], BTreeSet::from([image(&world, &commit).expect("ours")]));
}

const REGISTRY: &str = "418272771234.dkr.ecr.us-east-1.amazonaws.com";

/// docker on the laptop, as its owner has configured it.
fn docker(world: &World, words: &[&str]) -> Ran {
    let mut command = Command::new("docker");
    world.environment_of(&mut command);
    command.args(words).env("HOME", world.state("")).env_remove("DOCKER_CONFIG");
    Running::start(command).end()
}

fn configure_docker(world: &World, config: &serde_json::Value) {
    std::fs::create_dir_all(world.state(".docker")).expect("a directory");
    std::fs::write(world.state(".docker/config.json"), config.to_string()).expect("write docker's configuration");
}

/// Amazon's helper logs docker in by itself, and stores nothing that it is given.
#[test]
fn ship_with_amazons_credential_helper() {
    let (world, commit) = mended("clean");
    configure_docker(&world, &serde_json::json!({"credHelpers": {REGISTRY: "ecr-login"}}));
    ship(&world, &["--builder", "docker"]).ended(0).says("credential helper goes with its own login");
    assert_eq!(world.serving()["gospelib-gateway"], BTreeSet::from([image(&world, &commit).expect("ours")]));
}

/// The registry's password is good for twelve hours: it does not stay on the laptop, unless there was one.
#[test]
fn ship_logs_docker_out_again() {
    let (world, commit) = mended("clean");
    let image = format!("{REGISTRY}/gospelib-gateway:{}", tag(&commit));
    ship(&world, &["--builder", "docker"]).ended(0);
    docker(&world, &["push", &image]).ended(1).says("no basic auth credentials");
    configure_docker(&world, &serde_json::json!({"auths": {REGISTRY: {}}}));
    world.dev(&["commit", "-q", "--allow-empty", "-m", "chore: ship again"]);
    ship(&world, &["--builder", "docker"]).ended(0);
    docker(&world, &["push", &image]).ended(0);
}

#[test]
fn ship_knows_what_builds_see() {
    let world = World::serve("clean", SPEED);
    world.tool(&["hotfix", "start", "login"]).ended(0);
    std::fs::create_dir_all(world.checkout().join("build")).expect("a directory");
    std::fs::create_dir_all(world.checkout().join("libs")).expect("a directory");
    append(&world, "build/gateway.Dockerfile", "FROM golang:1.24\nCOPY . .\nRUN go build .\n");
    append(&world, "libs/retry.go", "package retry\n");
    world.dev(&["add", "--all"]);
    world.dev(&["commit", "-qm", "fix: retry"]);
    let all = ["--set", "hotfix.context=."];
    let own = ["--set", "hotfix.dockerfile=build/{service}.Dockerfile"];
    ship(&world, &["--dry-run"]).ended(2).says("changes no service's code");
    ship(&world, &[&["--dry-run"][..], &all].concat()).ended(2).says("the build of gateway sees it").says("--service");
    let ran = ship(&world, &[&all[..], &own].concat());
    ran.ended(0).says("services   gateway; the others stay").says("shared     libs/retry.go: of no one service");
    ran.says("built into gateway").says("not shipped: auth, content, notify, search, study");
}

#[test]
fn ship_past_git() {
    let (world, commit) = mended("clean");
    world.fault("git-down", true);
    ship(&world, &[]).ended(15).says("Git hosting does not answer").says("--direct --pause-sync");
    let ran = ship(&world, &["--direct", "--pause-sync"]);
    ran.ended(0).says("left for later");
    let digest = image(&world, &commit).expect("ours");
    assert_eq!(world.serving()["gospelib-gateway"], BTreeSet::from([digest.clone()]));
    world.fault("git-down", false);
    let open = debts(&world);
    assert!(open.contains("live-differs") && open.contains("sync-paused"), "{open:?}");
    // Git is back: the same command commits, and takes sync up again.
    ship(&world, &["--direct", "--pause-sync"]).ended(0).says("nothing was built");
    assert!(world.file_on_main(OVERLAY).contains(&digest));
    assert_eq!(world.refs()["refs/heads/hotfix/login"], commit);
    eventually("Argo CD agrees", || world.application()["status"]["sync"]["status"] == "Synced");
    assert_eq!(world.serving()["gospelib-gateway"], BTreeSet::from([digest]));
    let open = debts(&world);
    assert!(!open.contains("live-differs") && !open.contains("sync-paused"), "{open:?}");
}

/// An address that answers 503, or 200 once it is told to.
fn answering() -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let well = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&well);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let status = if says.load(Ordering::Relaxed) { "200 OK" } else { "503 Service Unavailable" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (url, well)
}

/// The pods are new, and production is not well: saying it again is no way to a green answer.
#[test]
fn ship_again_looks_at_health_again() {
    let (world, commit) = mended("clean");
    let (url, well) = answering();
    let urls = format!("production.urls=[{url}]");
    let ship = || ship(&world, &["--set", &urls]);
    ship().ended(12).says(&url);
    let digest = image(&world, &commit).expect("ours");
    assert_eq!(world.serving()["gospelib-gateway"], BTreeSet::from([digest]));
    ship().ended(12).says("gives up").says(&url);
    well.store(true, Ordering::Relaxed);
    ship().ended(0).says("nothing was built");
    world.tool(&["resume"]).ended(2).says("no run was left open");
    ship().ended(0).says("nothing was changed");
}

/// Back from a hotfix is the release beneath it, and what goes to quarantine is the hotfix's image, not the release.
#[test]
fn rollback_after_ship_goes_to_the_release_beneath() {
    let (world, commit) = mended("clean");
    let (before, overlay) = (world.serving(), world.file_on_main(OVERLAY));
    ship(&world, &[]).ended(0);
    let hotfix = image(&world, &commit).expect("ours");
    let ran = world.tool(&["rollback", "--yes", "--reason", "it made it worse", "--output", "json"]);
    ran.ended(0);
    assert_eq!(ran.json()["version"], "v1.1.1");
    assert_eq!((world.serving(), world.file_on_main(OVERLAY)), (before, overlay), "{ran}");
    let map = world.kube("/api/v1/namespaces/gospelib-production/configmaps/gospel-release-quarantine");
    let entries = map["data"].as_object().expect("entries");
    assert!(entries.keys().all(|key| key.starts_with("run.")), "v1.1.1 is not bad: {entries:?}");
    assert!(entries.values().any(|entry| entry.as_str().is_some_and(|text| text.contains(&hotfix))), "{entries:?}");
    // It is not in production any more: main owes it nothing.
    assert!(!debts(&world).contains("not-merged"), "{:?}", debts(&world));
}
