//! What a release is made of, worked out from the choices: the same at the start and after a resume.

use crate::adapters::git::{Git, ReleaseTag};
use crate::adapters::migrate::{Migration, Risk, migrations_at, risk};
use crate::config::Config;
use crate::domain::{Changes, CommitSha, ServiceName, Version};
use crate::engine::Facts;
use crate::error::{Attempting, Error, Result};
use crate::monitor::databases::Database;

/// The release in detail.
pub struct Prepared {
    /// What changed since the last release.
    pub changes: Changes,
    /// The release that it follows.
    pub previous: Option<ReleaseTag>,
    /// Commits on main after the candidate: they are not in the release.
    pub newer_on_main: usize,
    /// Front ends whose code changed: they have shipped already, with their push to main.
    pub apps_changed: Vec<String>,
    /// Services whose code changed.
    pub services_changed: Vec<ServiceName>,
}

/// One service's migrations that production does not have yet.
pub struct PendingMigration {
    pub service: ServiceName,
    pub migration: Migration,
    pub risk: Risk,
}

impl Prepared {
    /// Reads the repository; changes nothing.
    pub fn of(config: &Config, git: &Git, facts: &Facts) -> Result<Self> {
        let candidate = facts.candidate.as_ref().ok_or_else(|| Error::internal("no candidate"))?;
        let tags = git.release_tags()?;
        let previous = previous(&tags, facts);
        let base = previous.as_ref().map(|tag| &tag.commit);
        let commits = git.commits_between(base, &candidate.commit)?;
        let changed = match base {
            Some(base) => git.changed_paths(base, &candidate.commit)?,
            None => Vec::new(),
        };
        let touches =
            |dir: &str| changed.iter().any(|path| path.starts_with(&format!("{}/", dir.trim_end_matches('/'))));
        Ok(Self {
            changes: Changes::of(&commits),
            newer_on_main: newer(git, &candidate.commit)?,
            apps_changed: config.apps.iter().filter(|app| touches(&app.path)).map(|app| app.name.clone()).collect(),
            services_changed: config
                .services
                .iter()
                .filter(|service| touches(&config.path_of(service)))
                .map(|service| service.name.clone())
                .collect(),
            previous,
        })
    }

    /// One line for the tag's annotation.
    #[must_use]
    pub fn summary(&self) -> String {
        let changes = &self.changes;
        let part = |n: usize, noun: &str| (n > 0).then(|| crate::domain::count(n, noun));
        let parts: Vec<String> = [
            part(changes.breaking.len(), "breaking change"),
            part(changes.features.len(), "feature"),
            part(changes.fixes.len(), "fix").map(|text| text.replace("fixs", "fixes")),
            part(changes.others.len(), "other change"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() { "no changes".to_owned() } else { parts.join(", ") }
    }
}

fn previous(tags: &[ReleaseTag], facts: &Facts) -> Option<ReleaseTag> {
    let wanted = facts.previous.as_ref()?;
    tags.iter().find(|tag| tag.version == *wanted).cloned()
}

fn newer(git: &Git, candidate: &CommitSha) -> Result<usize> {
    Ok(git.commits_between(Some(candidate), &git.main_tip()?)?.len())
}

/// The version to release: as asked, or the next one by the commits since the last.
///
/// # Errors
/// [`crate::Kind::Usage`] for a version that is not above the last one, or exists.
pub fn choose_version(
    asked: Option<&Version>,
    config: &Config,
    tags: &[ReleaseTag],
    live: Option<&Version>,
    changes: &Changes,
) -> Result<Version> {
    let last = tags.iter().map(|tag| &tag.version).chain(live).max();
    let suggested = match last {
        Some(last) => last.next(changes.bump()),
        None => Version::new(1, 0, 0),
    };
    let Some(asked) = asked else { return Ok(suggested) };
    if let Some(tag) = tags.iter().find(|tag| tag.version == *asked) {
        return Err(Error::usage(format!("{} exists, on {}", config.repository.tags.tag(asked), tag.commit.short()))
            .hint(format!("a release tag is never moved or reused; the next version is {suggested}")));
    }
    match last {
        Some(last) if asked <= last => Err(Error::usage(format!("{asked} is not above the last release, {last}"))
            .hint(format!("the next version by the commits since is {suggested}"))),
        _ => Ok(asked.clone()),
    }
}

/// The migrations that production does not have yet, with their risk.
pub async fn pending_migrations(
    git: &Git,
    databases: &[Database],
    candidate: &CommitSha,
) -> Result<Vec<PendingMigration>> {
    let looked = databases.iter().map(async |database| {
        let state = database.state().await.attempting(|| format!("look at the database of {}", database.service))?;
        let all = migrations_at(git, candidate, &database.migrations)?;
        let missing = crate::adapters::migrate::pending(&all, &state)?;
        missing
            .into_iter()
            .map(|migration| {
                let sql = git.file_at(candidate, &migration.path)?.unwrap_or_default();
                let risk = risk(&String::from_utf8_lossy(&sql));
                Ok(PendingMigration { service: database.service.clone(), migration, risk })
            })
            .collect::<Result<Vec<_>>>()
    });
    Ok(futures::future::try_join_all(looked).await?.into_iter().flatten().collect())
}
