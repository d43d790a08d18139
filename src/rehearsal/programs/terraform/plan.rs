//! `plan`: the state is refreshed, the module evaluated, and the two compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::cloud::Cloud;
use super::module::{Module, Resource, is_aws};
use super::said::{Diagnostic, VERSION, Voice, resource};
use super::schema::{Schema, Schemas};
use super::state::{Instance, OutputValue, State, provider};
use super::text::planned;
use super::value::{Attributes, Val, object, sensitive, type_of, unknown};

/// Changes as they are planned; what a plan file holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Form of the file; this is 1.
    pub form: u32,
    pub workspace: String,
    /// The state that was planned against; `None` where there was none.
    pub state: Option<(String, u64)>,
    pub refresh_only: bool,
    /// The state as it was found by refreshing, as a state file.
    pub refreshed: String,
    pub changes: Vec<Change>,
    /// The module, as it was.
    pub files: Vec<(String, String)>,
    pub variables: BTreeMap<String, Value>,
    /// What `show -json` answers.
    pub document: Value,
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub address: String,
    pub action: Action,
    /// `tainted`, `cannot_update`, …
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    NoOp,
    Create,
    Update,
    Replace,
    Delete,
}

impl Action {
    fn json(self) -> Value {
        match self {
            Self::NoOp => json!(["no-op"]),
            Self::Create => json!(["create"]),
            Self::Update => json!(["update"]),
            Self::Replace => json!(["delete", "create"]),
            Self::Delete => json!(["delete"]),
        }
    }

    /// As messages name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoOp => "noop",
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }
}

/// How many are added, changed and destroyed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub add: usize,
    pub change: usize,
    pub remove: usize,
}

impl Tally {
    pub fn json(self, operation: &str) -> Value {
        let Self { add, change, remove } = self;
        json!({ "changes": { "add": add, "change": change, "import": 0, "remove": remove, "operation": operation } })
    }
}

impl Plan {
    pub fn tally(&self) -> Tally {
        let count = |wanted: &[Action]| self.changes.iter().filter(|change| wanted.contains(&change.action)).count();
        Tally {
            add: count(&[Action::Create, Action::Replace]),
            change: count(&[Action::Update]),
            remove: count(&[Action::Delete, Action::Replace]),
        }
    }

    /// Whether there is anything to apply.
    pub fn applyable(&self) -> bool {
        self.document["applyable"] == true
    }
}

/// What is compared with what.
pub struct Planning<'a> {
    pub module: &'a Module,
    pub schemas: &'a Schemas,
    pub cloud: &'a Cloud,
    pub prior: Option<&'a State>,
    pub workspace: &'a str,
    pub refresh_only: bool,
}

/// Every change, and what is known of each resource afterwards.
type Compared<'a> = (Vec<Detailed<'a>>, BTreeMap<String, Attributes>);

/// One change with its values.
struct Detailed<'a> {
    change: Change,
    kind: &'a str,
    before: Option<Attributes>,
    after: Option<Attributes>,
    forcing: Vec<String>,
}

impl Planning<'_> {
    /// Plans, and says what it does.
    ///
    /// # Errors
    /// What is wrong with the module; a resource that may not be destroyed.
    pub fn run(&self, voice: &Voice<'_>) -> Result<Plan, Vec<Diagnostic>> {
        let prior = self.prior.cloned().unwrap_or_default();
        let (refreshed, drift) = self.refresh(&prior, voice);
        for change in &drift {
            let Change { address, action, .. } = &change.change;
            let fields = json!({ "change": { "resource": resource(address), "action": action.word() } });
            voice.note("resource_drift", &format!("{address}: Drift detected ({})", action.word()), fields);
        }
        let (changes, known) =
            if self.refresh_only { (Vec::new(), attributes_of(&refreshed)) } else { self.changes(&refreshed)? };
        let outputs = self.outputs(&refreshed, &known).map_err(|wrong| vec![*wrong])?;
        let changed = changes.iter().any(|one| one.change.action != Action::NoOp)
            || outputs.iter().any(|(_, output)| output["actions"] != json!(["no-op"]));
        let applyable = if self.refresh_only { !drift.is_empty() } else { changed };
        let mut document = json!({
            "format_version": "1.2",
            "terraform_version": VERSION,
            "variables": variables(self.module),
            "planned_values": { "outputs": planned_outputs(&outputs), "root_module": self.values(&known) },
        });
        let mut put = |name: &str, value: Value| document[name] = value;
        if !drift.is_empty() {
            put("resource_drift", drift.iter().map(|one| self.json(one)).collect());
        }
        if !self.refresh_only {
            put("resource_changes", changes.iter().map(|one| self.json(one)).collect());
        }
        put("output_changes", Value::Object(outputs.clone().into_iter().collect()));
        if self.prior.is_some() {
            put("prior_state", self.prior_state(&refreshed));
        }
        put("configuration", self.configuration());
        put("timestamp", json!(voice.clock.wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
        put("applyable", json!(applyable));
        put("complete", json!(true));
        put("errored", json!(false));
        let plan = Plan {
            form: 1,
            workspace: self.workspace.to_owned(),
            state: self.prior.map(|prior| (prior.lineage.clone(), prior.serial)),
            refresh_only: self.refresh_only,
            refreshed: refreshed.text(),
            changes: changes.into_iter().map(|one| one.change).collect(),
            files: self.module.files.clone(),
            variables: self.module.variables(),
            document,
        };
        for (message, change) in planned(&plan) {
            voice.note("planned_change", &message, json!({ "change": change }));
        }
        let Tally { add, change, remove } = plan.tally();
        let summary = format!("Plan: {add} to add, {change} to change, {remove} to destroy.");
        voice.note("change_summary", &summary, plan.tally().json("plan"));
        if !outputs.is_empty() {
            let said = outputs.iter().map(|(name, output)| (name.clone(), said(output))).collect::<Map<_, _>>();
            voice.note("outputs", &format!("Outputs: {}", outputs.len()), json!({ "outputs": said }));
        }
        Ok(plan)
    }

    /// Looks at everything that the state knows.
    fn refresh<'a>(&self, prior: &'a State, voice: &Voice<'_>) -> (State, Vec<Detailed<'a>>) {
        let (mut refreshed, mut drift) = (prior.clone(), Vec::new());
        for (address, instance) in &prior.resources {
            let kind = address.split_once('.').map_or(address.as_str(), |(kind, _)| kind);
            let id = instance.attributes.get("id").map(Val::json).unwrap_or_default();
            let id = id.as_str().unwrap_or_default();
            let hook = json!({ "hook": { "resource": resource(address), "id_key": "id", "id_value": id } });
            voice.say("refresh_start", &format!("{address}: Refreshing state... [id={id}]"), hook.clone());
            voice.note("refresh_complete", &format!("{address}: Refresh complete [id={id}]"), hook);
            if !is_aws(kind) {
                continue;
            }
            let now = self.cloud.now(kind, &instance.attributes);
            if now.as_ref() == Some(&instance.attributes) {
                continue;
            }
            let action = if now.is_some() { Action::Update } else { Action::Delete };
            match &now {
                Some(now) => {
                    refreshed
                        .resources
                        .insert(address.clone(), Instance { attributes: now.clone(), ..instance.clone() });
                }
                None => drop(refreshed.resources.remove(address)),
            }
            drift.push(Detailed {
                change: Change { address: address.clone(), action, reason: None },
                kind,
                before: Some(instance.attributes.clone()),
                after: now,
                forcing: Vec::new(),
            });
        }
        (refreshed, drift)
    }

    /// Every resource's change, and what is known of each afterwards.
    fn changes<'a>(&'a self, prior: &'a State) -> Result<Compared<'a>, Vec<Diagnostic>> {
        let (mut changes, mut known, mut wrong) = (Vec::new(), BTreeMap::new(), Vec::new());
        for one in &self.module.resources {
            let address = one.address();
            let Some(schema) = self.schemas.get(&one.kind) else { continue };
            let detailed =
                self.change(one, schema, prior.resources.get(&address), &known).map_err(|wrong| vec![*wrong])?;
            if detailed.change.action == Action::Replace && one.prevent_destroy {
                wrong.push(protected(one));
            }
            known.insert(address, detailed.after.clone().unwrap_or_default());
            changes.push(detailed);
        }
        for (address, instance) in &prior.resources {
            if self.module.resource(address).is_none() {
                let kind = address.split_once('.').map_or(address.as_str(), |(kind, _)| kind);
                changes.push(Detailed {
                    change: Change {
                        address: address.clone(),
                        action: Action::Delete,
                        reason: Some("delete_because_no_resource_config".to_owned()),
                    },
                    kind,
                    before: Some(instance.attributes.clone()),
                    after: None,
                    forcing: Vec::new(),
                });
            }
        }
        changes.sort_by(|a, b| a.change.address.cmp(&b.change.address));
        if wrong.is_empty() { Ok((changes, known)) } else { Err(wrong) }
    }

    fn change<'a>(
        &self,
        one: &'a Resource,
        schema: &Schema,
        prior: Option<&Instance>,
        known: &BTreeMap<String, Attributes>,
    ) -> Result<Detailed<'a>, Box<Diagnostic>> {
        let arguments = self.module.arguments(one, known)?;
        let before = prior.map(|prior| prior.attributes.clone());
        let updated = schema.planned(&one.kind, arguments.clone(), before.as_ref());
        let forcing = before.as_ref().map_or(Vec::new(), |before| schema.forcing(before, &updated));
        let tainted = prior.is_some_and(|prior| prior.tainted);
        let (action, reason) = match &before {
            None => (Action::Create, None),
            Some(_) if tainted => (Action::Replace, Some("tainted")),
            Some(_) if !forcing.is_empty() => (Action::Replace, Some("cannot_update")),
            Some(before) if *before == updated => (Action::NoOp, None),
            Some(_) => (Action::Update, None),
        };
        let after = if action == Action::Replace { schema.planned(&one.kind, arguments, None) } else { updated };
        let change = Change { address: one.address(), action, reason: reason.map(str::to_owned) };
        Ok(Detailed { change, kind: &one.kind, before, after: Some(after), forcing })
    }

    fn outputs(
        &self,
        prior: &State,
        known: &BTreeMap<String, Attributes>,
    ) -> Result<BTreeMap<String, Value>, Box<Diagnostic>> {
        let mut outputs = BTreeMap::new();
        if self.refresh_only {
            for (name, output) in &prior.outputs {
                outputs
                    .insert(name.clone(), output_change(Some(output), Some(&Val::of(&output.value)), output.sensitive));
            }
            return Ok(outputs);
        }
        for output in &self.module.outputs {
            let after = self.module.output(output, known)?;
            let change = output_change(prior.outputs.get(&output.name), Some(&after), output.sensitive);
            outputs.insert(output.name.clone(), change);
        }
        for (name, gone) in &prior.outputs {
            outputs.entry(name.clone()).or_insert_with(|| output_change(Some(gone), None, gone.sensitive));
        }
        Ok(outputs)
    }

    /// An entry of `resource_changes`.
    fn json(&self, one: &Detailed<'_>) -> Value {
        let Detailed { change, kind, before, after, forcing } = one;
        let secret = self.schemas.get(kind).map_or(&[][..], |schema| schema.sensitive.as_slice());
        let changed = change.action != Action::NoOp;
        let mask = |side: &Option<Attributes>| side.as_ref().map_or(json!(false), |side| sensitive(side, secret));
        let mut entry = head(&change.address, kind);
        let mut values = json!({
            "actions": change.action.json(),
            "before": before.as_ref().map(object),
            "after": after.as_ref().map(object),
            "after_unknown": after.as_ref().filter(|_| changed).map_or(json!({}), unknown),
            "before_sensitive": mask(before),
            "after_sensitive": mask(after),
        });
        if !forcing.is_empty() {
            values["replace_paths"] = json!(forcing.iter().map(|name| [name]).collect::<Vec<_>>());
        }
        entry["change"] = values;
        if let Some(reason) = &change.reason {
            let reason =
                if change.action == Action::Replace { format!("replace_because_{reason}") } else { reason.clone() };
            entry["action_reason"] = json!(reason);
        }
        entry
    }

    /// A module of `planned_values`, or of a state.
    fn values(&self, known: &BTreeMap<String, Attributes>) -> Value {
        let resources: Vec<Value> = known
            .iter()
            .map(|(address, attributes)| {
                let kind = address.split_once('.').map_or(address.as_str(), |(kind, _)| kind);
                let secret = self.schemas.get(kind).map_or(&[][..], |schema| schema.sensitive.as_slice());
                let mut entry = head(address, kind);
                entry["schema_version"] = json!(0);
                entry["values"] = object(attributes);
                entry["sensitive_values"] = sensitive(attributes, secret);
                entry
            })
            .collect();
        if resources.is_empty() { json!({}) } else { json!({ "resources": resources }) }
    }

    fn prior_state(&self, refreshed: &State) -> Value {
        let outputs = refreshed.outputs.iter().map(|(name, output)| {
            let OutputValue { value, kind, sensitive } = output;
            (name.clone(), json!({ "sensitive": sensitive, "value": value, "type": kind }))
        });
        json!({
            "format_version": "1.0",
            "terraform_version": VERSION,
            "values": {
                "outputs": outputs.collect::<Map<_, _>>(),
                "root_module": self.values(&attributes_of(refreshed)),
            },
        })
    }

    fn configuration(&self) -> Value {
        let resources: Vec<Value> = self
            .module
            .resources
            .iter()
            .map(|one| {
                let mut entry = head(&one.address(), &one.kind);
                if let Some(entry) = entry.as_object_mut() {
                    entry.remove("provider_name");
                }
                entry["provider_config_key"] = json!(if is_aws(&one.kind) { "aws" } else { "terraform" });
                entry["schema_version"] = json!(0);
                entry
            })
            .collect();
        json!({ "root_module": { "resources": resources } })
    }
}

fn head(address: &str, kind: &str) -> Value {
    let name = address.split_once('.').map_or(address, |(_, name)| name);
    json!({ "address": address, "mode": "managed", "type": kind, "name": name, "provider_name": provider(kind) })
}

fn protected(one: &Resource) -> Diagnostic {
    let address = one.address();
    let detail = format!(
        "Resource {address} has lifecycle.prevent_destroy set, but the plan calls for this resource to be destroyed. To avoid \
         this error and continue with the plan, either disable lifecycle.prevent_destroy or reduce the scope of the plan \
         using the -target option."
    );
    Diagnostic::error("Instance cannot be destroyed", detail).at((&one.place.0, one.place.1))
}

pub fn attributes_of(state: &State) -> BTreeMap<String, Attributes> {
    state.resources.iter().map(|(address, instance)| (address.clone(), instance.attributes.clone())).collect()
}

fn variables(module: &Module) -> Value {
    Value::Object(module.variables().into_iter().map(|(name, value)| (name, json!({ "value": value }))).collect())
}

/// An entry of `output_changes`.
fn output_change(before: Option<&OutputValue>, after: Option<&Val>, sensitive: bool) -> Value {
    let action = match (before, after) {
        (None, _) => Action::Create,
        (Some(_), None) => Action::Delete,
        (Some(before), Some(after)) if Val::of(&before.value) == *after => Action::NoOp,
        _ => Action::Update,
    };
    let mut change = json!({
        "actions": action.json(),
        "before": before.map(|before| &before.value),
        "after": after.map(Val::json),
        "after_unknown": after.map_or(json!(false), |after| if after.is_known() { json!(false) } else { after.unknown() }),
        "before_sensitive": sensitive,
        "after_sensitive": sensitive,
    });
    if let (Some(Val::Unknown), Some(change)) = (after, change.as_object_mut()) {
        change.remove("after");
    }
    change
}

fn planned_outputs(outputs: &BTreeMap<String, Value>) -> Value {
    let kept = outputs.iter().filter(|(_, change)| change["actions"] != json!(["delete"]));
    let entries = kept.map(|(name, change)| {
        let mut entry = json!({ "sensitive": change["after_sensitive"] });
        if let Some(value) = change.get("after") {
            entry["type"] = type_of(value);
            entry["value"] = value.clone();
        }
        (name.clone(), entry)
    });
    Value::Object(entries.collect())
}

/// An output as a message of the plan has it.
fn said(change: &Value) -> Value {
    let action = change["actions"][0].as_str().unwrap_or_default();
    json!({ "sensitive": change["after_sensitive"], "action": if action == "no-op" { "noop" } else { action } })
}
