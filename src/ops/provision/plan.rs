//! `provision plan`: init, plan, show; judged, recorded and shown.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::adapters::aws::Aws;
use crate::adapters::git::Git;
use crate::adapters::terraform::{Diagnostic, Message, Mode, Terraform};
use crate::cli::args::Output;
use crate::domain::provision::{Judgement, PlanRecord};
use crate::domain::{CommitSha, Evidence, WorldKind, count};
use crate::engine::{Event, Listener, Record, SeenEvent};
use crate::error::{Attempting, Error, Kind, Result};
use crate::ops::Invocation;
use crate::process;
use crate::ui::out::Out;

use super::measure::{denied, judged, measure};
use super::sheet::{Sheet, counts};
use super::store::{Kept, Plans, sha256};

/// A plan that was made and judged, and the directory that keeps it.
pub(super) struct Made {
    pub kept: Kept,
    pub record: PlanRecord,
    pub judgement: Judgement,
    pub warnings: Vec<Diagnostic>,
    /// Things about the plan that a person should know, beside what it does.
    pub notes: Vec<String>,
}

/// Makes a plan and shows what it means. Nothing outside this machine is changed. Ends 10 where a rule refuses the plan.
pub async fn plan(invocation: &mut Invocation, out: &mut Out, output: Output) -> Result<u8> {
    let measure = measure(invocation)?;
    let mut made = make(invocation, Mode::Normal).await?;
    if invocation.dry_run {
        made.kept.remove();
        made.notes.push("this was a dry run: the plan is not kept".to_owned());
    } else {
        plans(invocation)?.retire_but(&made.kept, 2 * invocation.config.provision.plan_within);
    }
    let document = json!({
        "plan": made.record, "judgement": made.judgement, "warnings": made.warnings, "notes": made.notes,
    });
    let sheet = Sheet {
        judgement: &made.judgement,
        record: Some(&made.record),
        warnings: &made.warnings,
        notes: &made.notes,
        settings: &invocation.config.provision,
        prices: &measure.prices,
        region: invocation.config.production.aws.region.as_deref(),
    };
    let exit = show(&sheet, document, out, output)?;
    if exit == 0 && made.record.changes && !invocation.dry_run {
        out.flush()?;
        invocation.note(format!("to apply it: gospel-release provision apply {}", made.record.short()));
    }
    Ok(exit)
}

/// Makes a plan and keeps it, without a word of it.
pub(super) async fn keep(invocation: &mut Invocation) -> Result<crate::domain::RunId> {
    let made = make(invocation, Mode::Normal).await?;
    plans(invocation)?.retire_but(&made.kept, 2 * invocation.config.provision.plan_within);
    Ok(made.record.id)
}

/// The sheet, or the document, and the exit code.
pub(super) fn show(sheet: &Sheet<'_>, mut document: serde_json::Value, out: &mut Out, output: Output) -> Result<u8> {
    let denied = denied(sheet.judgement);
    let exit = if denied.is_empty() { 0 } else { Kind::GateBlocked.exit_code() };
    match output {
        Output::Json => {
            document["exit"] = exit.into();
            out.json(&document)?;
            return Ok(exit);
        }
        Output::Text => out.bytes(sheet.text(out.style()).as_bytes())?,
        Output::Markdown => out.bytes(sheet.markdown().as_bytes())?,
    }
    if denied.is_empty() {
        return Ok(0);
    }
    out.flush()?;
    let error = Error::new(Kind::GateBlocked, format!("the plan is refused for {}", count(denied.len(), "reason")));
    let error = denied.into_iter().take(20).fold(error, Error::seen);
    Err(error.hint("correct the configuration, or decide otherwise in provision.policy and provision.budget"))
}

/// The plans that this project keeps on this machine.
pub(super) fn plans(invocation: &Invocation) -> Result<Plans> {
    Ok(Plans::of(invocation.state_dir()?.path()))
}

/// Finds the program, initialises, plans, judges, and writes the record. What fails leaves no plan behind.
pub(super) async fn make(invocation: &mut Invocation, mode: Mode) -> Result<Made> {
    let place = Place::find(invocation)?;
    let account = account(invocation).await?;
    let profile = invocation.config.production.aws.profile.clone();
    let terraform = Terraform::find(&invocation.config.provision, &place.dir, profile.as_deref()).await?;
    let id = invocation.new_run_id()?;
    let kept = plans(invocation)?.make(&id)?;
    let made = Making { terraform, place, account, mode, kept: kept.clone() }.run(invocation, id).await;
    if made.is_err() {
        kept.remove();
    }
    made
}

/// The root module's directory.
pub(super) fn root_module(invocation: &Invocation) -> Result<PathBuf> {
    Place::find(invocation).map(|place| place.dir)
}

/// Where the root module is, and what Git says about it.
#[derive(Debug)]
pub(super) struct Place {
    pub dir: PathBuf,
    git: Option<Git>,
}

impl Place {
    pub fn find(invocation: &Invocation) -> Result<Self> {
        let config = &invocation.config;
        let git = match Git::open(&config.repository, &invocation.base) {
            Ok(git) => Some(git),
            // Infrastructure may be planned before there is a repository; the record then names no commit.
            Err(_) if !invocation.base.join(&config.repository.checkout).join(".git").exists() => None,
            Err(error) => return Err(error),
        };
        let dir = invocation.base.join(&config.repository.checkout).join(&config.provision.directory);
        let dir = dir.canonicalize().unwrap_or(dir);
        Ok(Self { dir, git })
    }

    /// The checkout's commit.
    pub fn commit(&self) -> Result<Option<CommitSha>> {
        Ok(self.git.as_ref().map(Git::state).transpose()?.and_then(|state| state.head))
    }

    /// Whether files below the module's directory have changes that no commit has.
    pub async fn uncommitted(&self) -> Result<bool> {
        let Some(git) = &self.git else { return Ok(false) };
        let uncommitted = git.uncommitted().await?;
        let root = git.dir().canonicalize().unwrap_or_else(|_| git.dir().to_owned());
        let below = self.dir.strip_prefix(&root).unwrap_or(&self.dir).to_owned();
        let mut files = uncommitted.changed.iter().chain(&uncommitted.unknown);
        // Git names a new directory, not the files in it.
        Ok(files.any(|file| std::path::Path::new(file).starts_with(&below) || below.starts_with(file)))
    }
}

/// The account that the credentials are of, where one is pinned.
pub(super) async fn account(invocation: &Invocation) -> Result<Option<String>> {
    let settings = &invocation.config.production.aws;
    if settings.account.is_none() {
        return Ok(None);
    }
    let aws = Aws::connect(settings).await?;
    let identity = aws.verified_identity().await.attempting(|| "identify the AWS account of production".to_owned())?;
    Ok(Some(identity.account))
}

/// What is said of a program that is not what it is called.
fn rehearsed(kind: WorldKind, terraform: &Terraform) -> Option<String> {
    if kind != WorldKind::Rehearsal {
        return None;
    }
    let found = process::find(terraform.program()).and_then(|path| path.canonicalize().ok())?;
    let ours = std::env::current_exe().and_then(|path| path.canonicalize()).ok()?;
    let said = "planned by the rehearsal's stand-in for Terraform, on a rehearsed AWS: it evaluates this module, and knows few \
                types of resources";
    (found == ours).then(|| said.to_owned())
}

struct Making {
    terraform: Terraform,
    place: Place,
    account: Option<String>,
    mode: Mode,
    kept: Kept,
}

impl Making {
    async fn run(self, invocation: &mut Invocation, id: crate::domain::RunId) -> Result<Made> {
        let Self { terraform, place, account, mode, kept } = self;
        let settings = invocation.config.provision.clone();
        let measure = measure(invocation)?;
        // Before the files are read: what is committed meanwhile was not planned.
        let commit = place.commit()?;
        let mut notes = Vec::new();
        notes.extend(rehearsed(invocation.kind, &terraform));
        let mut show = Progress::new(invocation.listener.as_mut(), "init", &format!("{} init", terraform.name()));
        let lock_written = terraform.init(&invocation.cancel, |line| show.line(line)).await?;
        show.done(&format!("{} {}", terraform.name(), terraform.version()));
        if lock_written {
            notes.push(
                "init wrote .terraform.lock.hcl, which was not there: commit it, or versions may differ".to_owned(),
            );
        }
        let workspace = terraform.workspace().await?;
        // Terraform keeps the mode of a file that is there.
        drop(Kept::create(&kept.plan())?);
        let title = match mode {
            Mode::Normal => format!("{} plan", terraform.name()),
            Mode::RefreshOnly => format!("{} plan -refresh-only", terraform.name()),
        };
        let mut show = Progress::new(invocation.listener.as_mut(), "plan", &title);
        let planned = terraform
            .plan(mode, &settings.var_files, &kept.plan(), &invocation.cancel, |message| show.message(message))
            .await?;
        terraform.show(&kept.plan(), Kept::create(&kept.json())?).await?;
        kept.seal()?;
        let judgement = judged(&kept.json(), &measure)?;
        show.done(&match mode {
            Mode::Normal => counts(&judgement.counts),
            // What it found is the answer to the whole question, and is told as that.
            Mode::RefreshOnly => "compared what exists with the state".to_owned(),
        });
        let uncommitted = place.uncommitted().await?;
        if uncommitted {
            notes.push("files of the configuration have changes that no commit has".to_owned());
        }
        if account.is_none() {
            notes.push(
                "no AWS account is pinned (production.aws.account): any would have been planned against".to_owned(),
            );
        }
        let plan_sha256 = sha256(&kept.plan())?
            .ok_or_else(|| Error::outside(format!("{} plan wrote no plan file", terraform.name())))?;
        let record = PlanRecord {
            v: PlanRecord::FORM,
            id,
            made: invocation.clock.wall(),
            by: invocation.who(),
            program: terraform.program().to_owned(),
            version: terraform.version().to_string(),
            directory: settings.directory,
            workspace,
            plan_sha256,
            json_sha256: sha256(&kept.json())?.unwrap_or_default(),
            lock_sha256: sha256(&terraform.lock_file())?,
            account,
            commit,
            uncommitted,
            state: terraform.state().await?,
            changes: planned.changes,
            confirm: judgement.to_confirm(),
            denied: denied(&judgement),
        };
        // A plan that only refreshes is not for apply: no record may make it look like one, even if we are killed now.
        if mode == Mode::Normal {
            kept.write(&record)?;
        }
        Ok(Made { kept, record, judgement, warnings: planned.warnings, notes })
    }
}

/// What Terraform says, as progress of a step.
struct Progress<'a> {
    listener: &'a mut dyn Listener,
    id: &'static str,
    title: String,
    refreshed: usize,
    seconds: u64,
}

impl<'a> Progress<'a> {
    fn new(listener: &'a mut dyn Listener, id: &'static str, title: &str) -> Self {
        listener.hear(&Event::Seen(SeenEvent::StepStarted { id, title: title.to_owned() }), None);
        Self { listener, id, title: title.to_owned(), refreshed: 0, seconds: 0 }
    }

    /// A line of `init`; an empty one is a second that went by.
    fn line(&mut self, line: &str) {
        if line.is_empty() {
            self.second();
        } else if line.starts_with("- ") || line.ends_with("...") {
            self.note(line.trim_start_matches("- ").to_owned());
        }
    }

    fn message(&mut self, message: Option<&Message>) {
        let Some(message) = message else { return self.second() };
        if message.kind == "refresh_complete" {
            self.refreshed += 1;
            // One in a hundred: in CI each is a line.
            if self.refreshed.is_multiple_of(100) {
                self.note(format!("{} resources looked at", self.refreshed));
            }
        }
    }

    /// The step has come to its end.
    fn done(self, summary: &str) {
        let (evidence, facts) = (Evidence::new(summary), Vec::new());
        let record = Record::StepDone { step: self.id.to_owned(), title: self.title, evidence, facts };
        self.listener.hear(&Event::Recorded(record), None);
    }

    fn note(&mut self, note: String) {
        self.listener.hear(&Event::Seen(SeenEvent::Progress { id: self.id, note }), None);
    }

    fn second(&mut self) {
        self.seconds += 1;
        self.listener.tick(Duration::from_secs(self.seconds));
    }
}
