//! "Database migrations tested on staging": staging has every migration of the candidate, whole; production is clean.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::adapters::git::Git;
use crate::adapters::migrate::{Migration, RiskLevel, migrations_at, pending, risk};
use crate::adapters::postgres::MigrationState;
use crate::domain::{CommitSha, Evidence, ServiceName, count, printable};
use crate::engine::{BoxFuture, Checked, Facts, Gate, StepIo};
use crate::error::{Error, Result, chain};
use crate::monitor::databases::Database;

use super::words::{candidate, some};

pub struct Migrations {
    pub git: Arc<Git>,
    pub staging: Vec<Database>,
    pub production: Vec<Database>,
}

impl Gate for Migrations {
    fn id(&self) -> &'static str {
        "migrations"
    }

    fn title(&self) -> String {
        "Database migrations tested on staging".into()
    }

    fn check<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let commit = match candidate(facts) {
                Ok(candidate) => &candidate.commit,
                Err(unknown) => return Ok(*unknown),
            };
            let services = self.services(commit).await?;
            let mut checked = judge(commit, &services);
            checked.evidence = checked.evidence.from("schema_migrations of staging and production").at(io.now());
            Ok(checked)
        })
    }
}

impl Migrations {
    async fn services(&self, commit: &CommitSha) -> Result<Vec<Schema>> {
        let looked = self.staging.iter().map(async |staging| {
            let production = self.production.iter().find(|database| database.service == staging.service);
            let live = async {
                match production {
                    Some(database) => database.state().await,
                    None => Err(Error::config("production has no database for it")),
                }
            };
            let (tested, live) = futures::join!(staging.state(), live);
            let migrations = migrations_at(&self.git, commit, &staging.migrations)?;
            let applied = live.as_ref().ok().and_then(|state| state.version);
            let mut risks = BTreeMap::new();
            for migration in migrations.iter().filter(|migration| applied.is_none_or(|at| migration.version > at)) {
                let sql = self.git.file_at(commit, &migration.path)?.unwrap_or_default();
                risks.insert(migration.version, risk(&String::from_utf8_lossy(&sql)).level);
            }
            Ok(Schema {
                service: staging.service.clone(),
                dir: staging.migrations.clone(),
                migrations,
                risks,
                staging: tested.map_err(|error| chain(&error)),
                production: live.map_err(|error| chain(&error)),
            })
        });
        futures::future::try_join_all(looked).await
    }
}

/// What is known of one service's schema.
struct Schema {
    service: ServiceName,
    /// Directory of its migrations.
    dir: String,
    /// At the candidate, lowest first.
    migrations: Vec<Migration>,
    /// Of those that production does not have, by version.
    risks: BTreeMap<i64, RiskLevel>,
    /// Or why it could not be read.
    staging: Result<MigrationState, String>,
    production: Result<MigrationState, String>,
}

enum Finding {
    Fine,
    Wrong(String, String),
    Unknown(String),
}

fn judge(commit: &CommitSha, schemas: &[Schema]) -> Checked {
    let mut evidence = Evidence::default();
    let (mut wrong, mut unknown, mut fixes, mut waiting) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for schema in schemas {
        let service = schema.service.as_str();
        for (place, finding) in [("staging", schema.on_staging()), ("production", schema.on_production())] {
            let (said, ok) = match finding {
                Finding::Fine => (schema.said(place), Some(true)),
                Finding::Wrong(said, fix) => {
                    wrong.push(format!("{service}: {said}"));
                    fixes.push(fix);
                    (said, Some(false))
                }
                Finding::Unknown(said) => {
                    unknown.push(format!("{service} on {place}"));
                    (said, None)
                }
            };
            evidence = evidence.fact(format!("{service} {place}"), printable(&said), ok);
        }
        for (migration, level) in schema.pending() {
            waiting += 1;
            let level = format!("{level:?}").to_lowercase();
            let said = format!("{} {} ({level})", migration.version, printable(&migration.name));
            evidence = evidence.fact(format!("{service} pending"), said, None);
        }
    }
    if let Some(fix) = fixes.into_iter().next() {
        evidence.summary = some(&wrong);
        return Checked::fail(evidence).fix(fix);
    }
    if !unknown.is_empty() {
        evidence.summary = format!("the schema cannot be read: {}", some(&unknown));
        return Checked::unknown(evidence).fix("gospel-release doctor tries the way to the databases");
    }
    let databases = count(schemas.len(), "database");
    let pending = if waiting == 0 { "none pending".into() } else { format!("{waiting} pending") };
    evidence.summary = match schemas.len() {
        0 => "no service has a database".into(),
        _ => format!("staging has every migration of {} in {databases}; {pending} in production", commit.short()),
    };
    Checked::pass(evidence)
}

impl Schema {
    fn highest(&self) -> Option<i64> {
        self.migrations.last().map(|migration| migration.version)
    }

    fn on_staging(&self) -> Finding {
        let state = match &self.staging {
            Ok(state) => state,
            Err(why) => return Finding::Unknown(why.clone()),
        };
        let service = &self.service;
        if state.dirty {
            let said = format!("staging is dirty at migration {}", number(state.version));
            return Finding::Wrong(
                said,
                format!("see what {service}'s migration did on staging, and mend it there first"),
            );
        }
        match (state.version, self.highest()) {
            (applied, highest) if applied == highest => Finding::Fine,
            (Some(applied), Some(highest)) if applied > highest => {
                let said = format!("staging is at migration {applied}, the candidate ends at {highest}");
                Finding::Wrong(
                    said,
                    "release a build that has staging's migrations: these were tested, not the candidate's".into(),
                )
            }
            (Some(applied), None) => {
                let said = format!("staging is at migration {applied}, the candidate has none in {}", self.dir);
                Finding::Wrong(said, "release a build that has staging's migrations, or correct the directory".into())
            }
            (applied, highest) => {
                let said =
                    format!("staging is at migration {}, the candidate needs {}", number(applied), number(highest));
                Finding::Wrong(said, format!("run {service}'s migrations on staging (migrate … up), and let them soak"))
            }
        }
    }

    fn on_production(&self) -> Finding {
        let state = match &self.production {
            Ok(state) => state,
            Err(why) => return Finding::Unknown(why.clone()),
        };
        match pending(&self.migrations, state) {
            Ok(_) => Finding::Fine,
            Err(error) => {
                let fix = error.hints().join(" ");
                let fix = if fix.is_empty() { format!("look at {}'s production database", self.service) } else { fix };
                Finding::Wrong(format!("production: {error}"), fix)
            }
        }
    }

    /// What production does not have yet, and how risky each is.
    fn pending(&self) -> Vec<(&Migration, RiskLevel)> {
        let Ok(state) = &self.production else { return Vec::new() };
        let missing = |migration: &&Migration| state.version.is_none_or(|applied| migration.version > applied);
        let level = |migration: &Migration| self.risks.get(&migration.version).copied().unwrap_or(RiskLevel::Unknown);
        let all = self.migrations.iter().filter(missing).filter(|_| !state.dirty);
        all.map(|migration| (migration, level(migration))).collect()
    }

    fn said(&self, place: &str) -> String {
        let state = if place == "staging" { &self.staging } else { &self.production };
        let version = state.as_ref().ok().and_then(|state| state.version);
        format!("at migration {}, candidate {}", number(version), number(self.highest()))
    }
}

fn number(version: Option<i64>) -> String {
    version.map_or_else(|| "none".into(), |version| version.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Verdict;

    fn migration(version: i64) -> Migration {
        Migration { version, name: format!("step_{version}"), path: String::new(), has_down: true }
    }

    fn at(version: i64) -> Result<MigrationState, String> {
        Ok(MigrationState { version: Some(version), dirty: false })
    }

    /// A candidate with migrations 1 to 3.
    fn schema(staging: Result<MigrationState, String>, production: Result<MigrationState, String>) -> Schema {
        Schema {
            service: "auth".parse().unwrap(),
            dir: "services/auth/migrations".into(),
            migrations: (1..=3).map(migration).collect(),
            risks: (1..=3).map(|version| (version, RiskLevel::Additive)).collect(),
            staging,
            production,
        }
    }

    fn judged(schema: Schema) -> Checked {
        let commit: CommitSha = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334".parse().unwrap();
        judge(&commit, &[schema])
    }

    #[test]
    fn staging_that_has_all_is_a_pass_and_pending_ones_are_listed() {
        let checked = judged(schema(at(3), at(1)));
        assert_eq!(checked.verdict, Verdict::Pass);
        assert_eq!(
            checked.evidence.summary,
            "staging has every migration of a1b2c3d in 1 database; 2 pending in production"
        );
        let pending: Vec<&str> = checked
            .evidence
            .facts
            .iter()
            .filter(|fact| fact.of == "auth pending")
            .map(|fact| fact.seen.as_str())
            .collect();
        assert_eq!(pending, ["2 step_2 (additive)", "3 step_3 (additive)"]);
    }

    #[test]
    fn staging_behind_ahead_or_dirty_fails() {
        let behind = judged(schema(at(2), at(1)));
        assert_eq!(behind.verdict, Verdict::Fail);
        assert_eq!(behind.evidence.summary, "auth: staging is at migration 2, the candidate needs 3");
        assert_eq!(judged(schema(at(4), at(1))).verdict, Verdict::Fail);
        // A dirty database answers with exit 0 to those who only ask for the version.
        let dirty = Ok(MigrationState { version: Some(3), dirty: true });
        assert_eq!(judged(schema(dirty, at(1))).evidence.summary, "auth: staging is dirty at migration 3");
        assert_eq!(judged(schema(Ok(MigrationState::default()), at(1))).verdict, Verdict::Fail);
    }

    #[test]
    fn a_dirty_or_unknown_production_version_fails() {
        let dirty = Ok(MigrationState { version: Some(1), dirty: true });
        assert_eq!(judged(schema(at(3), dirty)).verdict, Verdict::Fail);
        assert_eq!(judged(schema(at(3), at(9))).verdict, Verdict::Fail);
        let fresh = judged(schema(at(3), Ok(MigrationState::default())));
        assert_eq!((fresh.verdict, fresh.evidence.facts.len()), (Verdict::Pass, 5));
    }

    #[test]
    fn a_database_that_does_not_answer_is_unknown() {
        let checked = judged(schema(Err("no answer".into()), at(1)));
        assert_eq!(checked.verdict, Verdict::Unknown);
        assert_eq!(checked.evidence.summary, "the schema cannot be read: auth on staging");
        assert_eq!(judged(schema(at(3), Err("no answer".into()))).verdict, Verdict::Unknown);
        // What is known to be wrong outweighs what is not known.
        assert_eq!(judged(schema(at(2), Err("no answer".into()))).verdict, Verdict::Fail);
    }
}
