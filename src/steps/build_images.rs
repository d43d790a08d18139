//! The hotfix's images: built from exactly its commit, pushed, and known by digest. What ECR has already is not built again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::adapters::aws::{Aws, ImageId};
use crate::adapters::builder::{Builder, Login, Recipe};
use crate::adapters::cluster::{PodState, Workloads};
use crate::adapters::git::Git;
use crate::config::Config;
use crate::config::model::{BuilderName, Service};
use crate::domain::{CommitSha, Digest, Evidence, OverlayImage, ServiceName, count};
use crate::engine::{Act, BoxFuture, Change, Done, Effect, Fact, Facts, NewImage, Probe, Shipped, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};
use crate::monitor::running::digests_of;

/// Which commit an image was built from (OCI image specification, "Annotations").
pub const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";

/// Builds and pushes the images of the affected services under the commit's own tag.
pub struct BuildImages {
    pub git: Arc<Git>,
    pub aws: Aws,
    /// What runs now says for which platform an image must be.
    pub workloads: Workloads,
    /// Its services are the affected ones.
    pub config: Config,
    /// The builder asked for; else the first that works.
    pub builder: Option<BuilderName>,
    /// Where docker keeps its configuration.
    pub docker: Option<PathBuf>,
}

/// An image that ECR has.
struct Built {
    digest: Digest,
    platforms: BTreeSet<String>,
}

impl BuildImages {
    /// What ECR has under the commit's tag, by service; `None` where there is nothing.
    ///
    /// # Errors
    /// An image of another commit under this tag is a conflict: nobody may deploy it for ours.
    async fn there(&self, commit: &CommitSha) -> Result<BTreeMap<ServiceName, Option<Built>>> {
        let looked = self.config.services.iter().map(|service| self.image(service, commit));
        Ok(futures::future::try_join_all(looked).await?.into_iter().collect())
    }

    async fn image(&self, service: &Service, commit: &CommitSha) -> Result<(ServiceName, Option<Built>)> {
        let (repository, tag) = (self.config.image_of(service), commit.hotfix_tag());
        let Some(digest) = self.aws.digest_of(&repository, &tag).await? else {
            return Ok((service.name.clone(), None));
        };
        let id = ImageId::Digest(digest.clone());
        let said = self.aws.image_config(&repository, &id).await?.unwrap_or_default();
        match said.labels.get(REVISION) {
            Some(revision) if revision == commit.as_str() => {
                Ok((service.name.clone(), Some(Built { digest, platforms: said.platforms })))
            }
            revision => Err(taken(&repository, &tag, &digest, revision, commit)),
        }
    }

    /// An image for another platform than today's would crash on the nodes that run today's: it comes to no commit.
    async fn must_fit(&self, built: &BTreeMap<ServiceName, Built>, io: &StepIo) -> Result<()> {
        let pods = self.workloads.pods(None).await?;
        let each = self.config.services.iter().filter_map(|service| Some((service, built.get(&service.name)?)));
        for (service, built) in each {
            let Some(runs) = self.platforms_now(service, &built.digest, &pods).await? else { continue };
            match fit(&built.platforms, &runs) {
                Fit::Yes => {}
                Fit::Unknown(why) => io.warn(format!("{}: {why}", service.name)),
                Fit::No => return Err(misfit(service, &built.platforms, &runs)),
            }
        }
        Ok(())
    }

    /// The platforms of the image that runs now, as far as ECR knows; `None` where that is ours already.
    async fn platforms_now(
        &self,
        service: &Service,
        ours: &Digest,
        pods: &[PodState],
    ) -> Result<Option<BTreeSet<String>>> {
        let repository = self.config.image_of(service);
        let mut platforms = BTreeSet::new();
        for digest in digests_of(&self.config, &self.aws, service, pods).await? {
            if digest == *ours {
                return Ok(None);
            }
            // What cannot be read says nothing, and does not keep a hotfix back.
            let said = self.aws.image_config(&repository, &ImageId::Digest(digest)).await.ok().flatten();
            platforms.extend(said.unwrap_or_default().platforms);
        }
        Ok(Some(platforms))
    }

    fn registry(&self) -> Result<String> {
        self.config.registry().ok_or_else(|| {
            Error::config("it is not known where images are pushed to")
                .hint("set images.registry, or production.aws.account and production.aws.region")
        })
    }

    async fn build(&self, commit: &CommitSha, missing: Vec<&Service>, io: &StepIo) -> Result<()> {
        let registry = self.registry()?;
        let builder = Builder::choose(self.builder, self.config.hotfix.build_within).await?;
        let scratch = tempfile::tempdir()
            .map_err(|error| Error::outside("make a temporary directory for the build").because(error))?;
        let source = scratch.path().join("source");
        self.git.export(commit, &source).await?;
        let host = registry.split('/').next().unwrap_or(&registry);
        // Before the first build: a base image may be in the same registry.
        let token = self.aws.registry_token().await?;
        let login = builder.log_in(host, &token, scratch.path(), self.docker.as_deref()).await?;
        if let Login::Helper(said) = &login {
            io.announce(&format!("docker's credential helper goes with its own login ({said})"));
        }
        let built = self.build_each(builder, &registry, commit, missing, (&source, scratch.path()), io).await;
        if login == Login::Ours
            && let Err(error) = builder.log_out(host).await
        {
            io.warn(format!("docker stays logged in to {host} for 12 hours: {error}"));
        }
        built
    }

    async fn build_each(
        &self,
        builder: Builder,
        registry: &str,
        commit: &CommitSha,
        missing: Vec<&Service>,
        (source, scratch): (&Path, &Path),
        io: &StepIo,
    ) -> Result<()> {
        for service in missing {
            let repository = self.config.image_of(service);
            let reference = format!("{registry}/{repository}:{}", commit.hotfix_tag());
            let id = self.built(builder, service, &reference, commit, (source, scratch), io).await?;
            io.say(format!("{}: pushing {reference}", service.name));
            let mut hear = |line: &str| io.say(format!("{}: {line}", service.name));
            let pushed = builder.push(&reference, scratch, &mut hear);
            let pushed = until_cancelled(io, pushed, &format!("the push of {reference}")).await;
            match pushed {
                Ok(told) => self.agree(&repository, commit, told).await?,
                Err(error) if error.is_conflict() => {
                    return Err(self.immutable(&repository, commit, &id, &error).await);
                }
                Err(error) if error.classified() == Class::Denied => {
                    return Err(error
                        .seen("Nothing in production was changed.")
                        .hint("take a role that may push to ECR (docs/permissions.md lists the actions), then: gospel-release resume")
                        .hint("or have somebody who may push run it: gospel-release resume"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn built(
        &self,
        builder: Builder,
        service: &Service,
        reference: &str,
        commit: &CommitSha,
        (source, scratch): (&Path, &Path),
        io: &StepIo,
    ) -> Result<String> {
        let labels = [(REVISION, commit.to_string()), (SOURCE, self.config.repository.page())];
        let (dockerfile, context) =
            (source.join(self.config.dockerfile_of(service)), source.join(self.config.context_of(service)));
        if !dockerfile.is_file() {
            return Err(Error::config(format!("{} is not in {}", self.config.dockerfile_of(service), commit.short()))
                .hint("set hotfix.dockerfile to where Dockerfiles are ({path} and {service} are filled in)"));
        }
        io.say(format!("{}: building with {}", service.name, builder.name.program()));
        let recipe = Recipe {
            reference,
            dockerfile: &dockerfile,
            context: &context,
            labels: &labels,
            args: &self.config.hotfix.build_args,
        };
        let mut hear = |line: &str| io.say(format!("{}: {line}", service.name));
        let build = builder.build(&recipe, scratch, &mut hear);
        until_cancelled(io, build, &format!("the build of {}", service.name)).await.map_err(|error| {
            if error.kind() == Kind::Interrupted {
                return error;
            }
            error
                .seen("Nothing in production was changed.")
                .hint("mend it, commit, and: gospel-release hotfix ship --reason TEXT")
                .hint("or, if it is not the code: gospel-release resume")
        })
    }

    /// The registry's answer is what counts; the program must have told the same.
    async fn agree(&self, repository: &str, commit: &CommitSha, told: Option<Digest>) -> Result<()> {
        let there = self.aws.digest_of(repository, &commit.hotfix_tag()).await?;
        match (there, told) {
            (Some(there), Some(told)) if there != told => Err(Error::outside(format!(
                "{repository}:{} is {there} in ECR, and {told} was pushed",
                commit.hotfix_tag()
            ))
            .class(Class::NeedsHuman)),
            (None, _) => Err(Error::outside(format!("ECR does not show {repository}:{}", commit.hotfix_tag()))
                .class(Class::Transient { retry_after: None })
                .hint("to look again: gospel-release resume")),
            _ => Ok(()),
        }
    }

    /// The tag is immutable and names other bytes.
    async fn immutable(&self, repository: &str, commit: &CommitSha, built: &str, error: &Error) -> Error {
        let tag = commit.hotfix_tag();
        let there = self.aws.digest_of(repository, &tag).await.ok().flatten();
        let there = there.map_or("other bytes".to_owned(), |digest| digest.to_string());
        let failed =
            Error::outside(format!("{repository}:{tag} exists in ECR with other bytes, and tags are immutable"));
        let failed = failed.class(Class::NeedsHuman).seen(format!("in ECR:     {there}"));
        let failed = failed.seen(format!("built here: image {built} of {}", commit.short()));
        let failed = error.evidence().iter().cloned().fold(failed, Error::seen);
        another_tag(failed)
    }
}

/// Whether an image runs where today's does.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    /// It cannot be told, and why.
    Unknown(String),
    No,
}

fn fit(ours: &BTreeSet<String>, runs: &BTreeSet<String>) -> Fit {
    if ours.is_empty() {
        return Fit::Unknown("for which platform the new image is, is not known".to_owned());
    }
    if runs.is_empty() {
        return Fit::Unknown(format!(
            "the new image is for {}; for which the running one is, is not known",
            list(ours)
        ));
    }
    if runs.is_subset(ours) {
        return Fit::Yes;
    }
    if runs.is_disjoint(ours) {
        return Fit::No;
    }
    Fit::Unknown(format!("the new image is for {} only, the running one for {}", list(ours), list(runs)))
}

fn list(platforms: &BTreeSet<String>) -> String {
    platforms.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn misfit(service: &Service, ours: &BTreeSet<String>, runs: &BTreeSet<String>) -> Error {
    let wanted = runs.first().map_or("linux/amd64", String::as_str);
    let what =
        format!("{}: the new image is for {}, and production runs it on {}", service.name, list(ours), list(runs));
    Error::outside(what)
        .class(Class::NeedsHuman)
        .seen("Its pods could not start there. Nothing in production was changed.")
        .hint(format!("set hotfix.build_args to [--platform={wanted}]"))
        .hint("a new commit has a new tag: git commit --allow-empty -m 'chore: ship again', then: gospel-release hotfix ship --reason TEXT")
}

fn done(images: BTreeMap<ServiceName, Digest>, facts: &Facts, how: &str) -> Result<Done> {
    let commit = &super::candidate(facts)?.commit;
    let tag = commit.hotfix_tag();
    let evidence = Evidence::new(format!("{} {how}", count(images.len(), "image"))).from(format!("ECR, tag {tag}"));
    let evidence =
        images.iter().fold(evidence, |evidence, (name, digest)| evidence.fact(name.as_str(), digest.as_str(), true));
    let entry = |digest: &Digest| OverlayImage { name: None, tag: Some(tag.clone()), digest: Some(digest.clone()) };
    let new = |(name, digest): (&ServiceName, &Digest)| {
        (name.clone(), NewImage { entry: entry(digest), digest: Some(digest.clone()) })
    };
    let change = Change { images: images.iter().map(new).collect(), ..super::change(facts)?.clone() };
    let shipped = |(name, digest): (ServiceName, Digest)| (name, Shipped { digest, soaked: false });
    Ok(Done::new(evidence).learn(Fact::Change(change)).learn(Fact::Shipped(images.into_iter().map(shipped).collect())))
}

/// Drives a program to its end, or kills it when a stop is asked for.
async fn until_cancelled<T>(io: &StepIo, work: impl Future<Output = Result<T>>, what: &str) -> Result<T> {
    tokio::select! {
        biased;
        () = io.cancel.cancelled() => Err(Error::new(Kind::Interrupted, format!("stopped as asked; {what} was ended"))),
        done = work => done,
    }
}

fn taken(repository: &str, tag: &str, digest: &Digest, revision: Option<&String>, commit: &CommitSha) -> Error {
    let of = revision.map_or("of no commit that it names".to_owned(), |revision| format!("of {revision}"));
    another_tag(
        Error::outside(format!("{repository}:{tag} exists in ECR, and is not an image of {}", commit.short()))
            .class(Class::NeedsHuman)
            .seen(format!("in ECR: {digest}, {of}"))
            .seen(format!("wanted: an image of {commit}")),
    )
}

fn another_tag(error: Error) -> Error {
    error
        .seen("Nothing in production was changed.")
        .hint("do not delete the tag: find out who pushed it")
        .hint("another commit has another tag: git commit --allow-empty -m 'chore: ship again', then: gospel-release hotfix ship --reason TEXT")
}

impl Step for BuildImages {
    fn id(&self) -> &'static str {
        "build"
    }

    fn title(&self, _facts: &Facts) -> String {
        let names: Vec<&str> = self.config.services.iter().map(|service| service.name.as_str()).collect();
        format!("Build and push {}", names.join(", "))
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    /// Each program has a limit of its own; this is for ECR to show what was pushed.
    fn deadline(&self) -> Option<Duration> {
        Some(Duration::from_secs(600))
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let there = self.there(&super::candidate(facts)?.commit).await?;
            let missing: Vec<&str> =
                there.iter().filter(|(_, built)| built.is_none()).map(|(name, _)| name.as_str()).collect();
            if !missing.is_empty() {
                return Ok(Probe::NotYet(format!("{} to build", missing.join(", "))));
            }
            let built: BTreeMap<_, _> = there.into_iter().filter_map(|(name, built)| Some((name, built?))).collect();
            self.must_fit(&built, io).await?;
            let images = built.into_iter().map(|(name, built)| (name, built.digest)).collect();
            let how = if io.intended { "built and pushed" } else { "in ECR already; nothing was built" };
            Ok(Probe::Done(done(images, facts, how)?))
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let commit = &super::candidate(facts)?.commit;
            let there = self.there(commit).await?;
            let missing = |service: &&Service| there.get(&service.name).is_none_or(Option::is_none);
            self.build(commit, self.config.services.iter().filter(missing).collect(), io).await?;
            Ok(Act::Waiting { note: "ECR to show the images".to_owned() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_runs_where_todays_does() {
        let of = |platforms: &[&str]| platforms.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
        let (amd, arm, both) = (of(&["linux/amd64"]), of(&["linux/arm64"]), of(&["linux/amd64", "linux/arm64"]));
        assert_eq!(fit(&amd, &amd), Fit::Yes);
        assert_eq!(fit(&both, &amd), Fit::Yes);
        assert_eq!(fit(&arm, &amd), Fit::No);
        for (ours, runs) in [(&amd, &both), (&of(&[]), &amd), (&amd, &of(&[]))] {
            assert!(matches!(fit(ours, runs), Fit::Unknown(_)), "{ours:?} {runs:?}");
        }
    }
}
