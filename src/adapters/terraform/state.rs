//! What the state holds, and who holds its lock.
//!
//! The state is read with `state pull` in its version 4:
//! <https://github.com/hashicorp/terraform/blob/v1.11.4/internal/states/statefile/version4.go>.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::Terraform;
use super::run::unframed;
use crate::domain::provision::{Holding, StateId};
use crate::error::{Error, Result};

/// A state: its identity, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub id: StateId,
    pub holdings: Vec<Holding>,
}

/// Whether somebody holds the state's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    Free,
    By(LockHolder),
    /// It could not be told; why.
    Unknown(String),
}

/// Who holds the state's lock, in Terraform's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockHolder {
    pub id: String,
    /// The state, as its backend names it.
    pub path: String,
    /// `user@host`.
    pub who: String,
    /// `OperationTypeApply`.
    pub operation: String,
    pub created: String,
}

#[derive(Deserialize)]
struct Version4 {
    lineage: String,
    serial: u64,
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    module: Option<String>,
    mode: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    #[serde(default)]
    index_key: Option<Value>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    deposed: Option<String>,
}

impl Terraform {
    /// The state's identity; `None` where there is no state yet.
    pub async fn state(&self) -> Result<Option<StateId>> {
        Ok(self.whole_state().await?.map(|state| state.id))
    }

    /// The state (`state pull`); `None` where there is none yet. It is read whoever holds its lock.
    pub async fn whole_state(&self) -> Result<Option<State>> {
        let finished = self.command(&["state", "pull"]).output().await?;
        if !finished.success() {
            return Err(self.refused("state pull", &finished, &[]));
        }
        if finished.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let read: Version4 = serde_json::from_slice(&finished.stdout)
            .map_err(|error| Error::outside(format!("{} state pull answers no state", self.name())).because(error))?;
        // A backend in which nothing was written yet answers an empty state without a name.
        if read.lineage.is_empty() && read.resources.is_empty() {
            return Ok(None);
        }
        let managed = read.resources.iter().filter(|resource| resource.mode == "managed");
        let holdings = managed.flat_map(Resource::holdings).collect();
        Ok(Some(State { id: StateId { lineage: read.lineage, serial: read.serial }, holdings }))
    }

    /// Whether somebody holds the state's lock: it is taken, and given back at once, by a command that changes nothing.
    pub async fn lock_holder(&self) -> Held {
        let words = ["state", "rm", "-dry-run", "-no-color", "-lock-timeout=0s", "terraform_data.none"];
        let finished = match self.command(&words).output().await {
            Ok(finished) => finished,
            Err(error) => return Held::Unknown(error.to_string()),
        };
        let said = finished.error_text();
        let lines: Vec<&str> = said.lines().map(unframed).filter(|line| !line.is_empty()).collect();
        let asked = lines.iter().any(|line| line.contains("acquiring the state lock"));
        if let Some(holder) = asked.then(|| LockHolder::read(&said)).flatten() {
            return Held::By(holder);
        }
        // Without a state there is nothing to remove from; the lock was had all the same.
        if finished.success() || lines.iter().any(|line| line.contains("No state file was found")) {
            return Held::Free;
        }
        let error = lines.iter().find(|line| line.starts_with("Error")).or(lines.first());
        Held::Unknown(error.map_or_else(String::new, |line| (*line).to_owned()))
    }
}

impl Resource {
    /// Its objects by address; an object and its deposed ones are one entry.
    fn holdings(&self) -> Vec<Holding> {
        let mut holdings: Vec<Holding> = Vec::new();
        for instance in &self.instances {
            let address = self.address(instance.index_key.as_ref());
            let at = holdings.iter().position(|holding| holding.address == address).unwrap_or_else(|| {
                holdings.push(Holding { address, ..Holding::default() });
                holdings.len() - 1
            });
            let holding = &mut holdings[at];
            if let Some(key) = &instance.deposed {
                holding.deposed.push(key.clone());
            } else {
                holding.current = true;
                holding.tainted = instance.status.as_deref() == Some("tainted");
            }
        }
        holdings
    }

    fn address(&self, index: Option<&Value>) -> String {
        let module = self.module.as_ref().map_or(String::new(), |module| format!("{module}."));
        // A key is written as JSON writes it: a number, or a text in quotation marks.
        let index = index.map_or(String::new(), |index| format!("[{index}]"));
        format!("{module}{}.{}{index}", self.kind, self.name)
    }
}

impl LockHolder {
    /// From Terraform's words: the lines after `Lock Info:`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(unframed).skip_while(|line| !line.starts_with("Lock Info:")).collect();
        let value = |key: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(key));
            line.map_or(String::new(), |value| value.trim().to_owned())
        };
        let (id, path, who) = (value("ID:"), value("Path:"), value("Who:"));
        let (operation, created) = (value("Operation:"), value("Created:"));
        (!id.is_empty()).then_some(Self { id, path, who, operation, created })
    }

    /// Whether the state is a file in the module `dir`: its lock ends with the process that holds it, and cannot be taken away.
    #[must_use]
    pub fn is_local(&self, dir: &Path) -> bool {
        let path = dir.join(&self.path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!(".{name}.lock.info")).exists()
    }

    /// For people, in two lines.
    #[must_use]
    pub fn said(&self) -> [String; 2] {
        let Self { id, who, operation, created, .. } = self;
        [format!("the state's lock is held by {who} since {created}"), format!("  for {operation}, lock {id}")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_by_address() {
        let text = r#"{"version":4,"lineage":"l","serial":3,"resources":[
            {"module":"module.m[\"k\"]","mode":"managed","type":"t","name":"n","instances":[
                {"index_key":0,"status":"tainted","attributes":{}},{"index_key":0,"deposed":"00000001"},{"index_key":"a"}]},
            {"mode":"managed","type":"t","name":"old","instances":[{"deposed":"00000002"}]}]}"#;
        let state: Version4 = serde_json::from_str(text).unwrap();
        let holdings: Vec<Holding> = state.resources.iter().flat_map(Resource::holdings).collect();
        let holding = |address: &str, current, tainted, deposed: &[&str]| Holding {
            address: address.into(),
            current,
            tainted,
            deposed: deposed.iter().map(|key| (*key).to_owned()).collect(),
        };
        assert_eq!(
            holdings,
            [
                holding("module.m[\"k\"].t.n[0]", true, true, &["00000001"]),
                holding("module.m[\"k\"].t.n[\"a\"]", true, false, &[]),
                holding("t.old", false, false, &["00000002"]),
            ]
        );
    }

    #[test]
    fn the_holder_of_a_lock_is_read_from_terraforms_words() {
        let text = "╷\n│ Error: Error acquiring the state lock\n│ \n│ RequestID: TRjJ, HostID: 9G\n│ Lock Info:\n│   ID:        e1b5\n│   Path:      p\n│   Operation: OperationTypeApply\n│   Who:       dana@desk\n│   Created:   2026-11-23 15:10:55 +0000 UTC\n╵\n";
        let by = LockHolder::read(text).unwrap();
        let expected = ("e1b5", "dana@desk", "OperationTypeApply", "2026-11-23 15:10:55 +0000 UTC");
        assert_eq!((by.id.as_str(), by.who.as_str(), by.operation.as_str(), by.created.as_str()), expected);
        let dir = tempfile::tempdir().unwrap();
        assert!(!by.is_local(dir.path()));
        std::fs::write(dir.path().join(".p.lock.info"), "").unwrap();
        assert!(by.is_local(dir.path()));
        assert_eq!(LockHolder::read("Error: Error acquiring the state lock\nID: x"), None);
    }
}
