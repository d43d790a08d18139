//! ECR for whoever pushes: a token, what an image says of itself, and what its scan found.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;

use super::client::Aws;
use super::ecr::ImageId;
use super::errors::{absent_is_none, sdk_error};
use crate::adapters::http;
use crate::domain::Digest;
use crate::error::{Class, Error, Result};

/// A registry's password for some hours. It shows itself to nobody.
#[derive(Clone)]
pub struct RegistryToken {
    pub user: String,
    password: String,
}

impl RegistryToken {
    /// For a program's standard input.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.password.clone().into_bytes()
    }
}

impl std::fmt::Debug for RegistryToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistryToken(…)")
    }
}

/// What an image's configuration says of it (OCI image specification, "Image Configuration").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub labels: BTreeMap<String, String>,
    /// `linux/amd64`; of an index, that of each image in it. Empty where it does not say.
    pub platforms: BTreeSet<String>,
}

/// The result of ECR's scan of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// `COMPLETE`, `ACTIVE`, `PENDING`, `FAILED`, …
    pub status: String,
    /// How many findings, by severity: `CRITICAL`, `HIGH`, …
    pub findings: BTreeMap<String, u64>,
}

impl Aws {
    /// A token for docker, buildah and podman (`ecr:GetAuthorizationToken`).
    pub async fn registry_token(&self) -> Result<RegistryToken> {
        let what = "ask ECR for a login (ecr:GetAuthorizationToken)";
        let ask = async || {
            let sent = self.ecr().get_authorization_token().send().await;
            sent.map_err(|error| sdk_error(what, error, self.profile()))
        };
        let answer = self.retry().read(ask).await?;
        let token = answer.authorization_data().first().and_then(|data| data.authorization_token());
        let decoded = token.and_then(|token| base64::engine::general_purpose::STANDARD.decode(token).ok());
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        match text.split_once(':') {
            Some((user, password)) => Ok(RegistryToken { user: user.to_owned(), password: password.to_owned() }),
            None => Err(Error::outside(format!("{what}: the answer is no login"))),
        }
    }

    /// What the configuration of the image under a tag or digest says; `None` when the image is not there. Of an index, the labels are
    /// the first platform's.
    pub async fn image_config(&self, repository: &str, id: &ImageId) -> Result<Option<ImageConfig>> {
        let mut id = id.clone();
        let mut platforms = BTreeSet::new();
        // An index names its images; an index of indexes is nothing that a builder pushes.
        for _ in 0..2 {
            let Some((_, manifest)) = self.manifest(repository, &id).await? else { return Ok(None) };
            if let Some(digest) = manifest["config"]["digest"].as_str() {
                let config = self.config_of(repository, digest).await?;
                return Ok(Some(if platforms.is_empty() { config } else { ImageConfig { platforms, ..config } }));
            }
            let entries = manifest["manifests"].as_array().cloned().unwrap_or_default();
            let images = entries.iter().filter(|entry| entry["platform"]["os"] != "unknown");
            platforms = images.clone().filter_map(|entry| platform(&entry["platform"])).collect();
            let Some(digest) = images.clone().find_map(|entry| entry["digest"].as_str()) else { break };
            id = ImageId::Digest(digest.parse::<Digest>()?);
        }
        Ok(Some(ImageConfig { platforms, ..ImageConfig::default() }))
    }

    async fn config_of(&self, repository: &str, config: &str) -> Result<ImageConfig> {
        let what = format!("read the configuration of an image in {repository}");
        let ask = async || {
            let sent = self.ecr().get_download_url_for_layer().repository_name(repository).layer_digest(config);
            let answer = sent.send().await.map_err(|error| sdk_error(&what, error, self.profile()))?;
            let url = answer.download_url().unwrap_or_default().to_owned();
            // The URL is signed: it is not shown.
            let failed = |error: reqwest::Error| {
                Error::outside(what.clone()).class(Class::Transient { retry_after: None }).because(error.without_url())
            };
            let answer = http::client()?.get(&url).send().await.and_then(reqwest::Response::error_for_status);
            answer.map_err(failed)?.json::<serde_json::Value>().await.map_err(failed)
        };
        let config = self.retry().read(ask).await?;
        let labels = config["config"]["Labels"].as_object().into_iter().flatten();
        Ok(ImageConfig {
            labels: labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
            platforms: platform(&config).into_iter().collect(),
        })
    }

    /// What ECR's scan found; `None` where there is no scan, or no such image.
    pub async fn scan(&self, repository: &str, digest: &Digest) -> Result<Option<Scan>> {
        let what = format!("read the scan of {repository}@{} in ECR", digest.short());
        let id = aws_sdk_ecr::types::ImageIdentifier::builder().image_digest(digest.as_str()).build();
        let ask = async || {
            let sent = self.ecr().describe_image_scan_findings().repository_name(repository).image_id(id.clone());
            sent.send().await.map_err(|error| sdk_error(&what, error, self.profile()))
        };
        let Some(answer) = absent_is_none(self.retry().read(ask).await)? else { return Ok(None) };
        let status = answer.image_scan_status().and_then(|status| status.status());
        let counts = answer.image_scan_findings().and_then(|found| found.finding_severity_counts());
        let count = |(severity, count): (&aws_sdk_ecr::types::FindingSeverity, &i32)| {
            (severity.as_str().to_owned(), u64::try_from(*count).unwrap_or(0))
        };
        Ok(Some(Scan {
            status: status.map_or("UNKNOWN", |status| status.as_str()).to_owned(),
            findings: counts.into_iter().flatten().map(count).collect(),
        }))
    }
}

/// `linux/amd64`, without the variant: that is a matter of speed.
fn platform(said: &serde_json::Value) -> Option<String> {
    let part = |name: &str| said[name].as_str().filter(|text| !text.is_empty());
    Some(format!("{}/{}", part("os")?, part("architecture")?))
}
