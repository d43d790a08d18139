//! The state: Terraform's format 4 in a file, the local backend's lock on it, workspaces. As 1.11.4 writes them (observed).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::module::is_aws;
use super::said::{Diagnostic, VERSION};
use super::value::{Attributes, Val, object, type_of};

/// Attributes of `terraform_data` whose type is written beside the value.
const DYNAMIC: [&str; 3] = ["input", "output", "triggers_replace"];

/// What exists, as Terraform knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub lineage: String,
    pub serial: u64,
    pub outputs: BTreeMap<String, OutputValue>,
    /// By address.
    pub resources: BTreeMap<String, Instance>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputValue {
    pub value: Value,
    #[serde(rename = "type")]
    pub kind: Value,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub attributes: Attributes,
    pub tainted: bool,
    pub depends_on: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u64,
    terraform_version: String,
    serial: u64,
    lineage: String,
    outputs: BTreeMap<String, OutputValue>,
    resources: Vec<Written>,
    check_results: Value,
}

#[derive(Serialize, Deserialize)]
struct Written {
    mode: String,
    r#type: String,
    name: String,
    provider: String,
    instances: Vec<WrittenInstance>,
}

#[derive(Serialize, Deserialize)]
struct WrittenInstance {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    schema_version: u64,
    attributes: Value,
    #[serde(default)]
    sensitive_attributes: Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<String>,
}

/// `registry.terraform.io/hashicorp/aws`, for one.
pub fn provider(kind: &str) -> &'static str {
    if is_aws(kind) { "registry.terraform.io/hashicorp/aws" } else { "terraform.io/builtin/terraform" }
}

impl State {
    /// Reads a state file's text; an empty one is no state yet.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(text: &str) -> Result<Option<Self>, String> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if document.version != 4 {
            return Err(format!("state format {} is not rehearsed", document.version));
        }
        let mut resources = BTreeMap::new();
        for one in document.resources {
            let [instance] = one.instances.as_slice() else {
                return Err(format!("{}.{} has other than one instance", one.r#type, one.name));
            };
            resources.insert(format!("{}.{}", one.r#type, one.name), Instance::read(&one.r#type, instance));
        }
        let Document { lineage, serial, outputs, .. } = document;
        Ok(Some(Self { lineage, serial, outputs, resources }))
    }

    /// As it is written.
    pub fn text(&self) -> String {
        let resources = self.resources.iter().map(|(address, instance)| {
            let (kind, name) = address.split_once('.').unwrap_or((address, ""));
            Written {
                mode: "managed".into(),
                r#type: kind.into(),
                name: name.into(),
                provider: format!("provider[\"{}\"]", provider(kind)),
                instances: vec![instance.written(kind)],
            }
        });
        let document = Document {
            version: 4,
            terraform_version: VERSION.into(),
            serial: self.serial,
            lineage: self.lineage.clone(),
            outputs: self.outputs.clone(),
            resources: resources.collect(),
            check_results: Value::Null,
        };
        // A value of our own: it can be written.
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }
}

impl Instance {
    fn read(kind: &str, written: &WrittenInstance) -> Self {
        let mut attributes = match Val::of(&written.attributes) {
            Val::Map(attributes) => attributes,
            _ => Attributes::new(),
        };
        if !is_aws(kind) {
            for name in DYNAMIC {
                if let Some(Val::Map(typed)) = attributes.get(name) {
                    let value = typed.get("value").cloned().unwrap_or(Val::NULL);
                    attributes.insert(name.to_owned(), value);
                }
            }
        }
        let tainted = written.status.as_deref() == Some("tainted");
        Self { attributes, tainted, depends_on: written.dependencies.clone() }
    }

    fn written(&self, kind: &str) -> WrittenInstance {
        let mut attributes = object(&self.attributes);
        if !is_aws(kind) {
            for name in DYNAMIC {
                if !attributes[name].is_null() {
                    let value = attributes[name].take();
                    attributes[name] = json!({ "value": value, "type": type_of(&value) });
                }
            }
        }
        WrittenInstance {
            status: self.tainted.then(|| "tainted".to_owned()),
            schema_version: 0,
            attributes,
            sensitive_attributes: json!([]),
            dependencies: self.depends_on.clone(),
        }
    }
}

/// Where the selected workspace keeps its state.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
    pub workspace: String,
}

impl Place {
    /// `TF_WORKSPACE`, or what was selected before.
    pub fn selected(dir: &Path, forced: Option<&str>) -> Self {
        let chosen = std::fs::read_to_string(dir.join(".terraform/environment")).unwrap_or_default();
        let workspace = forced.unwrap_or(chosen.trim());
        let workspace = if workspace.is_empty() { "default" } else { workspace };
        Self { dir: dir.to_owned(), workspace: workspace.to_owned() }
    }

    /// The state's path, relative to the module.
    pub fn relative(&self) -> String {
        match self.workspace.as_str() {
            "default" => "terraform.tfstate".to_owned(),
            other => format!("terraform.tfstate.d/{other}/terraform.tfstate"),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.join(self.relative())
    }

    fn lock_info(&self) -> PathBuf {
        self.path().with_file_name(".terraform.tfstate.lock.info")
    }

    /// Every workspace's name.
    pub fn workspaces(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.join("terraform.tfstate.d")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.insert(0, "default".to_owned());
        names
    }

    pub fn select(&self, name: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(self.dir.join(".terraform"))?;
        std::fs::write(self.dir.join(".terraform/environment"), name)
    }

    pub fn make(&self, name: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(self.dir.join("terraform.tfstate.d").join(name))?;
        self.select(name)
    }

    /// The state as it is, whoever holds it.
    pub fn look(&self) -> Result<Option<State>, Box<Diagnostic>> {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        State::read(&text).map_err(broken)
    }
}

fn broken(why: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("Error loading state", format!("Failed to load state: {why}")))
}

/// What stands beside a state that somebody holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LockInfo {
    #[serde(rename = "ID")]
    pub id: String,
    pub operation: String,
    pub info: String,
    /// `user@host`.
    pub who: String,
    pub version: String,
    /// RFC 3339 with nanoseconds.
    pub created: String,
    pub path: String,
}

impl LockInfo {
    /// `operation` is `OperationTypePlan` or `OperationTypeApply`; `created` is wall time.
    pub fn new(place: &Place, operation: &str, who: &str, created: jiff::Timestamp) -> Self {
        Self {
            id: uuid(),
            operation: operation.to_owned(),
            info: String::new(),
            who: who.to_owned(),
            version: VERSION.to_owned(),
            created: created.strftime("%Y-%m-%dT%H:%M:%S%.9fZ").to_string(),
            path: place.relative(),
        }
    }
}

/// A state that is held. The lock ends with the process, or when this is dropped.
pub struct Held {
    place: Place,
    file: File,
}

impl Held {
    /// Takes the lock.
    ///
    /// # Errors
    /// Who holds it, in Terraform's words.
    pub fn take(place: &Place, info: &LockInfo) -> Result<Self, Box<Diagnostic>> {
        let failed = |error: std::io::Error| {
            Box::new(Diagnostic::error("Error acquiring the state lock", format!("Error message: {error}")))
        };
        let path = place.path();
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?;
        if rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Box::new(Self::held_by_another(place)));
        }
        let text = serde_json::to_string(info).unwrap_or_default();
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(place.lock_info());
        written.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
        Ok(Self { place: place.clone(), file })
    }

    fn held_by_another(place: &Place) -> Diagnostic {
        let info = std::fs::read_to_string(place.lock_info()).ok();
        let info = info.and_then(|text| serde_json::from_str::<LockInfo>(&text).ok());
        let info = info.map_or(String::new(), |info| {
            let created: Option<jiff::Timestamp> = info.created.parse().ok();
            let created = created.map_or(info.created.clone(), |at| at.strftime("%F %H:%M:%S%.9f +0000 UTC").to_string());
            format!(
                "Lock Info:\n  ID:        {}\n  Path:      {}\n  Operation: {}\n  Who:       {}\n  Version:   {}\n  Created:   \
                 {created}\n  Info:      {}\n\n\n",
                info.id, info.path, info.operation, info.who, info.version, info.info
            )
        });
        Diagnostic::error(
            "Error acquiring the state lock",
            format!(
                "Error message: resource temporarily unavailable\n{info}Terraform acquires a state lock to protect the state \
                 from being written\nby multiple users at the same time. Please resolve the issue above and try\nagain. For \
                 most commands, you can disable locking with the \"-lock=false\"\nflag, but this is not recommended."
            ),
        )
    }

    /// The state. It is read through the handle that holds the lock: closing another one would give the lock back.
    pub fn read(&mut self) -> Result<Option<State>, Box<Diagnostic>> {
        let mut text = String::new();
        let read = self.file.rewind().and_then(|()| self.file.read_to_string(&mut text));
        read.map_err(|error| broken(error.to_string()))?;
        State::read(&text).map_err(broken)
    }

    /// Writes it in place, and what was there to the backup, the first time.
    pub fn write(&mut self, state: &State) -> Result<(), Box<Diagnostic>> {
        let failed = |error: std::io::Error| Box::new(Diagnostic::error("Failed to persist state", error.to_string()));
        let text = state.text();
        self.file.rewind().map_err(failed)?;
        self.file.write_all(text.as_bytes()).map_err(failed)?;
        self.file.set_len(text.len() as u64).and_then(|()| self.file.sync_data()).map_err(failed)
    }

    /// Keeps the state as it was before the first change.
    pub fn back_up(&self, state: &State) {
        let path = self.place.path();
        // A state without its backup is still the state.
        let _ = std::fs::write(path.with_extension("tfstate.backup"), state.text());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.place.lock_info());
        // What locking made, and nobody wrote to, is taken away again.
        if self.file.metadata().is_ok_and(|meta| meta.len() == 0) {
            let _ = std::fs::remove_file(self.place.path());
        }
    }
}

/// A random id in the usual form.
pub fn uuid() -> String {
    let (a, b) = (fastrand::u64(..), fastrand::u64(..));
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", a >> 32, a >> 16 & 0xffff, a & 0xffff, b >> 48, b & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = r#"{"version": 4, "terraform_version": "1.11.4", "serial": 3, "lineage": "3e28b8d8",
        "outputs": {"size": {"value": 1, "type": "number"}},
        "resources": [{"mode": "managed", "type": "terraform_data", "name": "a",
            "provider": "provider[\"terraform.io/builtin/terraform\"]",
            "instances": [{"status": "tainted", "schema_version": 0, "attributes": {"id": "4a19",
                "input": {"value": {"size": 1}, "type": ["object", {"size": "number"}]}, "output": null,
                "triggers_replace": {"value": ["one"], "type": ["tuple", ["string"]]}},
                "sensitive_attributes": [], "dependencies": ["terraform_data.b"]}]}],
        "check_results": null}"#;

    #[test]
    fn what_terraform_wrote_is_read_and_written_alike() {
        let state = State::read(WRITTEN).unwrap().unwrap();
        let instance = &state.resources["terraform_data.a"];
        assert!(instance.tainted);
        assert_eq!(instance.attributes["input"], Val::of(&json!({"size": 1})));
        let (ours, theirs): (Value, Value) =
            (serde_json::from_str(&state.text()).unwrap(), serde_json::from_str(WRITTEN).unwrap());
        assert_eq!(ours, theirs);
        assert!(State::read(" \n").unwrap().is_none());
        assert!(State::read("{").is_err());
    }

    #[test]
    fn a_lock_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::selected(dir.path(), None);
        let info = LockInfo::new(&place, "OperationTypePlan", "a@b", crate::clock::Clock::real().wall());
        let held = Held::take(&place, &info).unwrap();
        assert!(place.lock_info().exists() && place.path().exists());
        assert!(Held::held_by_another(&place).detail.contains(&format!("ID:        {}", info.id)));
        drop(held);
        assert!(!place.lock_info().exists() && !place.path().exists());
        assert_eq!(uuid().len(), 36);
    }
}
