//! TLS in front of the rehearsed API server, with a certificate authority of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::clock::Clock;
use crate::error::{Error, Result};

/// A handshake that takes longer is a client that went away.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A server certificate for 127.0.0.1 and localhost, and the authority that signed it.
pub struct Identity {
    ca_pem: String,
    config: Arc<rustls::ServerConfig>,
}

impl Identity {
    /// Makes both, valid from a week ago to a year from now in wall time: clients check with their own clock.
    pub fn generate(clock: &Clock) -> Result<Self> {
        let fail =
            |error: rcgen::Error| Error::internal("make the certificates of the rehearsed cluster").because(error);
        let issuer =
            CertifiedIssuer::self_signed(authority(clock)?, KeyPair::generate().map_err(fail)?).map_err(fail)?;
        let key = KeyPair::generate().map_err(fail)?;
        let cert = server(clock)?.signed_by(&key, &issuer).map_err(fail)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Self { ca_pem: issuer.pem(), config: Arc::new(server_config(cert.der().clone(), key)?) })
    }

    /// The authority's certificate, for a kubeconfig and for EKS DescribeCluster.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }
}

fn server_config(cert: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let fail = |error: rustls::Error| Error::internal("set up TLS for the rehearsed cluster").because(error);
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(fail)?
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .map_err(fail)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn params(clock: &Clock, name: &str, hosts: Vec<String>) -> Result<CertificateParams> {
    let fail = |error: rcgen::Error| Error::internal("name the rehearsed cluster").because(error);
    let mut params = CertificateParams::new(hosts).map_err(fail)?;
    let today = clock.wall().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |days: i32| {
        let date = today.saturating_add(jiff::Span::new().days(days));
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (day(-7), day(365));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn authority(clock: &Clock) -> Result<CertificateParams> {
    let mut params = params(clock, "gospel-release rehearsal CA", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn server(clock: &Clock) -> Result<CertificateParams> {
    let mut params = params(clock, "gospel-release rehearsal", vec!["localhost".into(), "127.0.0.1".into()])?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Serves `router` over TLS, HTTP/1.1 (with upgrades) and HTTP/2, until the future is dropped; its connections end with
/// it.
pub async fn serve_tls(router: Router, listener: TcpListener, identity: &Identity) -> Result<()> {
    let acceptor = TlsAcceptor::from(identity.config.clone());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => drop(connections.spawn(connection(socket, acceptor.clone(), router.clone()))),
                // Out of file descriptors, or a client that left in the queue: the next one may do better.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, to its end. How it ends is the client's business: a server does not fail with it.
async fn connection(socket: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let _ = socket.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await else { return };
    let service = TowerToHyperService::new(router);
    let server = auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}
