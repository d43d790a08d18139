//! Whether release tags are protected: nobody moves or deletes one.

use serde::{Deserialize, Serialize};

use super::client::{GitHub, denied};
use crate::error::Result;

/// What active tag rulesets say about one tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TagRules {
    /// Whether the tag cannot be moved.
    pub no_update: bool,
    /// Whether the tag cannot be deleted.
    pub no_deletion: bool,
    /// Whether making the tag is restricted to those who may bypass.
    pub no_creation: bool,
    /// Names of the rulesets that apply.
    pub rulesets: Vec<String>,
    /// Rulesets that the token's user may bypass (administrators do so silently).
    pub bypassed: Vec<String>,
    /// What could not be read, and why.
    pub unknown: Vec<String>,
}

#[derive(Deserialize)]
struct WireSummary {
    id: u64,
    name: String,
    target: Option<String>,
    enforcement: String,
}

#[derive(Deserialize)]
struct WireRuleset {
    name: String,
    conditions: Option<WireConditions>,
    #[serde(default)]
    rules: Vec<WireRule>,
    current_user_can_bypass: Option<String>,
}

#[derive(Deserialize)]
struct WireConditions {
    ref_name: Option<WireRefs>,
}

#[derive(Deserialize)]
struct WireRefs {
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
}

#[derive(Deserialize)]
struct WireRule {
    #[serde(rename = "type")]
    kind: String,
}

impl GitHub {
    /// The rules that protect `tag` (short name).
    pub async fn tag_rules(&self, tag: &str) -> Result<TagRules> {
        let mut rules = TagRules::default();
        let route = self.route("rulesets?includes_parents=true&targets=tag");
        let found = match denied(self.all::<WireSummary>(&route, None).await)? {
            Ok(found) => found,
            Err(error) => {
                rules.unknown.push(error.what().to_owned());
                return Ok(rules);
            }
        };
        for summary in found {
            if summary.enforcement != "active" || summary.target.as_deref().is_some_and(|target| target != "tag") {
                continue;
            }
            match denied(self.get::<WireRuleset>(&self.route(&format!("rulesets/{}", summary.id))).await)? {
                Ok(ruleset) => fold(&mut rules, ruleset, tag),
                Err(error) => rules.unknown.push(format!("{}: {}", summary.name, error.what())),
            }
        }
        Ok(rules)
    }
}

fn fold(rules: &mut TagRules, ruleset: WireRuleset, tag: &str) {
    let name = format!("refs/tags/{tag}");
    let Some(refs) = ruleset.conditions.and_then(|conditions| conditions.ref_name) else { return };
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches_ref(pattern, &name));
    if !any(&refs.include) || any(&refs.exclude) {
        return;
    }
    for rule in &ruleset.rules {
        match rule.kind.as_str() {
            // Where only force pushes are blocked, a tag can still be moved forward.
            "update" => rules.no_update = true,
            "deletion" => rules.no_deletion = true,
            "creation" => rules.no_creation = true,
            _ => {}
        }
    }
    if ruleset.current_user_can_bypass.as_deref().is_some_and(|may| may != "never") {
        rules.bypassed.push(ruleset.name.clone());
    }
    rules.rulesets.push(ruleset.name);
}

/// GitHub's ref patterns: `~ALL`, and fnmatch with FNM_PATHNAME (`*` and `?` stop at `/`, `**/` does not).
#[must_use]
pub fn matches_ref(pattern: &str, name: &str) -> bool {
    pattern == "~ALL" || glob(pattern.as_bytes(), name.as_bytes())
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', b'*', b'/', rest @ ..] => {
            glob(rest, name) || name.iter().enumerate().any(|(i, b)| *b == b'/' && glob(rest, &name[i + 1..]))
        }
        [b'*', b'*'] => true,
        [b'*', rest @ ..] => {
            let segment = name.iter().position(|b| *b == b'/').unwrap_or(name.len());
            (0..=segment).any(|taken| glob(rest, &name[taken..]))
        }
        [b'?', rest @ ..] => name.first().is_some_and(|b| *b != b'/') && glob(rest, &name[1..]),
        [b'[', ..] => set(pattern, name),
        [b'\\', c, rest @ ..] | [c, rest @ ..] => name.first() == Some(c) && glob(rest, &name[1..]),
    }
}

/// `[a-z]…` or `[!0-9]…`; an unclosed bracket is a plain character.
fn set(pattern: &[u8], name: &[u8]) -> bool {
    let Some(end) = pattern.iter().skip(2).position(|b| *b == b']').map(|at| at + 2) else {
        return name.first() == Some(&b'[') && glob(&pattern[1..], &name[1..]);
    };
    let (inside, rest) = (&pattern[1..end], &pattern[end + 1..]);
    let (negated, inside) = match inside {
        [b'!' | b'^', inside @ ..] => (true, inside),
        _ => (false, inside),
    };
    let Some((first, after)) = name.split_first().filter(|(first, _)| **first != b'/') else { return false };
    let mut within = false;
    let mut left = inside;
    while let [low, others @ ..] = left {
        if let [b'-', high, others @ ..] = others {
            within |= (low..=high).contains(&first);
            left = others;
        } else {
            within |= low == first;
            left = others;
        }
    }
    within != negated && glob(rest, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_github_says() {
        for (pattern, name, is) in [
            ("~ALL", "refs/tags/x", true),
            ("refs/tags/release/v*", "refs/tags/release/v1.2.0", true),
            ("refs/tags/*", "refs/tags/release/v1.2.0", false),
            ("refs/tags/**/*", "refs/tags/release/v1.2.0", true),
            ("refs/tags/**", "refs/tags/release/v1.2.0", true),
            ("refs/tags/release/v[0-9]*", "refs/tags/release/v1.2.0", true),
            ("refs/tags/release/v[!0-9]*", "refs/tags/release/v1.2.0", false),
            ("refs/tags/release/v?.2.0", "refs/tags/release/v1.2.0", true),
            ("refs/tags/release", "refs/tags/release/v1.2.0", false),
            ("refs/tags/[", "refs/tags/[", true),
        ] {
            assert_eq!(matches_ref(pattern, name), is, "{pattern} {name}");
        }
    }

    #[test]
    fn rules_of_matching_rulesets_are_folded() {
        let ruleset = |include: &str, exclude: &str| -> WireRuleset {
            serde_json::from_value(serde_json::json!({
                "id": 1, "name": "release tags", "target": "tag", "enforcement": "active",
                "conditions": {"ref_name": {"include": [include], "exclude": [exclude]}},
                "rules": [{"type": "deletion"}, {"type": "update"}], "current_user_can_bypass": "always",
            }))
            .unwrap()
        };
        let mut rules = TagRules::default();
        fold(&mut rules, ruleset("refs/tags/release/v*", ""), "release/v1.2.0");
        assert!(rules.no_update && rules.no_deletion && !rules.no_creation);
        assert_eq!(rules.bypassed, ["release tags"]);
        let mut rules = TagRules::default();
        fold(&mut rules, ruleset("refs/tags/release/v*", "refs/tags/release/v1.*"), "release/v1.2.0");
        assert_eq!(rules, TagRules::default());
    }
}
