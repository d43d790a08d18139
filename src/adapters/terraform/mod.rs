//! Terraform, or OpenTofu: the program, never its libraries. It is given no terminal and asks nothing.
//!
//! <https://developer.hashicorp.com/terraform/cli/commands>; OpenTofu takes the same arguments.

mod apply;
mod event;
mod output;
mod required;
mod run;
mod state;

use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::Version;
use serde::Deserialize;

use crate::config::model;
use crate::error::{Class, Error, Kind, Result};
use crate::process::{self, Program};

pub use apply::{Applied, Standing, Told, Trace};
pub use event::{Diagnostic, Hook, Message, Severity};
pub use output::Output;
pub use run::{Mode, Planned};
pub use state::{Held, LockHolder, State};

/// Tried in this order where none is configured.
const PROGRAMS: [&str; 2] = ["terraform", "tofu"];
/// Variables that would choose another workspace, or write beside the answer, behind our back.
const FOREIGN: [&str; 2] = ["TF_WORKSPACE", "TF_LOG"];
/// Variables that add arguments: to every command, or to the one that is named behind it.
const ARGUMENTS: &str = "TF_CLI_ARGS";

/// The program in one root module.
#[derive(Debug, Clone)]
pub struct Terraform {
    program: String,
    version: Version,
    dir: PathBuf,
    workspace: Option<String>,
    profile: Option<String>,
    backend_config: Vec<String>,
    lock_timeout: Duration,
    limit: Duration,
}

#[derive(Deserialize)]
struct VersionAnswer {
    terraform_version: String,
}

impl Terraform {
    /// Finds the program for the root module `dir`, asks its version, and compares that with the module's `required_version`.
    ///
    /// # Errors
    /// No such program, a directory without a configuration, a version that the module does not allow.
    pub async fn find(settings: &model::Provision, dir: &Path, profile: Option<&str>) -> Result<Self> {
        let required = required::required(dir)?;
        let program = match &settings.program {
            Some(program) => program.clone(),
            None => first_on_path()?,
        };
        let asked = unbent(Program::new(&program).args(["version", "-json"]).cwd(dir));
        let said = asked.succeed().await?.text();
        let answer: VersionAnswer = serde_json::from_str(&said)
            .map_err(|error| Error::outside(format!("{program} version -json answers no version")).because(error))?;
        let version = Version::parse(&answer.terraform_version).map_err(|error| {
            Error::outside(format!("{program} calls its version {:?}", answer.terraform_version)).because(error)
        })?;
        if let Some(wrong) = required.iter().find(|required| !required.constraint.allows(&version)) {
            let constraint = &wrong.constraint;
            return Err(Error::outside(format!("{program} is {version}, and {} requires {constraint}", wrong.place))
                .class(Class::Terminal)
                .hint(format!("install a version that is {constraint}, or name another program: provision.program")));
        }
        Ok(Self {
            program,
            version,
            dir: dir.to_owned(),
            workspace: settings.workspace.clone(),
            profile: profile.map(str::to_owned),
            backend_config: settings.backend_config.clone(),
            lock_timeout: settings.lock_timeout,
            limit: settings.plan_within,
        })
    }

    /// What was found, or configured.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The root module.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The dependency lock file's path; it is there only where a provider needs one.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.dir.join(".terraform.lock.hcl")
    }

    /// A command in the module: no questions, no colours, no arguments from the environment.
    pub(super) fn command(&self, words: &[&str]) -> Program {
        let program = Program::new(&self.program).args(words).cwd(&self.dir).timeout(self.limit);
        let program = unbent(program).env("TF_IN_AUTOMATION", "1").env("TF_INPUT", "0");
        let program = match &self.workspace {
            Some(workspace) => program.env("TF_WORKSPACE", workspace),
            None => program,
        };
        match &self.profile {
            Some(profile) => program.env("AWS_PROFILE", profile),
            None => program,
        }
    }

    /// What it is called in messages: `terraform`.
    #[must_use]
    pub fn name(&self) -> String {
        let name = Path::new(&self.program).file_name();
        name.map_or_else(|| self.program.clone(), |name| name.to_string_lossy().into_owned())
    }
}

/// Without what the environment would add.
fn unbent(program: Program) -> Program {
    FOREIGN.into_iter().fold(program.env_remove_all(ARGUMENTS), Program::env_remove)
}

fn first_on_path() -> Result<String> {
    PROGRAMS.into_iter().find(|name| process::find(name).is_some()).map(str::to_owned).ok_or_else(|| {
        Error::new(Kind::Outside, "neither terraform nor tofu is on PATH")
            .class(Class::NotFound)
            .hint("install Terraform (https://developer.hashicorp.com/terraform/install) or OpenTofu")
            .hint("or name the program: provision.program")
    })
}
