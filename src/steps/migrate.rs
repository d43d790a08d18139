//! Database migrations, before the code that needs them: run as the candidate has them, never forced, never down.

use std::sync::Arc;
use std::time::Duration;

use crate::adapters::git::Git;
use crate::adapters::migrate::{Migration, export, migrations_at, pending, up};
use crate::adapters::postgres::redirected;
use crate::domain::{Evidence, ServiceName, count};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Attempting, Class, Error, Result, chain};
use crate::monitor::databases::Database;

/// Brings every database to the candidate's highest migration.
pub struct Migrate {
    pub git: Arc<Git>,
    pub databases: Vec<Database>,
    /// The golang-migrate program.
    pub program: String,
    pub within: Duration,
}

impl Migrate {
    /// What each database still needs.
    async fn missing(&self, facts: &Facts) -> Result<Vec<(&Database, Vec<Migration>)>> {
        let commit = &super::candidate(facts)?.commit;
        let looked = self.databases.iter().map(async |database| {
            let state =
                database.state().await.attempting(|| format!("read {}'s schema_migrations", database.service))?;
            let all = migrations_at(&self.git, commit, &database.migrations)?;
            let missing = pending(&all, &state).attempting(|| format!("{}: its migrations", database.service))?;
            Ok::<_, Error>((database, missing))
        });
        let looked = futures::future::try_join_all(looked).await?;
        Ok(looked.into_iter().filter(|(_, missing)| !missing.is_empty()).collect())
    }

    async fn apply(&self, database: &Database, facts: &Facts, io: &StepIo) -> Result<()> {
        let commit = &super::candidate(facts)?.commit;
        let source = export(&self.git, commit, &database.migrations)?;
        let tunnel = database.tunnel().await?;
        let url =
            tunnel.as_ref().map_or_else(|| database.url.clone(), |tunnel| redirected(&database.url, tunnel.address()));
        for line in up(&self.program, source.path(), &url, &database.table, self.within).await? {
            io.say(format!("{}: {line}", database.service));
        }
        Ok(())
    }
}

impl Step for Migrate {
    fn id(&self) -> &'static str {
        "migrations"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Database migrations".to_owned()
    }

    /// golang-migrate takes an advisory lock and goes on from the recorded version.
    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.within)
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let missing = match self.missing(facts).await {
                Err(error) if error.classified() == Class::NeedsHuman => {
                    return Ok(Probe::Conflict(chain(&error)));
                }
                other => other?,
            };
            if missing.is_empty() {
                let databases = count(self.databases.len(), "database");
                return Ok(Probe::Done(Done::new(
                    Evidence::new(format!("{databases} at the candidate's schema")).at(io.now()),
                )));
            }
            Ok(Probe::NotYet(
                missing
                    .iter()
                    .map(|(database, missing)| listed(&database.service, missing))
                    .collect::<Vec<_>>()
                    .join("; "),
            ))
        })
    }

    /// One database after the other: a failure must leave as few of them changed as can be.
    fn act<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let mut applied = Vec::new();
            for (database, missing) in self.missing(facts).await? {
                self.apply(database, facts, io).await.map_err(|error| {
                    let done = if applied.is_empty() { "none".to_owned() } else { applied.join("; ") };
                    error
                        .context(format!("migrate {}'s database", database.service))
                        .seen(format!("applied before it: {done}"))
                        .seen(
                            "No code was changed; the running release works on what was applied (additive migrations).",
                        )
                        .hint("mend the migration or the database, then: gospel-release resume")
                })?;
                applied.push(listed(&database.service, &missing));
            }
            // What was applied is proven by the next look, from the table itself.
            Ok(Act::Waiting { note: format!("applied {}", applied.join("; ")) })
        })
    }
}

fn listed(service: &ServiceName, missing: &[Migration]) -> String {
    let names: Vec<String> =
        missing.iter().map(|migration| format!("{} {}", migration.version, migration.name)).collect();
    format!("{service}: {}", names.join(", "))
}
