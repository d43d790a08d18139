//! The served world, asked from outside as its clients ask it.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::process::Program;

/// A call that AWS would take for signed: the rehearsal does not verify signatures.
fn signed(service: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20250304/us-east-1/{service}/aws4_request, Signature=0")
}

async fn ask_aws(world: &Rehearsal, operation: &str, body: Value) -> Value {
    let request = reqwest::Client::new().post(&world.manifest().urls["aws"]);
    let request = request.header("authorization", signed("ecr"));
    let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
    request.header("x-amz-target", target).body(body.to_string()).send().await.unwrap().json().await.unwrap()
}

async fn ask_prometheus(world: &Rehearsal, query: &str) -> Vec<Value> {
    let url = format!("{}/api/v1/query", world.manifest().urls["prometheus"]);
    let answer: Value =
        reqwest::Client::new().post(url).form(&[("query", query)]).send().await.unwrap().json().await.unwrap();
    answer["data"]["result"].as_array().cloned().unwrap_or_else(|| panic!("{query}: {answer}"))
}

fn number(sample: &Value) -> f64 {
    sample["value"][1].as_str().unwrap().parse().unwrap()
}

async fn migration(url: &str) -> Option<(i64, bool)> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_opt("SELECT version, dirty FROM schema_migrations", &[]).await.unwrap();
    row.map(|row| (row.get(0), row.get(1)))
}

/// One world for all questions: starting one is the slow part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_world_answers_on_every_wire() {
    let world = Rehearsal::start(Options::new(Scenario::named("clean").unwrap())).await.unwrap();
    let manifest = world.manifest().clone();

    let candidate = &world.world.past.candidate;
    let digest = &candidate.images["gateway"];
    let question = json!({ "repositoryName": "gospelib-gateway", "imageIds": [{ "imageDigest": digest }] });
    let image = ask_aws(&world, "DescribeImages", question).await;
    assert_eq!(image["imageDetails"][0]["imageDigest"], json!(digest));
    let question = json!({ "repositoryName": "gospelib-gateway", "imageIds": [{ "imageTag": "v9.9.9" }] });
    assert_eq!(ask_aws(&world, "DescribeImages", question).await["__type"], "ImageNotFoundException");

    let ratio = concat!(
        r#"sum by (service) (rate(http_requests_total{namespace="gospelib-production",code=~"5.."}[60m]))"#,
        r#" / sum by (service) (rate(http_requests_total{namespace="gospelib-production"}[60m]))"#
    );
    let ratios = ask_prometheus(&world, ratio).await;
    assert_eq!(ratios.len(), 6);
    assert!(ratios.iter().all(|sample| number(sample) < 0.005), "{ratios:?}");
    let p95 = concat!(
        "histogram_quantile(0.95, sum by (service, le) ",
        r#"(rate(http_request_duration_seconds_bucket{namespace="gospelib-staging"}[60m])))"#
    );
    let p95 = ask_prometheus(&world, p95).await;
    assert!(p95.len() == 6 && p95.iter().all(|sample| (0.1..0.27).contains(&number(sample))), "{p95:?}");
    assert!(ask_prometheus(&world, r#"rate(http_requests_total{namespace="nowhere"}[5m])"#).await.is_empty());

    let url = &manifest.environment["CONTENT_PG_URL"];
    let staging = migration(&manifest.environment["STAGING_CONTENT_PG_URL"]).await.unwrap();
    let before = migration(url).await.unwrap();
    assert!(before.0 < staging.0 && !before.1);
    let source = format!("file://{}/checkout/services/content/migrations", manifest.config.parent().unwrap().display());
    let migrate = |word: &str| ["-source", &source, "-database", url, word].map(Into::into).to_vec();
    let run = |args: Vec<std::ffi::OsString>| {
        tokio::task::spawn_blocking(move || {
            let (mut out, mut err) = (std::io::sink(), std::io::sink());
            let around = programs::Surroundings { env: &|_| None, clock: Clock::real(), out: &mut out, err: &mut err };
            programs::main_as("migrate", &args, around).unwrap()
        })
    };
    let ended = run(migrate("up")).await.unwrap();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{}", ended.stderr);
    assert_eq!(migration(url).await, Some(staging));
    assert_eq!(run(migrate("version")).await.unwrap().stderr, format!("{}\n", staging.0));

    let kubectl = ["get", "configmap", "gospel-release-attestations", "-n", "gospelib-production", "-o", "name"];
    if crate::process::find("kubectl").is_some() {
        let asked = Program::new("kubectl").arg("--kubeconfig").arg(&manifest.kubeconfig).args(kubectl);
        assert_eq!(asked.succeed().await.unwrap().text(), "configmap/gospel-release-attestations\n");
    }
    released_by_a_tag(&world).await;
    world.shutdown().await;
}

/// Pushing a release tag from the checkout changes production, as the workflow and Argo CD do it.
async fn released_by_a_tag(world: &Rehearsal) {
    let (manifest, world) = (world.manifest(), &world.world);
    let candidate = &world.past.candidate;
    let git = |args: &[&str]| {
        let git = Program::new("git").args(args).cwd(manifest.config.with_file_name("checkout"));
        manifest
            .environment
            .iter()
            .filter(|(name, _)| name.starts_with("GIT_"))
            .fold(git, |git, (name, value)| git.env(name, value))
    };
    git(&["tag", "-a", "release/v1.2.0", "-m", "Release v1.2.0", &candidate.commit]).succeed().await.unwrap();
    git(&["push", "--quiet", "origin", "refs/tags/release/v1.2.0"]).succeed().await.unwrap();
    let runs_candidate = || {
        world.shape.services.iter().all(|service| {
            let found = world.kube.get("deployments", "gospelib-production", &world.shape.object(service)).unwrap();
            let image = found.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap();
            image.ends_with(candidate.images[service].as_str()) && found["status"]["updatedReplicas"] == 2
        })
    };
    for _ in 0..600 {
        if runs_candidate() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("production did not change");
}
