//! From the configuration to clients, and the proof that they reach the configured world and no other.

use std::sync::Arc;

use crate::adapters::aws::Aws;
use crate::adapters::cluster::{Applications, Cluster, Workloads};
use crate::adapters::git::Git;
use crate::adapters::github::{GitHub, Token, token_from_gh};
use crate::adapters::retry::within;
use crate::config::model::Environment;
use crate::config::{Config, Env};
use crate::domain::{WorldId, WorldKind};
use crate::error::{Attempting, Error, Kind, Result};

use super::Invocation;
use super::credentials::Session;
use super::looking::Looking;

/// The clients of one release. Steps and gates get the narrow parts that they need; nobody gets this.
pub struct Connected {
    pub world: WorldId,
    pub git: Arc<Git>,
    pub github: GitHub,
    pub production: Place,
    pub staging: Place,
    pub applications: Applications,
    /// Who we are to AWS, for evidence.
    pub aws_identity: String,
    /// Argo CD's own sign-in, where it has one that ends.
    argo_session: Option<Session>,
}

impl Connected {
    /// The sign-ins that end, of what a run goes on speaking to.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.production.session.iter().chain(&self.argo_session)
    }
}

/// Staging or production, reached.
#[derive(Clone)]
pub struct Place {
    pub aws: Aws,
    pub cluster: Cluster,
    pub workloads: Workloads,
    /// Set where the credentials end by themselves.
    pub session: Option<Session>,
}

/// What did not answer while connecting, though production itself did.
#[derive(Debug, Default)]
pub struct Outages {
    /// Git hosting.
    pub git: Option<Error>,
    /// The GitHub API.
    pub github: Option<Error>,
    /// Staging: its account, or its cluster.
    pub staging: Option<Error>,
    /// Argo CD's own cluster, where it has one.
    pub argo: Option<Error>,
}

impl Outages {
    /// The first of them.
    pub fn any(self) -> Option<Error> {
        self.staging.or(self.git).or(self.github).or(self.argo)
    }

    /// Refuses where Git is needed and does not answer; tells of what else is gone without. `what` is a commit ("a rollback"), and
    /// `past` the command that goes without Git.
    ///
    /// # Errors
    /// Exit 15, before anything was changed.
    pub fn go_without(&self, invocation: &mut Invocation, direct: bool, what: &str, past: &str) -> Result<()> {
        if let Some(error) = &self.git
            && !direct
        {
            let failed = Error::outside(format!("Git hosting does not answer, and {what} is a commit"));
            let failed = failed.because(error.to_string());
            let failed = error.evidence().iter().cloned().fold(failed, Error::seen);
            return Err(failed
                .seen("Nothing was changed.")
                .hint(format!("past Git, at once: {past}"))
                .hint("or wait for it: githubstatus.com"));
        }
        if let Some(error) = &self.argo
            && !direct
        {
            return Err(Error::outside("Argo CD's cluster does not answer")
                .because(error.to_string())
                .seen("Nothing was changed.")
                .hint(format!("past Argo CD, at once: {past}")));
        }
        for (what, error) in [("Git", &self.git), ("GitHub", &self.github), ("Argo CD", &self.argo)] {
            if let Some(error) = error {
                invocation.warn(format!("{what} does not answer and is gone without: {error}"));
            }
        }
        Ok(())
    }
}

/// Connects everything at once and compares accounts, cluster and repository with the configuration (exit 14).
pub async fn connect(invocation: &mut Invocation) -> Result<Connected> {
    let (connected, outages) = connect_despite(invocation, false).await?;
    match outages.any() {
        None => Ok(connected),
        Some(error) => Err(error),
    }
}

/// How long Git and GitHub are waited for by who goes past them anyway (wall time). A host that stalls would be waited for much longer
/// than it takes to help.
const IN_A_HURRY: std::time::Duration = std::time::Duration::from_secs(20);

/// As [`connect`], for who must act although Git hosting, GitHub or Argo CD is down: only production has to answer, and nothing that
/// answers may be another world. `hurry`: who goes past Git does not wait long for it, nor for GitHub.
pub async fn connect_despite(invocation: &mut Invocation, hurry: bool) -> Result<(Connected, Outages)> {
    let Invocation { config, base, env, kind, listener, .. } = invocation;
    let git = Arc::new(Git::open(&config.repository, base)?);
    let (github, unsigned) = github_or_not(config, env).await?;
    let looking = Looking::default();
    let looks = futures::future::join3(
        looking.at("production's AWS account and cluster", place(&config.production, "production")),
        looking.at("staging's AWS account and cluster", place(&config.staging, "staging")),
        repository(&git, &github, hurry, &looking),
    );
    let (production, staging, outages) = looking.told(listener.as_mut(), looks).await;
    let (production, mut outages) = (production?, outages?);
    let staging = match staging {
        Ok((place, _)) => place,
        Err(error) => {
            outages.staging = Some(error);
            production.0.clone()
        }
    };
    outages.github = unsigned.or(outages.github);
    let argo = argo_cluster(config, &production.0.aws, &production.0.cluster).await;
    let (argo, argo_session) = argo.unwrap_or_else(|error| {
        outages.argo = Some(error);
        // Whatever is asked of Argo CD there is answered by "no such application".
        (production.0.cluster.clone(), None)
    });
    let applications = applications(config, &argo);
    let identity = production.0.cluster.identity();
    let world = WorldId {
        kind: *kind,
        account: config.production.aws.account.clone().or(Some(production.1.account.clone())),
        cluster: identity.id.clone(),
        namespace: config.production.namespace.clone(),
        repository: config.repository.slug.clone(),
    };
    let connected = Connected {
        world: mixed_if_local(world, &identity.server),
        git,
        github,
        aws_identity: production.1.arn,
        production: production.0,
        staging,
        applications,
        argo_session,
    };
    Ok((connected, outages))
}

/// GitHub, with a token from the environment or from `gh auth token`.
pub async fn github(config: &Config, env: &Env) -> Result<GitHub> {
    match github_or_not(config, env).await? {
        (github, None) => Ok(github),
        (_, Some(error)) => Err(error),
    }
}

/// GitHub, and what is wrong where there is no token: who must act goes without.
async fn github_or_not(config: &Config, env: &Env) -> Result<(GitHub, Option<Error>)> {
    let settings = &config.github;
    let found = env.first(&settings.token_env).and_then(|(_, token)| Token::new(token));
    let token = match found {
        Some(token) => Some(token),
        None => token_from_gh(&settings.api).await?,
    };
    let missing = token.is_none().then(|| {
        Error::outside("no GitHub token")
            .hint(format!("set {}, or sign in: gh auth login", settings.token_env.join(" or ")))
    });
    Ok((GitHub::connect(settings, &config.repository.slug, token)?, missing))
}

/// Account first (a wrong one must not be asked anything else), then the cluster.
async fn place(environment: &Environment, name: &'static str) -> Result<(Place, crate::adapters::aws::Identity)> {
    let aws = Aws::connect(&environment.aws).await?;
    let session = Session::of(&aws, name).await.attempting(|| format!("sign in to the AWS account of {name}"))?;
    let identity = aws.verified_identity().await.attempting(|| format!("identify the AWS account of {name}"))?;
    let cluster = Cluster::connect(&environment.cluster, Some(&aws))
        .await
        .attempting(|| format!("connect to the cluster of {name}"))?;
    let workloads = Workloads::new(&cluster, &environment.namespace);
    Ok((Place { aws, cluster, workloads, session }, identity))
}

/// Argo CD's Applications, each with the overlay that it is configured to deploy.
pub fn applications(config: &Config, argo: &Cluster) -> Applications {
    let slug = &config.repository.slug;
    Applications::new(argo, &config.argo.namespace)
        .deploying(&config.argo.application, slug, &config.production.overlay)
        .deploying(&config.argo.staging_application, slug, &config.staging.overlay)
}

/// Argo CD's own cluster, where it is not production's, and the sign-in to it where that is another.
pub async fn argo_cluster(
    config: &Config,
    production_aws: &Aws,
    production: &Cluster,
) -> Result<(Cluster, Option<Session>)> {
    let Some(settings) = &config.argo.cluster else { return Ok((production.clone(), None)) };
    let (aws, session) = match &config.argo.aws {
        Some(aws) => {
            let aws = Aws::connect(aws).await?;
            let session = Session::of(&aws, "Argo CD").await;
            (aws, session.attempting(|| "sign in to the AWS account of Argo CD".to_owned())?)
        }
        None => (production_aws.clone(), None),
    };
    let cluster = Cluster::connect(settings, Some(&aws)).await;
    Ok((cluster.attempting(|| "connect to Argo CD's cluster".to_owned())?, session))
}

/// Main and the tags as they are now; who is in a hurry does not wait long for them.
pub(super) async fn fetched(git: &Git, hurry: bool) -> Result<()> {
    hurried("Git", hurry, git.fetch()).await
}

/// What `whom` answers; who is in a hurry does not wait long for it.
pub(super) async fn hurried<T>(whom: &str, hurry: bool, answer: impl Future<Output = Result<T>>) -> Result<T> {
    if hurry { within(whom, IN_A_HURRY, answer).await } else { answer.await }
}

/// The checkout is complete, and what GitHub answers is the configured repository.
async fn repository(git: &Git, github: &GitHub, hurry: bool, looking: &Looking) -> Result<Outages> {
    git.remote_url().await?;
    git.ensure_complete()?;
    let (fetched, repository) = futures::join!(
        looking.at("Git", fetched(git, hurry)),
        looking.at("GitHub", hurried("GitHub", hurry, github.repository())),
    );
    let fetched = fetched.attempting(|| "fetch main and the release tags".to_owned());
    let mut outages = Outages { git: fetched.err(), ..Outages::default() };
    match repository.attempting(|| format!("look at {} on GitHub", github.slug())) {
        Err(error) => outages.github = Some(error),
        // GitHub follows renames: the answer may be about another name.
        Ok(repository) if !repository.full_name.eq_ignore_ascii_case(github.slug()) => {
            return Err(Error::new(
                Kind::WrongWorld,
                format!("the repository is {} now, and {} is configured", repository.full_name, github.slug()),
            ));
        }
        Ok(_) => {}
    }
    Ok(outages)
}

/// A cluster on this machine is not a real production, whatever else is real; and one elsewhere is no rehearsal.
fn mixed_if_local(mut world: WorldId, server: &str) -> WorldId {
    let expected = if is_loopback(server) { WorldKind::Rehearsal } else { WorldKind::Real };
    if world.kind != expected {
        world.kind = WorldKind::Mixed;
    }
    world
}

/// What the configured endpoints say about the world: all on this machine, none, or some. A rehearsed AWS leads to a rehearsed
/// cluster; one that it does not know is none, wherever it answers.
#[must_use]
pub fn world_kind(config: &Config) -> WorldKind {
    let aws = |environment: &Environment| environment.aws.endpoint.clone().unwrap_or_else(|| "https://aws".to_owned());
    let endpoints = [config.github.api.clone(), aws(&config.staging), aws(&config.production)];
    let local = endpoints.iter().filter(|endpoint| is_loopback(endpoint)).count();
    let clusters = [Some(&config.staging.cluster), Some(&config.production.cluster), config.argo.cluster.as_ref()];
    let known = clusters.into_iter().flatten().all(|cluster| cluster.eks.is_some());
    match local {
        0 => WorldKind::Real,
        all if all == endpoints.len() && known => WorldKind::Rehearsal,
        _ => WorldKind::Mixed,
    }
}

/// Whether a URL, or a host, is on this machine.
#[must_use]
pub fn is_loopback(endpoint: &str) -> bool {
    let host = url::Url::parse(endpoint).ok().and_then(|url| url.host_str().map(str::to_owned));
    let host = host.unwrap_or_else(|| endpoint.split(':').next().unwrap_or_default().to_owned());
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Production's cluster alone, and its namespace: for commands that only look at runs.
pub async fn production(invocation: &mut Invocation) -> Result<(Place, String)> {
    let environment = &invocation.config.production;
    let looking = Looking::default();
    let look = looking.at("production's AWS account and cluster", place(environment, "production"));
    let (place, _) = looking.told(invocation.listener.as_mut(), look).await?;
    Ok((place, environment.namespace.clone()))
}
