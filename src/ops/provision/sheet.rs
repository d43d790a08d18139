//! The sheet of a plan: what a person reads before it is applied. Risk stands first.

use std::collections::BTreeMap;

use crate::adapters::terraform::Diagnostic;
use crate::config::model::{CostRow, Provision};
use crate::domain::provision::{
    Action, Amount, Attribute, Change, Check, Cost, Counts, Finding, Judgement, Level, OutputChange, PlanRecord,
    Prices, Risk, Shown, Total, compare,
};
use crate::domain::{count, duration};
use crate::ui::style::{Style, Tone};

use super::block::{Block, Part, comment};

/// Attributes of one change that are shown; the rest is counted.
const SHOWN: usize = 12;
/// Characters of a value that are shown.
const VALUE: usize = 48;
/// Resources without a price that are named.
const UNPRICED: usize = 8;
/// Costs that are told one by one; more are told by type.
const DETAILED: usize = 40;

/// A judged plan, to be shown.
pub struct Sheet<'a> {
    pub judgement: &'a Judgement,
    /// `None` where the plan was made elsewhere.
    pub record: Option<&'a PlanRecord>,
    pub warnings: &'a [Diagnostic],
    pub notes: &'a [String],
    pub settings: &'a Provision,
    pub prices: &'a Prices,
    /// The region of production, where it is configured.
    pub region: Option<&'a str>,
}

impl Sheet<'_> {
    /// The sheet as text, at most 80 columns where names allow.
    #[must_use]
    pub fn text(&self, style: Style) -> String {
        self.blocks().iter().map(|block| block.text(style)).collect::<Vec<_>>().join("\n")
    }

    /// The sheet as a comment for a pull request.
    #[must_use]
    pub fn markdown(&self) -> String {
        comment(&self.blocks())
    }

    fn blocks(&self) -> Vec<Block> {
        let judgement = self.judgement;
        let mut blocks = vec![self.head()];
        blocks.extend(self.risk());
        blocks.extend(outside(&judgement.drift_risks));
        blocks.extend(self.policy());
        blocks.extend(self.cost());
        blocks.extend(tree("CHANGES", &judgement.changes, Tense::Will));
        blocks.extend(tree("DRIFT: changed outside Terraform", &judgement.drift, Tense::Has));
        blocks.extend(outputs("OUTPUTS that change", &self.judgement.outputs));
        blocks.extend(checks(&judgement.checks));
        blocks.extend(self.warned());
        blocks
    }

    fn head(&self) -> Block {
        let Some(record) = self.record else {
            let mut block = Block::new("PLAN made elsewhere", Tone::Strong);
            block.note(format!("{}, by terraform {}", counts(&self.judgement.counts), self.judgement.terraform));
            self.notes.iter().for_each(|note| block.item("!", note, Vec::new()));
            return block;
        };
        let mut block = Block::new(format!("PLAN {} of {}", record.id, record.directory), Tone::Strong);
        block.note(counts(&self.judgement.counts));
        block.note(format!("hash {}", record.short()));
        let commit = record.commit.as_ref().map_or("no commit".to_owned(), |commit| commit.short().to_owned());
        let account =
            record.account.as_ref().map_or("no account pinned".to_owned(), |account| format!("account {account}"));
        block.note(format!("{commit}, workspace {}, {account}", record.workspace));
        block.note(format!(
            "made {} with {} {}; to be applied within {}",
            record.made.strftime("%F %H:%M UTC"),
            record.program,
            record.version,
            duration(self.settings.plan_age)
        ));
        self.notes.iter().for_each(|note| block.item("!", note, Vec::new()));
        block
    }

    fn risk(&self) -> Option<Block> {
        let addresses = self.judgement.to_confirm();
        if addresses.is_empty() {
            return None;
        }
        let title = format!("RISK: {} to be named before this is applied", count_addresses(addresses.len()));
        let mut block = Block::new(title, Tone::Bad);
        for address in &addresses {
            let risks = self.judgement.risks.iter().filter(|risk| risk.address == *address);
            let action = risks.clone().map(|risk| risk.action).find(|action| *action != Action::Unknown);
            let action = action.map_or(String::new(), |action| format!(" ({})", action.word()));
            let reasons = risks.map(|risk| format!("{}: {}", risk.kind.word(), risk.reason)).collect();
            block.item("!", format!("{address}{action}"), reasons);
        }
        block.note("Apply asks for each of these addresses, or takes --confirm ADDRESS.");
        Some(block)
    }

    fn policy(&self) -> Option<Block> {
        let findings = &self.judgement.findings;
        let denied = findings.iter().filter(|finding| finding.level == Level::Deny).count();
        let (title, tone) = match (findings.len(), denied) {
            (0, _) => return None,
            (warned, 0) => (format!("POLICY: {}", count(warned, "warning")), Tone::Warn),
            (_, denied) => (format!("POLICY: refused for {}", count(denied, "reason")), Tone::Bad),
        };
        let mut block = Block::new(title, tone);
        for Finding { rule, level, address, message } in findings {
            let sign = if *level == Level::Deny { "✗" } else { "!" };
            let head = if address.is_empty() { rule.clone() } else { format!("{rule}: {address}") };
            block.item(sign, head, vec![message.clone()]);
        }
        Some(block)
    }

    fn cost(&self) -> Option<Block> {
        let judgement = self.judgement;
        if judgement.costs.is_empty() {
            return None;
        }
        let mut block = Block::new(format!("COST a month, budget {}", dollars(judgement.budget)), Tone::Strong);
        block.parts.push(Part::Table { right: 2, rows: self.cost_rows(&self.settings.cost_table) });
        let over = judgement.after.known - judgement.budget;
        if over > 0.0 {
            block.note(format!("OVER the budget by {}.", dollars(over)));
        }
        let details = self
            .judgement
            .costs
            .iter()
            .filter(|cost| cost.before != cost.after || cost.assumed.is_some() || cost.note.is_some());
        let details: Vec<&Cost> = details.collect();
        if details.len() > DETAILED {
            by_type(&details, &mut block);
            block.note(self.prices_note());
            return Some(block);
        }
        let mut unpriced = 0;
        for cost in details {
            match (&cost.after, &cost.assumed) {
                (Amount::Unknown(why), _) => {
                    unpriced += 1;
                    if unpriced <= UNPRICED {
                        block.item("?", format!("{}: unknown", cost.address), vec![why.clone()]);
                    }
                }
                (after, assumed) => {
                    let of = if cost.of.is_empty() { String::new() } else { format!(": {}", cost.of) };
                    let assumed = assumed.iter().map(|assumed| format!("assumed: {assumed}"));
                    let notes = assumed.chain(cost.note.map(str::to_owned)).collect();
                    let head = format!("{} {} → {}{of}", cost.address, amount(&cost.before), amount(after));
                    block.item("$", head, notes);
                }
            }
        }
        if unpriced > UNPRICED {
            block.note(format!("and {} more without a known price", unpriced - UNPRICED));
        }
        block.note(self.prices_note());
        Some(block)
    }

    /// A line of the runbook's table each, then what is in none of them, then the total.
    fn cost_rows(&self, table: &[CostRow]) -> Vec<Vec<String>> {
        let judgement = self.judgement;
        let mut rows = vec![["resource", "instance", "before", "after"].map(str::to_owned).to_vec()];
        let lines = compare(table, self.prices, Some(&judgement.costs));
        for line in &lines {
            let row = table.iter().find(|row| row.resource == line.resource);
            let ours = judgement.costs.iter().filter(|cost| match row {
                Some(row) => row.covers(&cost.kind),
                None => !table.iter().any(|row| row.covers(&cost.kind)),
            });
            let (mut before, mut after) = (Total::default(), Total::default());
            for cost in ours {
                before.add(&cost.before);
                after.add(&cost.after);
            }
            if before != Total::default() || after != Total::default() {
                rows.push(vec![line.resource.clone(), line.instance.clone(), total(before), total(after)]);
            }
        }
        rows.push(vec!["total".to_owned(), String::new(), total(judgement.before), total(judgement.after)]);
        rows
    }

    fn prices_note(&self) -> String {
        prices_note(self.prices, self.region)
    }

    fn warned(&self) -> Option<Block> {
        // A failed check is told above.
        let check = |warning: &&Diagnostic| warning.summary != "Check block assertion failed";
        let warnings: Vec<&Diagnostic> = self.warnings.iter().filter(check).collect();
        if warnings.is_empty() {
            return None;
        }
        let mut block = Block::new(format!("WARNINGS of Terraform: {}", warnings.len()), Tone::Warn);
        for warning in warnings {
            block.item("!", warning.line(), Vec::new());
        }
        Some(block)
    }
}

/// Outputs whose value changes; none where none does.
pub(super) fn outputs(title: &str, changed: &[OutputChange]) -> Option<Block> {
    if changed.is_empty() {
        return None;
    }
    let mut block = Block::new(title, Tone::Strong);
    let line = |output: &OutputChange| {
        let (before, after) = (cut(&output.before.text()), cut(&output.after.text()));
        (0, format!("{} {}: {before} → {after}", output.action.sign(), output.name))
    };
    block.parts.push(Part::Tree(changed.iter().map(line).collect()));
    Some(block)
}

/// What changes outside Terraform have lost or opened.
pub(super) fn outside(risks: &[Risk]) -> Option<Block> {
    if risks.is_empty() {
        return None;
    }
    let mut block = Block::new("RISK outside Terraform: it is there already", Tone::Bad);
    for risk in risks {
        block.item("!", &risk.address, vec![format!("{}: {}", risk.kind.word(), risk.reason)]);
    }
    Some(block)
}

/// What the prices are, and what they are not.
pub(super) fn prices_note(prices: &Prices, region: Option<&str>) -> String {
    let note = format!(
        "List prices of {} as of {}, {} hours a month, on demand, versions in standard support; \
         without taxes, discounts and free tiers.",
        prices.region, prices.as_of, prices.hours
    );
    match region {
        Some(region) if region != prices.region => format!("{note} Production is in {region}: its prices differ."),
        _ => note,
    }
}

fn checks(checks: &[Check]) -> Option<Block> {
    if checks.is_empty() {
        return None;
    }
    let mut block = Block::new("CHECKS that do not pass", Tone::Warn);
    for check in checks {
        let sign = if check.status == "unknown" { "?" } else { "✗" };
        let known = if check.status == "unknown" { " (known only after apply)" } else { "" };
        block.item(sign, format!("{}{known}", check.address), check.problems.clone());
    }
    Some(block)
}

/// Costs by the type of their resources, each with what is assumed of one of them.
fn by_type(costs: &[&Cost], block: &mut Block) {
    let mut types: BTreeMap<&str, Vec<&Cost>> = BTreeMap::new();
    for cost in costs {
        types.entry(&cost.kind).or_default().push(cost);
    }
    for (kind, costs) in types {
        let (mut before, mut after, mut notes) = (Total::default(), Total::default(), Vec::new());
        for cost in &costs {
            before.add(&cost.before);
            after.add(&cost.after);
            let why = if let Amount::Unknown(why) = &cost.after { Some(why.clone()) } else { None };
            let assumed = cost.assumed.as_ref().map(|assumed| format!("assumed of one: {assumed}"));
            for note in why.into_iter().chain(assumed).chain(cost.note.map(str::to_owned)) {
                if notes.len() < 3 && !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        let sign = if after.unknown > 0 { "?" } else { "$" };
        block.item(sign, format!("{} × {kind} {} → {}", costs.len(), total(before), total(after)), notes);
    }
}

/// Whether a change is to come, or was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tense {
    Will,
    Has,
}

impl Tense {
    fn word(self, change: &Change) -> Option<&'static str> {
        match (self, change.action) {
            (_, Action::Keep) => None,
            (Self::Has, Action::Destroy) => Some("gone"),
            (Self::Has, Action::Update) => Some("changed"),
            (_, Action::Replace) if change.create_first => Some("replace, the new one first"),
            (_, action) => Some(action.word()),
        }
    }
}

/// Changes by module, outer ones first.
pub(super) fn tree(title: &str, changes: &[Change], tense: Tense) -> Option<Block> {
    if changes.is_empty() {
        return None;
    }
    let mut modules: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        modules.entry(&change.module).or_default().push(change);
    }
    let mut lines = Vec::new();
    let mut outer: Vec<&str> = Vec::new();
    for (module, changes) in modules {
        // Those that this one is not inside of are done with.
        outer.retain(|outer| module.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.')));
        if !module.is_empty() {
            lines.push((outer.len(), module.to_owned()));
            outer.push(module);
        }
        changes.iter().for_each(|change| self::change(change, outer.len(), tense, &mut lines));
    }
    let mut block = Block::new(title, Tone::Strong);
    block.parts.push(Part::Tree(lines));
    Some(block)
}

fn change(change: &Change, depth: usize, tense: Tense, lines: &mut Vec<(usize, String)>) {
    let name = change.address.strip_prefix(&format!("{}.", change.module)).unwrap_or(&change.address);
    let mut notes: Vec<String> = tense.word(change).into_iter().map(str::to_owned).collect();
    notes.extend(change.imported.as_ref().map(|id| format!("import of {id}")));
    notes.extend(change.moved_from.as_ref().map(|from| format!("moved from {from}")));
    notes.extend(change.deposed.as_ref().map(|key| format!("left behind by an interrupted replacement, {key}")));
    let reason = change.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    lines.push((depth, format!("{} {name} ({}){reason}", change.action.sign(), notes.join(", "))));
    // A new object has a new id, address and so on: that says nothing.
    let new = |attribute: &&Attribute| {
        change.action == Action::Replace && attribute.after == Shown::Unknown && !attribute.forces
    };
    let told: Vec<&Attribute> = change.attributes.iter().filter(|attribute| !new(attribute)).collect();
    for attribute in told.iter().take(SHOWN) {
        lines.push((depth + 2, self::attribute(attribute)));
    }
    let more = told.len().saturating_sub(SHOWN) + change.more;
    if more > 0 {
        lines.push((depth + 2, format!("and {}", count(more, "more attribute"))));
    }
}

fn attribute(attribute: &Attribute) -> String {
    let forces = if attribute.forces { " (forces the replacement)" } else { "" };
    let (before, after) = (cut(&attribute.before.text()), cut(&attribute.after.text()));
    let path = if attribute.path.is_empty() { "all of it" } else { &attribute.path };
    format!("{path}: {before} → {after}{forces}")
}

/// `2 to create, 1 to replace; 14 unchanged`.
#[must_use]
pub fn counts(counts: &Counts) -> String {
    let parts = [
        (counts.create, "to create"),
        (counts.update, "to update"),
        (counts.replace, "to replace"),
        (counts.destroy, "to destroy"),
        (counts.import, "to import"),
        (counts.moved, "to move"),
        (counts.forget, "to forget"),
        (counts.read, "to read"),
    ];
    let said: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let said = if said.is_empty() { "no changes".to_owned() } else { said.join(", ") };
    if counts.unchanged == 0 { said } else { format!("{said}; {} unchanged", counts.unchanged) }
}

fn count_addresses(n: usize) -> String {
    if n == 1 { "1 address has".to_owned() } else { format!("{n} addresses have") }
}

/// `$73.00`.
pub(super) fn dollars(dollars: f64) -> String {
    format!("${dollars:.2}")
}

fn amount(amount: &Amount) -> String {
    match amount {
        Amount::Absent => "none".to_owned(),
        Amount::Unknown(_) => "unknown".to_owned(),
        known => dollars(known.dollars().unwrap_or_default()),
    }
}

/// `$73.00`, `unknown`, or `$73.00 + 2 unknown`.
fn total(total: Total) -> String {
    match (total.unknown, total.known > 0.0) {
        (0, _) => dollars(total.known),
        (_, false) => "unknown".to_owned(),
        (unknown, true) => format!("{} + {unknown} unknown", dollars(total.known)),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= VALUE {
        return text.to_owned();
    }
    text.chars().take(VALUE - 1).chain(['…']).collect()
}
