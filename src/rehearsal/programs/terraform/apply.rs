//! `apply`: what was planned is done, as much at the same time as depends on nothing else. The state is written after each.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::cloud::Cloud;
use super::module::{Module, Resource, is_aws};
use super::plan::{Action, Plan, Tally, attributes_of};
use super::said::{Diagnostic, Voice, resource};
use super::schema::{Schema, Schemas, with_attributes};
use super::state::{Held, Instance, OutputValue, State, uuid};
use super::value::{Attributes, Val, type_of};
use crate::error::Error;
use crate::process::Program;

/// As many at once as Terraform's `-parallelism` is by default.
const AT_ONCE: usize = 10;
/// Longest life of a provisioner's command (wall time).
const LONGEST_COMMAND: Duration = Duration::from_hours(1);

/// An apply under way.
pub struct Applying<'a, 'v> {
    pub module: &'a Module,
    pub schemas: &'a Schemas,
    pub voice: &'a Voice<'v>,
    pub interrupt: &'a CancellationToken,
    /// The past is made in no time.
    pub at_once: bool,
    cloud: RefCell<Cloud>,
    state: RefCell<State>,
    held: RefCell<Held>,
    done: Cell<Tally>,
    /// Everything is done, but for the outputs.
    finished: Cell<bool>,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Op<'a> {
    Destroy(&'a str),
    /// Whether there is nothing of it yet.
    Make(&'a str, bool),
}

impl Op<'_> {
    fn address(&self) -> &str {
        match self {
            Self::Make(address, _) | Self::Destroy(address) => address,
        }
    }
}

type Failed = Box<Diagnostic>;

impl<'a, 'v> Applying<'a, 'v> {
    pub fn new(
        (module, schemas): (&'a Module, &'a Schemas),
        voice: &'a Voice<'v>,
        interrupt: &'a CancellationToken,
        (cloud, state, held): (Cloud, State, Held),
    ) -> Self {
        Self {
            module,
            schemas,
            voice,
            interrupt,
            at_once: false,
            cloud: RefCell::new(cloud),
            state: RefCell::new(state),
            held: RefCell::new(held),
            done: Cell::default(),
            finished: Cell::default(),
        }
    }

    /// Does what is planned.
    ///
    /// # Errors
    /// What failed. What was done until then is in the state.
    pub async fn run(&self, plan: &Plan) -> Result<(), Vec<Diagnostic>> {
        let mut waiting = ops(plan);
        let (mut done, mut failed) = (BTreeSet::new(), Vec::new());
        let mut running = FuturesUnordered::new();
        let (mut unmade, mut told) = (BTreeSet::new(), false);
        loop {
            while running.len() < AT_ONCE && !self.interrupt.is_cancelled() {
                let ready = waiting.iter().position(|op| self.needs(*op, plan).iter().all(|need| done.contains(need)));
                let Some(at) = ready else { break };
                let op = waiting.remove(at);
                running.push(async move { (op, self.act(op).await) });
            }
            tokio::select! {
                // First that it was heard, then what came of it.
                biased;
                () = self.interrupt.cancelled(), if !told => {
                    told = true;
                    let text = "\nInterrupt received.\nPlease wait for Terraform to exit or data loss may occur.\n\
                                Gracefully shutting down...\n";
                    self.voice.say("log", text, json!({}));
                    self.voice.say("log", "Stopping operation...", json!({}));
                }
                ended = running.next() => match ended {
                    Some((op, Ok(()))) => drop(done.insert(op)),
                    Some((op, Err(wrong))) => {
                        unmade.insert(op.address().to_owned());
                        failed.push(*wrong);
                    }
                    None => break,
                },
            }
        }
        if self.interrupt.is_cancelled() && !waiting.is_empty() {
            failed.push(Diagnostic::error("execution halted", ""));
        }
        self.finished.set(true);
        unmade.extend(waiting.iter().map(|op| op.address().to_owned()));
        if !self.interrupt.is_cancelled() {
            self.outputs(plan, &unmade).map_err(|wrong| vec![*wrong])?;
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// How many were added, changed and destroyed so far.
    pub fn tally(&self) -> Tally {
        self.done.get()
    }

    /// What must be done before it.
    fn needs<'b>(&self, op: Op<'b>, plan: &'b Plan) -> Vec<Op<'b>> {
        let planned = ops(plan);
        let address = op.address();
        let before = |other: &Op<'b>| match (op, *other) {
            (Op::Make(..), Op::Destroy(other)) => other == address,
            (Op::Make(..), Op::Make(other, _)) => {
                self.module.resource(address).is_some_and(|one| one.depends_on.contains(other))
            }
            // What depends on it goes first.
            (Op::Destroy(_), Op::Destroy(other)) => {
                let state = self.state.borrow();
                state.resources.get(other).is_some_and(|other| other.depends_on.iter().any(|one| one == address))
            }
            (Op::Destroy(_), Op::Make(..)) => false,
        };
        planned.into_iter().filter(|other| *other != op && before(other)).collect()
    }

    async fn act(&self, op: Op<'_>) -> Result<(), Failed> {
        match op {
            Op::Destroy(address) => self.destroy(address).await,
            Op::Make(address, new) => {
                let Some(one) = self.module.resource(address) else { return Ok(()) };
                let Some(schema) = self.schemas.get(&one.kind) else { return Ok(()) };
                self.make(one, schema, new).await
            }
        }
    }

    async fn destroy(&self, address: &str) -> Result<(), Failed> {
        let Some(instance) = self.state.borrow().resources.get(address).cloned() else { return Ok(()) };
        let kind = address.split_once('.').map_or(address, |(kind, _)| kind);
        let schema = self.schemas.get(kind);
        let seconds = schema.map_or(0, |schema| schema.delete);
        let id = id_of(&instance.attributes);
        self.begins(address, "delete", Some(&id));
        if let Some((name, refusal)) = schema.and_then(|schema| schema.protected_by.as_ref())
            && instance.attributes.get(name) == Some(&Val::Known(Value::Bool(true)))
        {
            let hook = hook(address, "delete", None, Some(0));
            self.voice.say("apply_errored", &format!("{address}: Destruction errored after 0s"), hook);
            return Err(Box::new(Diagnostic::error(with_attributes(refusal, &instance.attributes), "").about(address)));
        }
        self.takes(address, "delete", seconds, Some(&id)).await;
        self.state.borrow_mut().resources.remove(address);
        if is_aws(kind) {
            self.cloud.borrow_mut().remove(kind, &instance.attributes);
        }
        self.ended(address, "delete", seconds, None)
    }

    async fn make(&self, one: &Resource, schema: &Schema, new: bool) -> Result<(), Failed> {
        let address = one.address();
        let prior = self.state.borrow().resources.get(&address).map(|prior| prior.attributes.clone());
        let known = attributes_of(&self.state.borrow());
        let arguments = self.module.arguments(one, &known)?;
        let planned = schema.planned(&one.kind, arguments, prior.as_ref());
        let (action, seconds) = if new { ("create", schema.create) } else { ("update", schema.update) };
        let id = prior.as_ref().map(id_of);
        self.begins(&address, action, id.as_deref());
        if one.provisioners.is_empty() || !new {
            self.takes(&address, action, seconds, id.as_deref()).await;
        }
        let made = {
            let cloud = self.cloud.borrow();
            let (own, hash) = (uuid(), format!("{:012x}", fastrand::u64(..) & 0xffff_ffff_ffff));
            schema.completed(&planned, &|name| match name {
                "account" => Some(cloud.account.clone()),
                "region" => Some(cloud.region.clone()),
                "uuid" => Some(own.clone()),
                "hash" => Some(hash.clone()),
                _ => None,
            })
        };
        let id = id_of(&made);
        if is_aws(&one.kind) {
            self.cloud.borrow_mut().put(&one.kind, &made);
        }
        let failed = if new { self.provision(one).await } else { None };
        let depends_on = one.depends_on.iter().cloned().collect();
        let instance = Instance { attributes: made, tainted: failed.is_some(), depends_on };
        self.state.borrow_mut().resources.insert(address.clone(), instance);
        if let Some(wrong) = failed {
            self.persist()?;
            let hook = hook(&address, action, None, Some(0));
            self.voice.say("apply_errored", &format!("{address}: Creation errored after 0s"), hook);
            return Err(Box::new(wrong));
        }
        self.ended(&address, action, seconds, Some(&id))
    }

    /// Runs the provisioners; what failed first.
    async fn provision(&self, one: &Resource) -> Option<Diagnostic> {
        let address = one.address();
        for (command, line) in &one.provisioners {
            let fields = |output: Option<&str>| {
                let mut hook = json!({ "resource": resource(&address), "provisioner": "local-exec" });
                if let Some(output) = output {
                    hook["output"] = json!(output);
                }
                json!({ "hook": hook })
            };
            let says = |output: &str| {
                self.voice.say(
                    "provision_progress",
                    &format!("{address} (local-exec): {output}"),
                    fields(Some(output)),
                );
            };
            let text = format!("{address}: Provisioning with 'local-exec'...");
            self.voice.say("provision_start", &text, fields(None));
            says(&format!("Executing: [\"/bin/sh\" \"-c\" {command:?}]"));
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let program = Program::new("/bin/sh").args(["-c", command]).timeout(LONGEST_COMMAND);
            let program = program.streamed(move |line| drop(tell.send(line.to_owned())));
            tokio::pin!(program);
            let ran = loop {
                tokio::select! {
                    ran = &mut program => break ran,
                    Some(line) = told.recv() => says(&line),
                    () = self.interrupt.cancelled() => break Err(Error::outside("signal: killed")),
                }
            };
            while let Ok(line) = told.try_recv() {
                says(&line);
            }
            let why = match &ran {
                Ok(ran) if ran.success() => {
                    let text = format!("{address}: (local-exec) Provisioning complete");
                    self.voice.note("provision_complete", &text, fields(None));
                    continue;
                }
                Ok(ran) => {
                    format!("exit status {}. Output: {}", ran.code.unwrap_or(-1), ran.text() + &ran.error_text())
                }
                Err(error) => format!("{}. Output: ", error.what()),
            };
            let text = format!("{address}: (local-exec) Provisioning errored");
            self.voice.note("provision_errored", &text, fields(None));
            let detail = format!("Error running command '{command}': {why}");
            let wrong = Diagnostic::error("local-exec provisioner error", detail);
            return Some(wrong.about(&address).at((&one.place.0, *line)));
        }
        None
    }

    fn begins(&self, address: &str, action: &str, id: Option<&str>) {
        let shown = id.map_or(String::new(), |id| format!(" [id={id}]"));
        let text = format!("{address}: {}...{shown}", verb(action).0);
        self.voice.say("apply_start", &text, hook(address, action, id, None));
    }

    /// World time goes by, and it is said that it does; not more than twice a second.
    async fn takes(&self, address: &str, action: &str, seconds: u64, id: Option<&str>) {
        if self.at_once {
            return;
        }
        let clock = self.voice.clock;
        // The shortest tens of world seconds that are half a second of ours.
        let half_a_second = Duration::from_millis(500);
        let step = (10..seconds).step_by(10).find(|step| clock.to_wall(Duration::from_secs(*step)) >= half_a_second);
        let step = step.unwrap_or(seconds);
        let mut elapsed = 0;
        while elapsed + step < seconds {
            clock.sleep(Duration::from_secs(step)).await;
            elapsed += step;
            let text = format!("{address}: Still {}... [{} elapsed]", verb(action).1, human(elapsed));
            self.voice.say("apply_progress", &text, hook(address, action, id, Some(elapsed)));
        }
        clock.sleep(Duration::from_secs(seconds - elapsed)).await;
    }

    fn ended(&self, address: &str, action: &str, seconds: u64, id: Option<&str>) -> Result<(), Failed> {
        self.persist()?;
        let mut done = self.done.get();
        match action {
            "create" => done.add += 1,
            "update" => done.change += 1,
            _ => done.remove += 1,
        }
        self.done.set(done);
        let seconds = if self.at_once { 0 } else { seconds };
        let shown = id.map_or(String::new(), |id| format!(" [id={id}]"));
        let text = format!("{address}: {} complete after {}{shown}", verb(action).2, human(seconds));
        self.voice.say("apply_complete", &text, hook(address, action, id, Some(seconds)));
        Ok(())
    }

    /// What is there now, to the state file and to what the world knows.
    fn persist(&self) -> Result<(), Failed> {
        if self.at_once && !self.finished.get() {
            return Ok(());
        }
        let saved = self.cloud.borrow().save();
        saved.map_err(|error| Box::new(Diagnostic::error("The rehearsed AWS is gone", error.to_string())))?;
        let mut state = self.state.borrow_mut();
        state.serial += 1;
        self.held.borrow_mut().write(&state)
    }

    /// The outputs as they are now; those of what was not made stay.
    fn outputs(&self, plan: &Plan, unmade: &BTreeSet<String>) -> Result<(), Failed> {
        let known = attributes_of(&self.state.borrow());
        if !plan.refresh_only {
            let before = self.state.borrow().outputs.clone();
            let mut outputs = BTreeMap::new();
            for output in &self.module.outputs {
                if output.needs(unmade) {
                    let old = before.get(&output.name).cloned();
                    outputs.extend(old.map(|old| (output.name.clone(), old)));
                    continue;
                }
                let value = self.module.output(output, &known)?.json();
                let kind = type_of(&value);
                outputs.insert(output.name.clone(), OutputValue { value, kind, sensitive: output.sensitive });
            }
            self.state.borrow_mut().outputs = outputs;
        }
        self.persist()
    }

    /// The outputs, as the last message has them.
    pub fn said_outputs(&self) -> (usize, Value) {
        let state = self.state.borrow();
        let entries = state.outputs.iter().map(|(name, output)| {
            let mut entry = json!({ "sensitive": output.sensitive, "type": output.kind });
            if !output.sensitive {
                entry["value"] = output.value.clone();
            }
            (name.clone(), entry)
        });
        (state.outputs.len(), Value::Object(entries.collect::<Map<_, _>>()))
    }
}

/// Everything that a plan does, one by one.
fn ops(plan: &Plan) -> Vec<Op<'_>> {
    let mut ops = Vec::new();
    for change in &plan.changes {
        let address = change.address.as_str();
        match change.action {
            Action::NoOp => {}
            Action::Create => ops.push(Op::Make(address, true)),
            Action::Update => ops.push(Op::Make(address, false)),
            Action::Delete => ops.push(Op::Destroy(address)),
            Action::Replace => ops.extend([Op::Destroy(address), Op::Make(address, true)]),
        }
    }
    ops
}

fn id_of(attributes: &Attributes) -> String {
    attributes.get("id").map(Val::json).and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default()
}

/// At the start, meanwhile, at the end.
fn verb(action: &str) -> (&'static str, &'static str, &'static str) {
    match action {
        "create" => ("Creating", "creating", "Creation"),
        "update" => ("Modifying", "modifying", "Modifications"),
        _ => ("Destroying", "destroying", "Destruction"),
    }
}

/// As Go writes durations: `1m30s`.
fn human(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn hook(address: &str, action: &str, id: Option<&str>, elapsed: Option<u64>) -> Value {
    let mut hook = json!({ "resource": resource(address), "action": action });
    if let Some(id) = id {
        (hook["id_key"], hook["id_value"]) = (json!("id"), json!(id));
    }
    if let Some(elapsed) = elapsed {
        hook["elapsed_seconds"] = json!(elapsed);
    }
    json!({ "hook": hook })
}
