//! A way to one address, as it is configured.

use std::time::Duration;

use url::form_urlencoded;

use super::answer::HttpAnswer;
use super::{api_proxy, job, port_forward};
use crate::adapters::cluster::Cluster;
use crate::adapters::http;
use crate::clock::Stopwatch;
use crate::config::model::{self, ReachBy};
use crate::error::{Attempting, Class, Error, Result};

/// How much of a health answer is kept.
const BODY_LIMIT: usize = 64 * 1024;
/// How much of a query's answer is kept.
const QUERY_LIMIT: usize = 8 * 1024 * 1024;

/// The way to one service; clones share connections.
#[derive(Clone)]
pub struct Route(Way);

#[derive(Clone)]
enum Way {
    Direct { base: String, client: reqwest::Client },
    PortForward { cluster: Cluster, place: Place },
    ApiProxy { cluster: Cluster, place: Place },
    Job { cluster: Cluster, place: Place, image: String },
}

/// A port of a Kubernetes Service.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub namespace: String,
    pub service: String,
    pub port: u16,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "service {}:{} in {}", self.service, self.port, self.namespace)
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// Path and query; begins with `/`.
    pub path: String,
    /// A form to POST (`application/x-www-form-urlencoded`); `None` is a GET.
    pub form: Option<String>,
    pub limit: usize,
    pub timeout: Duration,
}

impl Ask {
    fn verb(&self) -> &'static str {
        if self.form.is_some() { "POST" } else { "GET" }
    }

    pub fn method(&self) -> ::http::Method {
        if self.form.is_some() { ::http::Method::POST } else { ::http::Method::GET }
    }
}

impl Route {
    /// The way that `settings` describe, for the service whose Deployment is `deployment`, in `namespace` unless the settings
    /// name another.
    ///
    /// # Errors
    /// [`crate::Kind::Config`] when what this way needs is not configured (a URL, a port, a job image, a cluster).
    pub fn new(settings: &model::Reach, namespace: &str, deployment: &str, cluster: Option<&Cluster>) -> Result<Self> {
        Self::sharing(&mut None, settings, namespace, deployment, cluster)
    }

    /// As [`Route::new`], for one service of many: `http` is made for the first that is reached directly, and its connections are
    /// shared by all.
    pub fn sharing(
        http: &mut Option<reqwest::Client>,
        settings: &model::Reach,
        namespace: &str,
        deployment: &str,
        cluster: Option<&Cluster>,
    ) -> Result<Self> {
        let namespace = settings.namespace.as_deref().unwrap_or(namespace);
        let fill = |text: &str| text.replace("{service}", deployment).replace("{namespace}", namespace);
        if settings.by == ReachBy::Direct {
            let url = settings.url.as_deref().map(fill);
            let url = url.ok_or_else(|| Error::config("reach: by direct needs a url"))?;
            let parsed = url::Url::parse(&url)
                .map_err(|error| Error::config(format!("reach: {url:?} is not a URL")).because(error))?;
            if !matches!(parsed.scheme(), "http" | "https") {
                return Err(Error::config(format!("reach: {url:?} is neither http nor https")));
            }
            let base = url.trim_end_matches('/').to_owned();
            let client = match http {
                Some(client) => client.clone(),
                None => http.insert(http::client()?).clone(),
            };
            return Ok(Self(Way::Direct { base, client }));
        }
        let place = Place {
            namespace: namespace.to_owned(),
            service: fill(settings.service.as_deref().unwrap_or("{service}")),
            port: settings.port.ok_or_else(|| Error::config(format!("reach: {} needs a port", name(settings.by))))?,
        };
        let cluster = cluster.cloned();
        let cluster = cluster.ok_or_else(|| Error::config(format!("reach: {} needs a cluster", name(settings.by))))?;
        Ok(Self(match (settings.by, settings.job_image.clone()) {
            (ReachBy::PortForward, _) => Way::PortForward { cluster, place },
            (ReachBy::Job, Some(image)) => Way::Job { cluster, place, image },
            (ReachBy::Job, None) => {
                let hint = "set job_image to an image that has curl, for example curlimages/curl pinned by digest";
                return Err(Error::config("reach: by job needs a job_image").hint(hint));
            }
            (ReachBy::ApiProxy | ReachBy::Direct, _) => Way::ApiProxy { cluster, place },
        }))
    }

    /// One GET, tried once. `path` begins with `/`.
    ///
    /// # Errors
    /// When nobody answers within `timeout` (wall time): transient, unless the way itself is forbidden or leads nowhere. An
    /// answer of the service is never an error here, whatever its status.
    pub async fn get(&self, path: &str, timeout: Duration) -> Result<HttpAnswer> {
        self.ask(Ask { path: path.to_owned(), form: None, limit: BODY_LIMIT, timeout }).await
    }

    /// One POST of a form (for queries too long for a URL), tried once. It must change nothing: callers may repeat it.
    ///
    /// # Errors
    /// As [`Route::get`].
    pub async fn post_form(&self, path: &str, form: &[(&str, &str)], timeout: Duration) -> Result<HttpAnswer> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.ask(Ask { path: path.to_owned(), form: Some(form), limit: QUERY_LIMIT, timeout }).await
    }

    async fn ask(&self, ask: Ask) -> Result<HttpAnswer> {
        if !ask.path.starts_with('/') || ask.path.contains(['\r', '\n', ' ', '#']) {
            return Err(Error::config(format!("{:?} is not a path of a URL", ask.path)));
        }
        let asked = async {
            match &self.0 {
                Way::Direct { base, client } => direct(client, base, &ask).await,
                Way::PortForward { cluster, place } => port_forward::ask(cluster, place, &ask).await,
                Way::ApiProxy { cluster, place } => api_proxy::ask(cluster, place, &ask).await,
                // The Job has its own deadline: being scheduled and pulled is no fault of the service.
                Way::Job { cluster, place, image } => return job::ask(cluster, place, image, &ask).await,
            }
        };
        let patience = match &self.0 {
            Way::Job { .. } => job::PATIENCE + ask.timeout * 2,
            _ => ask.timeout,
        };
        let what = || format!("{} {} of {}", ask.verb(), ask.path, self.described());
        match tokio::time::timeout(patience, asked).await {
            Ok(answer) => answer.attempting(what),
            Err(_) => Err(Error::outside(format!("{}: no answer within {} ms", what(), patience.as_millis()))
                .class(Class::Transient { retry_after: None })),
        }
    }

    /// Where this leads and how, for people: `service gospelib-gateway:8080 in gospelib-staging (api-proxy)`.
    #[must_use]
    pub fn described(&self) -> String {
        match &self.0 {
            Way::Direct { base, .. } => http::redacted(base),
            Way::PortForward { place, .. } => format!("{place} (port-forward)"),
            Way::ApiProxy { place, .. } => format!("{place} (api-proxy)"),
            Way::Job { place, .. } => format!("{place} (job)"),
        }
    }
}

fn name(by: ReachBy) -> &'static str {
    match by {
        ReachBy::Direct => "by direct",
        ReachBy::PortForward => "by port-forward",
        ReachBy::ApiProxy => "by api-proxy",
        ReachBy::Job => "by job",
    }
}

async fn direct(client: &reqwest::Client, base: &str, ask: &Ask) -> Result<HttpAnswer> {
    let watch = Stopwatch::start();
    let request = client.request(ask.method(), format!("{base}{}", ask.path)).timeout(ask.timeout);
    let request = match &ask.form {
        Some(form) => request.header(::http::header::CONTENT_TYPE, FORM).body(form.clone()),
        None => request,
    };
    let response = request.send().await.map_err(|error| http::unreachable("connect".into(), error))?;
    let status = response.status().as_u16();
    let body = reqwest::Body::from(response);
    let (body, truncated) = super::answer::read_body(body, ask.limit).await?;
    Ok(HttpAnswer { status, body, truncated, elapsed: watch.elapsed() })
}

/// Content type of a POSTed form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::error::Kind;

    #[test]
    fn what_a_way_needs_is_asked_for() {
        let error = |reach: &model::Reach| match Route::new(reach, "ns", "gospelib-gateway", None) {
            Ok(route) => panic!("{}", route.described()),
            Err(error) => error,
        };
        let direct = model::Reach { by: ReachBy::Direct, ..model::Reach::default() };
        assert_eq!(error(&direct).kind(), Kind::Config);
        assert!(error(&model::Reach { url: Some("ftp://x".into()), ..direct }).what().contains("neither"));
        assert!(error(&model::Reach::default()).what().contains("port"));
        assert!(error(&model::Reach { port: Some(8080), ..model::Reach::default() }).what().contains("cluster"));
    }

    #[tokio::test]
    async fn a_direct_answer_is_kept_up_to_its_limit() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            let body = "x".repeat(BODY_LIMIT + 10);
            let head_out = format!("HTTP/1.1 503 No\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head_out.as_bytes()).await.unwrap();
            let _ = stream.write_all(body.as_bytes()).await;
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        let url = Some(format!("http://{address}/{{namespace}}/{{service}}/"));
        let reach = model::Reach { by: ReachBy::Direct, url, ..model::Reach::default() };
        let route = Route::new(&reach, "ns", "gospelib-gateway", None).unwrap();
        let answer = route.get("/health", Duration::from_secs(5)).await.unwrap();
        assert_eq!((answer.status, answer.body.len(), answer.truncated), (503, BODY_LIMIT, true));
        assert!(server.await.unwrap().starts_with("GET /ns/gospelib-gateway/health HTTP/1.1"));
        assert!(route.get("/health", Duration::from_millis(300)).await.unwrap_err().is_transient());
        assert_eq!(route.get("health", Duration::from_secs(1)).await.unwrap_err().kind(), Kind::Config);
    }
}
