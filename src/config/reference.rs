//! `docs/configuration.md`: every key, its type, its default and its meaning, made from the schema.

use serde_json::Value as Json;

use super::check::words;
use super::schema::{self, alternatives, properties};
use super::tree::Path;
use super::{Config, show, span};

const HEAD: &str = "\
# Configuration

<!-- Generated from src/config. `UPDATE_DOCS=1 cargo test reference` writes it again. -->

`gospel-release.yaml` holds what is particular to your project. Every default is the value of Gospelib's own runbook;
a file names only what differs.

Each layer is laid over the one before; a section is merged key by key, anything else, lists too, is replaced whole:

1. the defaults below;
2. `gospel-release.yaml`, in the working directory or the nearest one above it inside the Git checkout, or the file
   that `--config` (or `GOSPEL_RELEASE_CONFIG`) names;
3. `$XDG_CONFIG_HOME/gospel-release/config.yaml`, a person's own;
4. environment variables: `GOSPEL_RELEASE_GATES__SOAK=12h` sets `gates.soak`;
5. flags: `--set gates.soak=12h`.

`gospel-release config show --origins` names the place that each value comes from, `config check` reads all layers and
contacts nothing, `config schema` prints the JSON Schema. For editors that speak YAML:

```yaml
# yaml-language-server: $schema=schema/gospel-release.schema.json
```

A file with a mistake is refused whole (exit 3), with file, line, column, key and the nearest valid one. YAML is taken
without anchors, aliases, tags and second documents, up to 1 MiB. Relative paths belong to the directory of
`gospel-release.yaml`. The configuration holds no secret: keys that end in `_env` name the environment variable that does.
Durations are written `24h`, `90s`, `1h30m`, `250ms`, `7d`.
";

/// The whole of the page.
#[must_use]
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let root = schema::schema();
    let (mut plain, mut sections) = (Vec::new(), Vec::new());
    for (name, below) in properties(root).into_iter().flatten() {
        let list = if properties(below).is_some() || item(below).is_some() { &mut sections } else { &mut plain };
        list.push((name.as_str(), below));
    }
    out.push_str("\n## The top level\n\n");
    table(
        &mut out,
        plain.into_iter().map(|(name, below)| Row::of(Path::default().key(name), below, &defaults)).collect(),
    );
    for (name, below) in sections {
        out.push_str(&format!("\n## `{name}`\n\n{}\n\n", description(below)));
        let path = Path::default().key(name);
        let mut rows = Vec::new();
        if name == "staging" {
            out.push_str("It has the same keys as [`production`](#production). These defaults differ:\n\n");
            collect(&path, below, &defaults, &mut rows);
            rows.retain(|row| row.default != Row::default_at(&row.key.replacen("staging", "production", 1), &defaults));
        } else {
            collect(&path, below, &defaults, &mut rows);
        }
        table(&mut out, rows);
        if let Some(default) = list_default(name, &defaults) {
            out.push_str(&format!("\nDefault:\n\n```yaml\n{default}```\n"));
        }
    }
    out
}

struct Row {
    key: String,
    kind: String,
    default: String,
    meaning: String,
}

impl Row {
    fn of(path: Path, schema: &'static Json, defaults: &Json) -> Self {
        let key = path.to_string();
        let mut default = Self::default_at(&key, defaults);
        if key.contains("[]") {
            default = schema.get("default").map_or(default, show::plain);
        }
        Self { default, key, kind: kind(schema), meaning: description(schema) }
    }

    /// `-` where it is unset or belongs to a list's items.
    fn default_at(key: &str, defaults: &Json) -> String {
        let pointer = format!("/{}", key.replace('.', "/"));
        defaults.pointer(&pointer).map_or_else(|| "-".into(), show::plain)
    }
}

/// The rows of a section: its leaves, with those of the sections below it, and of the items of its lists.
fn collect(path: &Path, schema: &'static Json, defaults: &Json, rows: &mut Vec<Row>) {
    let inner = item(schema).unwrap_or(schema);
    let prefix = if item(schema).is_some() { Path::default().key(&format!("{path}[]")) } else { path.clone() };
    for (name, below) in properties(inner).into_iter().flatten() {
        let path = prefix.key(name);
        if properties(below).is_some() || item(below).is_some() {
            collect(&path, below, defaults, rows);
        } else {
            rows.push(Row::of(path, below, defaults));
        }
    }
}

/// The schema of a list's items, where they are sections.
fn item(schema: &'static Json) -> Option<&'static Json> {
    let (forms, _) = alternatives(schema);
    let items = forms.into_iter().find_map(|form| form.get("items"))?;
    properties(items).is_some().then(|| schema::resolve(items))
}

fn table(out: &mut String, rows: Vec<Row>) {
    out.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for row in rows {
        let cell = |text: &str| text.replace('|', "\\|");
        let default = if row.default == "-" { "-".into() } else { format!("`{}`", cell(&row.default)) };
        out.push_str(&format!("| `{}` | {} | {default} | {} |\n", row.key, cell(&row.kind), cell(&row.meaning)));
    }
}

fn kind(schema: &'static Json) -> String {
    let (forms, _) = alternatives(schema);
    let words = words(&forms);
    if !words.is_empty() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    }
    if forms.iter().any(|form| form.get("pattern").and_then(Json::as_str) == Some(span::PATTERN)) {
        return "duration".into();
    }
    let name = forms.iter().find_map(|form| match form.get("type") {
        Some(Json::String(one)) => Some(one.as_str()),
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).find(|one| *one != "null"),
        _ => None,
    });
    match name {
        Some("string") => "text",
        Some("boolean") => "true or false",
        Some("integer") => "whole number",
        Some("array") => "list of text",
        _ => "number",
    }
    .into()
}

/// The doc comment, on one line: the key's own, or that of its type.
fn description(schema: &'static Json) -> String {
    let own = schema.get("description").or_else(|| {
        let (forms, _) = alternatives(schema);
        forms.into_iter().find_map(|form| form.get("description"))
    });
    own.and_then(Json::as_str).unwrap_or_default().replace("\n\n", " ").replace('\n', " ")
}

/// A list of sections, as a file would say it.
fn list_default(name: &str, defaults: &Json) -> Option<String> {
    let list = defaults.get(name).filter(|value| value.is_array())?;
    let mut list = list.clone();
    unset(&mut list);
    serde_yaml::to_string(&serde_json::json!({name: list})).ok()
}

/// Leaves out what is unset.
fn unset(value: &mut Json) {
    match value {
        Json::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(unset);
        }
        Json::Array(items) => items.iter_mut().for_each(unset),
        _ => {}
    }
}
