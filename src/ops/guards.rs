//! Rules of GitHub that a release leans on: asserted, since some plans ignore them silently.

use crate::adapters::cluster::Applications;
use crate::adapters::github::{GitHub, TagRules};
use crate::config::Config;
use crate::error::{Error, Kind, Result};

/// A rule that should hold, and what was seen.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Guard {
    pub name: &'static str,
    pub ok: bool,
    pub said: String,
    pub fix: String,
}

/// The environment asks a person. Without required reviewers GitHub deploys at once.
pub async fn approval_rule(github: &GitHub, config: &Config) -> Result<Guard> {
    let name = &config.workflow.environment;
    let environment = github.environment(name).await?;
    let (ok, said) = match &environment {
        None => (false, format!("the GitHub environment {name} does not exist")),
        Some(environment) if environment.required_reviewers.is_empty() => (
            false,
            format!("the GitHub environment {name} has no required reviewers: the workflow would not ask anybody"),
        ),
        Some(environment) => {
            let names: Vec<&str> =
                environment.required_reviewers.iter().map(|reviewer| reviewer.name.as_str()).collect();
            (true, format!("{} must approve", names.join(" or ")))
        }
    };
    let fix = format!(
        "add required reviewers to the environment {name} (Settings → Environments); private repositories need a plan that has them"
    );
    Ok(Guard { name: "approval rule", ok, said, fix })
}

/// It can be told which of our commits production's Application deploys. One that cannot be asked is left to those who need it.
///
/// # Errors
/// A configuration error where that cannot be told.
pub async fn followed(applications: &Applications, config: &Config) -> Result<()> {
    match applications.application(&config.argo.application).await {
        Ok(app) => app.must_be_clear(),
        Err(_) => Ok(()),
    }
}

/// Release tags cannot be moved or deleted.
pub async fn tag_rule(github: &GitHub, config: &Config) -> Result<Guard> {
    let pattern = &config.repository.tags;
    let rules = github.tag_rules(&pattern.tag(&crate::domain::Version::new(0, 0, 0))).await?;
    let (ok, said) = tag_rule_said(pattern.as_str(), &rules);
    let fix = format!("add a tag ruleset for {} that restricts updates and deletions", pattern.as_str());
    Ok(Guard { name: "tag rule", ok, said, fix })
}

fn tag_rule_said(pattern: &str, rules: &TagRules) -> (bool, String) {
    if rules.no_update && rules.no_deletion {
        let said = format!("{pattern} is protected by {}", rules.rulesets.join(", "));
        let bypassed = rules.bypassed.join(", ");
        return (true, if bypassed.is_empty() { said } else { format!("{said} (this token may bypass {bypassed})") });
    }
    if rules.unknown.is_empty() {
        return (false, format!("{pattern} can be moved or deleted by whoever can push"));
    }
    (false, format!("whether {pattern} is protected is not known: {}", rules.unknown.join("; ")))
}

/// Soaked bytes are promised only where the workflow can keep the promise.
#[must_use]
pub fn same_bytes(config: &Config) -> Guard {
    let demanded = config.images.require_soaked_bytes;
    let kept = config.workflow.deploys_by_digest;
    let said = match (demanded, kept) {
        (_, true) => format!("{} deploys the candidate's own digests", config.workflow.file),
        (false, false) => format!("{} builds the images again (allowed by the configuration)", config.workflow.file),
        (true, false) => format!(
            "soaked bytes are demanded (images.require_soaked_bytes), and {} builds the images again",
            config.workflow.file
        ),
    };
    let fix =
        "make the workflow deploy by digest and set workflow.deploys_by_digest, or drop images.require_soaked_bytes";
    Guard { name: "same bytes", ok: kept || !demanded, said, fix: fix.to_owned() }
}

impl Guard {
    /// A missing rule stops a release (exit 10).
    pub fn demand(self) -> Result<()> {
        if self.ok {
            return Ok(());
        }
        Err(Error::new(Kind::GateBlocked, self.said).seen("Nothing was changed.").hint(self.fix))
    }
}
