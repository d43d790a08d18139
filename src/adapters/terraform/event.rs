//! Terraform's machine-readable lines (`-json`): <https://developer.hashicorp.com/terraform/internals/machine-readable-ui>.

use serde::{Deserialize, Serialize};

use crate::domain::provision::{Came, Course, Doing, Summary};

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
    /// Counts (`change_summary`), of a plan or of an apply.
    pub changes: Option<Changes>,
}

/// Counts, and what they count.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Changes {
    #[serde(flatten)]
    pub summary: Summary,
    /// `plan`, `apply` or `destroy`.
    pub operation: String,
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
    /// The object's own name in the world, where there is one yet.
    pub id_value: Option<String>,
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

    /// Takes what it says about an apply into `course`.
    pub fn onto(&self, course: &mut Course) {
        if self.kind == "change_summary" {
            let applied = self.changes.as_ref().filter(|changes| changes.operation != "plan");
            course.summary = applied.map(|changes| changes.summary).or(course.summary);
        }
        let Some(hook) = &self.hook else { return };
        let (address, doing) = (&hook.resource.addr, Doing::of(&hook.action));
        let (id, seconds) = (hook.id_value.clone().filter(|id| !id.is_empty()), hook.elapsed_seconds.unwrap_or(0));
        match self.kind.as_str() {
            "apply_start" => course.began(address, doing, id),
            "apply_complete" => course.ended(address, doing, Came::Done, id, seconds),
            "apply_errored" => course.ended(address, doing, Came::Failed, id, seconds),
            _ => {}
        }
    }
}

impl Diagnostic {
    /// In one paragraph: `Invalid value (aws_instance.web, main.tf:12): An argument named "x" is not expected here.`
    #[must_use]
    pub fn line(&self) -> String {
        let range = self.range.as_ref().map(|range| format!("{}:{}", range.filename, range.start.line));
        let place: Vec<String> = self.address.iter().cloned().chain(range).collect();
        let place = if place.is_empty() { String::new() } else { format!(" ({})", place.join(", ")) };
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

    #[test]
    fn the_course_of_an_apply_is_read() {
        let mut course = Course::default();
        for line in [
            r#"{"type":"apply_start","hook":{"resource":{"addr":"a.b"},"action":"create"}}"#,
            r#"{"type":"change_summary","changes":{"add":1,"change":0,"import":0,"remove":0,"operation":"plan"}}"#,
            r#"{"type":"apply_complete","hook":{"resource":{"addr":"a.b"},"action":"create","id_key":"id","id_value":"i-1","elapsed_seconds":7}}"#,
            r#"{"type":"apply_start","hook":{"resource":{"addr":"c.d"},"action":"delete","id_key":"id","id_value":"i-2"}}"#,
        ] {
            Message::read(line).unwrap().onto(&mut course);
        }
        let first = &course.parts[0];
        assert_eq!((first.came, first.id.as_deref(), first.seconds), (Came::Done, Some("i-1"), 7));
        assert_eq!(course.under_way().next().map(|part| part.doing), Some(Doing::Delete));
        assert_eq!(course.summary, None);
        let end =
            r#"{"type":"change_summary","changes":{"add":1,"change":0,"import":0,"remove":1,"operation":"apply"}}"#;
        Message::read(end).unwrap().onto(&mut course);
        assert_eq!(course.summary.unwrap().text(), "1 created, 1 destroyed");
    }
}
