//! `metadata.managedFields`: the entries, and what a plain write does to them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::apply::Applier;
use super::fields::{FieldSet, Path, get};
use super::resources::Resource;

/// One manager of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    pub api_version: String,
    pub time: String,
    pub sub: Option<String>,
    pub fields: FieldSet,
}

impl Entry {
    /// `"kubectl" using apps/v1`: for conflicts.
    pub fn shown(&self) -> String {
        let sub = self.sub.as_ref().map_or(String::new(), |sub| format!(" with subresource \"{sub}\""));
        format!("\"{}\"{sub} using {}", self.manager, self.api_version)
    }

    fn is(&self, manager: &str, operation: &str, sub: Option<&str>) -> bool {
        self.manager == manager && self.operation == operation && self.sub.as_deref() == sub
    }
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Managers(pub Vec<Entry>);

impl Managers {
    pub fn read(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        let read = |entry: &Value| Entry {
            manager: text(&entry["manager"]),
            operation: text(&entry["operation"]),
            api_version: text(&entry["apiVersion"]),
            time: text(&entry["time"]),
            sub: entry["subresource"].as_str().filter(|sub| !sub.is_empty()).map(str::to_owned),
            fields: FieldSet::read(&entry["fieldsV1"]),
        };
        Self(entries.map(read).filter(|entry| !entry.fields.is_empty()).collect())
    }

    pub fn write(&self, object: &mut Value) {
        let entries: Vec<Value> = self.0.iter().filter(|entry| !entry.fields.is_empty()).map(written).collect();
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.remove("managedFields");
            if !entries.is_empty() {
                meta.insert("managedFields".into(), json!(entries));
            }
        }
    }

    /// Takes the entry of an applier out.
    pub fn take_applied(&mut self, manager: &str, sub: Option<&str>) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.is(manager, "Apply", sub))?;
        Some(self.0.remove(at))
    }

    pub fn put_applied(&mut self, applier: &Applier, resource: &Resource, fields: FieldSet, time: String) {
        let (manager, sub) = (applier.manager.clone(), applier.sub.clone());
        // Applied entries come first, as the server sorts them.
        let at = self.0.iter().take_while(|entry| entry.operation == "Apply" && entry.manager < manager).count();
        let entry =
            Entry { manager, operation: "Apply".into(), api_version: resource.api_version(), time, sub, fields };
        self.0.insert(at, entry);
    }

    /// Every manager loses these paths.
    pub fn give_up(&mut self, paths: &BTreeSet<Path>) {
        for entry in &mut self.0 {
            entry.fields.0.retain(|path| !paths.contains(path));
        }
        self.0.retain(|entry| !entry.fields.is_empty());
    }
}

fn written(entry: &Entry) -> Value {
    let mut value = json!({
        "manager": entry.manager, "operation": entry.operation, "apiVersion": entry.api_version, "time": entry.time,
        "fieldsType": "FieldsV1", "fieldsV1": entry.fields.write(),
    });
    if let Some(sub) = &entry.sub {
        value["subresource"] = json!(sub);
    }
    value
}

/// An object without its managedFields.
pub(super) fn without(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    object
}

/// Records a plain write (create, update, patch): the writer owns what it changed, and nobody owns what is gone.
pub(super) fn track(resource: &Resource, old: &Value, new: &mut Value, writer: &Applier) {
    let given = &new["metadata"]["managedFields"];
    if !given.is_null() && *given != old["metadata"]["managedFields"] {
        // The writer edits the ownership itself; `[{}]` resets it.
        let managers = Managers::read(new);
        managers.write(new);
        return;
    }
    let custom = resource.custom;
    let (before, after) = (FieldSet::of(old, custom), FieldSet::of(new, custom));
    let is_item = |path: &Path| path.last().is_some_and(|last| !last.starts_with("f:"));
    let differs = |path: &Path| !is_item(path) && get(old, path, custom) != get(new, path, custom);
    let changed: BTreeSet<Path> =
        after.0.iter().filter(|path| !before.contains(path) || differs(path)).cloned().collect();
    let mut managers = Managers::read(old);
    let gone = before.0.difference(&after.0).cloned().collect::<BTreeSet<_>>();
    if changed.is_empty() && gone.is_empty() {
        managers.write(new);
        return;
    }
    let mine = managers.0.iter().position(|entry| entry.is(&writer.manager, "Update", writer.sub.as_deref()));
    let mut mine = mine.map(|at| managers.0.remove(at)).unwrap_or(Entry {
        manager: writer.manager.clone(),
        operation: "Update".into(),
        api_version: resource.api_version(),
        time: String::new(),
        sub: writer.sub.clone(),
        fields: FieldSet::default(),
    });
    managers.give_up(&changed);
    managers.give_up(&gone);
    mine.fields.0.retain(|path| !gone.contains(path));
    mine.fields.0.extend(changed);
    mine.time.clone_from(&writer.time);
    managers.0.push(mine);
    managers.write(new);
}
