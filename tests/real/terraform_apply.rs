//! `provision apply` over Terraform itself: what it applies, and what it refuses.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Ran, need};
use crate::terraform::{FIRST, MODULE, SECOND};
use crate::terraform_module::Module;

const ONE: &str = "resource \"terraform_data\" \"a\" { input = 1 }\n";
const TWO: &str = "resource \"terraform_data\" \"a\" { input = 2 }\n";

/// It was refused with this code and these words, and nothing was changed.
#[track_caller]
fn refused(module: &Module, args: &[&str], code: i32, words: &[&str]) {
    let state = module.dir().join("terraform.tfstate");
    let (before, runs) = (fs::read(&state).ok(), module.run_dirs().len());
    let ran = module.tool(&[&["apply", "--yes"], args].concat());
    assert_eq!(ran.code, Some(code), "{}{}", ran.out, ran.err);
    for word in words {
        assert!(ran.err.contains(word), "{word}\n{}", ran.err);
    }
    assert_eq!(fs::read(&state).ok(), before, "the state was changed");
    assert_eq!(module.run_dirs().len(), runs, "a run was begun");
}

fn hash(plan: &Value) -> String {
    plan["plan"]["plan_sha256"].as_str().unwrap().to_owned()
}

fn planned(main: &str) -> (Module, String) {
    let module = Module::new(main);
    let plan = module.plan();
    (module, hash(&plan))
}

#[test]
fn every_kind_of_change_is_applied_once_and_the_next_plan_is_empty() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new(FIRST);
    module.write("data/main.tf", MODULE);
    let first = hash(&module.plan());
    let ran = module.tool(&["apply", "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("the plan is applied: 6 created"), "{}", ran.out);
    assert!(ran.err.contains(&format!("hash {}", &first[..12])), "the sheet is shown again: {}", ran.err);
    assert!(ran.err.contains("6/6 ") && ran.err.contains("confirmed by dana@"), "{}", ran.err);
    assert_eq!(module.holds().len(), 6);
    refused(&module, &[&first[..8]], 10, &["was applied at", "A plan is applied once", "provision plan"]);
    refused(&module, &[], 10, &["was applied at"]);

    module.write("main.tf", SECOND);
    let second = hash(&module.plan());
    let document = module.tool(&["apply", &second[..10], "--yes", "--output", "json"]).json();
    assert_eq!((document["outcome"].as_str(), document["exit"].as_i64()), (Some("applied"), Some(0)), "{document}");
    let steps = document["steps"].as_array().unwrap();
    let said = |index: usize| steps[index]["evidence"]["summary"].as_str().unwrap();
    assert_eq!((steps[0]["id"].as_str(), steps[1]["id"].as_str()), (Some("terraform"), Some("second-plan")));
    assert!(said(0).contains("1 created, 2 changed, 2 destroyed, 1 imported"), "{}", said(0));
    assert!(said(1).contains("as the configuration says"), "{}", said(1));
    let mut holds = module.holds();
    holds.sort();
    assert_eq!(
        holds,
        [
            "module.data.terraform_data.inner",
            "terraform_data.kept",
            "terraform_data.new_name",
            "terraform_data.replaced",
            "terraform_data.taken_over",
            "terraform_data.updated",
        ]
    );
    for dir in module.kept() {
        assert!(!dir.join("plan.tfplan").exists() && !dir.join("plan.json").exists(), "a used plan is a secret kept");
    }
    let journal = fs::read_to_string(module.run_dirs()[1].join("journal.jsonl")).unwrap();
    assert!(!journal.contains("made-up-password"), "{journal}");
    assert_eq!(module.runs().iter().filter(|run| run.ends_with("applied")).count(), 2, "{:?}", module.runs());
    let log = module.ours(&["runs", "log"]).run();
    assert!(log.code == Some(0) && log.err.contains("Apply plan"), "{}", log.err);
}

#[test]
fn a_plan_is_used_once_even_where_terraform_would_apply_it_again() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, hash) = planned(ONE);
    let kept = module.newest();
    let aside: Vec<(String, Vec<u8>)> =
        ["plan.tfplan", "plan.json"].map(|name| (name.to_owned(), fs::read(kept.join(name)).unwrap())).into();
    module.tool(&["apply", "--yes"]).ok();
    // The state is empty again, as the plan was made for, and its file is back.
    fs::remove_file(module.dir().join("terraform.tfstate")).unwrap();
    for (name, bytes) in &aside {
        fs::write(kept.join(name), bytes).unwrap();
    }
    refused(&module, &[&hash], 10, &["was applied at"]);
    // Terraform itself would: that is why the record decides.
    module.terraform(&["apply", "-input=false", kept.join("plan.tfplan").to_str().unwrap()]).ok();
    // And it outlives the next plan.
    module.plan();
    refused(&module, &[&hash], 10, &["was applied at"]);
}

#[test]
fn a_plan_that_is_not_what_was_reviewed_is_refused() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new(ONE);
    refused(&module, &[], 2, &["no plan is kept on this machine", "gospel-release provision plan"]);
    let first = hash(&module.plan());
    refused(&module, &["00000000"], 2, &["is called 00000000"]);
    refused(&module, &[&first[..7]], 2, &["a hash takes 8 characters"]);
    refused(&module, &["--confirm", "terraform_data.b"], 2, &["does not ask for terraform_data.b to be named"]);
    module.write("more.tf", "output \"more\" { value = 1 }\n");
    let second = hash(&module.plan());
    refused(&module, &[&first], 10, &["gave way to a newer one"]);

    let kept = module.newest();
    for name in ["plan.tfplan", "plan.json"] {
        let whole = fs::read(kept.join(name)).unwrap();
        fs::write(kept.join(name), [whole.as_slice(), b" "].concat()).unwrap();
        refused(&module, &[&second], 3, &[&format!("{name} of plan {}", &second[..12]), "changed after it was made"]);
        fs::write(kept.join(name), whole).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(1100));
    refused(&module, &["--set", "provision.plan_age=1s"], 10, &["old, and may be 1 s (provision.plan_age)"]);
    let rules =
        "provision: {directory: infra, policy: {rules: [{name: frozen, actions: [create], message: not today}]}}\n";
    let config = module.home.path().join("gospel-release.yaml");
    let before = fs::read(&config).unwrap();
    fs::write(&config, rules).unwrap();
    refused(&module, &[], 10, &["refused by the rules of today", "frozen: terraform_data.a: not today"]);
    assert_eq!(module.tool(&["plan"]).code, Some(10));
    fs::write(&config, before).unwrap();
    refused(&module, &[], 10, &["was refused when it was judged", "not today"]);
    module.plan();
    module.tool(&["apply", "--yes"]).ok();
    module.plan();
    let ran = module.tool(&["apply", "--yes"]);
    assert!(ran.code == Some(0) && ran.err.contains("has nothing to apply"), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("nothing was changed"), "{}", ran.out);
}

#[test]
fn a_plan_for_another_world_is_refused() {
    if !need(&["terraform", "git"]) {
        return;
    }
    let module = Module::new(ONE);
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=dana", "-c", "user.email=dana@example.com"];
        let client = module.client("git", module.home.path());
        identity.iter().chain(args).fold(client, |client, arg| client.arg(*arg)).run().ok()
    };
    fs::write(module.home.path().join(".gitignore"), "state/\n.terraform/\n*.tfstate*\n").unwrap();
    git(&["init", "-q", "-b", "main"]);
    git(&["remote", "add", "origin", "https://github.com/gospelib/gospelib.git"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "feat: one"]);
    module.plan();
    module.write("extra.tf", "# another file\n");
    refused(&module, &[], 10, &["files: planned everything committed, now uncommitted changes"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "feat: two"]);
    refused(&module, &[], 10, &["made for something else", "commit: planned "]);
    module.plan();
    let lock = module.dir().join(".terraform.lock.hcl");
    fs::write(&lock, "# made by hand\n").unwrap();
    refused(&module, &[], 10, &[".terraform.lock.hcl: planned none, now "]);
    fs::remove_file(&lock).unwrap();
    module.terraform(&["workspace", "new", "other"]).ok();
    refused(&module, &[], 14, &["the workspace is other; default was planned"]);
    module.terraform(&["workspace", "select", "default"]).ok();
    fs::create_dir_all(module.home.path().join("elsewhere")).unwrap();
    fs::write(module.home.path().join("elsewhere/main.tf"), ONE).unwrap();
    refused(&module, &["--set", "provision.directory=elsewhere"], 10, &["directory: planned infra, now elsewhere"]);
    fs::remove_dir_all(module.home.path().join("elsewhere")).unwrap();
    module.tool(&["apply", "--yes"]).ok();
}

#[test]
fn a_plan_is_stale_once_the_state_has_changed() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new(ONE);
    module.apply();
    module.write("main.tf", TWO);
    let plan = module.plan();
    module.write("main.tf", &format!("{ONE}output \"o\" {{ value = 1 }}\n"));
    module.apply();
    let serial = plan["plan"]["state"]["serial"].as_u64().unwrap();
    let words = ["is stale", &format!("planned: serial {serial} of "), "gospel-release provision plan"];
    refused(&module, &[], 10, &words);
}

/// Risks are judged of real providers' resources; here the record asks for an address, as theirs would.
fn ask_for(dir: &Path, address: &str) {
    let path = dir.join("record.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["confirm"] = serde_json::json!([address]);
    fs::write(path, record.to_string()).unwrap();
}

#[test]
fn an_address_under_risk_is_named_and_yes_does_not_name_it() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, _) = planned(ONE);
    ask_for(&module.newest(), "terraform_data.a");
    let words = ["terraform_data.a must be named before this plan is applied", "--confirm 'terraform_data.a'"];
    refused(&module, &[], 2, &words);
    let ran = module.tool(&["apply", "--confirm", "terraform_data.a"]);
    assert!(ran.code == Some(2) && ran.err.contains("add --yes"), "naming is not confirming: {}", ran.err);
    module.tool(&["apply", "--confirm", "terraform_data.a", "--yes"]).ok();
    let journal = fs::read_to_string(module.run_dirs().pop().unwrap().join("journal.jsonl")).unwrap();
    assert!(journal.contains("\"named\":[\"terraform_data.a\"]"), "{journal}");
}

#[test]
fn what_fails_in_the_middle_is_told_with_what_is_there() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new(
        r#"
resource "terraform_data" "first" {}
resource "terraform_data" "bad" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" { command = "exit 3" }
}
resource "terraform_data" "later" { input = terraform_data.bad.id }
"#,
    );
    module.plan();
    let ran = module.tool(&["apply", "--yes"]);
    assert_eq!(ran.code, Some(15), "{}", ran.err);
    for words in [
        "terraform could not apply everything: 1 of 3 changes were made",
        "local-exec provisioner error (terraform_data.bad, main.tf:5)",
        "1 tainted: there, and not whole; the next plan replaces them",
        "      terraform_data.bad (create",
        "1 not begun",
        "      terraform_data.later (create)",
        "1 made",
        "next: gospel-release provision plan",
    ] {
        assert!(ran.err.contains(words), "{words}\n{}", ran.err);
    }
    assert!(module.runs()[0].contains("provision apply") && module.runs()[0].contains("failed"), "{:?}", module.runs());
    let resumed = module.ours(&["resume", &run_of(&module)]).run();
    assert!(resumed.code == Some(2) && resumed.err.contains("is over"), "{}", resumed.err);
    module.write("main.tf", &fs::read_to_string(module.dir().join("main.tf")).unwrap().replace("exit 3", "true"));
    module.plan();
    let ran: Ran = module.tool(&["apply", "--yes"]);
    assert!(ran.code == Some(0) && ran.out.contains("2 created, 1 destroyed"), "{}{}", ran.out, ran.err);
}

fn run_of(module: &Module) -> String {
    module.run_dirs().pop().unwrap().file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn what_is_left_after_an_apply_is_listed_and_ends_18() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, _) = planned("resource \"terraform_data\" \"restless\" { input = timestamp() }\n");
    let ran = module.tool(&["apply", "--yes"]);
    assert_eq!(ran.code, Some(18), "{}", ran.err);
    assert!(ran.err.contains("the next plan is not empty: 1 to update"), "{}", ran.err);
    assert!(ran.err.contains("~ terraform_data.restless (update)"), "{}", ran.err);
    assert!(module.runs()[0].contains("drifted"), "{:?}", module.runs());
    assert!(!module.run_dirs()[0].join("second").exists(), "a plan is a secret");
}

#[test]
fn a_dry_run_of_an_apply_changes_nothing() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, hash) = planned(ONE);
    let ran = module.tool(&["apply", "--dry-run"]);
    assert!(ran.code == Some(0) && ran.out.contains("nothing was changed"), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(&format!("would: Apply plan {}", &hash[..12])), "{}", ran.err);
    assert!(module.run_dirs().is_empty() && !module.dir().join("terraform.tfstate").exists());
    module.tool(&["apply", "--yes"]).ok();
}
