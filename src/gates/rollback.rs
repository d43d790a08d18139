//! "Rollback plan documented": the way back is proven before the way in. Its images are still in ECR, the schema will suit it, its
//! secrets are there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::adapters::aws::{Aws, LifecyclePolicy};
use crate::adapters::cluster::{ExternalSecrets, Workloads};
use crate::adapters::git::Git;
use crate::adapters::migrate::{migrations_at, pending, risk};
use crate::config::Config;
use crate::config::model::Service;
use crate::domain::{CommitSha, Digest, ServiceName};
use crate::engine::{self, BoxFuture, Candidate, Checked, Fact, Facts, Gate, StepIo};
use crate::error::Result;
use crate::monitor::databases::Database;
use crate::monitor::running::digests_of;

use super::image_fate::{ImageFate, counts, fate};
use super::secrets::{Wanted, fetched_for, fetched_now};
use super::waived::Waiver;
use super::wayback::{Of, PendingRisk, SecretFate, Wayback, judge};
use super::words::candidate;

/// How many ECR repositories are asked at a time.
pub(super) const CONCURRENCY: usize = 32;

pub struct Rollback {
    pub config: Config,
    /// The account that holds the images and the secrets.
    pub aws: Aws,
    /// Of production.
    pub workloads: Workloads,
    /// Of production.
    pub secrets: ExternalSecrets,
    pub git: Arc<Git>,
    /// Of production.
    pub databases: Vec<Database>,
    /// A first release has nothing to go back to; it waives this gate only where that is so.
    pub first_release: Option<Waiver>,
}

impl Gate for Rollback {
    fn id(&self) -> &'static str {
        "rollback"
    }

    fn title(&self) -> String {
        "Rollback plan documented".into()
    }

    fn check<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let wayback = match candidate(facts) {
                Ok(candidate) => self.look(candidate, facts, io.now()).await?,
                Err(unknown) => return Ok(*unknown),
            };
            let (rollback, checked) = judge(&wayback);
            let mut checked = checked.learn(Fact::Rollback(rollback));
            checked.evidence = checked
                .evidence
                .from(format!("ECR, schema_migrations and secrets of {}", self.workloads.namespace()))
                .at(io.now());
            Ok(match &self.first_release {
                Some(waiver) if wayback.target.is_none() => waiver.apply(checked),
                _ => checked,
            })
        })
    }
}

impl Rollback {
    /// Where we can go back to, and whether: for the release sheet.
    pub async fn assess(&self, facts: &Facts, now: Timestamp) -> Result<engine::Rollback> {
        let Some(candidate) = &facts.candidate else {
            let reasons = vec!["no candidate is known".to_owned()];
            return Ok(engine::Rollback { target: facts.previous.clone(), usable: false, reasons });
        };
        Ok(judge(&self.look(candidate, facts, now).await?).0)
    }

    async fn look(&self, candidate: &Candidate, facts: &Facts, now: Timestamp) -> Result<Wayback> {
        let Some(target) = facts.previous.clone() else { return Ok(Wayback::default()) };
        let tag = self.git.release_tags()?.into_iter().find(|tag| tag.version == target);
        let commit = tag.map(|tag| tag.commit);
        let (images, pending, secrets) =
            futures::try_join!(self.images(now), self.schema(&candidate.commit), self.secrets(commit.as_ref()))?;
        Ok(Wayback { target: Some(target), images, pending, secrets, applied: false, unasked: Vec::new() })
    }

    /// What production runs now, by digest: each image is what a rollback would pull again.
    async fn images(&self, now: Timestamp) -> Result<BTreeMap<ServiceName, Vec<(Digest, ImageFate)>>> {
        let pods = self.workloads.pods(None).await?;
        let asked: Vec<_> = self
            .config
            .services
            .iter()
            .map(async |service| {
                let running = digests_of(&self.config, &self.aws, service, &pods).await?;
                Ok::<_, crate::Error>(self.images_of(service, running, now).await)
            })
            .collect();
        stream::iter(asked).buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// What becomes of a service's images.
    pub(super) async fn images_of(
        &self,
        service: &Service,
        digests: BTreeSet<Digest>,
        now: Timestamp,
    ) -> (ServiceName, Vec<(Digest, ImageFate)>) {
        let repository = self.config.image_of(service);
        let (policy, infos) = futures::join!(
            self.aws.lifecycle_policy(&repository),
            futures::future::join_all(digests.iter().map(|digest| self.aws.exists(&repository, digest)))
        );
        let policy = policy.map(Option::unwrap_or_default);
        let counted = policy.as_ref().is_ok_and(|policy| {
            infos.iter().filter_map(|info| info.as_ref().ok()?.as_ref()).any(|info| counts(info, policy))
        });
        let all = if counted { Some(self.aws.all_images(&repository).await) } else { None };
        let fates = infos.into_iter().map(|info| match (info, &policy) {
            (Err(error), _) => ImageFate::NotKnown(format!("ECR did not answer: {error}")),
            (Ok(Some(_)), Err(error)) => {
                ImageFate::NotKnown(format!("it is in ECR now; how long is not known: {error}"))
            }
            (Ok(None), _) => fate(None, &LifecyclePolicy::default(), None, now),
            (Ok(info), Ok(policy)) => fate(info.as_ref(), policy, all.as_ref(), now),
        });
        (service.name.clone(), digests.into_iter().zip(fates).collect())
    }

    /// The migrations that this release would bring, and which the code we go back to would then meet.
    async fn schema(&self, commit: &CommitSha) -> Result<Vec<PendingRisk>> {
        let looked = self.databases.iter().map(async |database| {
            let state = database.state().await?;
            let all = migrations_at(&self.git, commit, &database.migrations)?;
            // A dirty or foreign database is the migrations gate's to report; for the way back it is not known.
            let missing = match pending(&all, &state) {
                Ok(missing) => missing,
                Err(error) => return Ok(vec![PendingRisk::unreadable(&database.service, &error)]),
            };
            let mut risks = Vec::new();
            for migration in missing {
                let sql = self.git.file_at(commit, &migration.path)?.unwrap_or_default();
                let risk = risk(&String::from_utf8_lossy(&sql));
                risks.push(PendingRisk {
                    service: database.service.clone(),
                    name: format!("{} {}", migration.version, migration.name),
                    risk,
                    of: Of::Migration,
                });
            }
            Ok::<_, crate::Error>(risks)
        });
        Ok(futures::future::try_join_all(looked).await?.into_iter().flatten().collect())
    }

    /// The secrets that the target's manifests name (or, where its overlay names none, those that the cluster has), by name only.
    pub(super) async fn secrets(&self, target: Option<&CommitSha>) -> Result<Vec<SecretFate>> {
        let live = self.secrets.list().await?;
        let mut wanted = match target {
            Some(commit) => self.secrets_at(commit)?,
            None => Wanted::default(),
        };
        if wanted.is_empty() {
            live.iter().for_each(|secret| wanted.add(secret));
        }
        let asked = wanted.secrets.iter().map(async |(key, remote)| {
            let found = self.aws.describe_secret(remote).await?;
            let fate = match found {
                None => SecretFate::gone(key, remote),
                Some(info) => SecretFate::there(key, remote, info.deleted_at),
            };
            Ok::<_, crate::Error>(fate)
        });
        let mut fates = futures::future::try_join_all(asked).await?;
        fates.extend(wanted.found.iter().map(|(name, entry)| SecretFate::found(name, fetched_now(name, entry, &live))));
        fates.extend(wanted.unreadable.iter().map(|name| SecretFate::unreadable(name)));
        fates.extend(live.iter().filter_map(SecretFate::not_synced));
        Ok(fates)
    }

    /// The keys that the target's manifests name, and whether the cluster has them. Going back restores images alone: which secrets
    /// are fetched, and from where, stays as main says it, so the target's own names in the store do not count.
    pub(super) async fn secrets_now(&self, target: Option<&CommitSha>) -> Result<Vec<SecretFate>> {
        let live = self.secrets.list().await?;
        let wanted = match target {
            Some(commit) => self.secrets_at(commit)?,
            None => Wanted::default(),
        };
        let mut fates: Vec<SecretFate> =
            wanted.secrets.iter().map(|(key, remote)| fetched_for(key, remote, &live)).collect();
        fates.extend(wanted.found.iter().map(|(name, entry)| SecretFate::found(name, fetched_now(name, entry, &live))));
        fates.extend(wanted.unreadable.iter().map(|name| SecretFate::unreadable(name)));
        fates.extend(live.iter().filter_map(SecretFate::not_synced));
        Ok(fates)
    }

    /// What the ExternalSecrets in production's overlay ask for at a commit.
    fn secrets_at(&self, commit: &CommitSha) -> Result<Wanted> {
        let dir = &self.config.production.overlay;
        let mut wanted = Wanted::default();
        for file in self.git.list_at(commit, dir)? {
            if !(file.ends_with(".yaml") || file.ends_with(".yml")) {
                continue;
            }
            let text = self.git.file_at(commit, &format!("{dir}/{file}"))?.unwrap_or_default();
            wanted.add_file(&String::from_utf8_lossy(&text));
        }
        Ok(wanted)
    }
}
