//! The connections to an API server: a few, with many requests on each (HTTP/2), as kubectl has them.
//!
//! The client library's own speak HTTP/1.1: a connection and a TLS handshake for each request in flight, which is hundreds where
//! every service is asked for its health through the API server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
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

/// Wall time between two pings, and for the answer to one.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(10);

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

type Https = Client<TimeoutConnector<HttpsConnector<HttpConnector>>, Body>;

struct Lane {
    connector: TimeoutConnector<HttpsConnector<HttpConnector>>,
    only_http2: bool,
    client: Mutex<Https>,
    in_flight: AtomicUsize,
}

/// No answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
struct Silent(Duration);

impl Connections {
    /// To the server of `config`, past its proxy; nothing is opened yet. `silence`: the longest time without a word.
    pub(super) fn new(config: &Config, silence: Duration) -> Result<Self> {
        // Once: a kubeconfig's certificate may come from a program that takes its time, or asks somebody.
        let tls = config.rustls_client_config().map_err(|error| cannot_connect(config, error.into()))?;
        let lane = |only_http2| Lane::new(config, tls.clone(), silence, only_http2);
        let more = (1..CONNECTIONS).map(|_| lane(true)).collect::<Result<_>>()?;
        let first = lane(false)?;
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
        let client = lane.client();
        let answer = {
            let _busy = Busy::on(lane);
            tokio::time::timeout(self.silence, client.request(request)).await
        };
        let Ok(answer) = answer else {
            // The connection may be dead, and nobody has said so: the next request has another.
            lane.renew();
            return Err(Silent(self.silence).into());
        };
        let response = answer?;
        self.multiplexes.get_or_init(|| response.version() == Version::HTTP_2);
        Ok(response.map(|body| {
            let body = Box::pin(TimeoutBody::new(self.silence, body));
            Box::new(body.map_err(BoxError::from)) as Box<DynBody>
        }))
    }
}

impl Lane {
    fn new(config: &Config, tls: rustls::ClientConfig, silence: Duration, only_http2: bool) -> Result<Self> {
        let mut https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        if let Some(name) = &config.tls_server_name {
            let name = rustls::pki_types::ServerName::try_from(name.clone());
            let name = name.map_err(|error| cannot_connect(config, error.into()))?;
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
        let client = Mutex::new(open(&connector, only_http2));
        Ok(Self { connector, only_http2, client, in_flight: AtomicUsize::new(0) })
    }

    fn client(&self) -> Https {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn renew(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = open(&self.connector, self.only_http2);
    }
}

pub(super) fn cannot_connect(config: &Config, error: BoxError) -> Error {
    Error::config(format!("make a client for the API server {}", config.cluster_url)).because(error)
}

/// A client without a connection yet. A network that went away without a word (a closed laptop, a load balancer that forgot us) is
/// noticed by pings within [`PING`] and [`PONG`]; without them only after the kernel's 15 minutes (kubernetes/kubernetes#95981).
fn open(connector: &TimeoutConnector<HttpsConnector<HttpConnector>>, only_http2: bool) -> Https {
    Client::builder(TokioExecutor::new())
        .http2_only(only_http2)
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        .http2_keep_alive_while_idle(true)
        .build(connector.clone())
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

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use hyper_util::rt::TokioIo;
    use hyper_util::server::conn::auto;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;

    /// A server that speaks `alpn`, takes `takes` for each answer, and counts the connections that are opened to it.
    async fn server(alpn: &[&str], takes: Duration) -> (Config, Arc<AtomicUsize>) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der()));
        let certificate = identity.cert.der().clone();
        let tls = rustls::ServerConfig::builder().with_no_client_auth();
        let mut tls = tls.with_single_cert(vec![certificate.clone()], key).unwrap();
        tls.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let answer = hyper::service::service_fn(move |_| async move {
                        tokio::time::sleep(takes).await;
                        Ok::<_, std::convert::Infallible>(Response::new("here".to_owned()))
                    });
                    let stream = TokioIo::new(acceptor.accept(socket).await.unwrap());
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(stream, answer).await;
                });
            }
        });
        let mut config = Config::new(format!("https://{address}").parse().unwrap());
        config.root_cert = Some(vec![certificate.to_vec()]);
        (config, opened)
    }

    async fn ask(connections: &Connections, config: &Config) -> Result<String, BoxError> {
        let request = Request::get(format!("{}version", config.cluster_url)).body(Body::empty())?;
        let response = connections.clone().call(request).await?;
        Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
    }

    #[tokio::test]
    async fn many_requests_share_few_connections() {
        let (config, opened) = server(&["h2", "http/1.1"], Duration::from_millis(100)).await;
        let connections = Connections::new(&config, Duration::from_secs(10)).unwrap();
        assert_eq!(ask(&connections, &config).await.unwrap(), "here");
        let answers = join_all((0..2 * REQUESTS).map(|_| ask(&connections, &config))).await;
        assert!(answers.iter().all(|answer| answer.as_deref().is_ok_and(|text| text == "here")), "{answers:?}");
        assert_eq!(opened.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_server_of_http_1_has_a_connection_for_each_request() {
        let (config, opened) = server(&["http/1.1"], Duration::from_millis(100)).await;
        let connections = Connections::new(&config, Duration::from_secs(10)).unwrap();
        assert_eq!(ask(&connections, &config).await.unwrap(), "here");
        let answers = join_all((0..20).map(|_| ask(&connections, &config))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(opened.load(Ordering::Relaxed), 20);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let (config, opened) = server(&["h2"], Duration::from_secs(60)).await;
        let connections = Connections::new(&config, Duration::from_millis(200)).unwrap();
        for tries in 1..=3 {
            let error = ask(&connections, &config).await.unwrap_err();
            assert!(error.to_string().contains("no answer within"), "{error}");
            // A connection that may be dead is not asked again.
            assert_eq!(opened.load(Ordering::Relaxed), tries);
        }
    }
}
