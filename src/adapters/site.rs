//! A public address: whether its name resolves, and what it answers.

use std::net::IpAddr;

use super::http::{TOTAL_TIMEOUT, client_with, unreachable};
use crate::clock::Stopwatch;
use crate::error::{Error, Result};

/// What a public address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub status: u16,
    /// Whether CloudFront answered (`x-amz-cf-id`).
    pub cloudfront: bool,
    /// What its name resolves to.
    pub addresses: Vec<IpAddr>,
    /// Wall time until the answer's head.
    pub elapsed: std::time::Duration,
}

/// Resolves the name in a URL, and asks it once (GET, redirects followed).
///
/// # Errors
/// A name that does not resolve; no answer.
pub async fn site(address: &str) -> Result<Site> {
    let url: url::Url =
        address.parse().map_err(|error| Error::config(format!("{address} is not a URL")).because(error))?;
    let (host, port) = (url.host_str().unwrap_or_default().to_owned(), url.port_or_known_default().unwrap_or(443));
    let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
    let found = found.map_err(|error| Error::outside(format!("{host} does not resolve")).because(error))?;
    let mut addresses: Vec<IpAddr> = found.map(|found| found.ip()).collect();
    addresses.sort();
    addresses.dedup();
    let watch = Stopwatch::start();
    let sent = client_with(TOTAL_TIMEOUT)?.get(url).send().await;
    let answer = sent.map_err(|error| unreachable(format!("GET {address}"), error))?;
    let cloudfront = answer.headers().contains_key("x-amz-cf-id");
    Ok(Site { status: answer.status().as_u16(), cloudfront, addresses, elapsed: watch.elapsed() })
}
