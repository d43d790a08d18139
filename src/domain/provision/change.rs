//! One change as people read it: what happens, to which attributes, and what forces a replacement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan_json::{OutputChange, RawChange, RawDiff};
use super::secret::{Secrets, document, is_secret, names_secret};

/// Attributes that one change keeps; the rest is counted.
const MOST: usize = 60;
/// Characters of a value that are kept.
const LONGEST: usize = 160;
/// Items of a list that are compared with each other; longer lists are compared by position.
const PAIRED: usize = 100;

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Create,
    Update,
    /// Destroyed and created, in either order.
    Replace,
    Destroy,
    /// Left in the world, and no longer managed.
    Forget,
    /// A data source is read while applying.
    Read,
    /// Nothing but, perhaps, a new address or an import.
    Keep,
    /// A combination that is not in the format that is known here.
    Unknown,
}

impl Action {
    /// From the document's list.
    #[must_use]
    pub fn of(actions: &[String]) -> Self {
        match actions.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["no-op"] => Self::Keep,
            ["create"] => Self::Create,
            ["read"] => Self::Read,
            ["update"] => Self::Update,
            ["delete"] => Self::Destroy,
            ["delete", "create"] | ["create", "delete"] => Self::Replace,
            ["forget"] => Self::Forget,
            _ => Self::Unknown,
        }
    }

    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Destroy => "destroy",
            Self::Forget => "forget",
            Self::Read => "read",
            Self::Keep => "keep",
            Self::Unknown => "unknown",
        }
    }

    /// The sign before an address.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Update => "~",
            Self::Replace => "±",
            Self::Destroy => "-",
            Self::Forget => "x",
            Self::Read => "<",
            Self::Keep => "=",
            Self::Unknown => "?",
        }
    }

    /// Whether what exists is gone afterwards.
    #[must_use]
    pub const fn destroys(self) -> bool {
        matches!(self, Self::Destroy | Self::Replace | Self::Unknown)
    }
}

/// A value, as far as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    Value(String),
    /// Marked as sensitive, or named like a secret.
    Sensitive,
    /// Known only after apply.
    Unknown,
    None,
}

impl Shown {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Value(value) => value.clone(),
            Self::Sensitive => "(sensitive)".to_owned(),
            Self::Unknown => "(known after apply)".to_owned(),
            Self::None => "(none)".to_owned(),
        }
    }
}

/// An attribute that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attribute {
    /// `scaling_config[0].desired_size`.
    pub path: String,
    pub before: Shown,
    pub after: Shown,
    /// Whether this is what forces the replacement.
    pub forces: bool,
}

/// A change of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub address: String,
    /// `module.cluster`; empty for the root module.
    pub module: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub action: Action,
    /// The address that it had before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<String>,
    /// The id of the object that is taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
    /// An object that an interrupted replacement left behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deposed: Option<String>,
    /// For a replacement: the new one is created before the old one is destroyed.
    pub create_first: bool,
    /// Why, in words, where Terraform gives a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For updates and replacements: what changes, what forces the replacement first.
    pub attributes: Vec<Attribute>,
    /// Attributes beyond those that are kept here.
    pub more: usize,
}

impl Change {
    /// What a person is shown of an entry.
    #[must_use]
    pub fn of(raw: &RawChange) -> Self {
        let action = Action::of(&raw.change.actions);
        let compared = matches!(action, Action::Update | Action::Replace);
        let mut attributes = if compared { attributes(&raw.change) } else { Vec::new() };
        attributes.sort_by_key(|attribute| !attribute.forces);
        let more = attributes.len().saturating_sub(MOST);
        attributes.truncate(MOST);
        Self {
            address: raw.address.clone(),
            module: raw.module_address.clone().unwrap_or_default(),
            kind: raw.kind.clone(),
            action,
            moved_from: raw.previous_address.clone().filter(|before| *before != raw.address),
            imported: raw.change.importing.as_ref().map(|importing| importing.id.clone().unwrap_or_default()),
            deposed: raw.deposed.clone(),
            create_first: raw.change.actions.first().is_some_and(|first| first == "create"),
            reason: raw.action_reason.as_deref().and_then(reason),
            attributes,
            more,
        }
    }

    /// What is shown of drift: what differs from what Terraform last saw, or that it is gone.
    #[must_use]
    pub fn drifted(raw: &RawChange) -> Self {
        // Of what is gone, every attribute would be one that changed.
        let gone = raw.change.after.is_null();
        Self { attributes: if gone { Vec::new() } else { attributes(&raw.change) }, ..Self::of(raw) }
    }

    /// The address as Terraform shows it: an object that was left behind is apart from its living namesake.
    #[must_use]
    pub fn shown_address(&self) -> String {
        match &self.deposed {
            Some(key) => format!("{} (deposed object {key})", self.address),
            None => self.address.clone(),
        }
    }

    /// Whether there is anything to tell about it.
    #[must_use]
    pub fn is_worth_telling(&self) -> bool {
        self.action != Action::Keep || self.moved_from.is_some() || self.imported.is_some()
    }
}

/// Terraform's `action_reason` in words; `None` for one that says no more than the action.
fn reason(reason: &str) -> Option<String> {
    let words = match reason {
        "replace_because_tainted" => "it is tainted: an earlier apply left it half made",
        "replace_by_request" => "its replacement was asked for",
        "replace_by_triggers" => "something that it is triggered by changes (replace_triggered_by)",
        "delete_because_no_resource_config" => "it is not in the configuration any more",
        "delete_because_no_module" => "its module is not in the configuration any more",
        "delete_because_wrong_repetition" => "count or for_each was added or removed",
        "delete_because_count_index" => "count is lower than before",
        "delete_because_each_key" => "its key is not in for_each any more",
        "delete_because_no_move_target" => "it was moved to an address that is not in the configuration",
        "replace_because_cannot_update" => return None,
        "read_because_config_unknown" | "read_because_dependency_pending" | "read_because_check_nested" => return None,
        other => return Some(other.replace('_', " ")),
    };
    Some(words.to_owned())
}

/// The outputs that change, by name.
pub(super) fn outputs(all: Option<BTreeMap<String, RawDiff>>) -> Vec<OutputChange> {
    let change = |(name, diff): (String, RawDiff)| {
        let secrets = Secrets::of(&diff);
        let held = secrets.are_in(&diff.before) || secrets.are_in(&diff.after);
        let mark = Value::Bool(held || is_marked(&diff.before_sensitive) || is_marked(&diff.after_sensitive));
        OutputChange {
            action: Action::of(&diff.actions),
            before: shown(&name, &diff.before, &Value::Null, &mark),
            after: shown(&name, &diff.after, &diff.after_unknown, &mark),
            name,
        }
    };
    all.unwrap_or_default().into_iter().map(change).filter(|output| output.action != Action::Keep).collect()
}

fn attributes(diff: &RawDiff) -> Vec<Attribute> {
    let forcing: Vec<String> = diff.replace_paths.iter().map(|path| path_text(path)).collect();
    let mut walk = Walk { forcing, secrets: Secrets::of(diff), found: Vec::new() };
    let side = |value, unknown, sensitive| Side { value, unknown, sensitive };
    walk.compare(
        "",
        side(&diff.before, &Value::Null, &diff.before_sensitive),
        side(&diff.after, &diff.after_unknown, &diff.after_sensitive),
    );
    walk.found
}

/// `["subnets", 0]` → `subnets[0]`.
fn path_text(path: &[Value]) -> String {
    path.iter().fold(String::new(), |text, part| match part {
        Value::String(name) => joined(&text, name),
        other => format!("{text}[{other}]"),
    })
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A value with its marks.
#[derive(Clone, Copy)]
struct Side<'a> {
    value: &'a Value,
    unknown: &'a Value,
    sensitive: &'a Value,
}

impl<'a> Side<'a> {
    fn key(self, key: &str) -> Self {
        let below = |value: &'a Value| value.get(key).unwrap_or(&Value::Null);
        Self { value: below(self.value), unknown: below(self.unknown), sensitive: self.below_mark(below) }
    }

    fn index(self, index: usize) -> Self {
        let below = |value: &'a Value| value.get(index).unwrap_or(&Value::Null);
        Self { value: below(self.value), unknown: below(self.unknown), sensitive: self.below_mark(below) }
    }

    /// What is below a sensitive value is sensitive.
    fn below_mark(self, below: impl Fn(&'a Value) -> &'a Value) -> &'a Value {
        if self.sensitive.as_bool() == Some(true) { self.sensitive } else { below(self.sensitive) }
    }

    fn is_unknown(self) -> bool {
        self.unknown.as_bool() == Some(true)
    }

    fn has_unknown(self) -> bool {
        fn any(value: &Value) -> bool {
            match value {
                Value::Bool(unknown) => *unknown,
                Value::Array(items) => items.iter().any(any),
                Value::Object(map) => map.values().any(any),
                _ => false,
            }
        }
        any(self.unknown)
    }

    fn same_as(self, other: Self) -> bool {
        self.value == other.value && !self.has_unknown() && !other.has_unknown()
    }
}

struct Walk {
    forcing: Vec<String>,
    secrets: Secrets,
    found: Vec<Attribute>,
}

impl Walk {
    fn compare(&mut self, path: &str, before: Side<'_>, after: Side<'_>) {
        if before.same_as(after) {
            return;
        }
        let sensitive = [before, after].iter().any(|side| side.sensitive.as_bool() == Some(true));
        if sensitive || after.is_unknown() || before.is_unknown() {
            return self.found(path, before, after);
        }
        match (before.value, after.value) {
            (Value::Object(old), Value::Object(new)) => self.objects(path, before, after, old, new),
            (Value::Array(old), Value::Array(new)) => self.lists(path, before, after, old, new),
            (Value::String(old), Value::String(new)) => match (document(old), document(new)) {
                (Some(old), Some(new)) if old == new => self.found(path, before, after),
                (Some(old), Some(new)) => {
                    let bare = |value| Side { value, unknown: &Value::Null, sensitive: &Value::Null };
                    self.compare(path, bare(&old), bare(&new));
                }
                _ => self.found(path, before, after),
            },
            _ => self.found(path, before, after),
        }
    }

    fn objects(&mut self, path: &str, before: Side<'_>, after: Side<'_>, old: &Map, new: &Map) {
        let unknown = after.unknown.as_object();
        let mut keys: Vec<&String> =
            old.keys().chain(new.keys()).chain(unknown.into_iter().flat_map(Map::keys)).collect();
        keys.sort();
        keys.dedup();
        let secret = names_secret(old) || names_secret(new);
        for key in keys {
            let (mut before, mut after) = (before.key(key), after.key(key));
            if secret && key == "value" {
                (before.sensitive, after.sensitive) = (&Value::Bool(true), &Value::Bool(true));
            }
            self.compare(&joined(path, key), before, after);
        }
    }

    /// Sets are lists in this format: an item that only stands elsewhere has not changed.
    fn lists(&mut self, path: &str, before: Side<'_>, after: Side<'_>, old: &[Value], new: &[Value]) {
        let scalars = old.iter().chain(new).all(|item| !item.is_object() && !item.is_array());
        if scalars && !after.has_unknown() && after.sensitive.as_array().is_none_or(|marks| !any_true(marks)) {
            return self.found(path, before, after);
        }
        if old.len().max(new.len()) > PAIRED || after.has_unknown() {
            for index in 0..old.len().max(new.len()) {
                self.compare(&format!("{path}[{index}]"), before.index(index), after.index(index));
            }
            return;
        }
        let mut gone: Vec<usize> = (0..old.len()).collect();
        let mut come = Vec::new();
        for (index, item) in new.iter().enumerate() {
            match gone.iter().position(|at| old[*at] == *item) {
                Some(at) => drop(gone.remove(at)),
                None => come.push(index),
            }
        }
        let both = gone.len().min(come.len());
        for (old, new) in gone.iter().zip(&come) {
            self.compare(&format!("{path}[{new}]"), before.index(*old), after.index(*new));
        }
        let nothing = Side { value: &Value::Null, unknown: &Value::Null, sensitive: &Value::Null };
        for index in &gone[both..] {
            self.item(&format!("{path}[{index}]"), before.index(*index), nothing);
        }
        for index in &come[both..] {
            self.item(&format!("{path}[{index}]"), nothing, after.index(*index));
        }
    }

    /// An item that is added or gone: an object by its keys, as far as they say something.
    fn item(&mut self, path: &str, before: Side<'_>, after: Side<'_>) {
        let whole = if before.value.is_null() { after } else { before };
        let says = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        let keys = |map: &Map| -> Vec<String> {
            map.iter().filter(|(_, value)| says(value)).map(|(key, _)| key.clone()).collect()
        };
        let keys = whole.value.as_object().map(keys).unwrap_or_default();
        if keys.is_empty() || whole.value.as_object().is_some_and(names_secret) {
            return self.found(path, before, after);
        }
        for key in keys {
            self.found(&joined(path, &key), before.key(&key), after.key(&key));
        }
    }

    fn found(&mut self, path: &str, before: Side<'_>, after: Side<'_>) {
        let name = path.rsplit('.').next().unwrap_or(path);
        let forces = self.forcing.iter().any(|forcing| is_part(path, forcing) || is_part(forcing, path));
        // What is sensitive on one side was, or will be, the same secret on the other.
        let mark = Value::Bool(is_marked(before.sensitive) || is_marked(after.sensitive));
        let shown = |side: Side<'_>| match shown(name, side.value, side.unknown, &mark) {
            Shown::Value(_) if self.secrets.are_in(side.value) => Shown::Sensitive,
            shown => shown,
        };
        let (before, after) = (shown(before), shown(after));
        self.found.push(Attribute { path: path.to_owned(), before, after, forces });
    }
}

type Map = serde_json::Map<String, Value>;

fn any_true(marks: &[Value]) -> bool {
    marks.iter().any(|mark| mark.as_bool() == Some(true))
}

/// Whether `path` is `whole`, or below it.
fn is_part(path: &str, whole: &str) -> bool {
    path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn shown(name: &str, value: &Value, unknown: &Value, sensitive: &Value) -> Shown {
    let bare = name.split('[').next().unwrap_or(name);
    if unknown.as_bool() == Some(true) {
        return Shown::Unknown;
    }
    if value.is_null() {
        return Shown::None;
    }
    if is_marked(sensitive) || is_secret(bare) {
        return Shown::Sensitive;
    }
    Shown::Value(shortened(value))
}

/// Whether the value, or any part of it, is sensitive.
fn is_marked(sensitive: &Value) -> bool {
    match sensitive {
        Value::Bool(marked) => *marked,
        Value::Array(items) => items.iter().any(is_marked),
        Value::Object(map) => map.values().any(is_marked),
        _ => false,
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
