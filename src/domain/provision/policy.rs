//! Rules over a plan: what is refused, and what is said.

use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::risk::undecided;
use super::values::{at, entered, glob, unknown};
use super::{Action, Change, RawChange, Risk, RiskKind};

/// The rules that are on by default.
const BUILT_IN: &str = include_str!("rules.yaml");

/// What a rule does when it applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The plan is refused (exit 10).
    #[default]
    Deny,
    /// It is said.
    Warn,
}

/// What a rule may look for in a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuleAction {
    Create,
    Update,
    Replace,
    Destroy,
    Forget,
    Import,
    Move,
}

/// A rule. It applies to a change that meets every condition that is given; one that is left out is met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called.
    pub name: String,
    /// `deny` refuses the plan (exit 10), `warn` says so.
    #[serde(default)]
    pub level: Level,
    /// Addresses; `*` stands for anything: `module.data.*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Types of resources; `*` stands for anything: `aws_db_*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// What happens: `create`, `update`, `replace`, `destroy`, `forget`, `import`, `move`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<RuleAction>,
    /// Kinds of risk: `data-loss`, `address-loss`, `admin-port-open`, `exposed`, `admin`, `wide-permission`, `protection-off`, `backups-off`, `one-way`, `outage`, `unmanaged`, `unknown`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<RiskKind>,
    /// An attribute's path, `vpc_config.endpoint_public_access`; of what is destroyed, its last value counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// Values of the attribute; `*` stands for anything, `null` for an attribute that is not set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// What people are told.
    pub message: String,
}

/// A rule that applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub rule: String,
    pub level: Level,
    /// Empty where it is about the whole plan.
    pub address: String,
    pub message: String,
}

/// The rules that are on by default; those in [`WHOLE`] are beside them.
#[must_use]
pub fn built_in() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| serde_yaml::from_str(BUILT_IN).expect("rules.yaml is ours, and a test reads it"))
}

/// Names of the rules about the whole plan.
pub const WHOLE: [(&str, Level); 4] =
    [("budget", Level::Deny), ("unfinished", Level::Deny), ("incomplete", Level::Warn), ("failed-check", Level::Warn)];

impl Rule {
    /// Whether the rule applies to a change; with what is known before apply, it may not be possible to tell.
    #[must_use]
    pub fn check(&self, raw: &RawChange, change: &Change, risks: &[Risk]) -> Option<Finding> {
        let any = |patterns: &[String], text: &str| patterns.is_empty() || patterns.iter().any(|one| glob(one, text));
        let fits = any(&self.addresses, &change.address)
            && any(&self.types, &change.kind)
            && (self.actions.is_empty() || self.actions.iter().any(|action| happens(*action, change)));
        if !fits || !change.is_worth_telling() {
            return None;
        }
        let finding = |level, message: String| Finding {
            rule: self.name.clone(),
            level,
            address: change.address.clone(),
            message,
        };
        let later = |path: &str| {
            let message = format!("cannot be told before apply, because {path} is not known: {}", self.message);
            finding(Level::Warn, message)
        };
        let carried = self.risks.is_empty() || risks.iter().any(|risk| self.risks.contains(&risk.kind));
        if !carried {
            return undecided(raw, &self.risks).map(later);
        }
        let Some(path) = &self.attribute else { return Some(finding(self.level, self.message.clone())) };
        let destroyed = matches!(change.action, Action::Destroy | Action::Forget);
        let value = if destroyed { &raw.change.before } else { &raw.change.after };
        // A part of it may be known, and be enough.
        let unsure = !destroyed && unknown(&raw.change.after_unknown, path);
        let mut found = at(value, path);
        let items: Vec<&Value> = found.iter().copied().filter(|value| value.is_array()).flat_map(entered).collect();
        found.extend(items);
        let mut texts: Vec<String> = found.into_iter().filter(|value| !(unsure && value.is_null())).map(text).collect();
        if texts.is_empty() && !unsure {
            texts.push("null".to_owned());
        }
        let applies = texts.iter().any(|text| self.values.iter().any(|value| glob(value, text)));
        if unsure && !applies {
            return Some(later(path));
        }
        applies.then(|| finding(self.level, self.message.clone()))
    }
}

fn happens(action: RuleAction, change: &Change) -> bool {
    match action {
        RuleAction::Create => change.action == Action::Create,
        RuleAction::Update => change.action == Action::Update,
        RuleAction::Replace => change.action == Action::Replace,
        RuleAction::Destroy => change.action == Action::Destroy,
        RuleAction::Forget => change.action == Action::Forget,
        RuleAction::Import => change.imported.is_some(),
        RuleAction::Move => change.moved_from.is_some(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(rule: &Rule, action: &str, before: Value, after: Value, unknown: Value) -> Option<Finding> {
        let raw = json!({"address": "module.data.aws_db_instance.main", "mode": "managed", "type": "aws_db_instance",
            "change": {"actions": [action], "before": before, "after": after, "after_unknown": unknown}});
        let raw: RawChange = serde_json::from_value(raw).unwrap();
        let change = Change::of(&raw);
        rule.check(&raw, &change, &super::super::risks(&raw, &change))
    }

    fn rule(more: Value) -> Rule {
        let mut rule = json!({"name": "r", "message": "m"});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn every_condition_must_be_met() {
        let update = |rule: &Rule| check(rule, "update", json!({"a": [{"b": 1}]}), json!({"a": [{"b": 2}]}), json!({}));
        assert!(update(&rule(json!({}))).is_some());
        assert!(
            update(&rule(json!({"addresses": ["module.data.*"], "types": ["aws_db_*"], "actions": ["update"]})))
                .is_some()
        );
        assert!(update(&rule(json!({"addresses": ["module.other.*"]}))).is_none());
        assert!(update(&rule(json!({"actions": ["destroy", "move"]}))).is_none());
        assert!(update(&rule(json!({"attribute": "a.b", "values": ["2"]}))).is_some());
        assert!(update(&rule(json!({"attribute": "a.b", "values": ["1"]}))).is_none());
        assert!(update(&rule(json!({"attribute": "none", "values": ["null"]}))).is_some());
        assert!(update(&rule(json!({"risks": ["data-loss"]}))).is_none());
        let destroyed = |rule: &Rule| check(rule, "delete", json!({"a": "x"}), Value::Null, json!({}));
        assert!(destroyed(&rule(json!({"risks": ["data-loss"]}))).is_some());
        assert!(destroyed(&rule(json!({"attribute": "a", "values": ["x*"]}))).is_some());
        assert!(check(&rule(json!({})), "no-op", json!({}), json!({}), json!({})).is_none());
    }

    #[test]
    fn what_is_not_known_before_apply_is_said_and_does_not_refuse() {
        let rule = rule(json!({"attribute": "public", "values": ["true"]}));
        let finding = check(&rule, "create", Value::Null, json!({}), json!({"public": true})).unwrap();
        assert_eq!((finding.level, finding.message.contains("cannot be told")), (Level::Warn, true));
    }

    #[test]
    fn a_known_value_refuses_whatever_else_is_not_known() {
        let rule = rule(json!({"attribute": "block.public", "values": ["true"]}));
        let unknown = json!({"block": [{}, {"public": true}]});
        let after = |first: bool| json!({"block": [{"public": first}, {}]});
        let level = |first| check(&rule, "create", Value::Null, after(first), unknown.clone()).unwrap().level;
        assert_eq!((level(true), level(false)), (Level::Deny, Level::Warn));
    }

    #[test]
    fn a_policy_or_a_source_that_is_not_known_before_apply_is_said() {
        let check = |kind: &str, after: Value, unknown: Value| -> Vec<(String, Level)> {
            let raw = json!({"address": "a.b", "mode": "managed", "type": kind,
                "change": {"actions": ["create"], "before": null, "after": after, "after_unknown": unknown}});
            let raw: RawChange = serde_json::from_value(raw).unwrap();
            let change = Change::of(&raw);
            let risks = super::super::risks(&raw, &change);
            let found = built_in().iter().filter_map(|rule| rule.check(&raw, &change, &risks));
            found.map(|finding| (finding.rule, finding.level)).collect()
        };
        let warns = |rule: &str| vec![(rule.to_owned(), Level::Warn)];
        assert_eq!(check("aws_iam_policy", json!({}), json!({"policy": true})), warns("admin-permission"));
        assert!(check("aws_iam_policy", json!({"policy": "{}"}), json!({"policy": false})).is_empty());
        let ingress = json!({"ingress": [{"cidr_blocks": true}]});
        assert_eq!(check("aws_security_group", json!({"ingress": [{}]}), ingress), warns("admin-port-open"));
        assert!(check("aws_security_group", json!({"ingress": []}), json!({"id": true, "ingress": []})).is_empty());
        assert_eq!(check("aws_s3_bucket_policy", json!({}), json!({"policy": true})), warns("policy-public"));
        // AWS writes one where none is set.
        assert!(check("aws_kms_key", json!({}), json!({"policy": true})).is_empty());
        assert!(check("aws_iam_role", json!({}), json!({"assume_role_policy": true})).is_empty());
    }

    #[test]
    fn the_built_in_rules_are_well_formed() {
        let names: Vec<&str> = built_in().iter().map(|rule| rule.name.as_str()).collect();
        assert!(names.len() >= 8, "{names:?}");
        for rule in built_in() {
            assert!(!rule.message.is_empty() && rule.attribute.is_some() != rule.values.is_empty(), "{}", rule.name);
        }
    }
}
