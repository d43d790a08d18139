//! `terraform`, as 1.11.4 behaves (observed), over modules that need no provider but its own and the rehearsed AWS.
//!
//! It evaluates the module, compares it with a state of Terraform's own format, and applies in world time. What it has no
//! answer for it refuses by name, as a program would, rather than to make something up.

mod apply;
mod cloud;
mod hcl;
mod module;
mod others;
mod plan;
mod said;
mod schema;
mod state;
mod text;
mod value;
mod words;

use std::io::{BufRead as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::apply::Applying;
pub use self::cloud::Cloud;
use self::hcl::Expr;
use self::module::Module;
pub use self::others::{Holder, applied, changed_by_hand};
use self::plan::{Plan, Planning};
use self::said::{Diagnostic, VERSION, Voice};
use self::schema::Schemas;
use self::state::{Held, LockInfo, Place, State, uuid};
use self::words::{Command, Words};
use crate::clock::{Clock, Stopwatch};

/// The version of the AWS provider that is rehearsed.
const AWS_PROVIDER: &str = "5.100.0";
/// Where init leaves that it was there.
const PLUGINS: &str = ".terraform/providers/registry.terraform.io/hashicorp/aws";
/// How often a lock that somebody holds is tried again (wall time).
const TRIED_AGAIN: Duration = Duration::from_secs(1);

/// Where the program runs.
pub struct Surroundings<'a> {
    /// The world's directory.
    pub home: PathBuf,
    /// The working directory.
    pub dir: PathBuf,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub clock: Clock,
    /// `user@host`.
    pub who: String,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

/// How a command ended, when not well.
enum Stop {
    /// Told already; the exit code.
    Told(u8),
    Wrong(Vec<Diagnostic>),
}

impl From<Box<Diagnostic>> for Stop {
    fn from(wrong: Box<Diagnostic>) -> Self {
        Self::Wrong(vec![*wrong])
    }
}

impl From<Vec<Diagnostic>> for Stop {
    fn from(wrong: Vec<Diagnostic>) -> Self {
        Self::Wrong(wrong)
    }
}

fn wrong(summary: &str, detail: impl Into<String>) -> Stop {
    Stop::Wrong(vec![Diagnostic::error(summary, detail)])
}

type Ran = std::result::Result<u8, Stop>;

/// Runs it with the arguments after `argv[0]`; its exit code.
pub async fn run(around: Surroundings<'_>, args: &[String]) -> u8 {
    let Surroundings { home, mut dir, env, clock, who, out, err } = around;
    let mut voice = Voice::new(&clock, out, err);
    let mut args = args;
    if let Some((first, rest)) = args.split_first()
        && let Some(other) = first.strip_prefix("-chdir=")
    {
        (dir, args) = (dir.join(other), rest);
    }
    let words = match Command::read(args) {
        Ok(words) => words,
        Err(said) => {
            voice.complain(&said);
            return 1;
        }
    };
    voice.json = words.json() && words.command.speaks();
    let (Some(cloud), Ok(schemas)) = (Cloud::open(&home), Schemas::built_in()) else {
        voice.complain("terraform: this stand-in belongs to a rehearsal that is no longer there\n");
        return 1;
    };
    let place = Place::selected(&dir, env("TF_WORKSPACE").as_deref());
    let session = Session { dir, place, cloud, schemas, who, voice, interrupt: CancellationToken::new() };
    let (asked, twice) = (session.interrupt.clone(), CancellationToken::new());
    let second = twice.clone();
    let listening = tokio::spawn(async move {
        let Ok(mut signals) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()) else { return };
        signals.recv().await;
        asked.cancel();
        signals.recv().await;
        second.cancel();
    });
    let ran = tokio::select! {
        ran = session.run(&words) => ran,
        () = twice.cancelled() => Err(wrong(
            "Two interrupts received",
            "Exiting immediately. Note that data loss may have occurred.",
        )),
    };
    listening.abort();
    match ran {
        Ok(code) | Err(Stop::Told(code)) => code,
        Err(Stop::Wrong(diagnostics)) => {
            diagnostics.iter().for_each(|one| session.voice.diagnose(one));
            1
        }
    }
}

struct Session<'a> {
    dir: PathBuf,
    place: Place,
    cloud: Cloud,
    schemas: Schemas,
    who: String,
    voice: Voice<'a>,
    interrupt: CancellationToken,
}

impl Session<'_> {
    async fn run(&self, words: &Words) -> Ran {
        let rest: Vec<&str> = words.rest.iter().map(String::as_str).collect();
        match words.command {
            Command::Version => self.version(words),
            Command::Init => self.init(words),
            Command::Workspace => self.workspace(&rest),
            Command::Plan => self.plan(words).await,
            Command::Show => self.show(words, rest.first().copied()),
            Command::Apply => self.apply(words, rest.first().copied()).await,
            Command::State if rest.first() == Some(&"rm") => self.state_rm(words, &rest).await,
            Command::State => self.state(&rest),
            Command::Output => self.output(words, rest.first().copied()),
            Command::ForceUnlock => self.force_unlock(),
        }
    }

    fn module(&self, words: &Words) -> std::result::Result<Module, Stop> {
        Ok(Module::read(&self.dir, &words.all("var-file"), &words.all("var"), &self.schemas)?)
    }

    fn version(&self, words: &Words) -> Ran {
        let locked = std::fs::read_to_string(self.lock_file()).unwrap_or_default();
        let mut selections = serde_json::Map::new();
        if locked.contains("hashicorp/aws") {
            selections.insert("registry.terraform.io/hashicorp/aws".into(), json!(AWS_PROVIDER));
        }
        if words.json() {
            let document = json!({ "terraform_version": VERSION, "platform": "linux_amd64",
                "provider_selections": selections, "terraform_outdated": false });
            self.voice.print(&format!("{document:#}\n"));
        } else {
            self.voice.print(&format!("Terraform v{VERSION}\non linux_amd64\n"));
        }
        Ok(0)
    }

    fn lock_file(&self) -> PathBuf {
        self.dir.join(".terraform.lock.hcl")
    }

    fn init(&self, words: &Words) -> Ran {
        self.voice.print("Initializing the backend...\nInitializing provider plugins...\n");
        let module = self.module(words)?;
        let Some(constraint) = &module.aws else {
            self.voice.print("- terraform.io/builtin/terraform is built in to Terraform\n");
            self.voice.print(text::INITIALIZED);
            return Ok(0);
        };
        let locked = std::fs::read_to_string(self.lock_file()).unwrap_or_default();
        let known = locked.contains("registry.terraform.io/hashicorp/aws");
        if !known && words.value("lockfile") == Some("readonly") {
            return Err(wrong(
                "Provider dependency changes detected",
                "Changes to the required provider dependencies were detected, but the lock file is read-only. To use and \
                 record these requirements, run \"terraform init\" without the \"-lockfile=readonly\" flag.",
            ));
        }
        let from = if known { "Reusing previous version" } else { "Finding hashicorp/aws versions matching" };
        let matching = if known {
            " of hashicorp/aws from the dependency lock file".into()
        } else {
            format!(" {constraint:?}...")
        };
        self.voice.print(&format!(
            "- {from}{matching}\n- Installing hashicorp/aws v{AWS_PROVIDER}...\n- Installed hashicorp/aws v{AWS_PROVIDER} \
             (rehearsed)\n"
        ));
        let failed = |error: std::io::Error| wrong("Failed to install provider", error.to_string());
        std::fs::create_dir_all(self.dir.join(PLUGINS).join(AWS_PROVIDER)).map_err(failed)?;
        if !known {
            std::fs::write(self.lock_file(), lock_file(constraint)).map_err(failed)?;
            self.voice.print(text::LOCK_FILE_MADE);
        }
        self.voice.print(text::INITIALIZED);
        Ok(0)
    }

    /// What must be there before a plan: what init installs.
    fn initialized(&self, module: &Module) -> std::result::Result<(), Stop> {
        let locked = std::fs::read_to_string(self.lock_file()).unwrap_or_default();
        if module.aws.is_none() {
            return Ok(());
        }
        if !locked.contains("registry.terraform.io/hashicorp/aws") {
            return Err(wrong("Inconsistent dependency lock file", text::NOT_LOCKED));
        }
        if !self.dir.join(PLUGINS).is_dir() {
            return Err(wrong("Required plugins are not installed", text::NOT_INSTALLED));
        }
        Ok(())
    }

    fn workspace(&self, rest: &[&str]) -> Ran {
        let failed = |error: std::io::Error| wrong("Failed to select workspace", error.to_string());
        let known = self.place.workspaces();
        match rest {
            ["show"] => self.voice.print(&format!("{}\n", self.place.workspace)),
            ["list"] => {
                for name in &known {
                    let mark = if *name == self.place.workspace { '*' } else { ' ' };
                    self.voice.print(&format!("{mark} {name}\n"));
                }
                self.voice.print("\n");
            }
            ["select", name] if known.iter().any(|one| one == name) => {
                self.place.select(name).map_err(failed)?;
                self.voice.print(&format!("Switched to workspace {name:?}.\n"));
            }
            ["select", name] => {
                self.voice.complain(&format!("\nWorkspace {name:?} doesn't exist.\n\n{}", text::NO_WORKSPACE));
                return Err(Stop::Told(1));
            }
            ["new", name] if known.iter().any(|one| one == name) => {
                self.voice.complain(&format!("Workspace {name:?} already exists\n"));
                return Err(Stop::Told(1));
            }
            ["new", name] => {
                self.place.make(name).map_err(failed)?;
                self.voice.print(&format!("Created and switched to workspace {name:?}!\n\n{}", text::NEW_WORKSPACE));
            }
            _ => {
                self.voice.complain("Usage: terraform [global options] workspace show|list|select|new\n");
                return Err(Stop::Told(1));
            }
        }
        Ok(0)
    }

    /// Takes the state's lock, and tries as long as it is allowed to.
    async fn held(&self, words: &Words, operation: &str) -> std::result::Result<Held, Stop> {
        let limit = words.duration("lock-timeout").map_err(|text| wrong("Failed to parse command-line flags", text))?;
        let info = LockInfo::new(&self.place, operation, &self.who, self.voice.clock.wall());
        let (begun, mut told) = (Stopwatch::start(), false);
        loop {
            match Held::take(&self.place, &info) {
                Ok(held) => return Ok(held),
                Err(wrong) if begun.elapsed() >= limit => return Err(wrong.into()),
                Err(_) => {}
            }
            if !told {
                told = true;
                let text = "Acquiring state lock. This may take a few moments...";
                self.voice.say("state_lock_acquire", text, json!({}));
            }
            tokio::select! {
                () = self.voice.clock.sleep_wall(TRIED_AGAIN.min(limit)) => {}
                () = self.interrupt.cancelled() => return Err(wrong("operation canceled", "")),
            }
        }
    }

    async fn plan(&self, words: &Words) -> Ran {
        self.voice.version();
        let module = self.module(words)?;
        self.initialized(&module)?;
        let mut held = self.held(words, "OperationTypePlan").await?;
        let plan = self.planned(&module, words, &mut held)?;
        drop(held);
        if !self.voice.json {
            self.voice.print(&text::plan(&plan));
        }
        if let Some(out) = words.value("out") {
            self.keep(&plan, &self.dir.join(out))?;
            if !self.voice.json {
                self.voice.print(&text::saved(out));
            }
        }
        let detailed = words.has("detailed-exitcode");
        Ok(if detailed && plan.applyable() { 2 } else { 0 })
    }

    fn planned(&self, module: &Module, words: &Words, held: &mut Held) -> std::result::Result<Plan, Stop> {
        let prior = held.read()?;
        let planning = Planning {
            module,
            schemas: &self.schemas,
            cloud: &self.cloud,
            prior: prior.as_ref(),
            workspace: &self.place.workspace,
            refresh_only: words.has("refresh-only"),
        };
        Ok(planning.run(&self.voice)?)
    }

    /// Writes a plan to its file, and remembers when that was: a colleague may be waiting for it.
    fn keep(&self, plan: &Plan, path: &Path) -> std::result::Result<(), Stop> {
        let failed = |why: String| wrong("Failed to write plan file", why);
        let text = serde_json::to_string(plan).map_err(|error| failed(error.to_string()))?;
        std::fs::write(path, text).map_err(|error| failed(error.to_string()))?;
        let mut cloud = self.cloud.clone();
        cloud.planned = Some(self.voice.clock.now());
        cloud.save().map_err(|error| failed(error.to_string()))
    }

    fn read_plan(&self, path: &str) -> std::result::Result<Plan, Stop> {
        let failed = |why: String| wrong(&format!("Failed to load {path:?} as a plan file"), format!("Error: {why}"));
        let text = std::fs::read(self.dir.join(path))
            .map_err(|_| failed(format!("stat {path}: no such file or directory")))?;
        serde_json::from_slice(&text)
            .map_err(|_| failed("it was not made by the stand-in of this rehearsal".to_owned()))
    }

    fn show(&self, words: &Words, path: Option<&str>) -> Ran {
        let Some(path) = path else {
            let state = self.place.look()?.unwrap_or_default();
            self.voice.print(&if words.json() { state.text() } else { text::state(&state) });
            return Ok(0);
        };
        let plan = self.read_plan(path)?;
        self.voice.print(&if words.json() { format!("{}\n", plan.document) } else { text::plan(&plan) });
        Ok(0)
    }

    async fn apply(&self, words: &Words, path: Option<&str>) -> Ran {
        self.voice.version();
        let Some(path) = path else {
            let module = self.module(words)?;
            self.initialized(&module)?;
            let mut held = self.held(words, "OperationTypeApply").await?;
            let plan = self.planned(&module, words, &mut held)?;
            if !self.voice.json {
                self.voice.print(&text::plan(&plan));
            }
            if plan.applyable() && !words.has("auto-approve") && !self.approved() {
                return Err(Stop::Told(1));
            }
            return self.applied(&module, &plan, held).await;
        };
        let plan = self.read_plan(path)?;
        if plan.workspace != self.place.workspace {
            let detail = format!("The plan file was created in the workspace {:?}.", plan.workspace);
            return Err(wrong("Plan file is for another workspace", detail));
        }
        let files: Vec<(&str, &str)> = plan.files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let given = plan.variables.iter().map(|(name, value)| (name.clone(), Expr::Literal(value.clone())));
        let module = Module::of(&files, given.collect(), &self.schemas)?;
        let mut held = self.held(words, "OperationTypeApply").await?;
        let now = held.read()?.map(|state| (state.lineage, state.serial));
        if now != plan.state {
            return Err(wrong("Saved plan is stale", text::STALE));
        }
        for (message, change) in text::planned(&plan) {
            self.voice.note("planned_change", &message, json!({ "change": change }));
        }
        self.applied(&module, &plan, held).await
    }

    fn approved(&self) -> bool {
        self.voice.print(text::APPROVE);
        let mut answer = String::new();
        let yes = std::io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "yes";
        if !yes {
            self.voice.print("\nApply cancelled.\n");
        }
        yes
    }

    async fn applied(&self, module: &Module, plan: &Plan, mut held: Held) -> Ran {
        let before = held.read()?;
        let mut state = State::read(&plan.refreshed).ok().flatten().unwrap_or_default();
        match &before {
            Some(before) => held.back_up(before),
            None => state.lineage = uuid(),
        }
        let cloud = self.cloud.clone();
        let applying = Applying::new((module, &self.schemas), &self.voice, &self.interrupt, (cloud, state, held));
        applying.run(plan).await?;
        let tally = applying.tally();
        let text = format!(
            "Apply complete! Resources: {} added, {} changed, {} destroyed.",
            tally.add, tally.change, tally.remove
        );
        self.voice.say("change_summary", &text, tally.json("apply"));
        let (count, outputs) = applying.said_outputs();
        if count > 0 {
            self.voice.say("outputs", &format!("Outputs: {count}"), json!({ "outputs": outputs }));
        }
        Ok(0)
    }

    /// Only what it would do, for which it takes the lock all the same.
    async fn state_rm(&self, words: &Words, rest: &[&str]) -> Ran {
        if !words.has("dry-run") {
            self.voice.complain("terraform state rm is not rehearsed without -dry-run\n");
            return Err(Stop::Told(1));
        }
        let mut held = self.held(words, "state-rm").await?;
        let Some(state) = held.read()? else {
            self.voice.complain(text::NO_STATE);
            return Err(Stop::Told(1));
        };
        let found: Vec<&&str> = rest[1..].iter().filter(|address| state.resources.contains_key(**address)).collect();
        found.iter().for_each(|address| self.voice.print(&format!("Would remove {address}\n")));
        if found.is_empty() {
            self.voice.print("Would have removed nothing.\n");
        }
        Ok(0)
    }

    fn state(&self, rest: &[&str]) -> Ran {
        let state = self.place.look()?;
        match rest {
            ["pull"] => self.voice.print(&state.map_or("\n".to_owned(), |state| state.text())),
            ["list"] => {
                let Some(state) = state else {
                    self.voice.complain(text::NO_STATE);
                    return Err(Stop::Told(1));
                };
                state.resources.keys().for_each(|address| self.voice.print(&format!("{address}\n")));
            }
            ["show", address] => {
                let found = state.as_ref().and_then(|state| state.resources.get(*address));
                let Some(instance) = found else {
                    self.voice.complain(&format!("No instance found for the given address!\n\n{address}\n"));
                    return Err(Stop::Told(1));
                };
                self.voice.print(&text::resource(address, instance));
            }
            _ => {
                self.voice.complain("Usage: terraform [global options] state pull|list|show\n");
                return Err(Stop::Told(1));
            }
        }
        Ok(0)
    }

    fn output(&self, words: &Words, name: Option<&str>) -> Ran {
        let state = self.place.look()?.unwrap_or_default();
        if let Some(name) = name {
            let Some(output) = state.outputs.get(name) else {
                let detail = format!("The output variable requested could not be found in the state file: {name:?}.");
                return Err(wrong("Output not found", detail));
            };
            let shown = match &output.value {
                Value::String(text) if words.has("raw") => text.clone(),
                value => value.to_string(),
            };
            self.voice.print(&format!("{shown}\n"));
        } else if words.json() {
            let entry = |(name, output): (&String, &state::OutputValue)| {
                (name.clone(), json!({ "sensitive": output.sensitive, "type": output.kind, "value": output.value }))
            };
            let all: serde_json::Map<String, Value> = state.outputs.iter().map(entry).collect();
            self.voice.print(&format!("{:#}\n", Value::Object(all)));
        } else {
            for (name, output) in &state.outputs {
                let shown = if output.sensitive { "<sensitive>".to_owned() } else { output.value.to_string() };
                self.voice.print(&format!("{name} = {shown}\n"));
            }
        }
        Ok(0)
    }

    /// The local backend's lock ends with the process that holds it, and only with that.
    fn force_unlock(&self) -> Ran {
        self.voice.complain("Local state cannot be unlocked by another process\n");
        Err(Stop::Told(1))
    }
}

/// The dependency lock file. No package stands behind the rehearsed provider, so that there is no hash either.
#[must_use]
pub fn lock_file(constraint: &str) -> String {
    format!(
        "# This file is maintained automatically by \"terraform init\".\n# Manual edits may be lost in future updates.\n\n\
         provider \"registry.terraform.io/hashicorp/aws\" {{\n  version     = \"{AWS_PROVIDER}\"\n  constraints = \
         {constraint:?}\n}}\n"
    )
}
