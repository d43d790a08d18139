//! The connections to an API server: a few, with many requests on each (HTTP/2), as kubectl has them.
//!
//! The client library's own speak HTTP/1.1: a connection and a TLS handshake for each request in flight, which is hundreds where
//! every service is asked for its health through the API server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::{Body, ConfigExt, DynBody};
use tower::{BoxError, Service};
use tower_http::timeout::TimeoutBody;

use crate::error::{Error, Result};

/// Connections at most.
const CONNECTIONS: usize = 4;
/// Requests in flight on one before the next is opened. A server may refuse more than 100 (RFC 9113, section 6.5.2, names that as the
/// least that it should allow).
const REQUESTS: usize = 50;

/// Connections to one API server; clones share them.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    /// Speaks what the server speaks, and learns it.
    first: Lane,
    /// For HTTP/2 alone, and not opened before they are needed.
    more: Vec<Lane>,
    multiplexes: OnceLock<bool>,
    /// Longest time without a word, within an answer and before it (wall time).
    silence: Duration,
}

struct Lane {
    client: Client<TimeoutConnector<HttpsConnector<HttpConnector>>, Body>,
    in_flight: AtomicUsize,
}

/// No answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
struct Silent(Duration);

impl Connections {
    /// To the server of `config`, past its proxy; nothing is opened yet. `silence`: the longest time without a word.
    pub(super) fn new(config: &Config, silence: Duration) -> Result<Self> {
        let more = (1..CONNECTIONS).map(|_| Lane::new(config, silence, true)).collect::<Result<_>>()?;
        let first = Lane::new(config, silence, false)?;
        Ok(Self(Arc::new(Inner { first, more, multiplexes: OnceLock::new(), silence })))
    }
}

impl Inner {
    /// Where the next request goes: the first connection that is not busy; where all are, the least busy one.
    fn lane(&self) -> &Lane {
        if self.multiplexes.get() != Some(&true) {
            return &self.first;
        }
        let busy = |lane: &&Lane| lane.in_flight.load(Ordering::Relaxed);
        let all = || std::iter::once(&self.first).chain(&self.more);
        all().find(|lane| busy(lane) < REQUESTS).or_else(|| all().min_by_key(busy)).unwrap_or(&self.first)
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Box<DynBody>>, BoxError> {
        tracing::debug!(target: "kube", method = %request.method(), uri = %request.uri(), "requesting");
        let lane = self.lane();
        let answer = {
            let _busy = Busy::on(lane);
            tokio::time::timeout(self.silence, lane.client.request(request)).await
        };
        let response = answer.map_err(|_| Silent(self.silence))??;
        self.multiplexes.get_or_init(|| response.version() == Version::HTTP_2);
        Ok(response.map(|body| {
            let body = Box::pin(TimeoutBody::new(self.silence, body));
            Box::new(body.map_err(BoxError::from)) as Box<DynBody>
        }))
    }
}

impl Lane {
    fn new(config: &Config, silence: Duration, only_http2: bool) -> Result<Self> {
        let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::config(format!("make a client for the API server {}", config.cluster_url)).because(error)
        };
        let tls = config.rustls_client_config().map_err(|error| wrong(error.into()))?;
        let mut https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        if let Some(name) = &config.tls_server_name {
            let name =
                name.clone().try_into().map_err(|error: rustls::pki_types::InvalidDnsNameError| wrong(error.into()))?;
            https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = if only_http2 { https.enable_http2() } else { https.enable_all_versions() };
        let mut connector = TimeoutConnector::new(https.wrap_connector(tcp));
        connector.set_connect_timeout(config.connect_timeout);
        // A connection that is dead, and one that nobody uses.
        connector.set_read_timeout(Some(silence));
        connector.set_reset_reader_on_write(true);
        let client = Client::builder(TokioExecutor::new()).http2_only(only_http2).build(connector);
        Ok(Self { client, in_flight: AtomicUsize::new(0) })
    }
}

/// Counts a request in flight for as long as it lives.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn on(lane: &'a Lane) -> Self {
        lane.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(&lane.in_flight)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service<Request<Body>> for Connections {
    type Response = Response<Box<DynBody>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let connections = Arc::clone(&self.0);
        Box::pin(async move { connections.send(request).await })
    }
}
