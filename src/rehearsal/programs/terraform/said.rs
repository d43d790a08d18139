//! What the program says: lines of JSON (<https://developer.hashicorp.com/terraform/internals/machine-readable-ui>, observed
//! of 1.11.4), or text.

use std::cell::RefCell;
use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock::Clock;

/// The version that it stands in for.
pub const VERSION: &str = "1.11.4";

/// An error, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: &'static str,
    pub summary: String,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Value>,
}

impl Diagnostic {
    pub fn error(summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { severity: "error", summary: summary.into(), detail: detail.into(), address: None, range: None }
    }

    pub fn at(mut self, (file, line): (&str, usize)) -> Self {
        if !file.is_empty() {
            let position = json!({ "line": line, "column": 1, "byte": 0 });
            self.range = Some(json!({ "filename": file, "start": position, "end": position }));
        }
        self
    }

    pub fn about(mut self, address: &str) -> Self {
        self.address = Some(address.to_owned());
        self
    }

    /// Without colours and frame.
    fn text(&self) -> String {
        let place = self.range.as_ref().map_or(String::new(), |range| {
            format!("  on {} line {}:\n\n", range["filename"].as_str().unwrap_or_default(), range["start"]["line"])
        });
        let about = self.address.as_ref().map_or(String::new(), |address| format!("  with {address},\n"));
        format!("\nError: {}\n\n{about}{place}{}\n", self.summary, self.detail)
    }
}

/// Where it goes, and in which form.
pub struct Voice<'a> {
    pub json: bool,
    pub clock: &'a Clock,
    streams: RefCell<(&'a mut dyn Write, &'a mut dyn Write)>,
}

impl<'a> Voice<'a> {
    pub fn new(clock: &'a Clock, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { json: false, clock, streams: RefCell::new((out, err)) }
    }

    /// To standard output, as it is. Somebody who no longer listens does not stop an apply.
    pub fn print(&self, text: &str) {
        let out = &mut self.streams.borrow_mut().0;
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// To standard error, as it is.
    pub fn complain(&self, text: &str) {
        let _ = self.streams.borrow_mut().1.write_all(text.as_bytes());
    }

    /// A message: a line of JSON with these fields, or its text.
    pub fn say(&self, kind: &str, message: &str, fields: Value) {
        if self.json {
            self.line("info", kind, message, fields);
        } else {
            self.print(&format!("{message}\n"));
        }
    }

    /// As [`Voice::say`], but only in JSON.
    pub fn note(&self, kind: &str, message: &str, fields: Value) {
        if self.json {
            self.line("info", kind, message, fields);
        }
    }

    pub fn diagnose(&self, diagnostic: &Diagnostic) {
        if self.json {
            let message = format!("Error: {}", diagnostic.summary);
            self.line("error", "diagnostic", &message, json!({ "diagnostic": diagnostic }));
        } else {
            self.complain(&diagnostic.text());
        }
    }

    fn line(&self, level: &str, kind: &str, message: &str, fields: Value) {
        let mut line = Map::new();
        line.insert("@level".into(), level.into());
        line.insert("@message".into(), message.into());
        line.insert("@module".into(), "terraform.ui".into());
        line.insert("@timestamp".into(), stamp(self.clock.wall()).into());
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        line.insert("type".into(), kind.into());
        self.print(&format!("{}\n", Value::Object(line)));
    }

    /// The first line of every command that speaks JSON.
    pub fn version(&self) {
        let message = format!("Terraform {VERSION}");
        self.note("version", &message, json!({ "terraform": VERSION, "ui": "1.2" }));
    }
}

/// RFC 3339 with microseconds.
pub fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// A resource as messages name it.
pub fn resource(address: &str) -> Value {
    let (kind, name) = address.split_once('.').unwrap_or((address, ""));
    json!({
        "addr": address,
        "module": "",
        "resource": address,
        "implied_provider": kind.split('_').next(),
        "resource_type": kind,
        "resource_name": name,
        "resource_key": null,
    })
}
