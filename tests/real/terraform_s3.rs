//! `provision` over Terraform's S3 backend with its own lock file, on moto.

use std::fs;

use serde_json::json;

use crate::harness::{Client, Server, free_port, http, kill, need};
use crate::terraform_module::Module;

const BUCKET: &str = "gospelib-state";
const KEY: &str = "production/terraform.tfstate";

/// A root module whose state is in a bucket.
struct Remote {
    module: Module,
    endpoint: String,
    _moto: Server,
}

impl Remote {
    fn new(main: &str) -> Self {
        let port = free_port();
        let endpoint = format!("http://127.0.0.1:{port}");
        let args = ["-H", "127.0.0.1", "-p", &port.to_string()];
        let moto = Server::start("moto_server", &args, |_| {}).ready_at(&endpoint);
        let made = http("PUT", &format!("{endpoint}/{BUCKET}"), &[("Authorization", SIGNED)], None).unwrap();
        assert_eq!(made.status, 200, "{made:?}");
        let module = Module::new(&format!("terraform {{\n  backend \"s3\" {{}}\n}}\n{main}"));
        let settings = format!(
            r#"key = "{KEY}"
region = "us-east-1"
use_lockfile = true
use_path_style = true
skip_credentials_validation = true
skip_metadata_api_check = true
skip_requesting_account_id = true
skip_region_validation = true
endpoints = {{ s3 = "{endpoint}" }}
"#
        );
        module.write("production.s3.tfbackend", &settings);
        let config = json!({"provision": {
            "directory": "infra",
            "lock_timeout": "0s",
            "backend_config": ["production.s3.tfbackend", format!("bucket={BUCKET}")],
        }});
        fs::write(module.home.path().join("gospel-release.yaml"), config.to_string()).unwrap();
        Self { module, endpoint, _moto: moto }
    }

    /// The tool, with credentials for the bucket.
    fn tool(&self, args: &[&str]) -> Client {
        Self::with_credentials(self.module.ours(&[&["provision"], args].concat()))
    }

    fn with_credentials(client: Client) -> Client {
        let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_PROFILE", "AWS_SESSION_TOKEN"];
        let client = proxies.iter().fold(client, |client, name| client.without(name));
        client.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "an-example-secret")
    }

    fn object(&self, method: &str, name: &str, body: Option<serde_json::Value>) -> Option<String> {
        let url = format!("{}/{BUCKET}/{name}", self.endpoint);
        let answer = http(method, &url, &[("Authorization", SIGNED)], body).unwrap();
        (answer.status < 300).then_some(answer.body)
    }
}

/// moto looks who signed, and not at the signature.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";

#[test]
fn a_plan_is_applied_to_a_state_in_a_bucket_and_drift_is_told() {
    if !need(&["terraform", "moto_server"]) {
        return;
    }
    let remote = Remote::new("resource \"terraform_data\" \"a\" { input = 1 }\n");
    let plan = remote.tool(&["plan", "--output", "json"]).run().json();
    assert_eq!(plan["judgement"]["counts"]["create"], 1);
    let ran = remote.tool(&["apply", "--yes"]).run();
    assert!(ran.code == Some(0) && ran.out.contains("the plan is applied: 1 created"), "{}{}", ran.out, ran.err);
    let state = remote.object("GET", KEY, None).unwrap();
    assert!(state.contains("\"terraform_data\""), "{state}");
    assert_eq!(remote.object("GET", &format!("{KEY}.tflock"), None), None, "the lock was given back");
    let drift = remote.tool(&["drift", "--output", "json"]).run().json();
    assert_eq!(drift["exit"], 0);

    // Somebody else writes the state: what was planned before is stale.
    remote.module.write("more.tf", "resource \"terraform_data\" \"b\" {}\n");
    remote.tool(&["plan"]).run().ok();
    let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
    state["serial"] = json!(state["serial"].as_u64().unwrap() + 1);
    remote.object("PUT", KEY, Some(state)).unwrap();
    let ran = remote.tool(&["apply", "--yes"]).run();
    assert!(ran.code == Some(10) && ran.err.contains("is stale"), "{}", ran.err);
}

#[test]
fn a_lock_file_in_the_bucket_is_told_with_its_holder() {
    if !need(&["terraform", "moto_server"]) {
        return;
    }
    let remote = Remote::new("resource \"terraform_data\" \"a\" {}\n");
    remote.tool(&["plan"]).run().ok();
    let lock = json!({
        "ID": "5d1c9f0e-0000-4000-8000-000000000001", "Operation": "OperationTypeApply", "Info": "",
        "Who": "erin@laptop", "Version": "1.11.4", "Created": "2025-03-04T09:00:00Z", "Path": format!("{BUCKET}/{KEY}"),
    });
    remote.object("PUT", &format!("{KEY}.tflock"), Some(lock)).unwrap();
    let ran = remote.tool(&["apply", "--yes"]).run();
    assert_eq!(ran.code, Some(13), "{}", ran.err);
    for words in [
        "somebody else holds the state's lock: nothing was applied",
        "held by erin@laptop since 2025-03-04 09:00:00",
        "force-unlock 5d1c9f0e-0000-4000-8000-000000000001",
    ] {
        assert!(ran.err.contains(words), "{words}\n{}", ran.err);
    }
    let ran = remote.tool(&["plan"]).run();
    assert!(ran.code == Some(13) && ran.err.contains("force-unlock 5d1c9f0e"), "{}", ran.err);
}

#[test]
fn a_killed_terraform_leaves_its_lock_and_the_command_that_frees_it_is_told() {
    if !need(&["terraform", "moto_server"]) {
        return;
    }
    let slow = "resource \"terraform_data\" \"slow\" {\n  provisioner \"local-exec\" {\n    command = \"touch started; sleep 20\"\n  }\n}\n";
    let remote = Remote::new(slow);
    remote.tool(&["plan"]).run().ok();
    let started = remote.tool(&["apply", "--yes"]).start();
    remote.module.wait_for("started");
    kill("KILL", remote.module.pid());
    let ran = started.end();
    assert_eq!(ran.code, Some(15), "{}", ran.err);
    assert!(ran.err.contains("terraform was killed in the middle of the apply (signal 9)"), "{}", ran.err);
    assert!(ran.err.contains("the state's lock is held by "), "{}", ran.err);
    // What the state was not told of yet is lost to it.
    assert!(ran.err.contains("begun, and not in the state: look whether they are there"), "{}", ran.err);
    let unlock = ran.err.lines().find(|line| line.contains("force-unlock")).unwrap();
    let id = unlock.rsplit(' ').next().unwrap();
    let free = remote.module.client("terraform", &remote.module.dir()).args(["force-unlock", "-force", id]);
    Remote::with_credentials(free).run().ok();
    remote.module.write("main.tf", "terraform {\n  backend \"s3\" {}\n}\nresource \"terraform_data\" \"slow\" {}\n");
    remote.tool(&["plan"]).run().ok();
    remote.tool(&["apply", "--yes"]).run().ok();
}
