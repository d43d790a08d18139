//! `config show`: every value in force, and where it came from.

use serde_json::{Value as Json, json};

use super::load::{Loaded, Setting};
use super::tree::{Node, Path};
use super::{Config, Origin};
use crate::domain::printable;
use crate::error::{Error, Result};

/// Every leaf of the configuration, in the model's order. A list of plain values is one leaf.
pub(super) fn settings(config: &Config, tree: &Node) -> Result<Vec<Setting>> {
    let json = serde_json::to_value(config)
        .map_err(|error| Error::internal("write the configuration in force").because(error))?;
    let mut settings = Vec::new();
    collect(&json, &Path::default(), tree, &mut settings);
    Ok(settings)
}

fn collect(value: &Json, path: &Path, tree: &Node, settings: &mut Vec<Setting>) {
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (key, below) in map {
                collect(below, &path.key(key), tree, settings);
            }
        }
        Json::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, below) in items.iter().enumerate() {
                collect(below, &path.index(index), tree, settings);
            }
        }
        leaf => {
            // What a list's item leaves out is the model's default.
            let origin = tree.at(path).map_or(Origin::Default, |node| node.origin.clone());
            settings.push(Setting { key: path.to_string(), value: leaf.clone(), origin });
        }
    }
}

/// Three columns: key, value, origin. Unset values are shown as `-`. Values of the environment variables that `*_env`
/// keys name are never looked at: the configuration holds the names only.
#[must_use]
pub fn text(loaded: &Loaded, origins: bool) -> String {
    let rows: Vec<(&str, String, String)> = loaded
        .settings
        .iter()
        .map(|setting| (setting.key.as_str(), plain(&setting.value), printable(&setting.origin.to_string())))
        .collect();
    // One very long value (a PromQL query) does not push every origin off the screen.
    let (mut key_width, mut value_width) = (0, 0);
    for (key, value, _) in &rows {
        key_width = key_width.max(key.chars().count()).min(60);
        value_width = value_width.max(value.chars().count()).min(40);
    }
    let mut out = String::new();
    for (key, value, origin) in &rows {
        let line = if origins {
            format!("{key:key_width$}  {value:value_width$}  {origin}")
        } else {
            format!("{key:key_width$}  {value}")
        };
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The configuration, the origin of each value by its key, and the files that were read.
#[must_use]
pub fn json(loaded: &Loaded) -> Json {
    let origins: serde_json::Map<String, Json> =
        loaded.settings.iter().map(|setting| (setting.key.clone(), setting.origin.to_string().into())).collect();
    json!({"config": loaded.config, "origins": origins, "files": loaded.files})
}

/// A value as YAML's flow form would write it, without quotes.
pub(super) fn plain(value: &Json) -> String {
    match value {
        Json::Null => "-".into(),
        Json::String(text) if text.is_empty() => "\"\"".into(),
        Json::String(text) => printable(text),
        Json::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
