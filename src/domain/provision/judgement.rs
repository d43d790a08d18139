//! Everything that is known about a plan, gathered in one reading.

use std::io::Read;

use serde::Serialize;

use super::checks::Check;
use super::plan_json::{self, OutputChange, RawChange, Section};
use super::policy::WHOLE;
use super::{Action, Amount, Change, Cost, Finding, Level, Prices, Risk, RiskKind, Rule, Total, cost, risks};
use crate::error::Result;

/// How many resources each thing happens to. A move and an import count beside what else happens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub create: usize,
    pub update: usize,
    pub replace: usize,
    pub destroy: usize,
    pub forget: usize,
    pub import: usize,
    #[serde(rename = "move")]
    pub moved: usize,
    /// Data sources that are read while applying.
    pub read: usize,
    pub unchanged: usize,
}

impl Counts {
    fn count(&mut self, change: &Change) {
        match change.action {
            Action::Create => self.create += 1,
            Action::Update | Action::Unknown => self.update += 1,
            Action::Replace => self.replace += 1,
            Action::Destroy => self.destroy += 1,
            Action::Forget => self.forget += 1,
            Action::Read => self.read += 1,
            Action::Keep if change.is_worth_telling() => {}
            Action::Keep => self.unchanged += 1,
        }
        self.import += usize::from(change.imported.is_some());
        self.moved += usize::from(change.moved_from.is_some());
    }

    /// Whether applying would change nothing that Terraform manages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.create + self.update + self.replace + self.destroy + self.forget + self.import + self.moved == 0
    }
}

/// What plans are judged by.
#[derive(Debug, Clone)]
pub struct Measure {
    pub prices: Prices,
    /// The rules that are on, with the levels that they have here.
    pub rules: Vec<Rule>,
    /// Rules about the whole plan: name and level, without those that are off.
    pub whole: Vec<(&'static str, Level)>,
    /// US dollars a month.
    pub budget: f64,
}

impl Measure {
    /// The built-in prices and rules.
    pub fn built_in(budget: f64) -> Result<Self> {
        let (prices, rules) = (Prices::built_in()?, super::built_in().to_vec());
        Ok(Self { prices, rules, whole: WHOLE.to_vec(), budget })
    }

    fn level(&self, name: &str) -> Option<Level> {
        self.whole.iter().find(|(rule, _)| *rule == name).map(|(_, level)| *level)
    }
}

/// A plan, judged.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Judgement {
    /// Version of the program that made the plan.
    pub terraform: String,
    /// The plan ended with an error and is not whole.
    pub errored: bool,
    /// Applying it will leave something for another plan.
    pub partial: bool,
    pub counts: Counts,
    /// What loses data, an address or protection.
    pub risks: Vec<Risk>,
    /// Rules that apply; those that refuse first.
    pub findings: Vec<Finding>,
    /// What happens, in the document's order (by address).
    pub changes: Vec<Change>,
    /// What changed outside Terraform.
    pub drift: Vec<Change>,
    /// What that has lost or opened already; there is nothing to confirm.
    pub drift_risks: Vec<Risk>,
    pub outputs: Vec<OutputChange>,
    /// Checks that did not pass.
    pub checks: Vec<Check>,
    /// What costs money, or has no known price; resources that cost nothing by themselves are left out.
    pub costs: Vec<Cost>,
    pub before: Total,
    pub after: Total,
    /// US dollars a month.
    pub budget: f64,
}

/// Reads a plan's JSON and judges it.
///
/// # Errors
/// Those of [`plan_json::read`].
pub fn judge(from: impl Read, measure: &Measure) -> Result<Judgement> {
    let mut judgement = Judgement { budget: measure.budget, ..Judgement::default() };
    let document = plan_json::read(from, &mut |section, raw| judgement.take(section, &raw, measure))?;
    judgement.terraform = document.terraform;
    judgement.errored = document.errored;
    judgement.partial = document.complete == Some(false);
    let left = document.deferred.into_iter().map(|address| (address, "it is put off: a later plan does it, unjudged"));
    let run = document.actions.into_iter().map(|address| (address, "apply runs this action, which is not judged here"));
    judgement.risks.extend(left.chain(run).map(|(address, reason)| Risk {
        address,
        action: Action::Unknown,
        kind: RiskKind::Unknown,
        reason: reason.to_owned(),
    }));
    judgement.outputs = document.outputs;
    judgement.checks = document.checks;
    judgement.judge_whole(measure);
    judgement.findings.sort_by_key(|finding| finding.level);
    Ok(judgement)
}

impl Judgement {
    /// Whether a rule refuses the plan.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Deny)
    }

    /// Addresses that must be named before the plan is applied, each once.
    #[must_use]
    pub fn to_confirm(&self) -> Vec<String> {
        let mut addresses: Vec<String> = Vec::new();
        for risk in &self.risks {
            if !addresses.contains(&risk.address) {
                addresses.push(risk.address.clone());
            }
        }
        addresses
    }

    fn take(&mut self, section: Section, raw: &RawChange, measure: &Measure) {
        if section == Section::Drift {
            let change = Change::drifted(raw);
            // A move that is still to be recorded stands here too; nobody but us has changed anything.
            if change.action != Action::Keep {
                self.drift_risks.extend(risks(raw, &change));
                self.drift.push(change);
            }
            return;
        }
        let change = Change::of(raw);
        self.counts.count(&change);
        if let Some(cost) = cost(raw, &change, &measure.prices) {
            self.before.add(&cost.before);
            self.after.add(&cost.after);
            self.costs.push(cost);
        }
        if raw.mode == "data" || !change.is_worth_telling() {
            return;
        }
        let risks = risks(raw, &change);
        self.findings.extend(measure.rules.iter().filter_map(|rule| rule.check(raw, &change, &risks)));
        self.risks.extend(risks);
        self.changes.push(change);
    }

    fn judge_whole(&mut self, measure: &Measure) {
        let mut found = Vec::new();
        let mut say = |rule: &str, level: Option<Level>, message: String| {
            found.extend(level.map(|level| Finding { rule: rule.to_owned(), level, address: String::new(), message }));
        };
        let after = self.after;
        let without =
            (after.unknown > 0).then(|| format!("{} no known price: {}", has(after.unknown), self.unpriced()));
        if after.known > measure.budget {
            let unknown = without.map_or(String::new(), |without| format!(", and {without}"));
            let message = format!("${:.2} a month is over the budget of ${:.2}{unknown}", after.known, measure.budget);
            // What was over it before, and does not grow, is no reason to refuse: the plan may be the cure.
            let grows = self.growth() > 0.005;
            let level = measure.level("budget").map(|level| if grows { level } else { Level::Warn });
            say("budget", level, message);
        } else if let Some(without) = without {
            let message =
                format!("cannot be told: {without}; the others cost ${:.2} of ${:.2}", after.known, measure.budget);
            say("budget", measure.level("budget").map(|_| Level::Warn), message);
        }
        if self.partial && !self.errored {
            let message = "applying this plan leaves a part for another plan".to_owned();
            say("incomplete", measure.level("incomplete"), message);
        }
        if self.errored {
            let message = "the plan ended with an error and is not whole".to_owned();
            say("unfinished", measure.level("unfinished"), message);
        }
        for check in self.checks.iter().filter(|check| check.status != "unknown") {
            let message = format!("{} does not pass", check.address);
            say("failed-check", measure.level("failed-check"), message);
        }
        self.findings.extend(found);
    }

    /// Dollars a month more than before, of what has a price before and after.
    fn growth(&self) -> f64 {
        let grown = |cost: &Cost| Some(cost.after.dollars()? - cost.before.dollars()?);
        self.costs.iter().filter_map(grown).sum()
    }

    /// The first resources without a price, and how many there are besides.
    fn unpriced(&self) -> String {
        let unpriced = self.costs.iter().filter(|cost| matches!(cost.after, Amount::Unknown(_)));
        let mut named: Vec<&str> = unpriced.map(|cost| cost.address.as_str()).collect();
        let more = named.len().saturating_sub(NAMED);
        named.truncate(NAMED);
        let named = named.join(", ");
        if more == 0 { named } else { format!("{named} and {more} more") }
    }
}

/// Resources without a price that the rule about the budget names.
const NAMED: usize = 3;

fn has(resources: usize) -> String {
    if resources == 1 { "1 resource has".to_owned() } else { format!("{resources} resources have") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(changes: Value, more: Value) -> Judgement {
        let mut plan = json!({"format_version": "1.2", "terraform_version": "1.14.0", "resource_changes": changes});
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        judge(plan.to_string().as_bytes(), &Measure::built_in(10.0).unwrap()).unwrap()
    }

    fn messages(judgement: &Judgement) -> Vec<(&str, Level, &str)> {
        judgement.findings.iter().map(|one| (one.rule.as_str(), one.level, one.message.as_str())).collect()
    }

    #[test]
    fn what_is_put_off_or_run_must_be_named_too() {
        let judgement = judged(
            json!([]),
            json!({"complete": false, "deferred_changes": [{"resource_change": {"address": "a.b"}}],
                "action_invocations": [{"address": "action.c.d"}]}),
        );
        assert_eq!(judgement.to_confirm(), ["a.b", "action.c.d"]);
        assert!(judgement.risks.iter().all(|risk| risk.kind == RiskKind::Unknown));
        let left = "applying this plan leaves a part for another plan";
        assert_eq!(messages(&judgement), [("incomplete", Level::Warn, left)]);
    }

    #[test]
    fn the_budget_is_refused_for_growth_among_what_has_a_price_on_both_sides() {
        let change = |name: &str, before: &str, after: &str| {
            let size = |size: &str| if size.is_empty() { Value::Null } else { json!({"instance_type": size}) };
            let actions = if before.is_empty() { "create" } else { "update" };
            json!({"address": format!("aws_instance.{name}"), "mode": "managed", "type": "aws_instance",
                "change": {"actions": [actions], "before": size(before), "after": size(after)}})
        };
        let budget = |changes: Value| {
            let judgement = judged(changes, json!({}));
            let found = judgement.findings.into_iter().find(|finding| finding.rule == "budget").unwrap();
            (found.level, found.message)
        };
        // The price before is not known: that it is known now is no growth.
        let (level, message) = budget(json!([change("a", "x9.huge", "t3.large"), change("b", "t3.large", "y9.huge")]));
        assert_eq!(level, Level::Warn, "{message}");
        assert!(message.ends_with("and 1 resource has no known price: aws_instance.b"), "{message}");
        // What grows is refused, though something else got an unknown price.
        let (level, message) = budget(json!([change("a", "", "t3.large"), change("b", "t3.2xlarge", "y9.huge")]));
        assert_eq!(level, Level::Deny, "{message}");
    }

    #[test]
    fn an_object_that_was_left_behind_is_apart_from_its_namesake() {
        let change = |deposed: Value, actions: Value| {
            json!({"address": "aws_eip.a", "mode": "managed", "type": "aws_eip", "deposed": deposed,
                "change": {"actions": actions, "before": {"id": "x"}, "after": null}})
        };
        let judgement = judged(
            json!([change(Value::Null, json!(["delete", "create"])), change(json!("1234"), json!(["delete"]))]),
            json!({}),
        );
        assert_eq!(judgement.to_confirm(), ["aws_eip.a", "aws_eip.a (deposed object 1234)"]);
        let actions: Vec<Action> = judgement.risks.iter().map(|risk| risk.action).collect();
        assert_eq!(actions, [Action::Replace, Action::Destroy]);
    }
}
