//! docker, buildah or podman: builds an image and pushes it. The token comes on standard input, never in an argument.

use std::path::Path;
use std::time::Duration;

use crate::adapters::aws::RegistryToken;
use crate::clock::Stopwatch;
use crate::config::model::BuilderName;
use crate::domain::Digest;
use crate::error::{Class, Error, Result};
use crate::process::{Finished, Program};

/// An engine that does not answer its client by then is not there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// How many of a failed build's last lines are shown.
const LAST_LINES: usize = 15;
/// A person cannot read faster.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

/// A program that builds images, seen to work.
#[derive(Debug, Clone, Copy)]
pub struct Builder {
    pub name: BuilderName,
    /// Longest time of one build or push (wall time).
    pub within: Duration,
}

/// What is built.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// Registry, repository and tag.
    pub reference: &'a str,
    pub dockerfile: &'a Path,
    pub context: &'a Path,
    pub labels: &'a [(&'static str, String)],
    /// Further arguments, as they are.
    pub args: &'a [String],
}

/// Whose login a push goes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Ours, to be taken back.
    Ours,
    /// The person was logged in before, and stays so.
    Theirs,
    /// docker's credential helper keeps none, and has its own: what it said.
    Helper(String),
}

/// Who hears what a program prints.
pub type Hear<'a> = &'a mut (dyn FnMut(&str) + Send);

impl Builder {
    /// The one asked for, or the first that works here.
    ///
    /// # Errors
    /// Names each that was tried, and why it does not work.
    pub async fn choose(asked: Option<BuilderName>, within: Duration) -> Result<Self> {
        let tried = asked.map_or(BuilderName::ALL.to_vec(), |asked| vec![asked]);
        let mut failures = Vec::new();
        for name in tried {
            match works(name).await {
                Ok(()) => return Ok(Self { name, within }),
                Err(why) => failures.push(format!("{}: {why}", name.program())),
            }
        }
        let error = Error::outside("no image can be built on this machine");
        let error = failures.into_iter().fold(error, Error::seen);
        Err(error
            .hint("start the engine (docker), or install buildah or podman; then the same command")
            .hint("or ship from a machine that has a builder: push the branch, check it out there, and ship"))
    }

    fn program(self) -> Program {
        Program::new(self.name.program()).timeout(self.within)
    }

    /// Builds; the image's id. `hear` gets what it prints, a line a second at most.
    pub async fn build(self, recipe: &Recipe<'_>, scratch: &Path, hear: Hear<'_>) -> Result<String> {
        let id = scratch.join("image-id");
        let mut program = self.program().arg("build").arg("--file").arg(recipe.dockerfile);
        program = program.args(["--tag", recipe.reference]).arg("--iidfile").arg(&id);
        for (key, value) in recipe.labels {
            program = program.args(["--label", &format!("{key}={value}")]);
        }
        let finished = program.args(recipe.args).arg(recipe.context).streamed(seldom(hear)).await?;
        if !finished.success() {
            return Err(self.failed("build", recipe.reference, &finished));
        }
        let id = std::fs::read_to_string(&id).unwrap_or_default();
        Ok(id.trim().to_owned())
    }

    /// Logs in to a registry: buildah and podman with a file that goes away, docker with its own (its engine, its contexts and
    /// its credential helpers are found through the same directory, `docker`).
    pub async fn log_in(
        self,
        registry: &str,
        token: &RegistryToken,
        scratch: &Path,
        docker: Option<&Path>,
    ) -> Result<Login> {
        let theirs = self.name == BuilderName::Docker && docker.is_some_and(|dir| knows(dir, registry));
        let program = self.program().timeout(ANSWERS_WITHIN * 3).arg("login");
        let program = program.args(["--username", &token.user, "--password-stdin"]);
        let finished = self.auth(program, scratch).arg(registry).stdin(token.bytes()).output().await?;
        match finished.error_text() {
            _ if finished.success() => Ok(if theirs { Login::Theirs } else { Login::Ours }),
            said if self.name == BuilderName::Docker && keeps_none(&said) => Ok(Login::Helper(said.trim().to_owned())),
            _ => Err(self.failed("login", registry, &finished)),
        }
    }

    /// Takes a login of ours back; that of buildah and podman is in a file that goes away.
    pub async fn log_out(self, registry: &str) -> Result<()> {
        if self.name != BuilderName::Docker {
            return Ok(());
        }
        let finished = self.program().timeout(ANSWERS_WITHIN).args(["logout", registry]).output().await?;
        if finished.success() { Ok(()) } else { Err(self.failed("logout", registry, &finished)) }
    }

    fn auth(self, program: Program, scratch: &Path) -> Program {
        match self.name {
            BuilderName::Docker => program,
            BuilderName::Buildah | BuilderName::Podman => program.arg("--authfile").arg(scratch.join("auth.json")),
        }
    }

    /// Pushes; the digest under which the registry took it, where the program tells.
    ///
    /// # Errors
    /// A conflict where the tag is immutable and names other bytes; denied where we may not push.
    pub async fn push(self, reference: &str, scratch: &Path, hear: Hear<'_>) -> Result<Option<Digest>> {
        let file = scratch.join("digest");
        let program = match self.name {
            BuilderName::Docker => self.program().args(["push", reference]),
            BuilderName::Buildah | BuilderName::Podman => {
                let program = self.auth(self.program().arg("push"), scratch).arg("--digestfile").arg(&file);
                program.args([reference, &format!("docker://{reference}")])
            }
        };
        let finished = program.streamed(seldom(hear)).await?;
        if !finished.success() {
            return Err(self.failed("push", reference, &finished));
        }
        let told = match self.name {
            BuilderName::Docker => pushed_digest(&finished.text()),
            BuilderName::Buildah | BuilderName::Podman => std::fs::read_to_string(&file).ok(),
        };
        Ok(told.and_then(|digest| digest.trim().parse().ok()))
    }

    fn failed(self, verb: &str, what: &str, finished: &Finished) -> Error {
        let ended = finished.code.map_or("was ended by a signal".to_owned(), |code| format!("ended with {code}"));
        let error = Error::outside(format!("{} {verb} {what} {ended}", self.name.program()));
        let error = error.class(classify(&finished.error_text()));
        let lines = finished.last_errors(LAST_LINES);
        lines.into_iter().fold(error, Error::seen)
    }
}

/// Whether a builder answers, or why not. `docker` without an engine is there and cannot build.
async fn works(name: BuilderName) -> Result<(), String> {
    let ask: &[&str] = match name {
        BuilderName::Docker => &["version", "--format", "{{.Server.Version}}"],
        BuilderName::Buildah | BuilderName::Podman => &["info"],
    };
    match Program::new(name.program()).args(ask).timeout(ANSWERS_WITHIN).output().await {
        Ok(finished) if finished.success() => Ok(()),
        Ok(finished) => {
            Err(finished.last_errors(1).pop().unwrap_or_else(|| format!("{} {} failed", name.program(), ask[0])))
        }
        Err(error) if error.is_not_found() => Err("not on PATH".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether docker has a login for a registry, by its configuration: the secret may be elsewhere.
fn knows(docker: &Path, registry: &str) -> bool {
    let text = std::fs::read_to_string(docker.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let https = format!("https://{registry}");
    ["auths", "credHelpers"].iter().any(|key| [registry, &https].iter().any(|name| config[key].get(*name).is_some()))
}

/// Amazon's credential helper logs in by itself, and refuses to store what `docker login` was given
/// (awslabs/amazon-ecr-credential-helper#102).
fn keeps_none(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("error storing credentials") && said.contains("not implemented")
}

/// `hotfix-a1b2: digest: sha256:… size: 1234`, the last line of `docker push`.
fn pushed_digest(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| line.contains(" digest: sha256:"))?;
    line.split_whitespace().find(|word| word.starts_with("sha256:")).map(str::to_owned)
}

/// The registry's error codes (OCI distribution specification; ECR's messages) as the programs print them.
fn classify(said: &str) -> Class {
    let said = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["is immutable", "cannot be overwritten"]) {
        Class::Conflict
    } else if has(&[
        "denied",
        "not authorized",
        "unauthorized",
        "no basic auth",
        "authentication required",
        "403 forbidden",
    ]) {
        Class::Denied
    } else {
        Class::Terminal
    }
}

/// Lets one line a second through.
fn seldom(hear: Hear<'_>) -> impl FnMut(&str) + Send {
    let mut last: Option<Stopwatch> = None;
    move |line: &str| {
        let due = last.as_ref().is_none_or(|last| last.elapsed() >= SHOWN_EVERY);
        if due && !line.trim().is_empty() {
            last = Some(Stopwatch::start());
            hear(line.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_say_is_understood() {
        let taken = "tag invalid: The image tag 'hotfix-1' already exists in the 'g' repository and cannot be overwritten \
                     because the repository is immutable.";
        assert_eq!(classify(taken), Class::Conflict);
        assert_eq!(
            classify("denied: User: arn:… is not authorized to perform: ecr:InitiateLayerUpload"),
            Class::Denied
        );
        assert!(keeps_none(
            "Error saving credentials: error storing credentials - err: exit status 1, out: `not implemented`"
        ));
        assert!(!keeps_none("error storing credentials - err: exit status 1, out: `the keychain is locked`"));
        assert_eq!(classify("./main.go:17:3: undefined: retryAfter"), Class::Terminal);
        let digest = format!("sha256:{}", "ab".repeat(32));
        let text = format!("The push refers to repository [x]\nhotfix-1: digest: {digest} size: 1234\n");
        assert_eq!(pushed_digest(&text), Some(digest));
        assert_eq!(pushed_digest("Pushed"), None);
    }
}
