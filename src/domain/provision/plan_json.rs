//! Terraform's plan in JSON (`show -json PLAN`), read as a stream: <https://developer.hashicorp.com/terraform/internals/json-format>.
//!
//! A plan repeats each resource several times (planned values, prior state, configuration). Only the changes are kept, and each
//! only while it is looked at, so that memory follows the largest resource and not the plan.

use std::fmt;
use std::io::{self, Read};
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks::{Check, checks};
use super::json_text::{Measure, Measured, Numbers};
use crate::error::{Error, Result};

/// The longest document that is read, in bytes. 5,000 resources of a usual size have a tenth of it.
pub const LARGEST: u64 = 128 * 1024 * 1024;
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
    /// Addresses of resources, and of actions, that are left for a later plan.
    pub deferred: Vec<String>,
    /// Addresses of actions that apply runs (Terraform 1.14).
    pub actions: Vec<String>,
}

/// An output of the root module that changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputChange {
    pub name: String,
    pub action: super::Action,
    pub before: super::Shown,
    pub after: super::Shown,
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
    let measured = Measured { from, measure: measure.clone() };
    let reader = io::BufReader::with_capacity(64 * 1024, Numbers::new(measured));
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
    Error::config(what).because(unquoted(&error.to_string()))
}

/// The reader's sentence without the value that it stumbled over: it may be a secret.
fn unquoted(text: &str) -> String {
    let quotes = ["invalid type: ", "invalid value: "].iter().any(|head| text.starts_with(head));
    match text.rsplit_once(", expected ") {
        Some((_, expected)) if quotes => format!("there is another value than {expected}"),
        _ => text.to_owned(),
    }
}

/// The error of a document that is longer than [`LARGEST`].
#[must_use]
pub fn too_long() -> Error {
    Error::config(format!("the plan's JSON is longer than {} MiB", LARGEST / 1024 / 1024))
        .hint("split the configuration, or plan a part of it: nobody can judge such a plan")
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
        let mut is_plan = false;
        while let Some(key) = map.next_key::<String>()? {
            self.measure.entry.set(0);
            is_plan |= matches!(key.as_str(), "resource_changes" | "planned_values" | "configuration");
            match key.as_str() {
                "values" => {
                    return Err(A::Error::custom(
                        "this is a state, not a plan: `terraform show -json PLAN` takes the file of a plan",
                    ));
                }
                "format_version" => document.format = supported(map.next_value()?).map_err(A::Error::custom)?,
                "terraform_version" => document.terraform = map.next_value()?,
                "resource_changes" => {
                    map.next_value_seed(Entries { measure: self.measure, section: Section::Planned, each: self.each })?;
                }
                "resource_drift" => {
                    map.next_value_seed(Entries { measure: self.measure, section: Section::Drift, each: self.each })?;
                }
                "output_changes" => document.outputs = super::change::outputs(map.next_value()?),
                "checks" => document.checks = checks(map.next_value::<Option<_>>()?.unwrap_or_default()),
                "errored" => document.errored = map.next_value::<Option<bool>>()?.unwrap_or_default(),
                "complete" => document.complete = map.next_value()?,
                "deferred_changes" => {
                    let all: Vec<Deferred> = map.next_value_seed(List::new(self.measure))?;
                    document.deferred.extend(all.into_iter().map(|deferred| deferred.resource_change.address));
                }
                "deferred_action_invocations" => {
                    let all: Vec<Deferred> = map.next_value_seed(List::new(self.measure))?;
                    document.deferred.extend(all.into_iter().map(|deferred| deferred.action_invocation.address));
                }
                "action_invocations" => {
                    let all: Vec<Addressed> = map.next_value_seed(List::new(self.measure))?;
                    document.actions = all.into_iter().map(|action| action.address).collect();
                }
                _ => {
                    map.next_value_seed(Skipped(self.measure))?;
                }
            }
        }
        if document.format.is_empty() {
            return Err(A::Error::custom("it has no format_version"));
        }
        // A plan without resources has no list of them, and still says what it was made of.
        if !is_plan {
            return Err(A::Error::custom("it has none of resource_changes, planned_values and configuration"));
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
        None => Err("its format_version is no version".to_owned()),
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
            if change.kind.is_empty() {
                return Err(A::Error::custom(format!("{} has no type", change.address)));
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

/// What is put off, of either kind.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Deferred {
    resource_change: Addressed,
    action_invocation: Addressed,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Addressed {
    address: String,
}

/// A list of which each item is measured by itself.
struct List<'a, T> {
    measure: &'a Measure,
    of: PhantomData<T>,
}

impl<'a, T> List<'a, T> {
    fn new(measure: &'a Measure) -> Self {
        Self { measure, of: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<T>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = seq.next_element()? {
            self.measure.entry.set(0);
            all.push(item);
        }
        Ok(all)
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }
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
            "resource_drift": [{"address": "a.b", "type": "a", "change": {"actions": ["update"]}}],
            "resource_changes": [{"address": "a.b", "type": "a", "new": 1, "change": {"actions": ["no-op"], "before": {"x": 1.5}}}],
            "checks": null, "complete": false,
            "deferred_changes": [{"reason": "provider_config_unknown", "resource_change": {"address": "c.d", "type": "c"}}],
            "action_invocations": [{"address": "action.e.f", "config_values": {"x": 1}}],
        });
        let mut seen = Vec::new();
        let document =
            read(plan.to_string().as_bytes(), &mut |section, raw| seen.push((section, raw.address))).unwrap();
        assert_eq!(seen, [(Section::Drift, "a.b".to_owned()), (Section::Planned, "a.b".to_owned())]);
        assert_eq!((document.terraform.as_str(), document.complete), ("1.99.0", Some(false)));
        assert_eq!((document.deferred, document.actions), (vec!["c.d".to_owned()], vec!["action.e.f".to_owned()]));
    }

    #[test]
    fn what_is_no_plan_is_refused_and_says_why() {
        assert!(told("").contains("ends in the middle"));
        assert!(told(r#"{"format_version": "1.2", "resource_changes": [{"address": "#).contains("ends in the middle"));
        assert!(told(r#"{"format_version": "2.0", "resource_changes": []}"#).contains("its format is 2.0, and this"));
        assert!(told(r#"{"format_version": "0.1", "resource_changes": []}"#).contains("older than 1.0"));
        assert!(told(r#"{"format_version": "next"}"#).contains("is no version"));
        assert!(told(r#"{"resource_changes": []}"#).contains("no format_version"));
        let state = r#"{"format_version": "1.0", "terraform_version": "1.11.4", "values": {"outputs": {}}}"#;
        assert!(told(state).contains("this is a state, not a plan"), "{}", told(state));
        let empty = r#"{"format_version": "1.0", "terraform_version": "1.11.4"}"#;
        assert!(told(empty).contains("none of resource_changes, planned_values and configuration"));
        assert!(read(r#"{"format_version": "1.2", "planned_values": {}}"#.as_bytes(), &mut |_, _| {}).is_ok());
        let kindless =
            r#"{"format_version": "1.0", "resource_changes": [{"address": "a.b", "change": {"actions": ["x"]}}]}"#;
        assert!(told(kindless).contains("a.b has no type"));
        assert!(
            told(r#"{"format_version": "1.0", "resource_changes": [{"change": {"actions": ["x"]}}]}"#)
                .contains("no address")
        );
        assert!(
            told(r#"{"format_version": "1.0", "resource_changes": [{"address": "a.b", "type": "a"}]}"#)
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
    fn refusals_do_not_repeat_values_and_huge_numbers_are_no_reason() {
        let text =
            r#"{"format_version": "1.0", "resource_changes": [{"address": "a.b", "change": "hunter2, expected x"}]}"#;
        assert!(told(text).contains("another value than") && !told(text).contains("hunter2"), "{}", told(text));
        let huge = r#"{"format_version": "1.0", "x": [1e400], "resource_changes": [{"address": "a.b", "type": "a",
            "change": {"actions": ["create"], "after": {"n": 1e400}}}]}"#;
        let mut seen = Vec::new();
        read(huge.as_bytes(), &mut |_, raw| seen.push(raw.change.after["n"].clone())).unwrap();
        assert_eq!(seen, ["1e400"]);
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
