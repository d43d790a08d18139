//! Plans of AWS resources in Terraform's JSON, written by hand: each with the sheet that a person would read.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::BIN;

struct Ran {
    exit: i32,
    stdout: String,
    stderr: String,
    /// The most memory that it had, in MiB, as the kernel counts it.
    peak: u64,
}

fn corpus() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/plans");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// `provision judge` in an empty directory, with nobody's configuration; `input` goes to its standard input.
fn judge(args: &[&str], input: Option<Vec<u8>>) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let mut tool = Command::new(BIN);
    tool.args(["provision"]).args(args).current_dir(home.path()).env_clear().env("HOME", home.path());
    tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tool.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that has seen enough closes its input.
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input.unwrap_or_default())));
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let watch = std::thread::spawn(move || {
        let (begin, mut peak) = (Instant::now(), 0);
        while begin.elapsed() < Duration::from_secs(120) {
            let Ok(text) = std::fs::read_to_string(&status) else { break };
            let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { break };
            peak = peak.max(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024);
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    let ended = child.wait_with_output().unwrap();
    feed.join().unwrap();
    Ran {
        exit: ended.status.code().unwrap_or(-1),
        stdout: String::from_utf8(ended.stdout).unwrap(),
        stderr: String::from_utf8(ended.stderr).unwrap(),
        peak: watch.join().unwrap(),
    }
}

#[test]
fn each_plan_has_its_sheet() {
    let files = corpus();
    assert!(files.len() >= 25);
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let ran = judge(&["judge", file.to_str().unwrap()], None);
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 100), "{name}: {}", ran.stdout);
        assert!(!ran.stdout.contains('\u{1b}') && !ran.stdout.contains("made-up"), "{name}: {}", ran.stdout);
        let whole = format!("{}\n{}exit {}", ran.stdout.trim_end(), ran.stderr, ran.exit);
        insta::assert_snapshot!(name, whole);
    }
}

#[test]
fn a_comment_for_a_pull_request_and_a_document_say_the_same() {
    let file = |name: &str| corpus().into_iter().find(|file| file.ends_with(format!("{name}.json"))).unwrap();
    for name in ["database-destroyed", "text-from-outside"] {
        let ran = judge(&["judge", file(name).to_str().unwrap(), "--output", "markdown"], None);
        insta::assert_snapshot!(format!("{name}.md"), ran.stdout.trim_end());
    }
    let ran = judge(&["judge", file("database-destroyed").to_str().unwrap(), "--output", "json"], None);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["judgement"]["counts"]["destroy"], 1);
    assert_eq!(document["judgement"]["risks"][0]["kind"], "data-loss");
    assert_eq!(document["exit"], ran.exit);
    let ran = judge(&["judge", file("ports-opened").to_str().unwrap(), "--output", "json"], None);
    assert_eq!(ran.exit, 10);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["exit"], 10);
}

#[test]
fn the_runbooks_cost_table_is_compared_line_by_line() {
    let file = corpus().into_iter().find(|file| file.ends_with("runbook-first-time.json")).unwrap();
    let alone = judge(&["cost"], None);
    insta::assert_snapshot!("cost-without-a-plan", alone.stdout.trim_end());
    let planned = judge(&["cost", "--plan", file.to_str().unwrap()], None);
    insta::assert_snapshot!("cost-of-the-runbook", planned.stdout.trim_end());
    assert_eq!((alone.exit, planned.exit), (0, 0));
    let json = judge(&["cost", "--output", "json"], None);
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["runbook"], 213.0);
    let wrong = document["lines"].as_array().unwrap().iter().filter(|line| !line["disagrees"].is_null());
    let wrong: Vec<&str> = wrong.map(|line| line["resource"].as_str().unwrap()).collect();
    assert_eq!(wrong, ["RDS PostgreSQL", "ElastiCache Redis"]);
}

#[test]
fn rules_and_budget_are_configured() {
    let file = corpus().into_iter().find(|file| file.ends_with("database-public.json")).unwrap();
    let file = file.to_str().unwrap();
    let off = judge(&["judge", file, "--set", "provision.policy.off=[database-public, budget]"], None);
    assert_eq!(off.exit, 0, "{}{}", off.stdout, off.stderr);
    let warned = judge(&["judge", file, "--set", "provision.policy.warn=[database-public]"], None);
    assert!(warned.exit == 0 && warned.stdout.contains("! database-public"), "{}", warned.stdout);
    let own = "provision.policy.rules=[{name: frozen, types: [aws_db_*], message: no changes this week}]";
    let own = judge(&["judge", file, "--set", own], None);
    assert!(own.exit == 10 && own.stderr.contains("frozen: module.data.aws_db_instance.postgres"), "{}", own.stderr);
    let wrong = judge(&["judge", file, "--set", "provision.policy.off=[database-publc]"], None);
    assert!(wrong.exit == 3 && wrong.stderr.contains("no built-in rule"), "{}", wrong.stderr);
}

/// A plan of so many security groups and instances, each with what Terraform repeats of it.
fn large(resources: usize) -> Vec<u8> {
    let tags: Value = (0..10).map(|i| (format!("tag-{i}"), json!("a value of usual length"))).collect();
    let values = |i: usize, size: &str| {
        json!({"id": format!("i-{i}"), "instance_type": size, "ami": "ami-1", "tags": tags, "tags_all": tags,
            "root_block_device": [{"volume_size": 20, "volume_type": "gp3"}], "user_data": "x".repeat(600)})
    };
    let (mut changes, mut planned) = (Vec::new(), Vec::new());
    for i in 0..resources {
        let (before, after) = (values(i, "t3.small"), values(i, if i % 2 == 0 { "t3.medium" } else { "t3.small" }));
        let address = format!("module.fleet[{}].aws_instance.this[{i}]", i % 50);
        planned.push(json!({"address": address, "mode": "managed", "type": "aws_instance", "values": after}));
        changes.push(
            json!({"address": address, "module_address": format!("module.fleet[{}]", i % 50), "mode": "managed",
            "type": "aws_instance", "name": "this", "index": i, "change": {
                "actions": [if i % 2 == 0 { "update" } else { "no-op" }], "before": before, "after": after,
                "after_unknown": {"tags": {}}, "before_sensitive": {"tags": {}}, "after_sensitive": {"tags": {}}}}),
        );
    }
    let plan = json!({"format_version": "1.2", "terraform_version": "1.11.4", "resource_changes": changes,
        "planned_values": {"root_module": {"resources": planned}},
        "prior_state": {"values": {"root_module": {"resources": planned}}}});
    plan.to_string().into_bytes()
}

#[test]
fn a_plan_of_5000_resources_is_judged_in_little_memory() {
    let plan = large(5000);
    assert!(plan.len() > 10_000_000);
    let comment = judge(&["judge", "-", "--output", "markdown"], Some(large(1000)));
    assert!(comment.stdout.len() < 65_536 && comment.stdout.contains("more lines"), "{}", comment.stdout.len());
    let begin = Instant::now();
    let ran = judge(&["judge", "-"], Some(plan));
    // Tests are not optimised, and share their machine: far above the second that a release build has.
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    assert!(ran.stdout.contains("2500 to update; 2500 unchanged"), "{}", &ran.stdout[..500]);
    assert_eq!(ran.exit, 10, "{}", ran.stderr);
    assert!((1..=200).contains(&ran.peak), "{} MiB", ran.peak);
}

#[test]
fn broken_plans_are_refused_in_words() {
    let refused = |input: &[u8]| {
        let ran = judge(&["judge", "-"], Some(input.to_vec()));
        assert!(ran.exit == 3 && ran.stdout.is_empty() && ran.peak <= 200, "{} {}", ran.exit, ran.stderr);
        ran.stderr
    };
    let whole = std::fs::read(&corpus()[0]).unwrap();
    assert!(refused(&whole[..whole.len() / 2]).contains("ends in the middle"));
    assert!(refused(b"").contains("ends in the middle"));
    assert!(refused(b"Terraform will perform the following actions").contains("not a plan"));
    assert!(refused(br#"{"format_version": "2.0", "resource_changes": []}"#).contains("a newer gospel-release"));
    assert!(refused(&[0xff, 0xfe, 0x00]).contains("not a plan"));
    assert!(refused("[".repeat(1_000_000).as_bytes()).contains("not a plan"));
}

#[test]
fn a_plan_of_200_megabytes_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.json");
    std::fs::File::create(&path).unwrap().set_len(200_000_000).unwrap();
    let ran = judge(&["judge", path.to_str().unwrap()], None);
    assert!(ran.exit == 3 && ran.stderr.contains("longer than 128 MiB"), "{}", ran.stderr);
    assert!(ran.peak <= 200, "{} MiB", ran.peak);
    let missing = judge(&["judge", "none.json"], None);
    assert!(missing.exit == 3 && missing.stderr.contains("none.json"), "{}", missing.stderr);
}

/// A root module beside a program that answers as Terraform does, with `plan.json` as its plan and `plan` run by a shell.
fn stand_in(home: &Path, plan: &Path, ran_by_plan: &str) {
    use std::os::unix::fs::PermissionsExt;
    let infra = home.join("infra");
    std::fs::create_dir(&infra).unwrap();
    std::fs::write(infra.join("main.tf"), "").unwrap();
    let program = home.join("terraform");
    let script = format!(
        r#"#!/bin/sh
case "$1" in
version) echo '{{"terraform_version": "1.11.4"}}' ;;
init) echo Initializing ;;
workspace) echo default ;;
plan)
  for arg; do case "$arg" in -out=*) out=${{arg#-out=}} ;; esac; done
  {ran_by_plan}
  ;;
show) cat '{}' ;;
state) echo '{{"lineage": "l", "serial": 7}}' ;;
esac
"#,
        plan.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("provision: {{directory: infra, program: {}, plan_within: 2s}}\n", program.display());
    std::fs::write(home.join("gospel-release.yaml"), config).unwrap();
}

fn tool_in(home: &Path, args: &[&str]) -> Command {
    let mut tool = Command::new(BIN);
    tool.arg("provision").args(args).current_dir(home).env_clear().env("HOME", home);
    tool.env("PATH", std::env::var_os("PATH").unwrap());
    tool
}

#[test]
fn drift_ends_18_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let plan = corpus().into_iter().find(|file| file.ends_with("drifted.json")).unwrap();
    // Nothing that adds arguments reaches the program, whatever command it is for.
    stand_in(home.path(), &plan, r#"env | grep -q TF_CLI && exit 1; echo plan >"$out"; exit 2"#);
    let mut bent = tool_in(home.path(), &["drift"]);
    let ran = bent.env("TF_CLI_ARGS_plan", "-destroy").env("TF_CLI_ARGS_force-unlock", "-force").output().unwrap();
    let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert_eq!(ran.status.code(), Some(18), "{err}");
    assert!(out.starts_with("DRIFT in infra: 3 resources\n  - aws_route53_record.status (gone)\n"), "{out}");
    assert!(err.contains("3 resources changed outside Terraform"), "{err}");
    let json = tool_in(home.path(), &["drift", "--output", "json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), document["drift"].as_array().map(Vec::len)), (Some(18), Some(3)));
    let markdown = tool_in(home.path(), &["drift", "--output", "markdown"]).output().unwrap();
    assert!(markdown.stdout.starts_with(b"### DRIFT in infra: 3 resources"));
    let plans = home.path().join(".local/state/gospel-release/gospelib/plans");
    assert_eq!(std::fs::read_dir(plans).unwrap().count(), 0);
}

#[test]
fn a_plan_that_takes_too_long_is_interrupted_and_not_killed() {
    let home = tempfile::tempdir().unwrap();
    let plan = corpus().into_iter().next().unwrap();
    let slow = "trap 'echo released >released; exit 1' INT; while :; do sleep 0.1; done";
    stand_in(home.path(), &plan, slow);
    let ran = tool_in(home.path(), &["plan"]).output().unwrap();
    let err = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(12), "{err}");
    assert!(home.path().join("infra/released").is_file(), "it could not give its lock back");
}

#[test]
fn ctrl_c_is_passed_on_once_and_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let plan = corpus().into_iter().next().unwrap();
    let slow = "trap 'echo once >>released; sleep 0.5; exit 1' INT; touch begun; while :; do sleep 0.1; done";
    stand_in(home.path(), &plan, slow);
    let mut tool = tool_in(home.path(), &["plan", "--set", "provision.plan_within=1m"]);
    let child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = home.path().join("infra/begun");
    let begin = Instant::now();
    while !begun.exists() {
        assert!(begin.elapsed() < Duration::from_secs(30), "it never began");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = child.wait_with_output().unwrap();
    let err = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(130), "{err}");
    assert!(err.contains("nothing was changed"), "{err}");
    assert_eq!(std::fs::read_to_string(home.path().join("infra/released")).unwrap(), "once\n");
}
