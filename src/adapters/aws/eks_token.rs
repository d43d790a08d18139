//! The token by which EKS knows us: a presigned `sts:GetCallerIdentity` URL that names the cluster.
//!
//! The form is that of aws-iam-authenticator (README, "API Authorization from Outside a Cluster"): prefix `k8s-aws-v1.`,
//! then the URL in base64url without padding. EKS accepts it for 15 minutes, whatever `X-Amz-Expires` says (60 at most).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::client::Aws;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// 15 minutes, less one for clocks that differ.
const VALID_FOR: SignedDuration = SignedDuration::from_mins(14);

/// A token for one cluster, renewed a while before it ends; clones share it.
#[derive(Clone)]
pub struct EksToken(Arc<Inner>);

struct Inner {
    aws: Aws,
    cluster: String,
    clock: Clock,
    /// The last token, and until when it is good.
    current: Mutex<Option<(Timestamp, String)>>,
}

impl EksToken {
    /// Tokens for the EKS cluster `cluster` (its name, not its ARN), from `aws`' credentials.
    #[must_use]
    pub fn new(aws: &Aws, cluster: &str) -> Self {
        // Signatures are dated with wall time, whatever the world's clock says.
        let clock = Clock::real();
        Self(Arc::new(Inner { aws: aws.clone(), cluster: cluster.to_owned(), clock, current: Mutex::new(None) }))
    }

    /// A token that is valid for at least two more minutes.
    ///
    /// # Errors
    /// When the credentials are missing or have ended.
    pub async fn bearer(&self) -> Result<String> {
        let mut current = self.0.current.lock().await;
        if let Some((until, token)) = &*current
            && self.0.clock.wall() + SignedDuration::from_mins(2) < *until
        {
            return Ok(token.clone());
        }
        let credentials = self.0.aws.credentials().await?;
        let host = sts_url(self.0.aws.endpoint(), self.0.aws.region());
        let made = self.0.clock.wall();
        let token = token(&credentials, self.0.aws.region(), &self.0.cluster, &host, SystemTime::from(made))?;
        *current = Some((good_until(made, &credentials), token.clone()));
        Ok(token)
    }
}

/// A token is as good as the credentials that signed it.
fn good_until(made: Timestamp, credentials: &Credentials) -> Timestamp {
    let own = made + VALID_FOR;
    credentials.expiry().and_then(|at| Timestamp::try_from(at).ok()).map_or(own, |ends| own.min(ends))
}

/// The regional STS endpoint, or the one that is configured.
fn sts_url(endpoint: Option<&str>, region: &str) -> String {
    match endpoint {
        Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        None if region.starts_with("cn-") => format!("https://sts.{region}.amazonaws.com.cn"),
        None => format!("https://sts.{region}.amazonaws.com"),
    }
}

fn token(credentials: &Credentials, region: &str, cluster: &str, sts: &str, at: SystemTime) -> Result<String> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_mins(1));
    let identity = credentials.clone().into();
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::internal(format!("make a sign-in token for EKS cluster {cluster}")).because(error)
    };
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(at)
        .settings(settings)
        .build()
        .map_err(|error| wrong(Box::new(error)))?
        .into();
    let url = format!("{sts}/?Action=GetCallerIdentity&Version=2011-06-15");
    let headers = [("x-k8s-aws-id", cluster)];
    let request = SignableRequest::new("GET", url.as_str(), headers.into_iter(), SignableBody::Bytes(&[]))
        .map_err(|error| wrong(Box::new(error)))?;
    let (instructions, _) = sign(request, &params).map_err(|error| wrong(Box::new(error)))?.into_parts();
    let mut url = url::Url::parse(&url).map_err(|error| wrong(Box::new(error)))?;
    url.query_pairs_mut().extend_pairs(instructions.params());
    Ok(format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_with_the_credentials_that_signed_it() {
        let made: Timestamp = "2025-03-04T09:00:00Z".parse().unwrap();
        let until = |minutes: i64| {
            let ends = SystemTime::from(made + SignedDuration::from_mins(minutes));
            good_until(made, &Credentials::new("AKIDEXAMPLE", "secret", None, Some(ends), "test"))
        };
        assert_eq!(until(5), made + SignedDuration::from_mins(5));
        assert_eq!(until(60), made + VALID_FOR);
    }

    #[test]
    fn the_token_is_a_presigned_url_that_names_the_cluster() {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("a+b/c==".into()), None, "test");
        let at = SystemTime::from("2025-03-04T09:00:00Z".parse::<jiff::Timestamp>().unwrap());
        let token = token(&credentials, "us-east-1", "gospelib-production", &sts_url(None, "us-east-1"), at).unwrap();
        let url = URL_SAFE_NO_PAD.decode(token.strip_prefix("k8s-aws-v1.").unwrap()).unwrap();
        let url = url::Url::parse(std::str::from_utf8(&url).unwrap()).unwrap();
        assert_eq!(url.host_str(), Some("sts.us-east-1.amazonaws.com"));
        let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(query["Action"], "GetCallerIdentity");
        assert_eq!(query["Version"], "2011-06-15");
        assert_eq!(query["X-Amz-Expires"], "60");
        assert_eq!(query["X-Amz-SignedHeaders"], "host;x-k8s-aws-id");
        assert_eq!(query["X-Amz-Date"], "20250304T090000Z");
        assert_eq!(query["X-Amz-Security-Token"], "a+b/c==");
        assert_eq!(query["X-Amz-Credential"], "AKIDEXAMPLE/20250304/us-east-1/sts/aws4_request");
        assert_eq!(query["X-Amz-Signature"].len(), 64);
    }
}
