//! Which checks must succeed on a branch: from rulesets *and* from branch protection.

use serde::{Deserialize, Serialize};

use super::client::{GitHub, denied, encode};
use crate::error::Result;

/// The checks that GitHub requires on a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Required {
    pub checks: Vec<RequiredCheck>,
    /// Sources that could not be read, and why: they may require more.
    pub unknown: Vec<String>,
}

/// One required check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequiredCheck {
    pub context: String,
    /// The app that must report it; `None`: any.
    pub app_id: Option<i64>,
    /// `ruleset 12` or `branch protection`.
    pub from: String,
}

#[derive(Deserialize)]
struct WireRule {
    #[serde(rename = "type")]
    kind: String,
    ruleset_id: Option<u64>,
    #[serde(default)]
    parameters: serde_json::Value,
}

#[derive(Deserialize)]
struct RuleParameters {
    #[serde(default)]
    required_status_checks: Vec<WireContext>,
}

#[derive(Deserialize)]
struct WireProtection {
    required_status_checks: Option<ProtectionChecks>,
}

#[derive(Deserialize)]
struct ProtectionChecks {
    #[serde(default)]
    contexts: Vec<String>,
    #[serde(default)]
    checks: Vec<WireContext>,
}

#[derive(Deserialize)]
struct WireContext {
    context: String,
    /// Rulesets say `integration_id`, branch protection `app_id`; -1 there means "any app".
    #[serde(alias = "integration_id")]
    app_id: Option<i64>,
}

impl GitHub {
    /// The required checks of a branch.
    pub async fn required_checks(&self, branch: &str) -> Result<Required> {
        let rules = self.route(&format!("rules/branches/{}", encode(branch)));
        let protection = self.route(&format!("branches/{}/protection", encode(branch)));
        let (rules, protection) =
            futures::join!(self.all::<WireRule>(&rules, None), self.find::<WireProtection>(&protection));
        let mut required = Required::default();
        match denied(rules)? {
            Ok(rules) => {
                let (checks, unreadable) = from_rules(rules);
                required.checks.extend(checks);
                required.unknown.extend(unreadable);
            }
            Err(error) => required.unknown.push(format!("rulesets: {}", error.what())),
        }
        match denied(protection)? {
            Ok(Some(protection)) => required.checks.extend(from_protection(protection)),
            // GitHub says 404 both where there is none and to a token that may not administer the repository (docs.github.com, "Get
            // branch protection"; ossf/scorecard#138). Whether there is one, the branch itself says to anybody.
            Ok(None) => match self.protected_branch(branch).await? {
                None => {}
                Some(Some(checks)) => {
                    let protection = WireProtection { required_status_checks: Some(checks) };
                    required.checks.extend(from_protection(protection));
                }
                Some(None) => {
                    required.unknown.push(format!("branch protection of {branch}: the token may not read it"));
                }
            },
            Err(error) => required.unknown.push(format!("branch protection: {}", error.what())),
        }
        let mut seen = std::collections::HashSet::new();
        required.checks.retain(|check| seen.insert((check.context.clone(), check.app_id)));
        Ok(required)
    }

    /// What a branch says of its own protection: none; one with these checks; or one (a ruleset protects it, too) without a word of them.
    async fn protected_branch(&self, branch: &str) -> Result<Option<Option<ProtectionChecks>>> {
        let found = self.find::<WireBranch>(&self.route(&format!("branches/{}", encode(branch)))).await?;
        // `protected` is also true for what only rulesets protect; `protection.enabled` is not.
        let protection = found.filter(|branch| branch.protected).and_then(|branch| branch.protection);
        Ok(protection.filter(|protection| protection.enabled).map(|protection| protection.required_status_checks))
    }
}

#[derive(Deserialize)]
struct WireBranch {
    #[serde(default)]
    protected: bool,
    protection: Option<WireBranchProtection>,
}

#[derive(Deserialize)]
struct WireBranchProtection {
    #[serde(default)]
    enabled: bool,
    required_status_checks: Option<ProtectionChecks>,
}

/// The checks that rules ask for, and the rules that could not be read.
fn from_rules(rules: Vec<WireRule>) -> (Vec<RequiredCheck>, Vec<String>) {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for rule in rules.into_iter().filter(|rule| rule.kind == "required_status_checks") {
        let from = rule.ruleset_id.map_or("a ruleset".to_owned(), |id| format!("ruleset {id}"));
        match serde_json::from_value::<RuleParameters>(rule.parameters) {
            Ok(parameters) => found.extend(parameters.required_status_checks.into_iter().map(|check| of(check, &from))),
            Err(error) => unreadable.push(format!("{from}: {error}")),
        }
    }
    (found, unreadable)
}

fn from_protection(protection: WireProtection) -> Vec<RequiredCheck> {
    let Some(checks) = protection.required_status_checks else { return Vec::new() };
    let mut found: Vec<RequiredCheck> = checks.checks.into_iter().map(|check| of(check, "branch protection")).collect();
    // `contexts` is the older form of the same list.
    for context in checks.contexts {
        if !found.iter().any(|check| check.context == context) {
            found.push(of(WireContext { context, app_id: None }, "branch protection"));
        }
    }
    found
}

fn of(check: WireContext, from: &str) -> RequiredCheck {
    RequiredCheck { context: check.context, app_id: check.app_id.filter(|id| *id > 0), from: from.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_protection_are_read() {
        let rules: Vec<WireRule> = serde_json::from_str(
            r#"[{"type": "deletion"}, {"type": "required_status_checks", "ruleset_id": 12, "parameters":
            {"strict_required_status_checks_policy": true,
             "required_status_checks": [{"context": "ci / unit", "integration_id": 15368}, {"context": "ci / lint"}]}}]"#,
        )
        .unwrap();
        let (found, unreadable) = from_rules(rules);
        assert!(unreadable.is_empty());
        assert_eq!((found[0].context.as_str(), found[0].app_id), ("ci / unit", Some(15368)));
        assert_eq!((found[1].app_id, found[1].from.as_str()), (None, "ruleset 12"));
        let protection: WireProtection = serde_json::from_str(
            r#"{"required_status_checks": {"strict": false, "contexts": ["a", "b"],
                "checks": [{"context": "a", "app_id": -1}]}}"#,
        )
        .unwrap();
        let names: Vec<String> = from_protection(protection).into_iter().map(|check| check.context).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(from_protection(serde_json::from_str("{}").unwrap()).is_empty());
    }
}
