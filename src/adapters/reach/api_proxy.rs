//! Through the API server's Service proxy.

use http::header::CONTENT_TYPE;
use kube::client::Body;
use serde::Deserialize;

use super::answer::{HttpAnswer, read_body};
use super::route::{Ask, FORM, Place};
use crate::adapters::cluster::{Cluster, classify_status, kube_error};
use crate::clock::Stopwatch;
use crate::error::{Class, Error, Result};

pub(super) async fn ask(cluster: &Cluster, place: &Place, ask: &Ask) -> Result<HttpAnswer> {
    let Place { namespace, service, port } = place;
    let url = format!("/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy{}", ask.path);
    let mut request = http::Request::builder().method(ask.method()).uri(url);
    if ask.form.is_some() {
        request = request.header(CONTENT_TYPE, FORM);
    }
    let body = Body::from(ask.form.clone().unwrap_or_default().into_bytes());
    let request = request.body(body).map_err(|error| Error::config("make a request").because(error))?;
    let watch = Stopwatch::start();
    let sent = cluster.client().send(request).await;
    let response = sent.map_err(|error| kube_error("ask the API server's proxy", error))?;
    let status = response.status().as_u16();
    let json =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let (body, truncated) = read_body(response.into_body(), ask.limit).await?;
    if status >= 400
        && json
        && let Some(error) = of_the_proxy_itself(status, &body)
    {
        return Err(error);
    }
    Ok(HttpAnswer { status, body, truncated, elapsed: watch.elapsed() })
}

/// The API server's own failures are `Status` objects; those of the service are whatever it writes.
fn of_the_proxy_itself(status: u16, body: &[u8]) -> Option<Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        kind: String,
        api_version: String,
        #[serde(default)]
        message: String,
    }
    let found: Status = serde_json::from_slice(body).ok()?;
    if found.kind != "Status" || found.api_version != "v1" {
        return None;
    }
    let class = classify_status(status, None);
    let message = found.message;
    let error = if message.contains("no endpoints available") {
        Error::outside("no pod of the service is ready")
    } else if message.contains("error trying to reach service") {
        Error::outside("the API server cannot connect to the service's pod")
    } else {
        Error::outside("the API server does not pass the request on")
    };
    let error = error.class(class).because(format!("{message} (HTTP {status})"));
    Some(match class {
        Class::Denied => error.hint("grant get and create on services/proxy, or choose another way in `reach`"),
        Class::NotFound => error.hint("check reach.service, reach.namespace and reach.port"),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_own_503_is_told_from_the_services() {
        let own = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no endpoints available for service \"gospelib-gateway\"","reason":"ServiceUnavailable","code":503}"#;
        let error = of_the_proxy_itself(503, own).unwrap();
        assert!(error.is_transient());
        assert_eq!(error.what(), "no pod of the service is ready");
        assert!(of_the_proxy_itself(503, br#"{"status":"down"}"#).is_none());
        assert!(of_the_proxy_itself(503, b"upstream unavailable").is_none());
        let denied = br#"{"kind":"Status","apiVersion":"v1","message":"services is forbidden"}"#;
        assert_eq!(of_the_proxy_itself(403, denied).unwrap().classified(), Class::Denied);
    }
}
