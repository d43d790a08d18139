//! Who may speak to the rehearsed cluster: a static token, or the token of an EKS sign-in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header;
use sha2::{Digest, Sha256};
use url::Url;

use super::Status;
use crate::clock::Clock;

/// How long an EKS token is good for after it was signed (aws-iam-authenticator: 15 minutes).
const EKS_TOKEN_MINUTES: i64 = 15;

/// The tokens that the API server accepts.
#[derive(Clone)]
pub struct AuthTokens(Arc<Inner>);

struct Inner {
    token: String,
    cluster: String,
    keys: Vec<AwsKey>,
    clock: Clock,
}

/// An AWS access key that may sign in.
#[derive(Clone)]
pub struct AwsKey {
    pub id: String,
    pub secret: String,
}

impl AuthTokens {
    /// `token` is the static bearer token; `cluster` the EKS name that a sign-in must be signed for.
    #[must_use]
    pub fn new(token: impl Into<String>, cluster: impl Into<String>, clock: Clock) -> Self {
        Self(Arc::new(Inner { token: token.into(), cluster: cluster.into(), keys: Vec::new(), clock }))
    }

    /// Demands that EKS tokens are signed with one of `keys`, for this cluster. Without keys only the form is checked,
    /// because the cluster's name is in the signature and not in the URL.
    #[must_use]
    pub fn with_aws_keys(self, keys: Vec<AwsKey>) -> Self {
        let Inner { token, cluster, clock, .. } = &*self.0;
        Self(Arc::new(Inner { token: token.clone(), cluster: cluster.clone(), keys, clock: clock.clone() }))
    }

    /// The user behind an `Authorization` header; `None` refuses.
    fn user(&self, authorization: Option<&str>) -> Option<User> {
        let token = authorization?.strip_prefix("Bearer ")?.trim();
        if token == self.0.token {
            return Some(User("rehearsal:dana-dev".into()));
        }
        let url = URL_SAFE_NO_PAD.decode(token.strip_prefix("k8s-aws-v1.")?.trim_end_matches('=')).ok()?;
        self.eks_user(&Url::parse(std::str::from_utf8(&url).ok()?).ok()?)
    }

    fn eks_user(&self, url: &Url) -> Option<User> {
        let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let signed = value("X-Amz-SignedHeaders")?;
        let names_cluster = signed.split(';').any(|header| header == "x-k8s-aws-id");
        if value("Action")? != "GetCallerIdentity" || !names_cluster || value("X-Amz-Signature")?.len() != 64 {
            return None;
        }
        let date = value("X-Amz-Date")?;
        let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &date).ok()?;
        let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        if self.0.clock.wall().duration_since(at).abs() > jiff::SignedDuration::from_mins(EKS_TOKEN_MINUTES) {
            return None;
        }
        let id = value("X-Amz-Credential")?.split('/').next()?.to_owned();
        if self.0.keys.is_empty() {
            return Some(User(format!("arn:aws:iam:::user/{id}")));
        }
        let key = self.0.keys.iter().find(|key| key.id == id)?;
        (presigned_signature(url, &key.secret, &self.0.cluster)? == value("X-Amz-Signature")?)
            .then(|| User(format!("arn:aws:iam:::user/{id}")))
    }
}

/// The signature that AWS Signature Version 4 gives to a presigned GET with the header `x-k8s-aws-id: cluster`.
/// Source: "Create a signed AWS API request" in the AWS IAM user guide.
fn presigned_signature(url: &Url, secret: &str, cluster: &str) -> Option<String> {
    let mut query: Vec<&str> = url.query()?.split('&').filter(|pair| !pair.starts_with("X-Amz-Signature=")).collect();
    query.sort_unstable();
    let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let signed = value("X-Amz-SignedHeaders")?;
    let host =
        url.port().map_or(url.host_str()?.to_owned(), |port| format!("{}:{port}", url.host_str().unwrap_or_default()));
    let mut headers = String::new();
    for name in signed.split(';') {
        let content = match name {
            "host" => host.as_str(),
            "x-k8s-aws-id" => cluster,
            _ => return None,
        };
        headers.push_str(&format!("{name}:{content}\n"));
    }
    let request =
        format!("GET\n{}\n{}\n{headers}\n{signed}\n{}", url.path(), query.join("&"), hex(&Sha256::digest(b"")));
    let (date, credential) = (value("X-Amz-Date")?, value("X-Amz-Credential")?);
    let scope = credential.split_once('/')?.1;
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    Some(hex(&hmac(&key, text.as_bytes())))
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// The name of the one who asks; an extension of each request.
#[derive(Debug, Clone)]
pub(super) struct User(pub String);

/// Refuses who is not known; health endpoints are open, as on a real server.
pub(super) async fn check(State(tokens): State<AuthTokens>, mut request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/healthz" | "/livez" | "/readyz") {
        return next.run(request).await;
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(user) = tokens.user(header) else { return Status::unauthorized().into_response() };
    request.extensions_mut().insert(user);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> AuthTokens {
        AuthTokens::new("s3cret", "gospelib-production", Clock::real())
    }

    fn sign_in(cluster: &str, secret: &str) -> String {
        let date = Clock::real().wall().strftime("%Y%m%dT%H%M%SZ").to_string();
        let url = format!(
            "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
             &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F{}%2Fus-east-1%2Fsts%2Faws4_request\
             &X-Amz-Date={date}&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id",
            &date[..8]
        );
        let signature = presigned_signature(&Url::parse(&url).unwrap(), secret, cluster).unwrap();
        let signed = format!("{url}&X-Amz-Signature={signature}");
        format!("Bearer k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(signed))
    }

    #[test]
    fn static_tokens() {
        assert!(tokens().user(Some("Bearer s3cret")).is_some());
        assert!(tokens().user(Some("Bearer other")).is_none());
        assert!(tokens().user(None).is_none());
    }

    #[test]
    fn eks_tokens_are_for_one_cluster_and_one_key() {
        assert!(tokens().user(Some(&sign_in("anything", "x"))).is_some(), "without keys only the form counts");
        let strict = tokens().with_aws_keys(vec![AwsKey { id: "AKIA".into(), secret: "right".into() }]);
        assert!(strict.user(Some(&sign_in("gospelib-production", "right"))).is_some());
        assert!(strict.user(Some(&sign_in("gospelib-production", "wrong"))).is_none());
        assert!(strict.user(Some(&sign_in("gospelib-staging", "right"))).is_none());
    }

    #[test]
    fn hmac_of_rfc_4231() {
        let mac = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
