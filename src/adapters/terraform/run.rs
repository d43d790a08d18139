//! Its commands: `init`, `workspace`, `plan`, `show`, `state pull`.

use std::fs::File;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::{Diagnostic, LockHolder, Message, Severity, Terraform};
use crate::error::{Error, Kind, Result};
use crate::process::{Finished, Heard};

/// What is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What the configuration wants.
    Normal,
    /// Only what changed outside Terraform (`-refresh-only`).
    RefreshOnly,
}

/// A plan that was made.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// Whether there is anything to apply (exit code 2 of `-detailed-exitcode`).
    pub changes: bool,
    pub warnings: Vec<Diagnostic>,
}

impl Terraform {
    /// `init -input=false`: modules, providers and the backend. An existing lock file is kept as it is; whether one was written that
    /// was not there.
    ///
    /// # Errors
    /// What `init` says; a lock file that does not name what the configuration needs.
    pub async fn init(&self, cancel: &CancellationToken, mut hear: impl FnMut(&str)) -> Result<bool> {
        let locked = self.lock_file().exists();
        let readonly: &[&str] = if locked { &["-lockfile=readonly"] } else { &[] };
        let command = self.command(&[&["init", "-input=false", "-no-color"], readonly].concat());
        let backend = self.backend_config.iter().map(|setting| format!("-backend-config={setting}"));
        let command = command.args(backend);
        // With TF_WORKSPACE set, init makes a workspace that is not there; a misspelt one must not appear.
        let command = command.env_remove("TF_WORKSPACE");
        let mut said = Vec::new();
        let finished = command
            .follow(cancel, |heard| match heard {
                Heard::Line(line) => {
                    let line = line.trim();
                    if !line.is_empty() {
                        said.push(line.to_owned());
                        hear(line);
                    }
                }
                Heard::Second => hear(""),
            })
            .await?;
        stopped(cancel)?;
        if finished.success() {
            return Ok(!locked && self.lock_file().exists());
        }
        // Both streams: where a message goes is a matter of the version.
        let text = finished.error_text();
        let lines = text.lines().map(unframed).filter(|line| !line.is_empty()).map(str::to_owned);
        let lines: Vec<String> = lines.collect();
        let lines = if lines.is_empty() { said } else { lines };
        let error = Error::outside(format!("{} init {}", self.name(), ended(&finished)));
        let error = lines.iter().take(12).fold(error, Error::seen);
        Err(if locked && text.contains("lock file") {
            error.hint("update the lock file on purpose, review it and commit it: terraform init -upgrade")
        } else {
            error.hint(format!("to see it by hand: cd {} && {} init", self.dir().display(), self.name()))
        })
    }

    /// The selected workspace; the configured one must exist.
    pub async fn workspace(&self) -> Result<String> {
        let Some(wanted) = &self.workspace else {
            let said = self.command(&["workspace", "show"]).succeed().await?.text();
            return Ok(said.trim().to_owned());
        };
        // With TF_WORKSPACE set, a missing workspace would be planned as an empty one: everything would be created again.
        let list = self.command(&["workspace", "list", "-no-color"]).env_remove("TF_WORKSPACE").succeed().await?.text();
        let names = list.lines().map(|line| line.trim().trim_start_matches('*').trim());
        let known: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        if known.contains(&wanted.as_str()) {
            return Ok(wanted.clone());
        }
        Err(Error::new(Kind::WrongWorld, format!("there is no workspace {wanted}; there is {}", known.join(", ")))
            .hint(format!("if it is to be made: cd {} && {} workspace new {wanted}", self.dir().display(), self.name()))
            .hint("or correct provision.workspace"))
    }

    /// Makes a plan and writes it to `out`.
    ///
    /// # Errors
    /// [`Kind::Locked`] when somebody else holds the state's lock; otherwise what the plan says.
    pub async fn plan(
        &self,
        mode: Mode,
        var_files: &[String],
        out: &Path,
        cancel: &CancellationToken,
        mut hear: impl FnMut(Option<&Message>),
    ) -> Result<Planned> {
        let timeout = format!("-lock-timeout={}s", self.lock_timeout.as_secs());
        let mut command = self.command(&["plan", "-input=false", "-json", "-detailed-exitcode", &timeout]);
        if mode == Mode::RefreshOnly {
            command = command.arg("-refresh-only");
        }
        for file in var_files {
            command = command.arg(format!("-var-file={file}"));
        }
        let command = command.arg(format!("-out={}", out.display()));
        let mut diagnostics = Vec::new();
        let finished = command
            .follow(cancel, |heard| match heard {
                Heard::Line(line) => {
                    let Some(message) = Message::read(line) else { return };
                    diagnostics.extend(message.diagnostic.clone());
                    hear(Some(&message));
                }
                Heard::Second => hear(None),
            })
            .await?;
        stopped(cancel)?;
        if matches!(finished.code, Some(0 | 2)) {
            let warnings = diagnostics.into_iter().filter(|one| one.severity == Severity::Warning).collect();
            return Ok(Planned { changes: finished.code == Some(2), warnings });
        }
        Err(self.refused("plan", &finished, &diagnostics))
    }

    /// Writes the plan at `plan` to the file `to`, as JSON.
    pub async fn show(&self, plan: &Path, to: File) -> Result<()> {
        let command = self.command(&["show", "-json", "-no-color"]).arg(plan);
        let finished = command.output_to(to).await?;
        if finished.success() { Ok(()) } else { Err(self.refused("show", &finished, &[])) }
    }

    /// A command that failed: its diagnostics, or what it wrote to standard error.
    pub(super) fn refused(&self, verb: &str, finished: &Finished, diagnostics: &[Diagnostic]) -> Error {
        let said = finished.error_text();
        let lines: Vec<String> = if diagnostics.is_empty() {
            said.lines().map(unframed).filter(|line| !line.is_empty()).take(12).map(str::to_owned).collect()
        } else {
            let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error);
            errors.take(12).map(Diagnostic::line).collect()
        };
        // A backend that could not even ask (S3 answers 403) speaks of the lock too, and names no holder.
        let holder = if lines.iter().any(|line| line.contains("acquiring the state lock")) {
            let details = diagnostics.iter().map(|one| one.detail.as_str());
            details.chain([said.as_str()]).find_map(LockHolder::read)
        } else {
            None
        };
        let Some(holder) = holder else {
            let error = Error::outside(format!("{} {verb} {}", self.name(), ended(finished)));
            return lines.into_iter().fold(error, Error::seen);
        };
        let error = Error::new(Kind::Locked, format!("{} {verb}: somebody else holds the state's lock", self.name()));
        self.held(error, &holder)
    }

    /// Says who holds the lock, and the command that takes it away.
    #[must_use]
    pub fn held(&self, error: Error, holder: &LockHolder) -> Error {
        let (dir, name) = (self.dir().display(), self.name());
        let error = holder.said().into_iter().fold(error, Error::seen).hint(WAIT);
        if holder.is_local(self.dir()) {
            return error.hint(format!("it ends with the process that holds it, on {}: pgrep -a {name}", holder.who));
        }
        error.hint(format!("only if its holder is known to be dead: cd {dir} && {name} force-unlock {}", holder.id))
    }
}

/// What most locks ask for.
const WAIT: &str = "wait until it is done, and try again";

fn ended(finished: &Finished) -> String {
    finished.code.map_or("was ended by a signal".to_owned(), |code| format!("ended with {code}"))
}

/// A line of a message without the box that is drawn around it.
pub(super) fn unframed(line: &str) -> &str {
    line.trim().trim_start_matches(['│', '╷', '╵']).trim()
}

fn stopped(cancel: &CancellationToken) -> Result<()> {
    if cancel.is_cancelled() {
        return Err(Error::new(Kind::Interrupted, "stopped as asked; nothing was changed"));
    }
    Ok(())
}
