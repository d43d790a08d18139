//! The rehearsal's stand-in for Terraform, and Terraform: one module through both, and what our adapter reads from each.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Client, Ran, World, eventually, find, need};

const FIRST: &str = r#"
terraform { required_version = ">= 1.5" }
variable "size" { default = 1 }
locals { names = ["a", "b"] }
resource "terraform_data" "kept" { input = local.names }
resource "terraform_data" "updated" { input = { size = var.size, note = "n-${var.size}" } }
resource "terraform_data" "replaced" {
  input            = terraform_data.updated.output
  triggers_replace = ["one"]
}
resource "terraform_data" "gone" { input = "gone" }
output "size" { value = var.size }
output "id" { value = terraform_data.replaced.id }
output "secret" {
  value     = "made up"
  sensitive = true
}
"#;

const SECOND: &str = r#"
terraform { required_version = ">= 1.5" }
variable "size" { default = 2 }
locals { names = ["a", "b"] }
resource "terraform_data" "kept" { input = local.names }
resource "terraform_data" "updated" { input = { size = var.size, note = "n-${var.size}" } }
resource "terraform_data" "replaced" {
  input            = terraform_data.updated.output
  triggers_replace = ["two"]
}
resource "terraform_data" "fails" {
  provisioner "local-exec" {
    command = "echo no; exit 3"
  }
}
output "size" { value = var.size }
"#;

const SLOW: &str = r#"
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "touch started; sleep 30"
  }
}
"#;

/// One of the two, in a directory of its own.
struct Program {
    home: TempDir,
    path: PathBuf,
}

impl Program {
    /// Terraform, and the stand-in.
    fn both() -> [Self; 2] {
        let world = World::shared();
        let path = world.manifest["environment"]["PATH"].as_str().unwrap();
        let ours = Path::new(path.split(':').next().unwrap()).join("terraform");
        [find("terraform").unwrap(), ours].map(|path| Self { home: tempfile::tempdir().unwrap(), path })
    }

    fn client(&self) -> Client {
        let client = World::shared().client(self.path.to_str().unwrap()).dir(self.home.path());
        client.env("HOME", self.home.path()).env("TF_IN_AUTOMATION", "1")
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.client().args(args.iter().copied()).run()
    }

    fn write(&self, main: &str) {
        fs::write(self.home.path().join("main.tf"), main).unwrap();
    }

    fn state(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.home.path().join("terraform.tfstate")).unwrap()).unwrap()
    }

    fn shown(&self, plan: &str) -> Value {
        self.run(&["show", "-json", "-no-color", plan]).json()
    }
}

/// The same of both; what it is, is in the failure.
#[track_caller]
fn same(what: &str, of: [Value; 2]) -> Value {
    let [real, ours] = of;
    assert_eq!(ours, real, "{what}: ours, and Terraform's\nours:      {ours:#}\nTerraform: {real:#}");
    real
}

/// Without what is another each time: ids.
fn plain(value: &Value) -> Value {
    let is_id = |text: &str| text.len() == 36 && text.bytes().filter(|b| *b == b'-').count() == 4;
    match value {
        Value::String(text) if is_id(text) => json!("(id)"),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        other => other.clone(),
    }
}

/// What is marked as secret. Terraform also writes the shape of what is not, by the type of values that nobody knows yet.
fn marked(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.iter().all(|item| marked(item) == false) => json!(false),
        Value::Array(items) => items.iter().map(marked).collect(),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(name, value)| (name.clone(), marked(value)));
            let kept: serde_json::Map<_, _> = entries.filter(|(_, value)| *value != false).collect();
            if kept.is_empty() { json!(false) } else { Value::Object(kept) }
        }
        other => other.clone(),
    }
}

/// What the adapter, and the judge, read of a plan.
fn read_of(plan: &Value) -> Value {
    let mut changes: Vec<Value> = plan["resource_changes"].as_array().into_iter().flatten().map(plain).collect();
    for change in &mut changes {
        for name in ["before_sensitive", "after_sensitive"] {
            change["change"][name] = marked(&change["change"][name]);
        }
    }
    changes.sort_by_key(|change| change["address"].to_string());
    json!({
        "changes": changes,
        "outputs": plain(&plan["output_changes"]),
        "format": plan["format_version"],
        "flags": [plan["applyable"], plan["complete"], plan["errored"]],
        "variables": plan["variables"],
    })
}

/// The messages of a run: what about which resource, in no order.
fn events_of(said: &str) -> Value {
    let mut events: Vec<String> = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .map(|message| {
            for name in ["@level", "@message", "@module", "@timestamp", "type"] {
                assert!(message[name].is_string(), "{name}: {message}");
            }
            let part = |pointer: &str| plain(message.pointer(pointer).unwrap_or(&Value::Null)).to_string();
            let about = [
                "/type",
                "/@level",
                "/change/resource",
                "/change/action",
                "/change/reason",
                "/hook/resource",
                "/hook/action",
                "/hook/id_value",
                "/changes",
                "/outputs",
                "/diagnostic/summary",
                "/diagnostic/address",
            ];
            about.map(part).join(" ")
        })
        .collect();
    events.sort();
    json!(events)
}

fn state_of(state: &Value) -> Value {
    assert_eq!(state["lineage"].as_str().map(str::len), Some(36));
    assert!(state["serial"].as_u64().is_some_and(|serial| serial > 0));
    let mut state = plain(state);
    state["serial"].take();
    state
}

#[test]
fn one_module_through_both() {
    if !need(&["terraform"]) {
        return;
    }
    let both = Program::both();
    let each = |what: &str, run: &dyn Fn(&Program) -> Value| same(what, [run(&both[0]), run(&both[1])]);
    both.iter().for_each(|one| one.write(FIRST));
    each("version", &|one| {
        let version = one.run(&["version", "-json"]).json();
        assert!(version["terraform_version"].is_string(), "{version}");
        json!(version.as_object().unwrap().keys().collect::<Vec<_>>())
    });
    each("init", &|one| json!(one.run(&["init", "-input=false", "-no-color"]).code));
    each("no state", &|one| json!(one.run(&["state", "pull"]).ok().trim()));
    each("workspace", &|one| json!(one.run(&["workspace", "show"]).ok()));
    each("workspaces", &|one| json!(one.run(&["workspace", "list", "-no-color"]).ok()));

    let plan = ["plan", "-input=false", "-json", "-detailed-exitcode", "-lock-timeout=0s", "-out=first.tfplan"];
    each("the first plan's events", &|one| {
        let ran = one.run(&plan);
        json!([ran.code, events_of(&ran.out), ran.err])
    });
    let first = each("the first plan", &|one| read_of(&one.shown("first.tfplan")));
    assert_eq!(first["changes"].as_array().map(Vec::len), Some(4));
    each("the first apply", &|one| {
        let ran = one.run(&["apply", "-input=false", "-json", "first.tfplan"]);
        json!([ran.code, events_of(&ran.out)])
    });
    each("the state", &|one| state_of(&one.state()));
    each("the pulled state", &|one| {
        let pulled: Value = serde_json::from_str(&one.run(&["state", "pull"]).ok()).unwrap();
        assert_eq!(pulled, one.state());
        Value::Null
    });
    each("outputs", &|one| plain(&one.run(&["output", "-json"]).json()));
    each("the list", &|one| json!(one.run(&["state", "list"]).ok()));
    each("applied twice", &|one| {
        let ran = one.run(&["apply", "-json", "first.tfplan"]);
        json!([ran.code, events_of(&ran.out)])
    });
    each("nothing to do", &|one| {
        let ran = one.run(&plan);
        json!([ran.code, events_of(&ran.out), read_of(&one.shown("first.tfplan"))])
    });
    each("no drift", &|one| {
        let ran = one.run(&[&plan[..], &["-refresh-only"]].concat());
        let shown = one.shown("first.tfplan");
        json!([ran.code, events_of(&ran.out), shown.get("resource_changes"), shown.get("resource_drift")])
    });

    both.iter().for_each(|one| one.write(SECOND));
    each("the second plan", &|one| {
        let ran = one.run(&plan);
        json!([ran.code, events_of(&ran.out), read_of(&one.shown("first.tfplan"))])
    });
    each("an apply that fails midway", &|one| {
        let ran = one.run(&["apply", "-json", "first.tfplan"]);
        assert!(ran.out.contains("exit status 3"), "{}", ran.out);
        json!([ran.code, events_of(&ran.out)])
    });
    each("the state by half", &|one| state_of(&one.state()));
    each("what is tainted is replaced", &|one| {
        let ran = one.run(&plan);
        json!([ran.code, events_of(&ran.out), read_of(&one.shown("first.tfplan"))["changes"]])
    });

    // Each goes on from the other's state.
    let [real, ours] = &both;
    for (one, other) in [(real, ours), (ours, real)] {
        let after = tempfile::tempdir().unwrap();
        for name in ["main.tf", "terraform.tfstate"] {
            fs::copy(other.home.path().join(name), after.path().join(name)).unwrap();
        }
        let ran = one.client().dir(after.path()).args(["init", "-input=false"]).run();
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let ran = one.client().dir(after.path()).args(plan).run();
        let expected: Vec<String> = ["create", "replace"].map(str::to_owned).into();
        let planned = ran.out.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).unwrap();
            (message["type"] == "planned_change").then(|| message["change"]["action"].as_str().unwrap().to_owned())
        });
        assert_eq!((ran.code, planned.collect::<Vec<_>>()), (Some(2), vec![expected[1].clone()]), "{}", ran.out);
    }
}

#[test]
fn what_is_wrong_is_said_alike() {
    if !need(&["terraform"]) {
        return;
    }
    let both = Program::both();
    for (what, main) in [
        ("an argument", "resource \"terraform_data\" \"x\" {\n  no_such = 1\n}\n"),
        ("a variable", "variable \"needed\" {}\n"),
        ("a reference", "resource \"terraform_data\" \"x\" {\n  input = terraform_data.none.id\n}\n"),
    ] {
        let told = both.each_ref().map(|one| {
            one.write(main);
            let ran = one.run(&["plan", "-input=false", "-json"]);
            let last: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
            json!([ran.code, last["type"], last["diagnostic"]["severity"], last["diagnostic"]["summary"]])
        });
        same(what, told);
    }
    for args in [&["bogus"][..], &["plan", "-bogus"], &["show", "-json", "nofile"], &["workspace", "select", "none"]] {
        same(&args.join(" "), both.each_ref().map(|one| json!(one.run(args).code)));
    }
    let made = both.each_ref().map(|one| {
        let new = one.run(&["workspace", "new", "-no-color", "other"]).ok();
        let list = one.run(&["workspace", "list", "-no-color"]).ok();
        json!([new.lines().next(), list, one.run(&["workspace", "select", "-no-color", "default"]).ok()])
    });
    same("workspaces", made);
}

#[test]
fn a_lock_is_held_told_and_given_back_alike() {
    if !need(&["terraform"]) {
        return;
    }
    // A question that takes the lock and changes nothing.
    let asked = ["state", "rm", "-dry-run", "-no-color", "-lock-timeout=0s", "terraform_data.none"];
    let told = Program::both().map(|one| {
        one.write(SLOW);
        one.run(&["init", "-input=false"]).ok();
        let stateless = one.run(&asked);
        assert!(stateless.err.contains("No state file was found"), "{stateless:?}");
        let (started, home) = (one.home.path().join("started"), one.home.path().to_owned());
        let (refused, unlocked, held, apply) = std::thread::scope(|scope| {
            let apply = scope.spawn(|| {
                let shell = "\"$0\" apply -json -auto-approve -input=false & pid=$!; echo $pid >pid; wait $pid";
                let client = World::shared().client("sh").dir(&home).env("TF_IN_AUTOMATION", "1");
                client.args(["-c", shell, one.path.to_str().unwrap()]).run()
            });
            eventually("apply began", Duration::from_secs(20), || {
                started.exists().then_some(()).ok_or_else(|| "not yet".to_owned())
            });
            let refused = one.run(&["plan", "-input=false", "-json", "-lock-timeout=1s"]);
            let unlocked = one.run(&["force-unlock", "-force", "00000000-0000-0000-0000-000000000000"]);
            let held = one.run(&asked);
            let pid = fs::read_to_string(home.join("pid")).unwrap();
            assert_eq!(Client::new("kill").args(["-INT", pid.trim()]).run().code, Some(0));
            (refused, unlocked, held, apply.join().unwrap())
        });
        let last: Value = serde_json::from_str(refused.out.lines().last().unwrap()).unwrap();
        let detail = last["diagnostic"]["detail"].as_str().unwrap();
        let lines = detail.lines().map(|line| match line.trim_start().split_once(':') {
            Some((name @ ("ID" | "Created" | "Who" | "Version"), _)) => name.to_owned(),
            _ => line.to_owned(),
        });
        let stopped = |text: &str| apply.out.contains(text);
        json!({
            "refused": [refused.code, last["diagnostic"]["summary"], lines.collect::<Vec<_>>()],
            "waited": refused.out.contains("state_lock_acquire"),
            "unlocked": unlocked.code,
            "held": [held.code, held.err.contains("acquiring the state lock"), held.err.contains("OperationTypeApply")],
            "free": [stateless.code, one.run(&asked).ok()],
            "interrupted": [apply.code, stopped("Interrupt received"), stopped("Stopping operation")],
            "given back": [home.join(".terraform.tfstate.lock.info").exists(), one.run(&["plan", "-json"]).code],
            "tainted": one.state()["resources"][0]["instances"][0]["status"],
        })
    });
    let told = same("a lock", told);
    assert_eq!(told["tainted"], "tainted");
}
