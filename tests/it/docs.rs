//! The commands that a reader copies from the README are run, in its order.

use std::process::Command;

use crate::support::{BIN, Ran, Running, World};

const README: &str = include_str!("../../README.md");

/// The lines of README's `sh` blocks.
fn commands() -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in README.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside && !line.trim().is_empty() && !line.starts_with('#') {
            lines.push(line.split(" # ").next().unwrap_or(line).trim().to_owned());
        }
    }
    lines
}

/// A line's words, with double quotes taken as the shell takes them.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn the_readmes_commands_run() {
    let world = World::serve("clean", 3600);
    let mut ran = 0;
    for line in commands() {
        let words = words(&line);
        let args: Vec<&str> = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["cargo", "run", "--", rest @ ..] => rest.to_vec(),
            ["gospel-release", rest @ ..] => rest.to_vec(),
            _ => continue,
        };
        ran += 1;
        if args.starts_with(&["rehearse", "serve"]) {
            // Serves until it is ended: that it starts is enough.
            drop(World::serve(args.get(2).copied().unwrap_or("clean"), 3600));
            continue;
        }
        let rehearsed = args.iter().find_map(|arg| arg.strip_prefix("--rehearse"));
        let ended = match rehearsed {
            Some(scenario) => {
                let asked = args.contains(&"--interactive");
                let expected = if asked {
                    2
                } else if scenario == "=crash-loop" {
                    15
                } else {
                    0
                };
                (embedded(&args), expected)
            }
            // A reader types the version; here nobody can.
            None if args == ["promote"] => (world.tool(&["promote", "--yes"]), 0),
            None if args[0] == "rollback" && !args.contains(&"--dry-run") => {
                (world.tool(&[&args[..], &["--yes"]].concat()), 0)
            }
            None => (world.tool(&args), 0),
        };
        assert_eq!(ended.0.exit, ended.1, "{line}\n{}", ended.0);
    }
    assert!(ran >= 10, "the README has lost its commands");
}

fn embedded(args: &[&str]) -> Ran {
    let home = tempfile::TempDir::new().expect("a temporary directory");
    let mut tool = Command::new(BIN);
    tool.args(args)
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME")
        // What a person has set must not reach a rehearsal.
        .env("AWS_PROFILE", "someone-elses-production")
        .env("KUBECONFIG", "/nowhere/real")
        .env("GH_TOKEN", "a-real-one");
    Running::start(tool).end()
}

/// Every command that a runbook shows exists and parses, and its drill is a scenario.
#[test]
fn the_runbooks_commands_parse() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks");
    let mut pages = 0;
    for page in std::fs::read_dir(dir).expect("docs/runbooks") {
        let page = page.expect("a page").path();
        let text = std::fs::read_to_string(&page).expect("read it");
        let inline = text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("gospel-release "));
        let blocks = text.lines().filter(|line| line.starts_with("gospel-release "));
        let mut drills = 0;
        for line in inline.chain(blocks) {
            let words = words(line.trim());
            let parsed = gospel_release::cli::Cli::read(words.iter().map(std::ffi::OsString::from));
            assert!(parsed.is_ok(), "{}: {line}\n{}", page.display(), parsed.unwrap_err());
            if let [_, rehearse, serve, scenario] = words.as_slice()
                && rehearse == "rehearse"
                && serve == "serve"
            {
                assert!(crate::documented::FOR_ROLLBACK_AND_HOTFIX.contains(&scenario.as_str()), "{line}");
                drills += 1;
            }
        }
        assert!(drills > 0, "{} has no drill", page.display());
        pages += 1;
    }
    assert!(pages >= 3);
}

#[test]
fn the_two_commands_are_named() {
    let commands = commands();
    assert!(commands.contains(&"cargo run -- promote --rehearse".to_owned()));
    assert!(commands.contains(&"cargo nextest run".to_owned()));
}

/// No terminal colours where nobody asked for them, and all of them where somebody did.
#[test]
fn no_color_is_honoured() {
    let list = |name: &str, value: &str| {
        let mut tool = Command::new(BIN);
        tool.args(["doctor"]).env(name, value).env("HOME", "/nonexistent");
        let ran = Running::start(tool).end();
        ran.stdout + &ran.stderr
    };
    assert!(!list("NO_COLOR", "1").contains('\u{1b}'));
    assert!(list("CLICOLOR_FORCE", "1").contains('\u{1b}'));
}
