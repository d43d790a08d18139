//! One layer against the schema: unknown keys, wrong types and wrong forms, all at once, each at its place.

use serde_json::Value as Json;

use super::problem::{MOST, Problem};
use super::schema::{self, alternatives, properties};
use super::tree::{Entry, Node, Path, Value, shortened};

/// Everything in a layer that the model cannot hold.
pub(super) fn layer(node: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    check(node, schema::schema(), &Path::default(), &mut problems);
    problems
}

fn check(node: &Node, schema: &'static Json, path: &Path, problems: &mut Vec<Problem>) {
    if problems.len() > MOST {
        return;
    }
    let (forms, nullable) = alternatives(schema);
    let section = properties(schema);
    match (&node.value, section) {
        (Value::Null, _) if nullable => {}
        // `gates:` with nothing below it, or with everything commented out.
        (Value::Null, Some(_)) => {}
        (Value::Map(entries), Some(known)) => {
            for entry in entries {
                if problems.len() > MOST {
                    return;
                }
                match known.get(&entry.key) {
                    Some(below) => check(&entry.node, below, &path.key(&entry.key), problems),
                    None => problems.push(unknown(entry, path, known)),
                }
            }
            missing(node, entries, &forms, path, problems);
        }
        (Value::List(items), None) if is_type(&forms, "array") => {
            if let Some(below) = forms.iter().find_map(|form| form.get("items")) {
                for (index, item) in items.iter().enumerate() {
                    check(item, below, &path.index(index), problems);
                }
            }
        }
        _ => {
            if let Err(message) = leaf(node, &forms) {
                problems.push(Problem::new(&node.origin, path.to_string(), message));
            }
        }
    }
}

fn missing(node: &Node, entries: &[Entry], forms: &[&Json], path: &Path, problems: &mut Vec<Problem>) {
    let required = forms.iter().find_map(|form| form.get("required")).and_then(Json::as_array);
    for key in required.into_iter().flatten().filter_map(Json::as_str) {
        if !entries.iter().any(|entry| entry.key == key) {
            problems.push(Problem::new(&node.origin, path.to_string(), format!("the key `{key}` is missing here")));
        }
    }
}

/// Whether one of the forms is of a JSON type.
fn is_type(forms: &[&Json], name: &str) -> bool {
    forms.iter().any(|form| match form.get("type") {
        Some(Json::String(one)) => one == name,
        Some(Json::Array(several)) => several.iter().any(|one| one == name),
        _ => false,
    })
}

/// The words that an enumeration allows.
pub(super) fn words(forms: &[&'static Json]) -> Vec<&'static str> {
    let list = |form: &'static Json, key| form.get(key).and_then(Json::as_array).into_iter().flatten();
    let mut words = Vec::new();
    for form in forms {
        words.extend(list(form, "enum").filter_map(Json::as_str));
        for variant in list(form, "oneOf") {
            words.extend(variant.get("const").and_then(Json::as_str));
            words.extend(list(variant, "enum").filter_map(Json::as_str));
        }
    }
    words
}

fn leaf(node: &Node, forms: &[&'static Json]) -> Result<(), String> {
    let words = words(forms);
    if !words.is_empty() {
        return word(node, &words);
    }
    let pattern = forms.iter().find_map(|form| form.get("pattern")).and_then(Json::as_str);
    let form = pattern.and_then(schema::form);
    match &node.value {
        Value::Text(text) if is_type(forms, "string") => form.map_or(Ok(()), |form| form(text)),
        Value::Bool(_) if is_type(forms, "boolean") => Ok(()),
        Value::Number(_) if is_type(forms, "number") => Ok(()),
        Value::Number(number) if is_type(forms, "integer") => whole(node, number, forms),
        _ => Err(format!(
            "{} is wanted here, found {}{}",
            wanted(forms, pattern),
            node.in_words(),
            advice(node, forms, pattern)
        )),
    }
}

fn word(node: &Node, words: &[&str]) -> Result<(), String> {
    match &node.value {
        Value::Text(text) if words.contains(&text.as_str()) => Ok(()),
        Value::Text(text) => {
            let near = nearest(text, words.iter().copied()).map(|near| format!("; did you mean {near}?"));
            Err(format!("{:?} is not one of {}{}", shortened(text), words.join(", "), near.unwrap_or_default()))
        }
        _ => Err(format!("one of {} is wanted here, found {}", words.join(", "), node.in_words())),
    }
}

fn whole(node: &Node, number: &serde_json::Number, forms: &[&Json]) -> Result<(), String> {
    let limit = |key| forms.iter().find_map(|form| form.get(key)).and_then(Json::as_u64);
    let unsigned = forms.iter().find_map(|form| form.get("format")).and_then(Json::as_str);
    let highest = limit("maximum").unwrap_or(match unsigned {
        Some("uint8") => u64::from(u8::MAX),
        Some("uint16") => u64::from(u16::MAX),
        Some("uint32") => u64::from(u32::MAX),
        _ => u64::MAX,
    });
    let lowest = limit("minimum").unwrap_or(0);
    match number.as_u64() {
        Some(number) if (lowest..=highest).contains(&number) => Ok(()),
        _ => Err(format!("a whole number from {lowest} to {highest} is wanted here, found {}", node.in_words())),
    }
}

fn wanted(forms: &[&Json], pattern: Option<&str>) -> &'static str {
    match () {
        () if pattern == Some(super::span::PATTERN) => "a duration (24h, 90s, 1h30m)",
        () if forms.iter().any(|form| form.get("properties").is_some()) => "a section with keys",
        () if is_type(forms, "array") => "a list",
        () if is_type(forms, "boolean") => "true or false",
        () if is_type(forms, "integer") => "a whole number",
        () if is_type(forms, "number") => "a number",
        () => "text",
    }
}

fn advice(node: &Node, forms: &[&Json], pattern: Option<&str>) -> String {
    match (&node.value, &node.raw) {
        (Value::Number(_), Some(raw)) if pattern == Some(super::span::PATTERN) => {
            format!(": name its unit, as in {raw}h")
        }
        (Value::Number(_) | Value::Bool(_), Some(raw)) if is_type(forms, "string") => {
            format!(": put it in quotes, \"{raw}\"")
        }
        (Value::Text(_), _) if is_type(forms, "array") => ": write it as a list, [a, b]".into(),
        _ => String::new(),
    }
}

fn unknown(entry: &Entry, path: &Path, known: &'static serde_json::Map<String, Json>) -> Problem {
    let whole = path.key(&entry.key).to_string();
    let here = nearest(&entry.key, known.keys().map(String::as_str)).map(|near| path.key(near).to_string());
    let near = here.or_else(|| elsewhere(&entry.key));
    let message = match near {
        Some(near) => format!("there is no such key; did you mean {near}?"),
        None if path.0.is_empty() => "there is no such key".into(),
        None => {
            let keys: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("there is no such key; {path} has {}", keys.join(", "))
        }
    };
    Problem::new(&entry.origin, crate::domain::printable(&shortened(&whole)), message)
}

/// The valid word that is nearest to what was written, if one is near.
pub(super) fn nearest<'a>(written: &str, valid: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase().replace('-', "_");
    if written.len() > 64 {
        return None;
    }
    valid
        .map(|word| (word, strsim::normalized_damerau_levenshtein(&written, &word.replace('-', "_"))))
        .filter(|(_, likeness)| *likeness >= 0.6)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(word, _)| word)
}

/// A key of that very name in another section, if there is exactly one.
fn elsewhere(key: &str) -> Option<String> {
    let mut found = Vec::new();
    search(key, schema::schema(), &Path::default(), &mut found);
    if found.len() == 1 { found.pop() } else { None }
}

fn search(key: &str, schema: &'static Json, path: &Path, found: &mut Vec<String>) {
    for (name, below) in properties(schema).into_iter().flatten() {
        if name == key {
            found.push(path.key(name).to_string());
        }
        search(key, below, &path.key(name), found);
    }
}
