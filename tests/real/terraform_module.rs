//! A root module with a state directory for the tool, for tests over Terraform itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Client, Ran, eventually};

/// A root module, and a state directory for the tool.
pub struct Module {
    pub home: TempDir,
}

impl Module {
    pub fn new(main: &str) -> Self {
        let module = Self { home: tempfile::tempdir().unwrap() };
        fs::create_dir(module.dir()).unwrap();
        fs::write(module.home.path().join("gospel-release.yaml"), "provision: {directory: infra}\n").unwrap();
        module.write("main.tf", main);
        module
    }

    pub fn dir(&self) -> PathBuf {
        self.home.path().join("infra")
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn client(&self, program: &str, dir: &Path) -> Client {
        let home = self.home.path();
        let client = Client::new(program).dir(dir).env("HOME", home).env("XDG_STATE_HOME", home.join("state"));
        let client = client.env("USER", "dana");
        ["TF_CLI_CONFIG_FILE", "TF_WORKSPACE", "TF_DATA_DIR"].iter().fold(client, |client, name| client.without(name))
    }

    /// `provision …`, as a person types it.
    pub fn tool(&self, args: &[&str]) -> Ran {
        self.tool_with(args, &[])
    }

    pub fn tool_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let client = self.ours(&[&["provision"], args].concat());
        env.iter().fold(client, |client, (name, value)| client.env(name, *value)).run()
    }

    /// The tool, any verb of it.
    pub fn ours(&self, args: &[&str]) -> Client {
        let client = self.client(env!("CARGO_BIN_EXE_gospel-release"), self.home.path());
        args.iter().fold(client, |client, arg| client.arg(*arg))
    }

    /// Terraform, as a person without the tool calls it.
    pub fn terraform(&self, args: &[&str]) -> Ran {
        let client = self.client("terraform", &self.dir());
        args.iter().fold(client, |client, arg| client.arg(*arg)).run()
    }

    /// The addresses in the state.
    pub fn holds(&self) -> Vec<String> {
        self.terraform(&["state", "list"]).ok().lines().map(str::to_owned).collect()
    }

    /// Runs of the tool: the words of `runs list`.
    pub fn runs(&self) -> Vec<String> {
        self.ours(&["runs", "list"]).run().ok().lines().map(str::to_owned).collect()
    }

    /// The directories of runs, oldest first.
    pub fn run_dirs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home.path().join("state/gospel-release/gospelib")).into_iter().flatten();
        let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        dirs.retain(|dir| dir.join("journal.jsonl").is_file());
        // Two of the same second are told apart by what is written once.
        dirs.sort_by_key(|dir| dir.join("changes.json").metadata().and_then(|meta| meta.modified()).ok());
        dirs
    }

    /// Terraform's process in the last run.
    pub fn pid(&self) -> u32 {
        let dir = self.run_dirs().pop().unwrap();
        let noted: Value = serde_json::from_slice(&fs::read(dir.join("terraform.pid.json")).unwrap()).unwrap();
        noted["pid"].as_u64().unwrap().try_into().unwrap()
    }

    /// Waits until a provisioner has made this file in the module.
    pub fn wait_for(&self, name: &str) {
        let file = self.dir().join(name);
        eventually(name, Duration::from_secs(30), || file.exists().then_some(()).ok_or_else(|| "not yet".to_owned()));
    }

    /// The plan's document.
    pub fn plan(&self) -> Value {
        self.tool(&["plan", "--output", "json"]).json()
    }

    /// What a person without the tool would do.
    pub fn apply(&self) {
        self.terraform(&["init", "-input=false"]).ok();
        self.terraform(&["apply", "-input=false", "-auto-approve"]).ok();
    }

    /// The directories of kept plans, oldest first.
    pub fn kept(&self) -> Vec<PathBuf> {
        let plans = self.home.path().join("state/gospel-release/gospelib/plans");
        let mut kept: Vec<PathBuf> =
            fs::read_dir(plans).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        kept.retain(|dir| dir.join("record.json").is_file());
        // By time: the ids of one second have no order.
        let made = |dir: &PathBuf| {
            let record = fs::read(dir.join("record.json")).unwrap();
            serde_json::from_slice::<Value>(&record).unwrap()["made"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
        };
        kept.sort_by_key(made);
        kept
    }

    /// The one plan that keeps its files.
    pub fn newest(&self) -> PathBuf {
        self.kept().into_iter().find(|dir| dir.join("plan.tfplan").is_file()).unwrap()
    }
}
