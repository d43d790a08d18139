//! boto3 against the rehearsed AWS, and our AWS adapter against moto.

use gospel_release::Kind;
use gospel_release::adapters::aws::{Aws, CountType, EksToken, ImageId};
use gospel_release::config::model;
use gospel_release::domain::Digest;
use serde_json::Value;

use crate::harness::{Client, Server, World, free_port, need, need_modules};

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const MADE: &str = "GOSPEL_TEST_MADE";
const ENDPOINT: &str = "GOSPEL_TEST_ENDPOINT";

fn script(name: &str) -> String {
    format!("{}/tests/real/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn boto3_reads_the_rehearsed_account() {
    if !need_modules(&["boto3"]) {
        return;
    }
    let world = World::shared();
    let config = std::fs::read_to_string(world.path("config")).unwrap();
    let config: Value = serde_yaml::from_str(&config).unwrap();
    let app = config["apps"].as_array().unwrap().iter().find_map(|app| app["amplify_app"].as_str()).unwrap();
    let checks = world.client("python3").arg(script("aws.py")).arg(app).run().ok();
    assert!(checks.trim().parse::<u32>().unwrap() > 40, "{checks}");
}

/// Credentials come from the environment, which a test must not change for its neighbours: so our side runs in a process
/// of its own, this binary again.
#[test]
fn our_adapter_reads_what_boto3_made_in_moto() {
    if !need(&["moto_server"]) || !need_modules(&["boto3"]) {
        return;
    }
    let port = free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let _moto = Server::start("moto_server", &["-H", "127.0.0.1", "-p", &port.to_string()], |_| {}).ready_at(&endpoint);
    let client = |program: &str| {
        ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_PROFILE", "AWS_SESSION_TOKEN"]
            .iter()
            .fold(Client::new(program), |client, name| client.without(name))
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    };
    let made = client("python3").env("AWS_ENDPOINT_URL", &endpoint).arg(script("moto.py")).run().ok();
    let ours = std::env::current_exe().unwrap();
    let inside = client(ours.to_str().unwrap()).args(["--exact", "aws::inside", "--ignored", "--nocapture"]);
    let told = inside.env(MADE, made).env(ENDPOINT, endpoint).run().ok();
    assert!(told.contains("1 passed"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by our_adapter_reads_what_boto3_made_in_moto, with its environment"]
async fn inside() {
    let made: Value = serde_json::from_str(&std::env::var(MADE).unwrap()).unwrap();
    let settings = model::Aws {
        account: Some("123456789012".into()),
        region: Some("eu-west-1".into()),
        endpoint: Some(std::env::var(ENDPOINT).unwrap()),
        ..model::Aws::default()
    };
    let aws = Aws::connect(&settings).await.unwrap();
    identity(&aws, &settings).await;
    registry(&aws, &made).await;
    cluster(&aws, &made).await;
    let secret = aws.describe_secret("gospelib/production/database-url").await.unwrap().unwrap();
    assert_eq!(secret.arn, made["secret"]);
    assert_eq!(aws.describe_secret("gospelib/production/nothing").await.unwrap(), None);
}

async fn identity(aws: &Aws, settings: &model::Aws) {
    let who = aws.verified_identity().await.unwrap();
    assert_eq!(who.account, "123456789012");
    assert!(who.arn.starts_with("arn:aws:"), "{who:?}");
    assert_eq!(aws.credentials_expire_at().await.unwrap(), None);
    let other = model::Aws { account: Some("210987654321".into()), ..settings.clone() };
    let error = Aws::connect(&other).await.unwrap().verified_identity().await.unwrap_err();
    assert_eq!(error.kind(), Kind::WrongWorld);
}

async fn registry(aws: &Aws, made: &Value) {
    let repository = "gospelib-gateway";
    let digest = |name: &str| made[name].as_str().unwrap().parse::<Digest>().unwrap();
    // moto refused to move the tag, as ECR does.
    assert_eq!(aws.digest_of(repository, "v1.0.0").await.unwrap(), Some(digest("first")));
    assert_eq!(aws.digest_of(repository, "v9.9.9").await.unwrap(), None);
    let second = aws.exists(repository, &digest("second")).await.unwrap().unwrap();
    assert_eq!(second.tags, ["v1.1.0"]);
    assert!(second.pushed_at.is_some());
    let gone: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    assert_eq!(aws.exists(repository, &gone).await.unwrap(), None);
    let ids = ["v1.0.0", "v9.9.9", "v1.2.0"].map(|tag| ImageId::Tag(tag.into()));
    let mut found: Vec<Digest> =
        aws.describe_images(repository, &ids).await.unwrap().into_iter().map(|image| image.digest).collect();
    found.sort();
    let mut wanted = vec![digest("first"), digest("index")];
    wanted.sort();
    assert_eq!(found, wanted);

    let every: Vec<Digest> = aws.all_images(repository).await.unwrap().into_iter().map(|image| image.digest).collect();
    assert!(["first", "second", "index"].iter().all(|name| every.contains(&digest(name))), "{every:?}");

    let platforms =
        made["platforms"].as_array().unwrap().iter().map(|digest| digest.as_str().unwrap().parse().unwrap());
    let all: Vec<Digest> = std::iter::once(digest("index")).chain(platforms).collect();
    assert_eq!(aws.equivalents(repository, &digest("index")).await.unwrap(), all);
    assert_eq!(aws.equivalents(repository, &digest("first")).await.unwrap(), [digest("first")]);
    assert!(aws.equivalents(repository, &gone).await.unwrap().is_empty());

    let policy = aws.lifecycle_policy(repository).await.unwrap().unwrap();
    let rule = policy.rule_for(&["v1.0.0".to_owned()]).unwrap();
    assert!(matches!(rule.count, CountType::MoreThan(7)), "{rule:?}");
    assert_eq!(aws.lifecycle_policy("gospelib-bare").await.unwrap(), None);
    let missing = aws.digest_of("gospelib-nobody", "v1.0.0").await.unwrap_err();
    assert!(!missing.is_not_found() && !missing.hints().is_empty(), "{missing:?}");
}

async fn cluster(aws: &Aws, made: &Value) {
    let cluster = aws.describe_cluster("contract").await.unwrap();
    assert_eq!(
        (cluster.arn.as_str(), cluster.endpoint.as_str()),
        (made["cluster"].as_str().unwrap(), made["endpoint"].as_str().unwrap())
    );
    assert_eq!((cluster.version.as_str(), cluster.status.as_str()), ("1.33", "ACTIVE"));
    let groups = aws.node_groups("contract").await.unwrap();
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["general", "spare"]);
    assert!(groups.iter().all(gospel_release::adapters::aws::EksPart::is_well), "{groups:?}");
    assert!(aws.node_groups("nobody").await.is_err());
    let missing = aws.describe_cluster("nobody").await.unwrap_err();
    assert!(missing.is_not_found(), "{missing:?}");
    let token = EksToken::new(aws, "contract").bearer().await.unwrap();
    let checked =
        Client::new("python3").arg(script("eks_token.py")).args([&*token, "contract", KEY, SECRET, "eu-west-1"]);
    let covered = checked.run().ok();
    assert!(covered.contains("X-Amz-Credential"), "{covered}");
}
