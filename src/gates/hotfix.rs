//! The checklist as a hotfix sees it: what can be asked is asked, and what it goes without is waived by name.

use std::collections::BTreeSet;

use crate::adapters::github::{Checks, GitHub, Outcome, Required};
use crate::config::model::Gates;
use crate::domain::{CommitSha, Evidence, Verdict, count};
use crate::engine::{BoxFuture, Checked, Fact, Facts, Gate, StepIo};
use crate::error::Result;

use super::Rollback;
use super::ci;
use super::waived::Waiver;
use super::words::checks_page;

/// The checks of the hotfix's commit, if there are any: red holds it up, none or unfinished ones are waived.
pub struct HotfixCi {
    pub github: GitHub,
    pub commit: CommitSha,
    pub branch: String,
    pub limits: Gates,
    pub waiver: Waiver,
}

impl Gate for HotfixCi {
    fn id(&self) -> &'static str {
        "ci"
    }

    fn title(&self) -> String {
        "CI is not red on the hotfix".into()
    }

    fn check<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let asked = futures::try_join!(self.github.checks(&self.commit), self.github.required_checks(&self.branch));
            let checked = match asked {
                Ok((checks, required)) => self.judge(&checks, &required),
                // GitHub may be what is down; nothing red was seen.
                Err(error) => self.without(Checked::unknown(Evidence::new(error.to_string()))),
            };
            let source = format!("GitHub checks of {}", self.commit.short());
            let link = checks_page(self.github.slug(), &self.commit, None);
            let evidence = checked.evidence.clone().from(source).at(io.now()).link(link);
            Ok(Checked { evidence, ..checked })
        })
    }
}

impl HotfixCi {
    fn judge(&self, checks: &Checks, required: &Required) -> Checked {
        let checked = ci::judge(&self.commit, checks, required, &self.limits);
        let red = checks.runs.iter().any(|run| run.outcome() == Outcome::Failed)
            || checks.statuses.iter().any(|status| status.outcome() == Outcome::Failed);
        match (checked.verdict == Verdict::Pass, red) {
            (true, _) => checked,
            // Whether it is red still cannot be told: what is missing is said by what was asked.
            (false, true) if checks.unclear.is_some() => checked,
            (false, true) => checked.fix("mend it, commit, and ship again"),
            (false, false) => self.without(checked),
        }
    }

    fn without(&self, checked: Checked) -> Checked {
        self.waiver.apply(checked).learn(Fact::Waived("ci".to_owned()))
    }
}

/// A hotfix brings no migration: code goes back in a minute, a schema does not.
pub struct NoMigrations {
    /// Migration files that the hotfix adds or changes.
    pub files: Vec<String>,
}

impl Gate for NoMigrations {
    fn id(&self) -> &'static str {
        "migrations"
    }

    fn title(&self) -> String {
        "No database migration comes with it".into()
    }

    fn check<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let summary = if self.files.is_empty() {
                "it brings none".to_owned()
            } else {
                format!("it changes {}", count(self.files.len(), "migration file"))
            };
            let evidence = self.files.iter().fold(Evidence::new(summary), |evidence, file| {
                evidence.fact(file.as_str(), "changed by the hotfix", false)
            });
            let checked = Checked::when(self.files.is_empty(), evidence);
            Ok(if self.files.is_empty() {
                checked
            } else {
                checked.fix(
                    "hotfix ship runs no migration: bring it by gospel-release promote, or leave it out of the hotfix",
                )
            })
        })
    }
}

/// A gate that a hotfix has no time for.
pub struct WentWithout {
    pub id: &'static str,
    pub title: String,
    pub waiver: Waiver,
}

impl Gate for WentWithout {
    fn id(&self) -> &'static str {
        self.id
    }

    fn title(&self) -> String {
        self.title.clone()
    }

    fn check<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let Waiver { who, why, until } = self.waiver.clone();
            let evidence = Evidence::new("a hotfix goes without").fact("waived", format!("{who}: {why}"), None);
            let waived = Checked::pass(evidence.at(io.now()));
            let verdict = Verdict::Waived { who, why, until };
            Ok(Checked { verdict, ..waived }.learn(Fact::Waived(self.id.to_owned())))
        })
    }
}

/// The gates that a hotfix goes without, by name and in the runbook's words.
pub const WITHOUT: [(&str, &str); 5] = [
    ("soak", "Soak on staging"),
    ("health", "Health on staging"),
    ("errors", "Errors on staging"),
    ("smoke", "Smoke test"),
    ("performance", "Performance"),
];

/// A gate of [`super::waived`]: where it was waived, that is written down as a debt.
pub struct OrWaived {
    pub gate: Box<dyn Gate>,
}

impl Gate for OrWaived {
    fn id(&self) -> &'static str {
        self.gate.id()
    }

    fn title(&self) -> String {
        self.gate.title()
    }

    fn check<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let checked = self.gate.check(facts, io).await?;
            Ok(match checked.verdict {
                Verdict::Waived { .. } => checked.learn(Fact::Waived(self.gate.id().to_owned())),
                _ => checked,
            })
        })
    }
}

/// "Rollback plan documented", for a hotfix: what production runs now could run again.
pub struct WayBack {
    pub looks: Rollback,
}

impl Gate for WayBack {
    fn id(&self) -> &'static str {
        self.looks.id()
    }

    fn title(&self) -> String {
        self.looks.title()
    }

    fn check<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let found = self.looks.assess(facts, io.now()).await?;
            let back = found.target.as_ref().map_or("no release".to_owned(), ToString::to_string);
            let evidence = Evidence::new(if found.usable {
                format!("back to {back}: its images are in ECR, its secrets are there")
            } else {
                format!("back to {back} is not proven")
            });
            let source = format!("ECR and secrets of {}", self.looks.workloads.namespace());
            let evidence = evidence.from(source).at(io.now());
            let ok = found.usable.then_some(true);
            let evidence = found.reasons.iter().fold(evidence, |evidence, why| evidence.fact("way back", why, ok));
            Ok(Checked::when(found.usable, evidence).learn(Fact::Rollback(found)))
        })
    }
}

/// Paths below a service's migrations.
#[must_use]
pub fn migration_files(dirs: &BTreeSet<String>, changed: &[String]) -> Vec<String> {
    let below = |path: &&String| dirs.iter().any(|dir| path.starts_with(&format!("{}/", dir.trim_end_matches('/'))));
    changed.iter().filter(below).cloned().collect()
}
