//! `tag`: suggests the next version, or makes and pushes a release tag on the candidate's commit.

use std::sync::Arc;

use serde_json::json;

use crate::adapters::cluster::ConfigMaps;
use crate::adapters::git::Git;
use crate::cli::tag::Tag as Args;
use crate::config::Config;
use crate::domain::{Changes, CommitSha, Version};
use crate::engine::{Answer, Engine, Facts, Plan, Question};
use crate::error::{Error, Result};
use crate::steps;
use crate::ui::out::Out;

use super::connect::{Connected, connect};
use super::lock::{Lock, Taker};
use super::prepare::{Prepared, choose_version};
use super::shared::Runs;
use super::{Invocation, candidate, drive, guards, lock};

/// Without a version: the suggestion, from conventional commits. With one: tags what staging runs.
pub async fn tag(invocation: &mut Invocation, args: &Args, out: &mut Out, json: bool) -> Result<u8> {
    let config = invocation.config.clone();
    match &args.version {
        None => suggest(invocation, out, json).await,
        Some(version) => {
            let connected = connect(invocation).await?;
            let candidate =
                candidate::find(&config, &connected.staging.workloads, &connected.production.aws, &connected.git)
                    .await?;
            let tags = connected.git.release_tags()?;
            let last = tags.iter().map(|tag| tag.version.clone()).max();
            let mut facts = Facts { candidate: Some(candidate.clone()), previous: last, ..Facts::default() };
            let prepared = Prepared::of(&config, &connected.git, &facts)?;
            let version = choose_version(Some(version), &config, &tags, None, &prepared.changes)?;
            facts.version = Some(version.clone());
            let name = config.repository.tags.tag(&version);
            if args.no_push {
                let message = format!("Release {version}: {}", prepared.summary());
                if invocation.dry_run {
                    out.line(&format!("{name} would be made on {}; nothing was changed", candidate.commit.short()))?;
                    return Ok(0);
                }
                confirm(invocation, &format!("Tag {name} on {}, here only", candidate.commit.short()), &version)?;
                connected.git.create_tag(&version, &candidate.commit, &message).await?;
                if json {
                    out.json(&json!({"tag": name, "version": version, "commit": candidate.commit, "pushed": false}))?;
                    return Ok(0);
                }
                out.line(&format!("{name} on {} (not pushed)", candidate.commit.short()))?;
                let (remote, full) = (&config.repository.remote, config.repository.tags.full_ref(&version));
                out.line(&format!("next: git push {remote} {full} (starts {})", config.workflow.file))?;
                return Ok(0);
            }
            let guard = guards::approval_rule(&connected.github, &config).await?;
            let sheet = format!(
                "\nTag {name} on {} and push it.\nThis starts {}: {}.\nThe checklist is not looked at: that is gospel-release promote.\n",
                candidate.commit.short(),
                config.workflow.file,
                guard.said
            );
            guard.demand()?;
            confirm(invocation, &sheet, &version)?;
            let step = steps::Tag {
                git: Arc::clone(&connected.git),
                repository: config.repository.clone(),
                summary: prepared.summary(),
            };
            let (clock, cancel) = (invocation.clock.clone(), invocation.cancel.clone());
            if invocation.dry_run {
                Engine::dry(clock, cancel, invocation.listener.as_mut(), facts.into())
                    .run(&Plan::new("tag").step(step))
                    .await?;
                return Ok(0);
            }
            let lock = alone(invocation, &connected).await?;
            let pushed = Engine::unrecorded(clock, cancel, invocation.listener.as_mut(), facts.into())
                .run(&Plan::new("tag").step(step))
                .await;
            lock.release().await?;
            pushed?;
            if json {
                out.json(&json!({"tag": name, "version": version, "commit": candidate.commit, "pushed": true}))?;
            } else {
                out.line(&format!("{name} on {}", candidate.commit.short()))?;
                // The workflow goes on without us: a promote of this version would find its tag taken.
                out.line(&format!("next: approve {} on GitHub, then: gospel-release monitor", config.workflow.file))?;
            }
            Ok(0)
        }
    }
}

/// The lock, with no run left open: the tag starts the workflow that a promote would start.
async fn alone(invocation: &Invocation, connected: &Connected) -> Result<Lock> {
    let (cluster, namespace) = (&connected.production.cluster, &invocation.config.production.namespace);
    let run = invocation.new_run_id()?;
    let lock = lock::acquire(Taker::of(invocation, cluster, &run)).await?;
    let alone = drive::refuse_beside(&Runs::new(ConfigMaps::new(cluster, namespace))).await;
    lock.under(alone).await.map(|(lock, ())| lock)
}

fn confirm(invocation: &mut Invocation, sheet: &str, version: &Version) -> Result<()> {
    if invocation.dry_run {
        return Ok(());
    }
    let question = Question { sheet: sheet.to_owned(), phrase: version.to_string() };
    match tokio::task::block_in_place(|| invocation.listener.ask(&question))? {
        Answer::Refused => Err(Error::usage("not confirmed; nothing was changed")),
        _ => Ok(()),
    }
}

/// What the commits between the last release and what staging runs ask for; main's tip where staging cannot be asked.
async fn suggest(invocation: &mut Invocation, out: &mut Out, json: bool) -> Result<u8> {
    let config = invocation.config.clone();
    let git = Git::open(&config.repository, &invocation.base)?;
    git.ensure_complete()?;
    git.fetch().await?;
    let (head, of) = match on_staging(invocation, &config).await {
        Ok(commit) => (commit, "on staging".to_owned()),
        Err(error) if error.kind() == crate::Kind::WrongWorld => return Err(error),
        Err(error) => {
            invocation
                .warn(format!("staging was not asked ({error}): this counts to the tip of {}", config.repository.main));
            (git.main_tip()?, format!("on {}", config.repository.main))
        }
    };
    let tags = git.release_tags()?;
    let last = tags.iter().max_by(|a, b| a.version.cmp(&b.version));
    let changes = Changes::of(&git.commits_between(last.map(|tag| &tag.commit), &head)?);
    let next = choose_version(None, &config, &tags, None, &changes)?;
    if json {
        out.json(&json!({
            "next": next,
            "last": last.map(|tag| &tag.version),
            "commit": head,
            "commits": changes.len(),
            "breaking": changes.breaking.len(),
            "features": changes.features.len(),
            "fixes": changes.fixes.len(),
        }))?;
        return Ok(0);
    }
    let since = last.map_or("the beginning".to_owned(), |tag| tag.version.to_string());
    out.line(&format!(
        "{next}  ({} since {since}, to {} {of}: {} breaking, {} features, {} fixes)",
        crate::domain::count(changes.len(), "commit"),
        head.short(),
        changes.breaking.len(),
        changes.features.len(),
        changes.fixes.len()
    ))?;
    out.line(&format!("next: gospel-release promote {next}, or its tag alone: gospel-release tag {next}"))?;
    Ok(0)
}

async fn on_staging(invocation: &mut Invocation, config: &Config) -> Result<CommitSha> {
    let connected = connect(invocation).await?;
    let found =
        candidate::find(config, &connected.staging.workloads, &connected.production.aws, &connected.git).await?;
    Ok(found.commit)
}
