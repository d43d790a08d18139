//! The hotfix's images: built from exactly its commit, pushed, and known by digest. What ECR has already is not built again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::adapters::aws::{Aws, ImageId};
use crate::adapters::builder::{Builder, Recipe};
use crate::adapters::git::Git;
use crate::config::Config;
use crate::config::model::{BuilderName, Service};
use crate::domain::{CommitSha, Digest, Evidence, OverlayImage, ServiceName, count};
use crate::engine::{Act, BoxFuture, Change, Done, Effect, Fact, Facts, NewImage, Probe, Shipped, Step, StepIo};
use crate::error::{Class, Error, Kind, Result};

/// Which commit an image was built from (OCI image specification, "Annotations").
pub const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";

/// Builds and pushes the images of the affected services under the commit's own tag.
pub struct BuildImages {
    pub git: Arc<Git>,
    pub aws: Aws,
    /// Its services are the affected ones.
    pub config: Config,
    /// The builder asked for; else the first that works.
    pub builder: Option<BuilderName>,
}

impl BuildImages {
    /// What ECR has under the commit's tag, by service; `None` where there is nothing.
    ///
    /// # Errors
    /// An image of another commit under this tag is a conflict: nobody may deploy it for ours.
    async fn there(&self, commit: &CommitSha) -> Result<BTreeMap<ServiceName, Option<Digest>>> {
        let looked = self.config.services.iter().map(|service| self.image(service, commit));
        Ok(futures::future::try_join_all(looked).await?.into_iter().collect())
    }

    async fn image(&self, service: &Service, commit: &CommitSha) -> Result<(ServiceName, Option<Digest>)> {
        let (repository, tag) = (self.config.image_of(service), commit.hotfix_tag());
        let Some(digest) = self.aws.digest_of(&repository, &tag).await? else {
            return Ok((service.name.clone(), None));
        };
        let id = ImageId::Digest(digest.clone());
        let labels = self.aws.image_labels(&repository, &id).await?.unwrap_or_default();
        match labels.get(REVISION) {
            Some(revision) if revision == commit.as_str() => Ok((service.name.clone(), Some(digest))),
            revision => Err(taken(&repository, &tag, &digest, revision, commit)),
        }
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
        let mut logged_in = false;
        for service in missing {
            let repository = self.config.image_of(service);
            let reference = format!("{registry}/{repository}:{}", commit.hotfix_tag());
            let id = self.built(builder, service, &reference, commit, (&source, scratch.path()), io).await?;
            if !logged_in {
                let token = self.aws.registry_token().await?;
                builder.log_in(host, &token, scratch.path()).await?;
                logged_in = true;
            }
            io.say(format!("{}: pushing {reference}", service.name));
            let mut hear = |line: &str| io.say(format!("{}: {line}", service.name));
            let pushed = builder.push(&reference, scratch.path(), &mut hear);
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
                there.iter().filter(|(_, digest)| digest.is_none()).map(|(name, _)| name.as_str()).collect();
            if !missing.is_empty() {
                return Ok(Probe::NotYet(format!("{} to build", missing.join(", "))));
            }
            let images = there.into_iter().filter_map(|(name, digest)| Some((name, digest?))).collect();
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
