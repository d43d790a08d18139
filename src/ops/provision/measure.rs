//! From the configuration to what plans are judged by.

use std::fs::File;
use std::path::Path;

use crate::config::model::Policy;
use crate::domain::provision::{Judgement, LARGEST, Level, Measure, Prices, Rule, WHOLE, built_in, judge, too_long};
use crate::error::{Attempting, Error, Result};
use crate::ops::Invocation;

/// Prices, rules and budget as they are configured.
pub(super) fn measure(invocation: &Invocation) -> Result<Measure> {
    let settings = &invocation.config.provision;
    let policy = &settings.policy;
    let whole = WHOLE.iter().filter_map(|(name, level)| Some((*name, configured(policy, name, *level)?)));
    let rules = built_in().iter().filter_map(|rule| {
        let level = configured(policy, &rule.name, rule.level)?;
        Some(Rule { level, ..rule.clone() })
    });
    Ok(Measure {
        prices: prices(invocation)?,
        rules: rules.chain(policy.rules.iter().cloned()).collect(),
        whole: whole.collect(),
        budget: settings.budget,
    })
}

/// The level that a built-in rule has here; `None` where it is off.
fn configured(policy: &Policy, name: &str, level: Level) -> Option<Level> {
    let named = |names: &[String]| names.iter().any(|one| one == name);
    match () {
        () if named(&policy.off) => None,
        () if named(&policy.deny) => Some(Level::Deny),
        () if named(&policy.warn) => Some(Level::Warn),
        () => Some(level),
    }
}

fn prices(invocation: &Invocation) -> Result<Prices> {
    let Some(file) = &invocation.config.provision.prices else { return Prices::built_in() };
    let path = invocation.base.join(file);
    let shown = path.display();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::config(format!("read the prices in {shown} (provision.prices)")).because(error))?;
    Prices::read(&text).attempting(|| format!("read the prices in {shown} (provision.prices)"))
}

/// Reads the JSON of a plan from a file and judges it. A file that is too long is not begun.
pub(super) fn judged(path: &Path, measure: &Measure) -> Result<Judgement> {
    let failed = || format!("read the plan {}", path.display());
    let file = File::open(path).map_err(|error| Error::config(failed()).because(error))?;
    if file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > LARGEST) {
        return Err(too_long().context(failed()));
    }
    judge(file, measure).attempting(failed)
}

/// The rules that refuse a plan, each once, with what they are about.
pub(super) fn denied(judgement: &Judgement) -> Vec<String> {
    let denied = judgement.findings.iter().filter(|finding| finding.level == Level::Deny);
    denied
        .map(|finding| match finding.address.as_str() {
            "" => format!("{}: {}", finding.rule, finding.message),
            address => format!("{}: {address}: {}", finding.rule, finding.message),
        })
        .collect()
}
