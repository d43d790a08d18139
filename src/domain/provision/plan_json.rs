//! Terraform's plan in JSON (`show -json PLAN`), read as a stream: <https://developer.hashicorp.com/terraform/internals/json-format>.
//!
//! A plan repeats each resource several times (planned values, prior state, configuration). Only the changes are kept, and each
//! only while it is looked at, so that memory follows the largest resource and not the plan.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// The longest document that is read, in bytes. 5,000 resources of a usual size have a tenth of it.
pub const LARGEST: u64 = 128 * 1024 * 1024;
/// The longest text of a single resource, in bytes.
const LARGEST_RESOURCE: u64 = 16 * 1024 * 1024;
/// The major version of the format that is read here.
const MAJOR: u64 = 1;

/// Where a change stands in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `resource_changes`: what applying would do, or leave.
    Planned,
    /// `resource_drift`: what changed outside Terraform since it last looked.
    Drift,
}

/// A change as it stands in the document.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RawChange {
    pub address: String,
    /// The address that it had before: it is moved.
    pub previous_address: Option<String>,
    pub module_address: Option<String>,
    /// `managed` or `data`.
    pub mode: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Set where an object is meant that an interrupted replacement left behind.
    pub deposed: Option<String>,
    pub change: RawDiff,
    /// Why, where the actions alone do not say.
    pub action_reason: Option<String>,
}

/// `before`, `after` and what is marked in them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RawDiff {
    pub actions: Vec<String>,
    pub before: Value,
    pub after: Value,
    pub after_unknown: Value,
    pub before_sensitive: Value,
    pub after_sensitive: Value,
    /// Paths whose change forces the replacement; each a list of names and indexes.
    pub replace_paths: Vec<Vec<Value>>,
    pub importing: Option<Importing>,
}

/// Set where an existing object is taken over.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Importing {
    pub id: Option<String>,
}

/// What a document says besides the changes of resources.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// `1.2`.
    pub format: String,
    /// The version that made the plan.
    pub terraform: String,
    /// Outputs whose value changes.
    pub outputs: Vec<OutputChange>,
    /// Checks that did not pass.
    pub checks: Vec<Check>,
    /// The plan ended with an error and is not whole.
    pub errored: bool,
    /// `Some(false)`: applying it will leave something for another plan.
    pub complete: Option<bool>,
}

/// An output of the root module that changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputChange {
    pub name: String,
    pub action: super::Action,
    pub before: super::Shown,
    pub after: super::Shown,
}

/// A check that did not pass: a `check` block, or a condition of a resource or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub address: String,
    /// `fail`, `error`, or `unknown` until apply.
    pub status: String,
    /// What the configuration says about it.
    pub problems: Vec<String>,
}

/// Reads a document; `each` is called for every entry of `resource_changes` and `resource_drift`, in their order.
///
/// # Errors
/// Text that is not JSON, ends too early, is longer than [`LARGEST`], is not a plan, or has a newer format.
pub fn read(from: impl Read, each: &mut dyn FnMut(Section, RawChange)) -> Result<Document> {
    read_within(from, LARGEST, each)
}

fn read_within(from: impl Read, limit: u64, each: &mut dyn FnMut(Section, RawChange)) -> Result<Document> {
    let measure = Measure { limit, ..Measure::default() };
    let reader = io::BufReader::with_capacity(64 * 1024, Measured { from, measure: measure.clone() });
    let mut json = serde_json::Deserializer::from_reader(reader);
    let document = Whole { measure: &measure, each }.deserialize(&mut json).and_then(|document| {
        json.end()?;
        Ok(document)
    });
    document.map_err(|error| refused(&error, &measure))
}

/// What is wrong with the document, in words.
fn refused(error: &serde_json::Error, measure: &Measure) -> Error {
    if measure.total.get() > measure.limit {
        return too_long();
    }
    if error.is_eof() {
        return Error::config("the plan's JSON ends in the middle")
            .because(error.to_string())
            .hint("make the plan again");
    }
    let what =
        if error.is_io() { "read the plan's JSON" } else { "this is not a plan as `terraform show -json` writes it" };
    Error::config(what).because(error.to_string())
}

/// The error of a document that is longer than [`LARGEST`].
#[must_use]
pub fn too_long() -> Error {
    Error::config(format!("the plan's JSON is longer than {} MiB", LARGEST / 1024 / 1024))
        .hint("split the configuration, or plan a part of it: nobody can judge such a plan")
}

/// Counts what is read, in all and since the last entry began.
#[derive(Debug, Clone, Default)]
struct Measure {
    total: Rc<Cell<u64>>,
    entry: Rc<Cell<u64>>,
    limit: u64,
}

struct Measured<R> {
    from: R,
    measure: Measure,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        let add = |cell: &Cell<u64>| cell.set(cell.get().saturating_add(count as u64));
        add(&self.measure.total);
        add(&self.measure.entry);
        if self.measure.total.get() > self.measure.limit {
            return Err(io::Error::other("too long"));
        }
        if self.measure.entry.get() > LARGEST_RESOURCE {
            return Err(io::Error::other("a single entry is longer than 16 MiB"));
        }
        Ok(count)
    }
}

struct Whole<'a> {
    measure: &'a Measure,
    each: &'a mut dyn FnMut(Section, RawChange),
}

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Document, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plan: an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut document = Document::default();
        let mut planned = false;
        while let Some(key) = map.next_key::<String>()? {
            self.measure.entry.set(0);
            match key.as_str() {
                "format_version" => document.format = supported(map.next_value()?).map_err(A::Error::custom)?,
                "terraform_version" => document.terraform = map.next_value()?,
                "resource_changes" => {
                    planned = true;
                    map.next_value_seed(Entries { measure: self.measure, section: Section::Planned, each: self.each })?;
                }
                "resource_drift" => {
                    map.next_value_seed(Entries { measure: self.measure, section: Section::Drift, each: self.each })?;
                }
                "output_changes" => document.outputs = super::change::outputs(map.next_value()?),
                "checks" => document.checks = checks(map.next_value::<Option<_>>()?.unwrap_or_default()),
                "errored" => document.errored = map.next_value::<Option<bool>>()?.unwrap_or_default(),
                "complete" => document.complete = map.next_value()?,
                _ => {
                    map.next_value_seed(Skipped(self.measure))?;
                }
            }
        }
        if document.format.is_empty() {
            return Err(A::Error::custom("it has no format_version"));
        }
        // A plan that would change nothing still lists what stays; a state has no such list at all.
        if !planned && document.terraform.is_empty() {
            return Err(A::Error::custom("it has neither resource_changes nor terraform_version"));
        }
        Ok(document)
    }
}

/// The format's rule: a new minor version only adds, a new major one may mean anything.
fn supported(format: String) -> Result<String, String> {
    let major = format.split('.').next().and_then(|major| major.parse::<u64>().ok());
    match major {
        Some(MAJOR) => Ok(format),
        Some(0) => Err(format!("its format is {format}, older than {MAJOR}.0: use Terraform 1.1 or newer")),
        Some(_) => Err(format!(
            "its format is {format}, and this gospel-release reads {MAJOR}.x: a newer gospel-release, or an older Terraform, is needed"
        )),
        None => Err(format!("its format_version is {format:?}, which is no version")),
    }
}

/// A part that is not looked at; its length is not one entry's.
struct Skipped<'a>(&'a Measure);

impl<'de> DeserializeSeed<'de> for Skipped<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skipped<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            self.0.entry.set(0);
            map.next_value_seed(Skipped(self.0))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Skipped(self.0))?.is_some() {
            self.0.entry.set(0);
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A list of changes, each handed over and dropped.
struct Entries<'a> {
    measure: &'a Measure,
    section: Section,
    each: &'a mut dyn FnMut(Section, RawChange),
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of resource changes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.measure.entry.set(0);
        while let Some(change) = seq.next_element::<RawChange>()? {
            if change.address.is_empty() {
                return Err(A::Error::custom("a resource change has no address"));
            }
            if change.change.actions.is_empty() {
                return Err(A::Error::custom(format!("{} has no actions", change.address)));
            }
            self.measure.entry.set(0);
            (self.each)(self.section, change);
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[derive(Deserialize)]
struct RawCheck {
    #[serde(default)]
    address: RawAddress,
    #[serde(default)]
    status: String,
    #[serde(default)]
    instances: Vec<RawInstance>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawAddress {
    to_display: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawInstance {
    address: RawAddress,
    status: String,
    problems: Vec<RawProblem>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawProblem {
    message: String,
}

/// Those that did not pass, one entry an instance where instances are known.
fn checks(all: Vec<RawCheck>) -> Vec<Check> {
    let failed = |status: &str| matches!(status, "fail" | "error" | "unknown");
    let mut out = Vec::new();
    for check in all.into_iter().filter(|check| failed(&check.status)) {
        if check.instances.is_empty() {
            out.push(Check { address: check.address.to_display, status: check.status, problems: Vec::new() });
            continue;
        }
        for instance in check.instances.into_iter().filter(|instance| failed(&instance.status)) {
            let problems = instance.problems.into_iter().map(|problem| problem.message).collect();
            let address = if instance.address.to_display.is_empty() {
                check.address.to_display.clone()
            } else {
                instance.address.to_display
            };
            out.push(Check { address, status: instance.status, problems });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn told(text: &str) -> String {
        let error = read(text.as_bytes(), &mut |_, _| {}).unwrap_err();
        format!("{}: {}", error.what(), error.causes().join(": "))
    }

    #[test]
    fn entries_are_handed_over_and_the_rest_is_passed_over() {
        let plan = json!({
            "format_version": "1.9", "terraform_version": "1.99.0", "new_in_1_9": {"deep": [{"a": [1, {"b": null}]}]},
            "resource_drift": [{"address": "a.b", "change": {"actions": ["update"]}}],
            "resource_changes": [{"address": "a.b", "new": 1, "change": {"actions": ["no-op"], "before": {"x": 1.5}}}],
            "checks": null, "complete": false,
        });
        let mut seen = Vec::new();
        let document =
            read(plan.to_string().as_bytes(), &mut |section, raw| seen.push((section, raw.address))).unwrap();
        assert_eq!(seen, [(Section::Drift, "a.b".to_owned()), (Section::Planned, "a.b".to_owned())]);
        assert_eq!((document.terraform.as_str(), document.complete), ("1.99.0", Some(false)));
    }

    #[test]
    fn what_is_no_plan_is_refused_and_says_why() {
        assert!(told("").contains("ends in the middle"));
        assert!(told(r#"{"format_version": "1.2", "resource_changes": [{"address": "#).contains("ends in the middle"));
        assert!(told(r#"{"format_version": "2.0", "resource_changes": []}"#).contains("its format is 2.0, and this"));
        assert!(told(r#"{"format_version": "0.1", "resource_changes": []}"#).contains("older than 1.0"));
        assert!(told(r#"{"format_version": "next"}"#).contains("which is no version"));
        assert!(told(r#"{"resource_changes": []}"#).contains("no format_version"));
        assert!(told(r#"{"format_version": "1.0", "values": {}}"#).contains("neither resource_changes nor"));
        assert!(
            told(r#"{"format_version": "1.0", "resource_changes": [{"change": {"actions": ["x"]}}]}"#)
                .contains("no address")
        );
        assert!(
            told(r#"{"format_version": "1.0", "resource_changes": [{"address": "a.b"}]}"#)
                .contains("a.b has no actions")
        );
        assert!(
            told(r#"{"format_version": "1.0", "resource_changes": {"a": 1}}"#).contains("a list of resource changes")
        );
        assert!(told("[]").contains("not a plan"));
        assert!(told("{} {}").contains("no format_version"));
        assert!(told(&"[".repeat(100_000)).contains("not a plan"));
        assert!(told(&format!(r#"{{"format_version": "1.0", "x": {}"#, "[".repeat(100_000))).contains("recursion"));
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_fills_the_memory() {
        let text = json!({"format_version": "1.0", "resource_changes": [], "x": " ".repeat(300_000)}).to_string();
        let error = read_within(text.as_bytes(), 200_000, &mut |_, _| {}).unwrap_err();
        assert!(error.what().contains("longer than"), "{error:?}");
        let head = br#"{"format_version": "1.0", "resource_changes": [{"address": ""#;
        let error = read(head.chain(io::repeat(b'a')), &mut |_, _| {}).unwrap_err();
        assert!(error.causes().join(" ").contains("longer than 16 MiB"), "{error:?}");
    }

    /// Any JSON, and often the keys of a plan.
    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            prop_oneof!["create", "delete", "no-op", "1.2", "a.b", "fail"].prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("format_version".to_owned()),
            Just("resource_changes".to_owned()),
            Just("resource_drift".to_owned()),
            Just("change".to_owned()),
            Just("actions".to_owned()),
            Just("address".to_owned()),
            Just("before".to_owned()),
            Just("after".to_owned()),
            Just("after_unknown".to_owned()),
            Just("before_sensitive".to_owned()),
            Just("replace_paths".to_owned()),
            Just("output_changes".to_owned()),
            Just("checks".to_owned()),
            ".{0,4}".prop_map(|key| key),
        ];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_read_or_refused(value in json_value()) {
            let _ = read(value.to_string().as_bytes(), &mut |_, _| {});
        }

        #[test]
        fn any_change_is_judged(kind in "aws_(db_instance|s3_bucket|security_group|iam_role|eks_node_group|route53_record|lb)",
            before in json_value(), after in json_value(), unknown in json_value(), marks in json_value()) {
            let plan = json!({"format_version": "1.2", "terraform_version": "1", "resource_changes": [{
                "address": "a.b", "type": kind, "mode": "managed", "change": {"actions": ["update"], "before": before,
                "after": after, "after_unknown": unknown, "before_sensitive": marks}}]});
            let measure = crate::domain::provision::Measure::built_in(1.0).unwrap();
            let judged = crate::domain::provision::judge(plan.to_string().as_bytes(), &measure).unwrap();
            prop_assert_eq!(judged.changes.len(), 1);
        }

        #[test]
        fn any_text_is_refused_or_read(text in ".{0,64}") {
            let _ = read(text.as_bytes(), &mut |_, _| {});
        }
    }
}
