//! ECR lifecycle policies: which rule could delete an image that we may need again.
//!
//! First form: the rules as written, and which of them match a tag. ECR deletes live images too
//! (aws/containers-roadmap#1036): nothing protects what a cluster runs.

use std::time::Duration;

use aws_sdk_ecr::operation::get_lifecycle_policy::GetLifecyclePolicyError;
use serde::Deserialize;

use super::client::Aws;
use super::errors::{absent_is_none, sdk_error};
use crate::error::{Class, Error, Result};

/// The policy of one repository, by rising priority number (the lowest number is applied first).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifecyclePolicy {
    pub rules: Vec<LifecycleRule>,
}

/// One rule (Amazon ECR User Guide, "Lifecycle policy properties in Amazon ECR").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleRule {
    pub priority: i64,
    pub description: String,
    pub tag_status: TagStatus,
    pub count: CountType,
}

/// Which images a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagStatus {
    /// Images with a tag that begins with all these prefixes, or matches all these patterns (`*` is a wildcard).
    Tagged {
        prefixes: Vec<String>,
        patterns: Vec<String>,
    },
    Untagged,
    Any,
    /// A form that we do not know: it counts as matching.
    Other(String),
}

/// What makes an image expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CountType {
    /// It is older (since its push) than this.
    Older(Duration),
    /// This many newer ones exist.
    MoreThan(u64),
    /// A form that we do not know, as written.
    Other(String),
}

impl LifecyclePolicy {
    /// The rule that decides about an image with these tags: each image is taken by the first rule that matches it.
    #[must_use]
    pub fn rule_for(&self, tags: &[String]) -> Option<&LifecycleRule> {
        self.rules.iter().find(|rule| rule.tag_status.matches(tags))
    }
}

impl TagStatus {
    /// Whether images with these tags are meant.
    #[must_use]
    pub fn matches(&self, tags: &[String]) -> bool {
        match self {
            Self::Untagged => tags.is_empty(),
            Self::Any | Self::Other(_) => true,
            Self::Tagged { prefixes, patterns } => {
                // An image must carry all named prefixes or patterns to be taken (ECR User Guide).
                !tags.is_empty()
                    && prefixes.iter().all(|prefix| tags.iter().any(|tag| tag.starts_with(prefix.as_str())))
                    && patterns.iter().all(|pattern| tags.iter().any(|tag| wildcard(pattern, tag)))
            }
        }
    }
}

/// `*` stands for any run of characters.
fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

impl Aws {
    /// The lifecycle policy of `repository`; `None` when it has none.
    pub async fn lifecycle_policy(&self, repository: &str) -> Result<Option<LifecyclePolicy>> {
        let what = format!("read the lifecycle policy of ECR repository {repository}");
        let asked = self
            .retry()
            .read(async || {
                let sent = self.ecr().get_lifecycle_policy().repository_name(repository).send().await;
                sent.map_err(|error| {
                    let repository_missing = error
                        .as_service_error()
                        .is_some_and(GetLifecyclePolicyError::is_repository_not_found_exception);
                    let ours = sdk_error(&what, error, self.profile());
                    if repository_missing { ours.class(Class::Terminal) } else { ours }
                })
            })
            .await;
        let answer = absent_is_none(asked)?;
        answer.and_then(|answer| answer.lifecycle_policy_text().map(parse)).transpose()
    }
}

fn parse(text: &str) -> Result<LifecyclePolicy> {
    #[derive(Deserialize)]
    struct Policy {
        rules: Vec<Rule>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rule {
        #[serde(rename = "rulePriority")]
        priority: i64,
        #[serde(default)]
        description: String,
        selection: Selection,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Selection {
        tag_status: String,
        #[serde(default)]
        tag_prefix_list: Vec<String>,
        #[serde(default)]
        tag_pattern_list: Vec<String>,
        count_type: String,
        #[serde(default)]
        count_unit: Option<String>,
        #[serde(default)]
        count_number: u64,
    }
    let policy: Policy =
        serde_json::from_str(text).map_err(|error| Error::outside("read an ECR lifecycle policy").because(error))?;
    let mut rules: Vec<LifecycleRule> = policy
        .rules
        .into_iter()
        .map(|rule| {
            let Selection { tag_prefix_list, tag_pattern_list, count_number, .. } = rule.selection;
            LifecycleRule {
                priority: rule.priority,
                description: rule.description,
                tag_status: match rule.selection.tag_status.as_str() {
                    "tagged" => TagStatus::Tagged { prefixes: tag_prefix_list, patterns: tag_pattern_list },
                    "untagged" => TagStatus::Untagged,
                    "any" => TagStatus::Any,
                    other => TagStatus::Other(other.to_owned()),
                },
                count: match (rule.selection.count_type.as_str(), rule.selection.count_unit.as_deref()) {
                    ("imageCountMoreThan", _) => CountType::MoreThan(count_number),
                    ("sinceImagePushed", None | Some("days")) => {
                        CountType::Older(Duration::from_secs(count_number.saturating_mul(86_400)))
                    }
                    (other, _) => CountType::Other(format!("{other} {count_number}")),
                },
            }
        })
        .collect();
    rules.sort_by_key(|rule| rule.priority);
    Ok(LifecyclePolicy { rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let policy = parse(
            r#"{"rules":[
            {"rulePriority":20,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":30},"action":{"type":"expire"}},
            {"rulePriority":5,"description":"old builds","selection":{"tagStatus":"tagged","tagPatternList":["sha-*"],"countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}},
            {"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":1},"action":{"type":"expire"}}]}"#,
        )
        .unwrap();
        let rule = |tags: &[&str]| {
            let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            policy.rule_for(&tags).map(|rule| rule.priority)
        };
        assert_eq!((rule(&[]), rule(&["sha-abc"]), rule(&["v1.2.0"])), (Some(1), Some(5), Some(20)));
        assert_eq!(policy.rules[1].count, CountType::Older(Duration::from_hours(14 * 24)));
        assert!(parse("{}").is_err());
    }

    #[test]
    fn wildcards() {
        assert!(wildcard("v*", "v1.2") && wildcard("*rc*", "v1-rc.2") && wildcard("a*b*c", "axxbyyc"));
        assert!(!wildcard("v*", "1.2") && !wildcard("v1", "v1.2") && !wildcard("a*b", "abc"));
    }
}
