//! The evidence bundle of a run: `evidence.json` for machines, `report.md` for people, beside the journal.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::domain::Evidence;
use crate::engine::{RunDir, RunState, StepState};
use crate::error::{Error, Result};

use super::Report;

/// Writes both files, mode 0600, and gives their directory back.
pub fn write(dir: &RunDir, state: &RunState, report: &Report) -> Result<PathBuf> {
    let document = serde_json::json!({"report": report, "state": state});
    let json = serde_json::to_string_pretty(&document)
        .map_err(|error| Error::internal("write the evidence as JSON").because(error))?;
    put(&dir.path().join("evidence.json"), json.as_bytes())?;
    put(&dir.path().join("report.md"), markdown(state, report).as_bytes())?;
    Ok(dir.path().to_owned())
}

/// Whole or not at all: written beside, then renamed.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("tmp");
    let written = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| Error::config(format!("cannot write {}", path.display())).because(error))
}

/// The report as people file it.
#[must_use]
pub fn markdown(state: &RunState, report: &Report) -> String {
    let header = &state.header;
    let version = report.version.as_deref().unwrap_or("no version");
    let mut out = format!("# {} {version}: {}\n\n", header.command, report.outcome);
    let rows = [
        ("run", header.run.to_string()),
        ("world", header.world.to_string()),
        ("started", header.started_at.to_string()),
        ("by", header.by.clone()),
        ("exit", report.exit.to_string()),
    ];
    for (name, value) in rows {
        out.push_str(&format!("- {name}: {}\n", escape(&value)));
    }
    if let Some(error) = &report.failure {
        out.push_str(&format!("\n## Why it stopped\n\n{}\n\n", escape(error.what())));
        error.evidence().iter().for_each(|line| out.push_str(&format!("- {}\n", escape(line))));
        error.hints().iter().for_each(|hint| out.push_str(&format!("- next: {}\n", escape(hint))));
    }
    out.push_str("\n## Gates\n\n| gate | verdict | evidence |\n|---|---|---|\n");
    for (id, gate) in &state.gates {
        out.push_str(&format!("| {id} | {} | {} |\n", gate.verdict.word(), escape(&gate.evidence.summary)));
    }
    for (id, gate) in state.gates.iter().filter(|(_, gate)| !gate.verdict.lets_through()) {
        out.push_str(&format!("\n### {id}: {}\n\n", escape(&gate.title)));
        facts(&mut out, &gate.evidence);
    }
    out.push_str("\n## Steps\n");
    for planned in &header.steps {
        match state.steps.get(&planned.id) {
            Some(StepState::Done { title, evidence }) => step(&mut out, title, evidence),
            Some(StepState::Intended) => out.push_str(&format!("\n### {}\n\nbegun\n", escape(&planned.title))),
            None => out.push_str(&format!("\n### {}\n\nnot begun\n", escape(&planned.title))),
        }
    }
    out
}

fn step(out: &mut String, title: &str, evidence: &Evidence) {
    out.push_str(&format!("\n### {}\n\n{}\n", escape(title), escape(&evidence.summary)));
    facts(out, evidence);
}

fn facts(out: &mut String, evidence: &Evidence) {
    for fact in &evidence.facts {
        out.push_str(&format!("- {}: {}\n", escape(&fact.of), escape(&fact.seen)));
    }
}

/// Text from outside, inert in Markdown.
fn escape(text: &str) -> String {
    let text = crate::domain::printable(text);
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace('`', "\\`").replace('[', "\\[")
}
