//! `init` in a repository of the rehearsed shape, and in an empty one.

use std::path::Path;
use std::process::Command;

use crate::support::{BIN, Ran, Running, World};

fn git(dir: &Path, args: &[&str]) {
    let done = Command::new("git").args(args).current_dir(dir).output().expect("git");
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn tool(dir: &Path, args: &[&str]) -> Ran {
    let mut tool = Command::new(BIN);
    tool.args(args).current_dir(dir).env_clear().env("HOME", dir.parent().expect("a parent"));
    tool.env("PATH", std::env::var_os("PATH").expect("PATH"));
    Running::start(tool).end()
}

#[test]
fn a_repository_of_the_runbooks_shape_is_recognised() {
    let world = World::of("clean");
    let home = tempfile::tempdir().unwrap();
    let there = world.checkout();
    git(home.path(), &["clone", "--quiet", there.to_str().unwrap(), "shop"]);
    let shop = home.path().join("shop");
    git(&shop, &["remote", "set-url", "origin", "https://github.com/example/shop.git"]);
    std::fs::create_dir_all(shop.join("argocd")).unwrap();
    let application = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: shop-live\n  namespace: argo\nspec:\n  source:\n    path: infra/k8s/overlays/production\n";
    std::fs::write(shop.join("argocd/apps.yaml"), application).unwrap();
    let _ = std::fs::remove_file(shop.join("gospel-release.yaml"));

    let dry = tool(&shop.join("services"), &["init", "--dry-run"]);
    assert_eq!(dry.exit, 0, "{dry}");
    assert!(!shop.join("gospel-release.yaml").exists(), "a dry run wrote");
    for line in [
        "project: shop  # the Git remote origin",
        "  slug: example/shop  # the Git remote origin",
        "  main: main  # HEAD of the Git remote origin",
        "  tags: \"release/v*\"  # .github/workflows/cd-production.yml",
        "  file: cd-production.yml",
        "  - name: gateway  # services/gateway",
        "      migrations: services/content/migrations",
        "  overlay: infra/k8s/overlays/production  # infra/k8s/overlays/production/kustomization.yaml",
        "  namespace: gospelib-production",
        "  prefix: gospelib-",
        "  directory: infra/terraform/environments/production",
        "  application: shop-live  # argocd/apps.yaml",
        "# production.cluster.arn: what is its ARN? It pins the cluster",
    ] {
        assert!(dry.stdout.contains(line), "{line}\n{}", dry.stdout);
    }
    assert!(dry.stdout.contains("main.tf:"), "the account and its line: {}", dry.stdout);

    let wrote = tool(&shop, &["init"]);
    assert!(wrote.exit == 0 && wrote.stdout.contains("wrote gospel-release.yaml: "), "{wrote}");
    assert_eq!(std::fs::read_to_string(shop.join("gospel-release.yaml")).unwrap(), dry.stdout);
    assert_eq!(tool(&shop, &["config", "check"]).exit, 0);
    let again = tool(&shop, &["init"]);
    assert!(again.exit == 2 && again.stderr.contains("is there already"), "{again}");
    assert_eq!(tool(&shop, &["init", "--force"]).exit, 0);
}

#[test]
fn an_empty_repository_has_questions_and_a_directory_outside_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("new");
    std::fs::create_dir(&dir).unwrap();
    let outside = tool(&dir, &["init"]);
    assert!(outside.exit == 3 && outside.stderr.contains("is not in a Git repository"), "{outside}");
    git(&dir, &["init", "--quiet"]);
    let ran = tool(&dir, &["init", "--output", "json"]);
    assert_eq!(ran.exit, 0, "{ran}");
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["found"].as_array().map(Vec::len), Some(0));
    assert!(document["questions"].as_array().unwrap().iter().any(|one| one["key"] == "services"), "{document}");
    assert_eq!(tool(&dir, &["config", "check"]).exit, 0);
}
