//! The connection to one cluster: never the current context, always the pinned one.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper_util::client::proxy::matcher::Matcher;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::client::{Body, ClientBuilder, ConfigExt, DynBody};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use tower::buffer::BufferLayer;
use tower::filter::AsyncFilterLayer;
use tower::util::MapResultLayer;
use tower::{BoxError, Layer};

use super::connections::{Connections, cannot_connect};
use super::errors::{Throttled, kube_error};
use crate::adapters::aws::{Aws, ClusterInfo, EksToken};
use crate::adapters::retry::Retry;
use crate::config::model;
use crate::error::{Class, Error, Kind, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence within a request. Watches say something, or end, sooner than that.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects in one page of a list.
const PAGE: u32 = 500;

/// A cluster that is the configured one; clones share the connection.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    client: Client,
    /// The same without a read time-out, for streams that may be silent for long.
    patient: Client,
    identity: ClusterIdentity,
    retry: Retry,
}

/// Which cluster this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The EKS ARN, or `kube-system:<uid of that namespace>`.
    pub id: String,
    /// Host, and port if there is one, of the API server.
    pub server: String,
}

impl Cluster {
    /// Connects to the configured cluster and makes sure that it is that one.
    ///
    /// With `eks` the address and the CA come from `eks:DescribeCluster`, whose ARN must be the pinned one; a kubeconfig, if
    /// one is set too, must lead to the same address and CA, and its credentials are used. Without `eks` a kubeconfig leads
    /// there, and the uid of the namespace kube-system must be the pinned one.
    ///
    /// # Errors
    /// [`Kind::WrongWorld`] when it is another cluster; [`Kind::Config`] when nothing is pinned, naming what was found.
    pub async fn connect(settings: &model::Cluster, aws: Option<&Aws>) -> Result<Self> {
        let wants_kubeconfig = settings.kubeconfig.is_some() || settings.context.is_some();
        let (config, token, arn) = match (&settings.eks, wants_kubeconfig) {
            (Some(name), _) => {
                let aws = aws.ok_or_else(|| {
                    Error::config(format!("EKS cluster {name} is configured, but no AWS account to find it in"))
                })?;
                let info = describe_pinned(aws, name, settings.arn.as_deref()).await?;
                if wants_kubeconfig {
                    let config = from_kubeconfig(settings).await?;
                    same_cluster(&config, &info)?;
                    (config, None, Some(info.arn))
                } else {
                    (from_eks(&info)?, Some(EksToken::new(aws, name)), Some(info.arn))
                }
            }
            (None, true) => (from_kubeconfig(settings).await?, None, None),
            (None, false) => {
                return Err(Error::config("no cluster is configured")
                    .hint("set cluster.eks and cluster.arn, or cluster.kubeconfig and cluster.context, under production (or staging)")
                    .hint("the current context of kubectl is never used by default"));
            }
        };
        let server = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        let client = client(config.clone(), token.clone())?;
        let patient = upgradable(config, None, token)?;
        let retry = Retry::default();
        let mut cluster = Inner { client, patient, identity: ClusterIdentity { id: String::new(), server }, retry };
        cluster.identity.id = match arn {
            Some(arn) if settings.kube_system_uid.is_none() => arn,
            arn => {
                let uid = pinned_uid(&cluster, settings).await?;
                arn.unwrap_or_else(|| format!("kube-system:{uid}"))
            }
        };
        Ok(Self(Arc::new(cluster)))
    }

    /// Which cluster this is.
    #[must_use]
    pub fn identity(&self) -> &ClusterIdentity {
        &self.0.identity
    }

    /// The API server's version, such as `v1.33.1`.
    pub async fn version(&self) -> Result<String> {
        let answer = self.retry().read(async || {
            let asked = self.client().apiserver_version().await;
            asked.map_err(|error| kube_error("ask the API server for its version", error))
        });
        Ok(answer.await?.git_version)
    }

    /// Whether the namespace exists.
    pub async fn has_namespace(&self, name: &str) -> Result<bool> {
        let api: Api<Namespace> = Api::all(self.client().clone());
        Ok(self.get(&api, name, "namespace").await?.is_some())
    }

    pub(in crate::adapters) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(in crate::adapters) fn patient(&self) -> &Client {
        &self.0.patient
    }

    pub(in crate::adapters) fn retry(&self) -> &Retry {
        &self.0.retry
    }

    /// One object; `None` when it is not there. `noun` is for messages: `lease`.
    pub(super) async fn get<K>(&self, api: &Api<K>, name: &str, noun: &str) -> Result<Option<K>>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        self.retry()
            .read(async || {
                let got = api.get_opt(name).await;
                got.map_err(|error| kube_error(format!("get {noun} {name} from {}", self.identity().server), error))
            })
            .await
    }

    /// All objects, page by page. `what` is for messages: `pods in gospelib-production`.
    pub(super) async fn list<K>(&self, api: &Api<K>, params: &ListParams, what: &str) -> Result<Vec<K>>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        Ok(self.list_at(api, params, what).await?.0)
    }

    /// As [`Cluster::list`], with the version at which a watch can begin.
    pub(super) async fn list_at<K>(
        &self,
        api: &Api<K>,
        params: &ListParams,
        what: &str,
    ) -> Result<(Vec<K>, Option<String>)>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        self.retry()
            .read(async || {
                let mut all = Vec::new();
                let mut params = params.clone().limit(PAGE);
                loop {
                    let page = api.list(&params).await.map_err(|error| {
                        // 410: the list grew too old between two pages; it is begun again.
                        let expired = matches!(&error, kube::Error::Api(status) if status.code == 410);
                        let ours = kube_error(format!("list {what} on {}", self.identity().server), error);
                        if expired { ours.class(Class::Transient { retry_after: None }) } else { ours }
                    })?;
                    all.extend(page.items);
                    match page.metadata.continue_.filter(|token| !token.is_empty()) {
                        Some(token) => params = params.continue_token(&token),
                        None => return Ok((all, page.metadata.resource_version)),
                    }
                }
            })
            .await
    }
}

async fn describe_pinned(aws: &Aws, name: &str, pinned: Option<&str>) -> Result<ClusterInfo> {
    let info = aws.describe_cluster(name).await?;
    let found = &info.arn;
    match pinned {
        Some(pinned) if pinned == found => Ok(info),
        Some(pinned) => Err(Error::new(
            Kind::WrongWorld,
            format!("EKS cluster {name} is {found}, and {pinned} is configured"),
        )
        .hint(
            "use the credentials and region of the configured cluster, or correct cluster.arn under production (or staging) in gospel-release.yaml",
        )),
        None => Err(Error::config(format!("EKS cluster {name} is not pinned; it is {found}"))
            .hint(format!("if that is the right one, set cluster.arn: {found} under production (or staging) in gospel-release.yaml"))),
    }
}

async fn pinned_uid(cluster: &Inner, settings: &model::Cluster) -> Result<String> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let server = &cluster.identity.server;
    let found = cluster
        .retry
        .read(async || {
            let got = api.get("kube-system").await;
            got.map_err(|error| {
                kube_error(format!("get namespace kube-system from {server}, to know the cluster"), error)
            })
        })
        .await?;
    let uid = found.metadata.uid.unwrap_or_default();
    match settings.kube_system_uid.as_deref() {
        Some(pinned) if pinned == uid => Ok(uid),
        Some(pinned) => Err(Error::new(
            Kind::WrongWorld,
            format!("the cluster at {server} is kube-system:{uid}, and kube-system:{pinned} is configured"),
        )
        .hint(
            "select the configured cluster (cluster.kubeconfig, cluster.context), or correct cluster.kube_system_uid under production (or staging)",
        )),
        None => Err(Error::config(format!("the cluster at {server} is not pinned; its kube-system has uid {uid}"))
            .hint(format!("if that is the right one, set cluster.kube_system_uid: {uid} under production (or staging) in gospel-release.yaml"))),
    }
}

fn from_eks(info: &ClusterInfo) -> Result<Config> {
    let wrong = |what: &str| Error::outside(format!("EKS cluster {} has {what}", info.name));
    let url: http::Uri = info.endpoint.parse().map_err(|error| wrong("an endpoint that is no URL").because(error))?;
    let mut config = Config::new(url);
    let certificates = ca_of(info).map_err(|error| wrong("an unreadable CA").because(error))?;
    if certificates.is_empty() {
        return Err(wrong("no CA certificate"));
    }
    config.root_cert = Some(certificates);
    config.proxy_url = proxy(&config.cluster_url);
    Ok(config)
}

fn ca_of(info: &ClusterInfo) -> Result<Vec<Vec<u8>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(info.ca_pem.as_bytes()).map(|found| found.map(|der| der.to_vec())).collect()
}

async fn from_kubeconfig(settings: &model::Cluster) -> Result<Config> {
    let shown = settings.kubeconfig.as_ref().map_or("the kubeconfig".to_owned(), |path| path.display().to_string());
    let wrong = |error: kube::config::KubeconfigError| Error::config(format!("read {shown}")).because(error);
    let kubeconfig = match &settings.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    }
    .map_err(wrong)?;
    let names: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let context = match (&settings.context, names.as_slice()) {
        (Some(context), names) if names.contains(context) => context.clone(),
        (Some(context), _) => {
            return Err(Error::config(format!("{shown} has no context {context:?}"))
                .hint(format!("its contexts are: {}", names.join(", "))));
        }
        (None, [only]) => only.clone(),
        (None, _) => {
            return Err(Error::config(format!("{shown} has {} contexts, and none is configured", names.len()))
                .hint(format!("set cluster.context to one of: {}", names.join(", "))));
        }
    };
    let explicit = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == context)
        .and_then(|named| named.context.as_ref())
        .and_then(|c| kubeconfig.clusters.iter().find(|named| named.name == c.cluster))
        .and_then(|named| named.cluster.as_ref())
        .is_some_and(|cluster| cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()));
    let options = KubeConfigOptions { context: Some(context), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?;
    if !explicit {
        // The client library compares NO_PROXY with the proxy's own address instead of the server's.
        config.proxy_url = proxy(&config.cluster_url);
    }
    Ok(config)
}

/// The proxy for a URL by HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; never one for this machine itself.
fn proxy(url: &http::Uri) -> Option<http::Uri> {
    use base64::Engine;
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback {
        return None;
    }
    let found = Matcher::from_env().intercept(url)?;
    let mut proxy = url::Url::parse(&found.uri().to_string()).ok()?;
    // The matcher takes user and password out of the URL; the client wants them in it.
    let basic = found.basic_auth().and_then(|value| value.to_str().ok()?.strip_prefix("Basic ").map(ToOwned::to_owned));
    let decoded = basic.and_then(|b| base64::engine::general_purpose::STANDARD.decode(b).ok());
    if let Some((user, password)) = decoded.and_then(|b| {
        let text = String::from_utf8(b).ok()?;
        text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    }) {
        proxy.set_username(&user).ok()?;
        proxy.set_password(Some(&password)).ok()?;
    }
    proxy.as_str().parse().ok()
}

/// Whether a kubeconfig leads to the cluster that EKS describes: same address, same CA.
fn same_cluster(config: &Config, info: &ClusterInfo) -> Result<()> {
    let theirs = url::Url::parse(&info.endpoint).ok();
    let ours = url::Url::parse(&config.cluster_url.to_string()).ok();
    let place = |url: &url::Url| (url.host_str().map(str::to_lowercase), url.port_or_known_default());
    let wrong = |what: String| {
        Error::new(Kind::WrongWorld, what)
            .hint(format!("aws eks update-kubeconfig --name {}, and set cluster.context to the new context", info.name))
    };
    if ours.as_ref().map(place) != theirs.as_ref().map(place) {
        let (ours, theirs) = (&config.cluster_url, &info.endpoint);
        return Err(wrong(format!("the context leads to {ours}, and EKS cluster {} is at {theirs}", info.arn)));
    }
    let expected = ca_of(info).unwrap_or_default();
    let same_ca =
        config.root_cert.as_ref().is_some_and(|found| !found.is_empty() && found.iter().all(|c| expected.contains(c)));
    if config.accept_invalid_certs || !same_ca {
        return Err(wrong(format!("the context trusts another certificate authority than EKS cluster {}", info.arn)));
    }
    Ok(())
}

/// The client for everything but streams that upgrade: few connections, time-outs, no retries of its own, a token that is renewed.
fn client(mut config: Config, token: Option<EksToken>) -> Result<Client> {
    if config.proxy_url.is_some() {
        // The library knows every kind of proxy, and speaks HTTP/1.1 through it.
        return upgradable(config, Some(READ_TIMEOUT), token);
    }
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let wrong = |error: kube::Error| cannot_connect(&config, error.into());
    let connections = Connections::new(&config, READ_TIMEOUT)?;
    let stack = MapResultLayer::new(keep_retry_after).layer(connections);
    let stack = config.extra_headers_layer().map_err(wrong)?.layer(stack);
    let (base, namespace) = (config.base_uri_layer(), config.default_namespace.clone());
    Ok(match (token, config.auth_layer().map_err(wrong)?) {
        (Some(token), _) => {
            let sign = AsyncFilterLayer::new(move |request| sign_in(token.clone(), request));
            ClientBuilder::new(base.layer(sign.layer(stack)), namespace).build()
        }
        (None, Some(auth)) => ClientBuilder::new(base.layer(auth.layer(stack)), namespace).build(),
        (None, None) => ClientBuilder::new(base.layer(stack), namespace).build(),
    })
}

/// A client whose connections can be upgraded, which HTTP/2 cannot do: the library's own.
fn upgradable(mut config: Config, read_timeout: Option<Duration>, token: Option<EksToken>) -> Result<Client> {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = read_timeout;
    config.reset_reader_on_write = true;
    let builder = ClientBuilder::try_from(config.clone())
        .map_err(|error| cannot_connect(&config, error.into()))?
        .with_layer(&MapResultLayer::new(keep_retry_after));
    let Some(token) = token else { return Ok(builder.build()) };
    let sign = move |request: Request<Body>| sign_in(token.clone(), request);
    // The filter clones what is below it; a buffer can be cloned, the client's stack cannot.
    Ok(builder.with_layer(&BufferLayer::new(256)).with_layer(&AsyncFilterLayer::new(sign)).build())
}

async fn sign_in(token: EksToken, mut request: Request<Body>) -> Result<Request<Body>, BoxError> {
    let bearer = token.bearer().await?;
    let mut value = HeaderValue::from_str(&format!("Bearer {bearer}"))?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(request)
}

type Answer = Response<Box<DynBody>>;

fn keep_retry_after(result: Result<Answer, BoxError>) -> Result<Answer, BoxError> {
    let response = result?;
    if response.status() != StatusCode::TOO_MANY_REQUESTS {
        return Ok(response);
    }
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Err(Box::new(Throttled { retry_after: seconds.map(Duration::from_secs) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(endpoint: &str) -> ClusterInfo {
        let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
        ClusterInfo {
            name: "production".into(),
            arn: "arn:aws:eks:us-east-1:418272771234:cluster/production".into(),
            endpoint: endpoint.into(),
            ca_pem: ca.cert.pem(),
            version: "1.33".into(),
            status: "ACTIVE".into(),
        }
    }

    #[test]
    fn a_context_must_lead_to_the_very_cluster() {
        let eks = info("https://ABC.gr7.us-east-1.eks.amazonaws.com");
        let mut config = from_eks(&info("https://abc.gr7.us-east-1.eks.amazonaws.com:443/")).unwrap();
        let error = same_cluster(&config, &eks).unwrap_err();
        assert!(error.what().contains("certificate authority"), "{error}");
        config.root_cert = Some(ca_of(&eks).unwrap());
        same_cluster(&config, &eks).unwrap();
        config.accept_invalid_certs = true;
        assert_eq!(same_cluster(&config, &eks).unwrap_err().kind(), Kind::WrongWorld);
        let elsewhere = from_eks(&info("https://other.example")).unwrap();
        assert_eq!(same_cluster(&elsewhere, &eks).unwrap_err().kind(), Kind::WrongWorld);
    }

    #[tokio::test]
    async fn the_current_context_is_never_taken() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], \
            users: [], contexts: [{name: a, context: {cluster: c}}, {name: b, context: {cluster: c}}]}";
        std::fs::write(file.path(), text).unwrap();
        let mut settings = model::Cluster { kubeconfig: Some(file.path().into()), ..model::Cluster::default() };
        let error = from_kubeconfig(&settings).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.hints()[0].ends_with("a, b"), "{:?}", error.hints());
        settings.context = Some("c".into());
        assert!(from_kubeconfig(&settings).await.is_err());
        settings.context = Some("b".into());
        assert!(from_kubeconfig(&settings).await.unwrap().proxy_url.is_none());
        assert!(Cluster::connect(&model::Cluster::default(), None).await.is_err());
    }
}
