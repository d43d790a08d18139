//! The AWS connection: credentials, region, endpoint, and who we are.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_sts::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};
use jiff::Timestamp;

use super::errors::{credentials_error, provider_error, renewal, sdk_error};
use crate::adapters::retry::Retry;
use crate::clock::Clock;
use crate::config::model;
use crate::error::{Error, Kind, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// A `credential_process` may ask a person for a second factor.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(60);

/// One AWS account, reached by one credential chain; clones share everything.
#[derive(Clone)]
pub struct Aws(Arc<Inner>);

struct Inner {
    sdk: SdkConfig,
    region: String,
    settings: model::Aws,
    retry: Retry,
    sts: aws_sdk_sts::Client,
    eks: aws_sdk_eks::Client,
    ecr: aws_sdk_ecr::Client,
    secrets: aws_sdk_secretsmanager::Client,
    amplify: aws_sdk_amplify::Client,
}

/// What `sts:GetCallerIdentity` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// 12 digits.
    pub account: String,
    pub arn: String,
}

impl Aws {
    /// Finds credentials by the default chain (environment, profile, SSO, web identity, container, instance) and the region;
    /// nothing but the credential source is contacted.
    ///
    /// # Errors
    /// [`Kind::Config`] when no region is known.
    pub async fn connect(settings: &model::Aws) -> Result<Self> {
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        match &settings.endpoint {
            Some(endpoint) => {
                loader = loader.endpoint_url(endpoint.trim_end_matches('/')).http_client(DIRECT.clone());
            }
            None => loader = loader.http_client(PROXIED.clone()),
        }
        let sdk = loader.load().await;
        let region = sdk.region().map(ToString::to_string).ok_or_else(|| {
            Error::config("no AWS region is configured")
                .hint("set production.aws.region (and staging.aws.region) in gospel-release.yaml, or AWS_REGION")
        })?;
        Ok(Self(Arc::new(Inner {
            sts: aws_sdk_sts::Client::new(&sdk),
            eks: aws_sdk_eks::Client::new(&sdk),
            ecr: aws_sdk_ecr::Client::new(&sdk),
            secrets: aws_sdk_secretsmanager::Client::new(&sdk),
            amplify: aws_sdk_amplify::Client::new(&sdk),
            region,
            settings: settings.clone(),
            retry: Retry::default(),
            sdk,
        })))
    }

    /// The region that is asked.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// Whose credentials these are (`sts:GetCallerIdentity`).
    pub async fn identity(&self) -> Result<Identity> {
        let answer = self
            .retry()
            .read(async || {
                let sent = self.0.sts.get_caller_identity().send().await;
                sent.map_err(|error| sdk_error("ask AWS who we are (sts:GetCallerIdentity)", error, self.profile()))
            })
            .await?;
        match (answer.account(), answer.arn()) {
            (Some(account), Some(arn)) => Ok(Identity { account: account.into(), arn: arn.into() }),
            _ => Err(Error::outside("sts:GetCallerIdentity answered without an account")),
        }
    }

    /// As [`Aws::identity`], and it must be the configured account.
    ///
    /// # Errors
    /// [`Kind::WrongWorld`] naming both accounts, [`Kind::Config`] when no account is pinned.
    pub async fn verified_identity(&self) -> Result<Identity> {
        let identity = self.identity().await?;
        let Some(pinned) = &self.0.settings.account else {
            let found = &identity.account;
            return Err(Error::config(format!("no AWS account is pinned; the credentials are of account {found}"))
                .hint(format!("if that is the right one, set aws.account: \"{found}\" under production (or staging) in gospel-release.yaml")));
        };
        if *pinned == identity.account {
            return Ok(identity);
        }
        let error = Error::new(
            Kind::WrongWorld,
            format!("the AWS credentials are of account {}, and {pinned} is configured", identity.account),
        );
        Err(error.seen(format!("signed in as {}", identity.arn)).hint(match self.profile() {
            Some(profile) => format!("check profile {profile}: aws sts get-caller-identity --profile {profile}"),
            None => "select the right profile (aws.profile, or AWS_PROFILE), or correct aws.account under production (or staging)".to_owned(),
        }))
    }

    /// When the credentials in use end; `None` when they do not (long-lived keys).
    ///
    /// An SSO or assumed-role session that ends during a long wait is better noticed before it.
    ///
    /// # Errors
    /// When there are no credentials, or they have ended; the hint is the command that renews them.
    pub async fn credentials_expire_at(&self) -> Result<Option<Timestamp>> {
        let credentials = self.credentials().await?;
        Ok(credentials.expiry().and_then(|at| Timestamp::try_from(at).ok()))
    }

    pub(super) async fn credentials(&self) -> Result<Credentials> {
        let Some(provider) = self.0.sdk.credentials_provider() else {
            return Err(credentials_error("find AWS credentials", "the credential chain is empty", self.profile()));
        };
        let find = async || {
            let asked = tokio::time::timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials()).await;
            asked
                .map_err(|_| {
                    let limit = CREDENTIALS_TIMEOUT.as_secs();
                    let why = format!("their source did not answer within {limit} s (does it ask somebody?)");
                    credentials_error("find AWS credentials", why, self.profile())
                })?
                .map_err(|error| provider_error("find AWS credentials", &error, self.profile()))
        };
        let found = self.retry().read(find).await?;
        match found.expiry().and_then(|at| Timestamp::try_from(at).ok()) {
            Some(ended) if ended <= Clock::real().wall() => {
                let ended = format!("they expired at {}", ended.strftime("%F %H:%M UTC"));
                Err(credentials_error("use the AWS credentials", ended, self.profile()))
            }
            _ => Ok(found),
        }
    }

    /// The command that renews credentials which end.
    #[must_use]
    pub fn renewal(&self) -> String {
        renewal(self.profile())
    }

    pub(super) fn profile(&self) -> Option<&str> {
        self.0.settings.profile.as_deref()
    }

    pub(super) fn endpoint(&self) -> Option<&str> {
        self.0.settings.endpoint.as_deref()
    }

    pub(super) fn retry(&self) -> &Retry {
        &self.0.retry
    }

    pub(super) fn eks(&self) -> &aws_sdk_eks::Client {
        &self.0.eks
    }

    pub(super) fn ecr(&self) -> &aws_sdk_ecr::Client {
        &self.0.ecr
    }

    pub(super) fn secrets(&self) -> &aws_sdk_secretsmanager::Client {
        &self.0.secrets
    }

    pub(super) fn amplify(&self) -> &aws_sdk_amplify::Client {
        &self.0.amplify
    }
}

/// With the proxies of the environment (HTTPS_PROXY, NO_PROXY, …).
static PROXIED: LazyLock<SharedHttpClient> = LazyLock::new(|| http_client(ProxyConfig::from_env));
/// For an endpoint that is named: it is reached as it is.
static DIRECT: LazyLock<SharedHttpClient> = LazyLock::new(|| http_client(ProxyConfig::disabled));

/// The SDK's own HTTPS client, made once for all accounts and services: each would have the machine's certificates read again, and
/// connections of its own.
fn http_client(proxies: fn() -> ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .proxy_config(proxies());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
}
