//! The release sheet: what a person reads before typing the version.

use crate::config::Config;
use crate::domain::{Changes, Digest, ServiceName, Version, WorldId, count, printable, short_digest, wrapped};
use crate::engine::Facts;
use crate::error::{Result, chain};

use super::debt;
use super::prepare::{PendingMigration, Prepared};

use std::collections::BTreeMap;

/// What the sheet is written from.
pub struct Sheet<'a> {
    pub world: &'a WorldId,
    pub config: &'a Config,
    pub prepared: &'a Prepared,
    /// What production runs now.
    pub live: &'a BTreeMap<ServiceName, Digest>,
    /// What production has yet to run, or why that is not known.
    pub migrations: &'a Result<Vec<PendingMigration>>,
    /// What break glass left open, or why that is not known.
    pub debts: &'a Result<Vec<debt::Open>>,
}

/// A sheet is read in the narrowest terminal.
const WIDTH: usize = 79;
/// Commits shown by name; the rest is counted.
const SHOWN: usize = 8;

impl Sheet<'_> {
    /// The sheet as text, at most 80 columns where names allow.
    #[must_use]
    pub fn text(&self, facts: &Facts) -> String {
        let mut out = String::new();
        let mut line = |text: &str| {
            for line in wrapped(text.trim_end(), WIDTH, 13) {
                out.push_str(&line);
                out.push('\n');
            }
        };
        let version = facts.version.as_ref().map(ToString::to_string).unwrap_or_default();
        line("");
        line(&format!("Release {version} of {}", self.config.project));
        line(&format!("  to         {}", self.world.cluster));
        line(&format!("             namespace {}", self.world.namespace));
        line(&format!("  after      {}", self.after(facts.previous.as_ref())));
        line(&format!("  commit     {}", self.commit(facts)));
        self.changes().iter().for_each(|text| line(text));
        self.images(facts).iter().for_each(|text| line(text));
        migrations(self.migrations).iter().for_each(|text| line(text));
        Self::way_back(facts).iter().for_each(|text| line(text));
        self.risks().iter().for_each(|text| line(text));
        self.debts().iter().for_each(|text| line(text));
        line("");
        out
    }

    fn after(&self, previous: Option<&Version>) -> String {
        let commits = count(self.prepared.changes.len(), "commit");
        previous.map_or_else(
            || format!("nothing: this is the first release ({commits})"),
            |previous| format!("{previous} ({commits} since)"),
        )
    }

    fn commit(&self, facts: &Facts) -> String {
        let Some(candidate) = &facts.candidate else { return String::new() };
        match self.prepared.newer_on_main {
            0 => candidate.commit.short().to_owned(),
            newer => format!(
                "{} ({} on {} not in it)",
                candidate.commit.short(),
                count(newer, "newer commit"),
                self.config.repository.main
            ),
        }
    }

    fn changes(&self) -> Vec<String> {
        let Changes { breaking, features, fixes, others } = &self.prepared.changes;
        let mut out = Vec::new();
        for (title, changes) in [("breaking", breaking), ("features", features), ("fixes", fixes)] {
            for (index, change) in changes.iter().take(SHOWN).enumerate() {
                let scope = change.scope.as_ref().map_or(String::new(), |scope| format!("{scope}: "));
                let title = if index == 0 { title } else { "" };
                out.push(format!("  {title:<10} {}", printable(&format!("{scope}{}", change.subject))));
            }
            if changes.len() > SHOWN {
                out.push(format!("             and {} more", changes.len() - SHOWN));
            }
        }
        if !others.is_empty() {
            out.push(format!("  others     {}", count(others.len(), "change")));
        }
        out
    }

    fn images(&self, facts: &Facts) -> Vec<String> {
        let Some(candidate) = &facts.candidate else { return Vec::new() };
        let changed: Vec<_> =
            candidate.images.iter().filter(|(service, digest)| self.live.get(*service) != Some(digest)).collect();
        let services = count(candidate.images.len(), "service");
        let mut out = vec![format!("  images     {services}, {} with another digest", changed.len())];
        if changed.len() <= 12 {
            for (service, digest) in changed {
                out.push(format!(
                    "             {service:<10} {} → {}",
                    short_digest(self.live.get(service)),
                    digest.short()
                ));
            }
        }
        out
    }

    fn way_back(facts: &Facts) -> Vec<String> {
        let Some(rollback) = &facts.rollback else { return vec!["  way back   not known".to_owned()] };
        let target = rollback.target.as_ref().map_or("none".to_owned(), ToString::to_string);
        let usable = if rollback.usable { "usable" } else { "NOT usable" };
        let mut out = vec![format!("  way back   {target}: {usable}")];
        out.extend(rollback.reasons.iter().map(|reason| format!("             {}", printable(reason))));
        out
    }

    fn debts(&self) -> Vec<String> {
        let debts = match self.debts {
            Ok(debts) => debts,
            Err(error) => return vec![format!("  debts      not known: {}", printable(&chain(error)))],
        };
        let line = |(index, told): (usize, debt::Told<'_>)| {
            let late = if told.open.overdue { "OVERDUE: " } else { "" };
            let label = if index == 0 { "debts" } else { "" };
            format!("  {label:<10} {late}{} ({})", printable(&told.title), printable(&told.open.seen))
        };
        debt::told(debts).into_iter().enumerate().map(line).collect()
    }

    fn risks(&self) -> Vec<String> {
        let mut risks = Vec::new();
        if !self.config.workflow.deploys_by_digest {
            risks.push(format!(
                "{} builds the images again: they may not be the soaked bytes",
                self.config.workflow.file
            ));
        }
        if !self.prepared.apps_changed.is_empty() {
            let apps = self.prepared.apps_changed.join(", ");
            risks.push(format!("{apps} shipped with their push to main: ahead of the API until now"));
        }
        if !self.prepared.changes.breaking.is_empty() {
            risks.push(count(self.prepared.changes.breaking.len(), "breaking change"));
        }
        if !self.prepared.changes.is_empty() && !self.prepared.changes.any_conventional() {
            risks.push("no commit says what it is (conventional commits): the version is a guess".to_owned());
        }
        let line = |(index, risk): (usize, &String)| format!("  {:<10} {risk}", if index == 0 { "risks" } else { "" });
        risks.iter().enumerate().map(line).collect()
    }
}

fn migrations(known: &Result<Vec<PendingMigration>>) -> Vec<String> {
    let pending = match known {
        Ok(pending) if pending.is_empty() => return vec!["  migrations none".to_owned()],
        Ok(pending) => pending,
        Err(error) => return vec![format!("  migrations not known: {}", printable(&chain(error)))],
    };
    let mut out = Vec::new();
    for (index, pending) in pending.iter().enumerate() {
        let title = if index == 0 { "migrations" } else { "" };
        let level = format!("{:?}", pending.risk.level).to_lowercase();
        let migration = &pending.migration;
        let name = printable(&migration.name);
        out.push(format!("  {title:<10} {}: {} {name} ({level})", pending.service, migration.version));
        out.extend(pending.risk.reasons.iter().take(3).map(|reason| format!("             {}", printable(reason))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn migrations_that_cannot_be_read_are_not_none() {
        assert_eq!(migrations(&Ok(Vec::new())), ["  migrations none"]);
        let error = Error::outside("read schema_migrations of auth").because("connection refused");
        let said = "  migrations not known: read schema_migrations of auth: connection refused";
        assert_eq!(migrations(&Err(error)), [said]);
    }
}
