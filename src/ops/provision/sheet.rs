//! The sheet of a plan: what a person reads before it is applied.

use std::collections::BTreeMap;

use crate::adapters::terraform::Diagnostic;
use crate::domain::provision::{Action, Attribute, Change, Counts, Judgement, PlanRecord};
use crate::domain::{count, printable, wrapped};

/// A sheet is read in the narrowest terminal.
const WIDTH: usize = 79;
/// Attributes of one change that are shown; the rest is counted.
const SHOWN: usize = 12;
/// Characters of a value that are shown.
const VALUE: usize = 48;

/// A judged plan, to be shown.
pub struct Sheet<'a> {
    pub judgement: &'a Judgement,
    pub record: &'a PlanRecord,
    pub warnings: &'a [Diagnostic],
    pub notes: &'a [String],
    /// Whether the plan can be applied later.
    pub kept: bool,
}

impl Sheet<'_> {
    /// The sheet as text, at most 80 columns where names allow.
    #[must_use]
    pub fn text(&self) -> String {
        let mut page = Page::default();
        self.head(&mut page);
        self.tree(&mut page);
        page.0
    }

    fn head(&self, page: &mut Page) {
        let record = self.record;
        page.line(&format!("Plan {} of {}", record.id, record.directory), 13);
        page.line(&format!("  counts     {}", counts(&self.judgement.counts)), 13);
        let commit = record.commit.as_ref().map_or("none".to_owned(), |commit| commit.short().to_owned());
        page.line(&format!("  commit     {commit}"), 13);
        page.line(&format!("  workspace  {}", printable(&record.workspace)), 13);
        if !self.kept {
            page.line("  kept       no: this was a dry run", 13);
        }
        for (index, note) in self.notes.iter().enumerate() {
            page.line(&format!("  {:<10} {}", if index == 0 { "notes" } else { "" }, printable(note)), 13);
        }
        for (index, warning) in self.warnings.iter().enumerate() {
            page.line(
                &format!("  {:<10} {}", if index == 0 { "warnings" } else { "" }, printable(&warning.line())),
                13,
            );
        }
    }

    fn tree(&self, page: &mut Page) {
        let mut modules: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
        for change in &self.judgement.changes {
            modules.entry(&change.module).or_default().push(change);
        }
        for (module, changes) in modules {
            page.line("", 0);
            page.line(if module.is_empty() { "root module" } else { module }, 0);
            for change in changes {
                page.change(change);
            }
        }
    }
}

/// `2 to create, 1 to replace; 14 unchanged`.
pub(super) fn counts(counts: &Counts) -> String {
    let parts = [
        (counts.create, "to create"),
        (counts.update, "to update"),
        (counts.replace, "to replace"),
        (counts.destroy, "to destroy"),
        (counts.import, "to import"),
        (counts.moved, "to move"),
        (counts.forget, "to forget"),
    ];
    let said: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let said = if said.is_empty() { "no changes".to_owned() } else { said.join(", ") };
    if counts.unchanged == 0 { said } else { format!("{said}; {} unchanged", counts.unchanged) }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str, indent: usize) {
        for line in wrapped(text.trim_end(), WIDTH, indent) {
            self.0.push_str(&line);
            self.0.push('\n');
        }
    }

    fn change(&mut self, change: &Change) {
        let name = change.address.strip_prefix(&format!("{}.", change.module)).unwrap_or(&change.address);
        let mut notes = vec![change.action.word().to_owned()];
        if change.action == Action::Keep {
            notes.clear();
        }
        notes.extend(change.imported.as_ref().map(|id| format!("import of {}", printable(id))));
        notes.extend(change.moved_from.as_ref().map(|from| format!("moved from {}", printable(from))));
        self.line(&format!("  {} {} ({})", change.action.sign(), printable(name), notes.join(", ")), 6);
        for attribute in change.attributes.iter().take(SHOWN) {
            self.attribute(attribute);
        }
        let more = change.attributes.len().saturating_sub(SHOWN) + change.more;
        if more > 0 {
            self.line(&format!("      and {}", count(more, "more attribute")), 8);
        }
    }

    fn attribute(&mut self, attribute: &Attribute) {
        let forces = if attribute.forces { " (forces the replacement)" } else { "" };
        let (before, after) = (cut(&attribute.before.text()), cut(&attribute.after.text()));
        self.line(&format!("      {}: {before} → {after}{forces}", printable(&attribute.path)), 10);
    }
}

fn cut(text: &str) -> String {
    let text = printable(text);
    if text.chars().count() <= VALUE {
        return text;
    }
    text.chars().take(VALUE - 1).chain(['…']).collect()
}
