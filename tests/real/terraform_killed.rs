//! `provision apply` over Terraform itself, stopped and killed in the middle.

use std::fs;
use std::time::Duration;

use crate::harness::{Ran, Started, eventually, kill, need};
use crate::terraform_module::Module;

/// One that is whole at once, one that fails after its creation, one that takes its time, and one that needs it.
fn slow(seconds: u32) -> String {
    format!(
        r#"
resource "terraform_data" "quick" {{}}
resource "terraform_data" "slow" {{
  depends_on = [terraform_data.quick]
  provisioner "local-exec" {{ command = "touch started; sleep {seconds}; touch finished" }}
}}
resource "terraform_data" "later" {{ input = terraform_data.slow.id }}
"#
    )
}

/// An apply that is at its slow resource.
fn applying(seconds: u32) -> (Module, Started) {
    let module = Module::new(&slow(seconds));
    module.plan();
    let started = module.ours(&["provision", "apply", "--yes"]).start();
    module.wait_for("started");
    (module, started)
}

#[track_caller]
fn says(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{}{}", ran.out, ran.err);
    for word in words {
        assert!(ran.err.contains(word) || ran.out.contains(word), "{word}\n{}{}", ran.out, ran.err);
    }
}

/// Nothing stands in the way of the next plan and its apply.
#[track_caller]
fn can_go_on(module: &Module) {
    module.write("main.tf", &slow(0));
    module.plan();
    says(&module.tool(&["apply", "--yes"]), 0, &["the plan is applied"]);
}

#[test]
fn an_interrupt_lets_terraform_end_by_itself() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, started) = applying(30);
    started.signal("INT");
    let ran = started.end();
    says(
        &ran,
        130,
        &[
            "Terraform is asked to stop: it finishes or breaks off what it is at",
            "In flight: terraform_data.slow",
            "terraform stopped as asked: 1 of 3 changes were made",
            "1 tainted",
            "      terraform_data.slow (create",
            "1 not begun",
            "      terraform_data.later (create)",
        ],
    );
    assert!(!module.dir().join("finished").exists());
    assert!(module.runs()[0].contains("interrupted"), "{:?}", module.runs());
    can_go_on(&module);
}

#[test]
fn terraform_goes_on_when_we_are_killed_and_resume_looks_on() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, started) = applying(6);
    started.signal("KILL");
    assert_eq!(started.end().code, None);
    let run = module.run_dirs().pop().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    let process = format!("Terraform works (process {}): 1 of 3 changes are made", module.pid());
    let resume = format!("gospel-release resume {run}");
    says(&module.tool(&["apply", "--yes"]), 13, &["is unfinished", &process, "creating terraform_data.slow", &resume]);
    says(&module.ours(&["abort"]).run(), 13, &["cannot be closed", &process, "kill -INT"]);
    // There is no cluster to look at; what is known here is told all the same.
    let status = module.ours(&["status"]).run();
    assert!(status.out.contains(&process) && status.out.contains(&resume), "{}{}", status.out, status.err);
    let json = module.ours(&["status", "--output", "json"]).run();
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json["open"][0]["run"].as_str(), json["open"][0]["open"].as_bool()), (Some(run.as_str()), Some(true)));
    let resumed = module.ours(&["resume"]).run();
    says(&resumed, 0, &["resumed by dana@", "3/3 terraform_data.later", "the plan is applied: 3 created"]);
    assert!(module.dir().join("finished").exists());
    assert_eq!(module.holds().len(), 3);
    assert!(module.runs()[0].ends_with("applied"), "{:?}", module.runs());
    says(&module.tool(&["apply", "--yes"]), 10, &["was applied at"]);
}

#[test]
fn an_apply_that_ended_while_nobody_looked_is_closed_by_resume() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, started) = applying(1);
    started.signal("KILL");
    started.end();
    module.wait_for("finished");
    eventually("terraform ends", Duration::from_secs(20), || {
        let lock = module.dir().join(".terraform.tfstate.lock.info");
        (!lock.exists()).then_some(()).ok_or_else(|| "it holds the state".to_owned())
    });
    says(&module.tool(&["apply", "--yes"]), 13, &["is unfinished", "everything was applied"]);
    says(&module.ours(&["resume"]).run(), 0, &["the plan is applied: 3 created"]);
    can_go_on_without_changes(&module);
}

fn can_go_on_without_changes(module: &Module) {
    let plan = module.plan();
    assert_eq!(plan["plan"]["changes"], false, "{plan}");
}

#[test]
fn a_killed_terraform_is_explained_at_once() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, started) = applying(20);
    kill("KILL", module.pid());
    let ran = started.end();
    says(
        &ran,
        15,
        &[
            "terraform was killed in the middle of the apply (signal 9): 1 of 3 changes were made",
            "1 begun, and not in the state: look whether they are there",
            "      terraform_data.slow (create",
            "1 made",
            "      terraform_data.quick (create, id ",
            "1 not begun",
            "state: serial ",
            "the state's lock is free",
            "gospel-release provision plan",
        ],
    );
    assert!(module.runs()[0].contains("failed"), "{:?}", module.runs());
    can_go_on(&module);
}

#[test]
fn where_both_are_killed_the_next_look_explains_it() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, started) = applying(20);
    let pid = module.pid();
    started.signal("KILL");
    started.end();
    kill("KILL", pid);
    let words = ["is unfinished", "Terraform was killed: 1 of 3 changes were made", "gospel-release resume"];
    eventually("it is dead", Duration::from_secs(10), || {
        let ran = module.tool(&["apply", "--yes"]);
        (ran.code == Some(13) && words.iter().all(|word| ran.err.contains(word))).then_some(()).ok_or(ran.err)
    });
    let resumed = module.ours(&["resume"]).run();
    says(
        &resumed,
        15,
        &["terraform was killed in the middle of the apply: 1 of 3 changes were made", "1 not begun", "lock is free"],
    );
    says(&module.ours(&["resume", &run(&module)]).run(), 2, &["is over"]);
    can_go_on(&module);
}

fn run(module: &Module) -> String {
    module.run_dirs().pop().unwrap().file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_killed_apply_can_be_closed_as_it_stands() {
    if !need(&["terraform"]) {
        return;
    }
    let (module, started) = applying(20);
    let pid = module.pid();
    started.signal("KILL");
    started.end();
    kill("KILL", pid);
    eventually("it is dead", Duration::from_secs(10), || {
        let ran = module.ours(&["abort", "--reason", "seen to by hand"]).run();
        (ran.code == Some(0) && ran.out.contains("is aborted")).then_some(()).ok_or(ran.err)
    });
    assert!(module.runs()[0].contains("seen to by hand"), "{:?}", module.runs());
    can_go_on(&module);
}

#[test]
fn a_terminal_that_goes_away_does_not_stop_it() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new(&slow(3));
    module.plan();
    // Its output is read by somebody who leaves at once.
    let ours = env!("CARGO_BIN_EXE_gospel-release");
    let script = format!("sh -c 'echo $$; exec {ours} provision apply --yes' 2>&1 | head -n 1 > pid");
    let shell = module.client("sh", module.home.path()).args(["-c", script.as_str()]).start();
    module.wait_for("started");
    let pid = fs::read_to_string(module.home.path().join("pid")).unwrap().trim().parse().unwrap();
    kill("HUP", pid);
    shell.end();
    assert!(module.dir().join("finished").exists(), "it was stopped");
    assert_eq!(module.holds().len(), 3);
    assert!(module.runs()[0].ends_with("applied"), "{:?}", module.runs());
    can_go_on_without_changes(&module);
}

#[test]
fn a_second_interrupt_leaves_terraform_to_itself() {
    if !need(&["terraform"]) {
        return;
    }
    // A Terraform that takes its time to stop: it is not told of the interrupt at all.
    let module = Module::new(&slow(5));
    let program = module.home.path().join("terraform");
    fs::write(&program, "#!/bin/sh\ntrap '' INT\nexec setsid --wait terraform \"$@\"\n").unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = format!("provision.program={}", program.display());
    module.tool(&["plan", "--set", &program]).ok();
    let started = module.ours(&["provision", "apply", "--yes", "--set", &program]).start();
    module.wait_for("started");
    started.signal("INT");
    std::thread::sleep(Duration::from_millis(500));
    started.signal("INT");
    let ran = started.end();
    says(&ran, 130, &["is asked to stop", "Terraform goes on without us", "gospel-release resume"]);
    assert!(!module.dir().join("finished").exists(), "it was waited for");
    let resumed = module.ours(&["resume", "--set", &program]).run();
    says(&resumed, 0, &["the plan is applied: 3 created"]);
}

#[test]
fn a_state_that_somebody_holds_is_not_applied_to() {
    if !need(&["terraform"]) {
        return;
    }
    let module = Module::new("resource \"terraform_data\" \"a\" { input = 1 }\n");
    module.apply();
    module.write("main.tf", "resource \"terraform_data\" \"a\" { input = 2 }\n");
    module.plan();
    // It asks whether to go on, and holds the lock meanwhile.
    let holder = module.client("sh", &module.dir()).args(["-c", "sleep 5 | terraform apply"]).start();
    module.wait_for(".terraform.tfstate.lock.info");
    let ran = module.tool(&["apply", "--yes", "--set", "provision.lock_timeout=0s"]);
    says(
        &ran,
        13,
        &[
            "somebody else holds the state's lock: nothing was applied",
            "the state's lock is held by ",
            "for OperationTypeApply, lock ",
            "it ends with the process that holds it, on ",
            "1 not begun",
        ],
    );
    holder.end();
    says(&module.tool(&["apply", "--yes"]), 10, &["A plan is applied once, however it ended."]);
    module.plan();
    module.tool(&["apply", "--yes"]).ok();
}

#[test]
fn a_death_at_any_record_applies_once() {
    if !need(&["terraform"]) {
        return;
    }
    for (cell, next) in [
        ("confirmed=after", "provision apply --yes"),
        ("step-intent:terraform=before", "provision apply --yes"),
        ("step-intent:terraform=after", "resume"),
        ("step-done:terraform=before", "resume"),
        ("step-done:terraform=after", "resume"),
        ("step-intent:second-plan=after", "resume"),
        ("step-done:second-plan=before", "resume"),
        ("run-ended=before", "resume"),
    ] {
        let module = Module::new(
            "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"echo made >> log\" }\n}\n",
        );
        module.plan();
        let died = module.ours(&["provision", "apply", "--yes"]).env("GOSPEL_RELEASE_FAILPOINT", cell).run();
        assert_eq!(died.code, None, "{cell}: {}", died.err);
        // Terraform may still be at it.
        let words: Vec<&str> = next.split(' ').collect();
        let ran = module.ours(&words).run();
        assert_eq!(ran.code, Some(0), "{cell}: {}", ran.err);
        assert!(ran.out.contains("the plan is applied: 1 created"), "{cell}: {}", ran.out);
        assert_eq!(fs::read_to_string(module.dir().join("log")).unwrap(), "made\n", "{cell}");
        let again = module.ours(&["provision", "apply", "--yes"]).run();
        assert_eq!(again.code, Some(10), "{cell}: {}", again.err);
    }
}
