//! The shared HTTP client.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;
use serde::Serialize;

use crate::clock::Stopwatch;
use crate::error::{Class, Error, Result};

/// Longest wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(20);
/// How we introduce ourselves.
pub const USER_AGENT: &str = concat!("gospel-release/", env!("CARGO_PKG_VERSION"));

/// A client with time-outs, the proxies of the environment, and no retries of its own.
pub fn client() -> Result<reqwest::Client> {
    client_with(TOTAL_TIMEOUT)
}

/// As [`client`], with another total time-out.
pub fn client_with(total: Duration) -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls()?)
        .connect_timeout(CONNECT_TIMEOUT.min(total))
        .timeout(total)
        .user_agent(USER_AGENT)
        .retry(reqwest::retry::never())
        .build()
        .map_err(|error| Error::internal("make an HTTP client").because(error))
}

/// TLS as reqwest has it by itself, made once: reading the machine's certificates is most of what a client costs.
fn tls() -> Result<ClientConfig> {
    static TLS: LazyLock<Result<ClientConfig, rustls::Error>> = LazyLock::new(|| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_platform_verifier()?.with_no_client_auth();
        config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
        Ok(config)
    });
    TLS.clone().map_err(|error| Error::internal("make an HTTP client").because(error))
}

/// What a URL answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Probe {
    pub status: u16,
    /// Wall time until the answer's head.
    pub elapsed: Duration,
}

impl Probe {
    /// Below 400, as `curl -f` has it.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status < 400
    }
}

/// Asks a URL once (GET, redirects followed) and reads only the answer's head. No answer at all is a transient error.
pub async fn probe_url(client: &reqwest::Client, url: &str) -> Result<Probe> {
    let watch = Stopwatch::start();
    let response = client.get(url).send().await.map_err(|error| unreachable(format!("GET {url}"), error))?;
    Ok(Probe { status: response.status().as_u16(), elapsed: watch.elapsed() })
}

/// No answer: what was attempted, without the URL that reqwest would repeat (it may be a secret).
pub(super) fn unreachable(what: String, error: reqwest::Error) -> Error {
    let transient = !error.is_builder() && !error.is_redirect();
    let why = if error.is_timeout() { "no answer in time" } else { "no answer" };
    let failed = Error::outside(format!("{what}: {why}")).because(error.without_url());
    if transient { failed.class(Class::Transient { retry_after: None }) } else { failed }
}

/// How an HTTP status from 400 on may be answered.
#[must_use]
pub fn classify(status: u16, retry_after: Option<Duration>) -> Class {
    match status {
        401 | 403 => Class::Denied,
        404 | 410 => Class::NotFound,
        409 | 412 => Class::Conflict,
        408 | 429 | 500..=599 => Class::Transient { retry_after },
        _ => Class::Terminal,
    }
}

/// The seconds of a `Retry-After` header; its date form is not used by any system here.
#[must_use]
pub fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A text with the credentials of every URL in it taken out: `https://t0ken@host/` → `https://…@host/`.
#[must_use]
pub fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/'\"?#".contains(c)).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rfind('@') {
            Some(at) => {
                out.push('…');
                out.push_str(&authority[at..]);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_urls() {
        for (text, shown) in [
            ("https://user:p@ss@github.com/a/b.git", "https://…@github.com/a/b.git"),
            ("fatal: 'https://t0ken@h/x' and ssh://git@h/y.", "fatal: 'https://…@h/x' and ssh://…@h/y."),
            ("https://github.com/a/b@c", "https://github.com/a/b@c"),
            ("no url: a@b", "no url: a@b"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }

    #[test]
    fn statuses_are_classified() {
        assert_eq!(classify(404, None), Class::NotFound);
        assert_eq!(classify(503, None), Class::Transient { retry_after: None });
        assert_eq!(classify(400, None), Class::Terminal);
    }

    #[tokio::test]
    async fn nobody_there_is_transient() {
        let client = client_with(Duration::from_millis(500)).unwrap();
        let error = probe_url(&client, "http://127.0.0.1:1/health").await.unwrap_err();
        assert!(error.is_transient());
    }
}
