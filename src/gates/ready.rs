//! Whether a release that ran before can run again now: its images, its secrets, and the schema that production has by now.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use jiff::Timestamp;

use crate::adapters::migrate::{Migration, migrations_at, risk};
use crate::domain::{CommitSha, Digest, ServiceName, Version};
use crate::engine::{BoxFuture, Checked, Fact, Facts, Gate, StepIo};
use crate::error::Result;
use crate::monitor::databases::Database;

use super::image_fate::ImageFate;
use super::rollback::{CONCURRENCY, Rollback};
use super::waived::Waiver;
use super::wayback::{Of, PendingRisk, Wayback, judge};

/// The verdict before a rollback. It never looks at a freeze, a checklist or an approval.
pub struct Ready {
    /// What asks ECR, Secrets Manager and the cluster.
    pub looks: Rollback,
    pub target: Version,
    /// The target's release tag.
    pub commit: Option<CommitSha>,
    /// A commit that has the migrations which production has by now.
    pub head: CommitSha,
    /// The affected services, and the target's digest of each, where it is known.
    pub digests: BTreeMap<ServiceName, Option<Digest>>,
    /// Why the databases cannot be asked, if they cannot.
    pub databases: std::result::Result<Vec<Database>, String>,
    /// Past Git, which may be out of reach: what cannot be read of it is said, and is no hindrance.
    pub past_git: bool,
    /// `--accept-schema`: a person says that the old code can live with the schema.
    pub accept_schema: Option<Waiver>,
}

impl Gate for Ready {
    fn id(&self) -> &'static str {
        "ready"
    }

    fn title(&self) -> String {
        format!("{} can run again", self.target)
    }

    fn check<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let mut wayback = self.look(io.now()).await?;
            let accepted = self.accept_schema.as_ref().map(|waiver| (waiver, std::mem::take(&mut wayback.pending)));
            let (rollback, mut checked) = judge(&wayback);
            if let Some((waiver, pending)) = accepted {
                for PendingRisk { service, name, .. } in pending {
                    let said = format!("{name} stays; accepted by {}: {}", waiver.who, waiver.why);
                    checked.evidence = checked.evidence.fact(format!("{service} schema"), said, None);
                }
            }
            checked.evidence = checked
                .evidence
                .from(format!("ECR, schema_migrations and secrets of {}", self.looks.workloads.namespace()))
                .at(io.now());
            Ok(checked.learn(Fact::Rollback(rollback)))
        })
    }
}

impl Ready {
    async fn look(&self, now: Timestamp) -> Result<Wayback> {
        let (images, pending, secrets) =
            futures::join!(self.images(now), self.schema(), self.looks.secrets_now(self.commit.as_ref()));
        // The cluster has what the pods need; whether Secrets Manager still does is asked where it answers.
        let (secrets, mut unasked) = match secrets {
            Ok(secrets) => (secrets, Vec::new()),
            Err(error) => (Vec::new(), vec![format!("secrets could not be asked for: {error}")]),
        };
        let mut pending = pending?;
        if self.past_git {
            let unreadable = pending.extract_if(.., |risk| risk.of == Of::Unread);
            unasked.extend(unreadable.map(|risk| format!("NOT KNOWN whether it runs on {}", risk.said())));
        }
        Ok(Wayback { target: Some(self.target.clone()), images, pending, secrets, applied: true, unasked })
    }

    async fn images(&self, now: Timestamp) -> BTreeMap<ServiceName, Vec<(Digest, ImageFate)>> {
        let by_name = self.looks.config.service_map();
        let asked: Vec<_> = self
            .digests
            .iter()
            .filter_map(|(name, digest)| {
                let digests: BTreeSet<Digest> = digest.iter().cloned().collect();
                Some(self.looks.images_of(by_name.get(name)?, digests, now))
            })
            .collect();
        stream::iter(asked).buffer_unordered(CONCURRENCY).collect().await
    }

    /// The migrations that production has and the target's code does not know.
    async fn schema(&self) -> Result<Vec<PendingRisk>> {
        let databases = match &self.databases {
            Ok(databases) => databases,
            Err(why) => return Ok(vec![PendingRisk::not_known(why)]),
        };
        let affected = databases.iter().filter(|database| self.digests.contains_key(&database.service));
        let looked = affected.map(async |database| match self.newer_than_target(database).await {
            Ok(found) => Ok(found),
            Err(error) => Ok::<_, crate::Error>(vec![PendingRisk::unreadable(&database.service, &error)]),
        });
        Ok(futures::future::try_join_all(looked).await?.into_iter().flatten().collect())
    }

    async fn newer_than_target(&self, database: &Database) -> Result<Vec<PendingRisk>> {
        let state = database.state().await?;
        let has = state.version.unwrap_or(0);
        let not_known = |why: String| Ok(vec![PendingRisk::not_known_of(&database.service, has, why)]);
        let git = &self.looks.git;
        let Some(commit) = &self.commit else {
            return if has == 0 {
                Ok(Vec::new())
            } else {
                not_known(format!("{} has no release tag to read", self.target))
            };
        };
        let own = migrations_at(git, commit, &database.migrations)?;
        let known = own.last().map_or(0, |migration| migration.version);
        // A newer one that is half there is judged below like a whole one; of the target's own, all is needed.
        let half = |migration: &Migration| state.dirty && migration.version == has;
        if let Some(first) = own.into_iter().find(|migration| migration.version > has || half(migration)) {
            let (service, name) = (&database.service, format!("{} {}", first.version, first.name));
            return Ok(vec![match state.version {
                None => PendingRisk::untold(service, name, "the database says of no migration that it has it"),
                Some(_) if half(&first) => PendingRisk::untold(service, name, "it failed half way (dirty)"),
                Some(_) => PendingRisk::missing(service, name, &self.target, has),
            }]);
        }
        let all = migrations_at(git, &self.head, &database.migrations)?;
        let highest = all.last().map_or(0, |migration| migration.version);
        if has > highest.max(known) {
            return not_known(format!("main, as it is known here, has migrations up to {highest}"));
        }
        let mut found = Vec::new();
        for migration in all {
            if migration.version <= known || migration.version > has {
                continue;
            }
            let sql = git.file_at(&self.head, &migration.path)?.unwrap_or_default();
            found.push(PendingRisk {
                service: database.service.clone(),
                name: format!("{} {}", migration.version, migration.name),
                risk: risk(&String::from_utf8_lossy(&sql)),
                of: Of::Migration,
            });
        }
        Ok(found)
    }
}
