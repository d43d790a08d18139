//! The layers: defaults < `gospel-release.yaml` < the person's own file < environment < flags.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::check::nearest;
use super::problem::Problem;
use super::schema::{self, alternatives, properties};
use super::tree::{Entry, Node, Path, Value};
use super::yaml::{self, Place};
use super::{Config, Env, Origin};
use crate::error::{Error, Result};

/// The file's name, in the repository.
pub const FILE: &str = "gospel-release.yaml";
/// Larger than any valid configuration.
const LARGEST: u64 = 1024 * 1024;
/// What every variable of ours begins with.
pub const PREFIX: &str = "GOSPEL_RELEASE_";
/// Variables of ours that are not values of the configuration.
const RESERVED: [&str; 5] = ["CONFIG", "LOG", "FAILPOINT", "CLOCK", "REHEARSAL"];

/// The lowest layer.
pub(super) fn defaults() -> Result<Node> {
    let json = serde_json::to_value(Config::default())
        .map_err(|error| Error::internal("write the default configuration").because(error))?;
    Ok(Node::from_json(json, &Origin::Default))
}

/// `gospel-release.yaml` in `start` or the nearest directory above it. The search ends where a Git checkout ends: a
/// file further up belongs to something else.
pub(super) fn search(start: &FilePath) -> Option<PathBuf> {
    for dir in start.ancestors() {
        let file = dir.join(FILE);
        if file.is_file() {
            return Some(file);
        }
        if dir.join(".git").exists() {
            return None;
        }
    }
    None
}

/// The person's own file, if there is one.
pub(super) fn own_file(env: &Env) -> Option<PathBuf> {
    env.config_home().map(|dir| dir.join("gospel-release/config.yaml")).filter(|file| file.is_file())
}

/// Reads a file: never more than 1 MiB of it, and only UTF-8.
pub(super) fn read(path: &FilePath) -> Result<String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Error::config(format!("read {shown}")).because(error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // Bounded while reading as well: a pipe or a device has no size.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::config(format!("{shown} is larger than 1 MiB: it is not a configuration")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let valid = String::from_utf8_lossy(valid);
        let line = valid.matches('\n').count() + 1;
        let column = valid.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Error::config(format!("{shown}:{line}:{column}: this is not UTF-8 text"))
    })
}

/// A file's text as a layer. `shown` is the name that people see in errors.
pub(super) fn file(text: &str, shown: &FilePath) -> Result<Node, Vec<Problem>> {
    let place = Place::File(Arc::new(shown.to_path_buf()));
    let origin = Origin::File { path: Arc::new(shown.to_path_buf()), line: 1, column: 1 };
    Ok(yaml::parse(text, &place)?.unwrap_or_else(|| Node::empty(origin)))
}

/// The variables that set values: `GOSPEL_RELEASE_GATES__SOAK=12h`.
pub(super) fn environment(env: &Env) -> (Vec<Node>, Vec<Problem>) {
    let variables = env.with_prefix(PREFIX).filter(|(name, _)| !RESERVED.contains(name));
    gather(variables.map(|(name, value)| {
        let origin = Origin::Environment(format!("{PREFIX}{name}"));
        let keys: Vec<String> = name.split("__").map(str::to_lowercase).collect();
        let text = value.to_str().ok_or_else(|| Problem::new(&origin, keys.join("."), "its value is not UTF-8 text"));
        text.and_then(|text| single(&keys, text, &origin))
    }))
}

/// The `--set` flags: `gates.soak=12h`.
pub(super) fn flags(sets: &[String]) -> (Vec<Node>, Vec<Problem>) {
    gather(sets.iter().map(|set| {
        let (key, text) = set.split_once('=').ok_or_else(|| {
            let origin = Origin::Flag(set.clone());
            Problem::new(&origin, "", "KEY=VALUE is wanted, as in gates.soak=12h")
        })?;
        let keys: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
        single(&keys, text, &Origin::Flag(key.trim().to_owned()))
    }))
}

fn gather(all: impl Iterator<Item = Result<Node, Problem>>) -> (Vec<Node>, Vec<Problem>) {
    let (mut nodes, mut problems) = (Vec::new(), Vec::new());
    for one in all {
        match one {
            Ok(node) => nodes.push(node),
            Err(problem) => problems.push(problem),
        }
    }
    (nodes, problems)
}

/// A layer of one value.
fn single(keys: &[String], text: &str, origin: &Origin) -> Result<Node, Problem> {
    let mut at = schema::schema();
    let mut path = Path::default();
    for key in keys {
        let known = properties(at).ok_or_else(|| {
            let message = "it has no keys of its own; a list is set whole, as in [a, b]";
            Problem::new(origin, path.to_string(), message)
        })?;
        at = known.get(key).ok_or_else(|| {
            let near = nearest(key, known.keys().map(String::as_str)).map(|near| path.key(near));
            let near = near.map_or(String::new(), |near| format!("; did you mean {}?", near_name(&near, origin)));
            Problem::new(origin, path.key(key).to_string(), format!("there is no such key{near}"))
        })?;
        path = path.key(key);
    }
    let value = typed(text, at, origin).map_err(|message| Problem::new(origin, path.to_string(), message))?;
    Ok(keys.iter().rev().fold(value, |node, key| {
        let entry = Entry { key: key.clone(), origin: origin.clone(), node };
        Node::new(Value::Map(vec![entry]), origin.clone())
    }))
}

/// A key in the words of the layer that is wrong.
fn near_name(path: &Path, origin: &Origin) -> String {
    match origin {
        Origin::Environment(_) => format!("{PREFIX}{}", path.to_string().replace('.', "__").to_uppercase()),
        _ => path.to_string(),
    }
}

/// A value by YAML's rules. Where the model wants text, an unquoted value is that text as it stands: a shell has no
/// types, and `production.aws.account=418272771234` means the digits.
fn typed(text: &str, at: &'static serde_json::Value, origin: &Origin) -> Result<Node, String> {
    let (forms, nullable) = alternatives(at);
    let text_wanted = forms.iter().any(|form| match form.get("type") {
        Some(serde_json::Value::String(one)) => one == "string",
        Some(serde_json::Value::Array(several)) => several.contains(&"string".into()),
        _ => false,
    });
    let parsed = yaml::parse(text, &Place::Single(origin.clone()));
    let as_it_stands = || {
        let text = text.trim();
        let value = match yaml::plain_scalar(text) {
            Value::Null if nullable => Value::Null,
            _ => Value::Text(text.to_owned()),
        };
        Node::new(value, origin.clone())
    };
    match parsed {
        Ok(Some(node)) if !text_wanted || (node.raw.is_none() && matches!(node.value, Value::Text(_))) => Ok(node),
        _ if text_wanted => Ok(as_it_stands()),
        Ok(node) => Ok(node.unwrap_or_else(|| Node::new(Value::Null, origin.clone()))),
        Err(problems) => Err(problems.into_iter().next().map_or_else(String::new, |problem| problem.message)),
    }
}

/// The name by which `--config` may be given in the environment.
pub(super) fn config_variable(env: &Env) -> Option<&OsStr> {
    env.os("GOSPEL_RELEASE_CONFIG")
}
