//! Terraform's machine-readable lines (`-json`): <https://developer.hashicorp.com/terraform/internals/machine-readable-ui>.

use serde::{Deserialize, Serialize};

/// One line. Kinds and fields that are not known here are passed over, as the format demands.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    /// What a person would read.
    #[serde(rename = "@message")]
    pub text: String,
    /// `planned_change`, `refresh_start`, `apply_complete`, `diagnostic`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// For what happens to one resource.
    pub hook: Option<Hook>,
    pub diagnostic: Option<Diagnostic>,
}

/// What happens to one resource.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Hook {
    pub resource: Resource,
    /// `create`, `update`, `delete`, `read`, …
    pub action: String,
    /// Seconds since it began.
    pub elapsed_seconds: Option<u64>,
}

/// A resource's address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resource {
    pub addr: String,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    #[default]
    Warning,
}

/// An error or a warning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Diagnostic {
    pub severity: Severity,
    pub summary: String,
    pub detail: String,
    /// The resource that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}

/// Where in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Range {
    pub filename: String,
    pub start: Position,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Position {
    pub line: u64,
}

impl Message {
    /// Reads a line; `None` for one that is not of this form (a provider's own output).
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

impl Diagnostic {
    /// In one paragraph: `Unsupported argument (main.tf:12): An argument named "x" is not expected here.`
    #[must_use]
    pub fn line(&self) -> String {
        let place = match (&self.range, &self.address) {
            (Some(range), _) => format!(" ({}:{})", range.filename, range.start.line),
            (None, Some(address)) => format!(" ({address})"),
            (None, None) => String::new(),
        };
        let detail = self.detail.split_whitespace().collect::<Vec<_>>().join(" ");
        let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
        format!("{}{place}{detail}", self.summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_what_is_new_is_passed_over() {
        let line = r#"{"@level":"error","@message":"Error: x","type":"diagnostic","new":1,"diagnostic":{"severity":"error",
            "summary":"Invalid value","detail":"It is\nwrong.","range":{"filename":"main.tf","start":{"line":3,"byte":1}}}}"#;
        let diagnostic = Message::read(line).unwrap().diagnostic.unwrap();
        assert_eq!(diagnostic.severity, Severity::Error);
        assert_eq!(diagnostic.line(), "Invalid value (main.tf:3): It is wrong.");
        let hook = r#"{"type":"refresh_start","hook":{"resource":{"addr":"a.b","extra":true},"id_value":"i"}}"#;
        assert_eq!(Message::read(hook).unwrap().hook.unwrap().resource.addr, "a.b");
        assert!(Message::read("Downloading modules...").is_none());
    }
}
