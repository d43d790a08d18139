//! `provision` over Terraform itself, with its own `terraform_data` and modules: nothing is downloaded.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::need;
use crate::terraform_module::Module;

/// Actions by address.
fn actions(plan: &Value) -> Vec<(String, String)> {
    let changes = plan["judgement"]["changes"].as_array().unwrap().iter();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    changes.map(|change| (word(&change["address"]), word(&change["action"]))).collect()
}

fn pair(address: &str, action: &str) -> (String, String) {
    (address.to_owned(), action.to_owned())
}

pub const FIRST: &str = r#"
terraform { required_version = ">= 1.5" }
variable "password" {
  default   = "a-made-up-password"
  sensitive = true
}
resource "terraform_data" "kept" { input = "same" }
resource "terraform_data" "updated" { input = { size = 1, password = var.password } }
resource "terraform_data" "replaced" { triggers_replace = ["one"] }
resource "terraform_data" "gone" { input = "gone" }
resource "terraform_data" "old_name" { input = "moved" }
module "data" {
  source = "./data"
  size   = 1
}
output "size" { value = module.data.size }
"#;

pub const MODULE: &str = r#"
variable "size" {}
resource "terraform_data" "inner" { input = var.size }
output "size" { value = var.size }
"#;

pub const SECOND: &str = r#"
terraform { required_version = ">= 1.5" }
variable "password" {
  default   = "another-made-up-password"
  sensitive = true
}
resource "terraform_data" "kept" { input = "same" }
resource "terraform_data" "updated" { input = { size = 2, password = var.password } }
resource "terraform_data" "replaced" { triggers_replace = ["two"] }
resource "terraform_data" "new_name" { input = "moved" }
resource "terraform_data" "taken_over" {}
moved {
  from = terraform_data.old_name
  to   = terraform_data.new_name
}
import {
  to = terraform_data.taken_over
  id = "an-id-from-elsewhere"
}
module "data" {
  source = "./data"
  size   = 2
}
output "size" { value = module.data.size }
check "size" {
  assert {
    condition     = module.data.size < 2
    error_message = "The size is 2."
  }
}
"#;

#[test]
fn every_kind_of_change_is_read_from_terraform_itself() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new(FIRST);
    module.write("data/main.tf", MODULE);
    let first = module.plan();
    assert_eq!(first["judgement"]["counts"]["create"], 6, "{first}");
    assert_eq!(first["plan"]["state"], Value::Null);
    assert_eq!(
        (first["plan"]["program"].as_str(), first["plan"]["changes"].as_bool()),
        (Some("terraform"), Some(true))
    );
    module.apply();

    let same = module.plan();
    assert_eq!((actions(&same), same["plan"]["changes"].as_bool()), (Vec::new(), Some(false)));
    assert_eq!(same["plan"]["state"]["lineage"].as_str().map(str::len), Some(36));

    module.write("main.tf", SECOND);
    let second = module.plan();
    assert_eq!(
        actions(&second),
        [
            pair("terraform_data.gone", "destroy"),
            pair("terraform_data.new_name", "keep"),
            pair("terraform_data.replaced", "replace"),
            pair("terraform_data.taken_over", "keep"),
            pair("terraform_data.updated", "update"),
            pair("module.data.terraform_data.inner", "update"),
        ]
    );
    let change = |address: &str| {
        let changes = second["judgement"]["changes"].as_array().unwrap();
        changes.iter().find(|change| change["address"] == address).unwrap_or_else(|| panic!("{address}")).clone()
    };
    assert_eq!(change("terraform_data.new_name")["moved_from"], "terraform_data.old_name");
    assert_eq!(change("terraform_data.taken_over")["imported"], "an-id-from-elsewhere");
    assert_eq!(change("terraform_data.gone")["reason"], "it is not in the configuration any more");
    let forcing = &change("terraform_data.replaced")["attributes"][0];
    assert_eq!((forcing["forces"].as_bool(), forcing["before"]["value"].as_str()), (Some(true), Some("[\"one\"]")));
    assert_eq!(change("module.data.terraform_data.inner")["module"], "module.data");
    assert_eq!(second["judgement"]["outputs"][0]["name"], "size");
    assert_eq!(second["judgement"]["checks"][0]["problems"][0], "The size is 2.");
    assert_eq!(second["judgement"]["findings"][0]["rule"], "failed-check");

    for form in ["text", "json", "markdown"] {
        let shown = module.tool(&["plan", "--output", form]).ok();
        assert!(!shown.contains("made-up-password"), "{form}: {shown}");
    }
    let sheet = module.tool(&["plan"]).ok();
    for line in [
        "1 to update, 1 to replace, 1 to destroy",
        "± terraform_data.replaced (replace)",
        "= terraform_data.new_name (moved from terraform_data.old_name)",
        "input.password: (sensitive) → (sensitive)",
        "input.size: 1 → 2",
        "✗ check.size",
    ] {
        let close = line == "1 to update, 1 to replace, 1 to destroy";
        let found = if close { sheet.contains("1 to replace, 1 to destroy") } else { sheet.contains(line) };
        assert!(found, "{line}\n{sheet}");
    }
}

#[test]
fn plans_are_for_their_owner_and_only_the_newest_keeps_its_secrets() {
    use std::os::unix::fs::PermissionsExt;
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new("resource \"terraform_data\" \"a\" { input = 1 }\n");
    let first = module.plan();
    let hash = first["plan"]["plan_sha256"].as_str().unwrap().to_owned();
    module.tool(&["plan"]).ok();
    let kept = module.kept();
    let names = |dir: &Path| {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(kept.len(), 2);
    assert_eq!(names(&kept[0]), ["record.json"]);
    assert_eq!(names(&kept[1]), ["plan.json", "plan.tfplan", "record.json"]);
    for name in names(&kept[1]) {
        let mode = kept[1].join(&name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(kept[1].metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let record: Value = serde_json::from_slice(&fs::read(kept[0].join("record.json")).unwrap()).unwrap();
    assert_eq!(record["plan_sha256"], hash.as_str());
    module.tool(&["plan", "--dry-run"]).ok();
    assert_eq!(module.kept().len(), 2);
}

#[test]
fn what_terraform_refuses_is_told_in_its_words() {
    if !need(&["terraform"]) {
        return;
    }
    let guarded = |trigger: &str| {
        format!(
            "resource \"terraform_data\" \"guarded\" {{\n  triggers_replace = \"{trigger}\"\n  lifecycle {{\n    prevent_destroy = true\n  }}\n}}\n"
        )
    };
    let module = Module::new(&guarded("one"));
    module.apply();
    module.write("main.tf", &guarded("two"));
    let ran = module.tool(&["plan"]);
    assert_eq!(ran.code, Some(15), "{}", ran.err);
    assert!(ran.err.contains("Instance cannot be destroyed") && ran.err.contains("main.tf:1"), "{}", ran.err);
    assert!(module.kept().is_empty(), "what failed leaves no plan");

    module.write("main.tf", "resource \"terraform_data\" \"x\" {\n  no_such = 1\n}\n");
    let ran = module.tool(&["plan"]);
    assert!(ran.code == Some(15) && ran.err.contains("Unsupported argument (main.tf:2)"), "{}", ran.err);

    module.write("main.tf", "terraform {\n  required_version = \"< 1.0\"\n}\n");
    let ran = module.tool(&["plan"]);
    assert!(ran.code == Some(15) && ran.err.contains("main.tf:2 requires < 1.0"), "{}", ran.err);

    module.write("main.tf", "variable \"needed\" {}\n");
    let ran = module.tool(&["plan"]);
    assert!(ran.code == Some(15) && ran.err.contains("No value for required variable"), "{}", ran.err);
    module.write("values.tfvars", "needed = 1\n");
    module.tool(&["plan", "--set", "provision.var_files=[values.tfvars]"]).ok();
}

#[test]
fn the_environment_does_not_bend_a_plan() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new("resource \"terraform_data\" \"a\" { input = 1 }\n");
    module.apply();
    let bent = [("TF_CLI_ARGS_plan", "-destroy"), ("TF_WORKSPACE", "other"), ("TF_CLI_ARGS", "-no-such-flag")];
    let plan = module.tool_with(&["plan", "--output", "json"], &bent).json();
    assert_eq!((actions(&plan), plan["plan"]["workspace"].as_str()), (Vec::new(), Some("default")));

    let ran = module.tool(&["plan", "--set", "provision.workspace=prodction"]);
    assert_eq!(ran.code, Some(14), "{}", ran.err);
    assert!(ran.err.contains("there is no workspace prodction; there is default"), "{}", ran.err);
    assert!(!module.dir().join("terraform.tfstate.d").exists(), "a misspelt workspace was made");
}

#[test]
fn a_state_that_somebody_holds_is_locked() {
    if !need(&["terraform"]) {
        return;
    }
    let slow = "resource \"terraform_data\" \"slow\" {\n  provisioner \"local-exec\" {\n    command = \"touch started; sleep 20\"\n  }\n}\n";
    let module = Module::new(slow);
    module.client("terraform", &module.dir()).args(["init", "-input=false"]).run().ok();
    let (dir, started) = (module.dir(), module.dir().join("started"));
    let holder = std::thread::scope(|scope| {
        let apply = module.client("terraform", &dir).args(["apply", "-auto-approve", "-input=false"]);
        let released = dir.join("released");
        let holder = scope.spawn(move || apply.follow(|_| released.exists()));
        crate::harness::eventually("apply began", std::time::Duration::from_secs(20), || {
            started.exists().then_some(()).ok_or_else(|| "not yet".to_owned())
        });
        let ran = module.tool(&["plan", "--set", "provision.lock_timeout=1s"]);
        fs::write(dir.join("released"), "").unwrap();
        (ran, holder.join().unwrap())
    });
    let ran = holder.0;
    assert_eq!(ran.code, Some(13), "{}", ran.err);
    assert!(ran.err.contains("somebody else holds the state's lock"), "{}", ran.err);
    assert!(ran.err.contains("it ends with the process that holds it"), "{}", ran.err);
}

#[test]
fn nothing_has_drifted_where_only_a_name_moved() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new("resource \"terraform_data\" \"a\" { input = 1 }\n");
    module.apply();
    let moved = "resource \"terraform_data\" \"b\" { input = 1 }\nmoved {\n  from = terraform_data.a\n  to   = terraform_data.b\n}\n";
    module.write("main.tf", moved);
    let ran = module.tool(&["drift"]);
    assert!(ran.code == Some(0) && ran.out.contains("DRIFT in infra: none"), "{}{}", ran.out, ran.err);
    assert!(module.kept().is_empty());
    let json = module.tool(&["drift", "--output", "json"]).json();
    assert_eq!((json["drift"].as_array().map(Vec::len), json["exit"].as_i64()), (Some(0), Some(0)));
}

/// What an output reads has changed, as Terraform's own `plan -refresh-only -detailed-exitcode` tells with a 2.
#[test]
fn an_output_that_reads_what_has_changed_is_drift() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new(
        "data \"terraform_remote_state\" \"network\" {\n  backend = \"local\"\n  config  = { path = \"network.json\" }\n}\n\
         resource \"terraform_data\" \"a\" { input = 1 }\n\
         output \"zone\" { value = data.terraform_remote_state.network.outputs.zone }\n",
    );
    let network = |zone: &str| {
        let state = serde_json::json!({
            "version": 4, "terraform_version": "1.5.0", "serial": 1, "lineage": "network", "resources": [],
            "outputs": {"zone": {"value": zone, "type": "string"}},
        });
        module.write("network.json", &state.to_string());
    };
    network("Z1");
    module.apply();
    assert_eq!(module.tool(&["drift"]).code, Some(0));
    network("Z2");
    let ran = module.tool(&["drift"]);
    assert_eq!(ran.code, Some(18), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("zone: \"Z1\" → \"Z2\""), "{}", ran.out);
    assert!(ran.err.contains("1 output is no longer what the state says"), "{}", ran.err);
    let ran = module.tool(&["drift", "--output", "json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((json["outputs"][0]["name"].as_str(), json["exit"].as_i64()), (Some("zone"), Some(18)));
}
