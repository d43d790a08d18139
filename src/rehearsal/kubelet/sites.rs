//! The public sites, and the loopback door to every address of the world.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::services::{ask_pod, endpoint, plain, respond};
use crate::rehearsal::World;

/// A public name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// `api.gospelib.com`: the load balancer in front of production's gateway.
    Api,
    /// `api.staging.gospelib.com`: the same for staging.
    StagingApi,
    /// `gospelib.com`
    Web,
    /// `admin.gospelib.com`
    Admin,
}

/// The site of a public name.
pub fn site(world: &World, host: &str) -> Option<Site> {
    let prefix = host.strip_suffix(&format!("{}.com", world.shape.project))?;
    match prefix {
        "" | "www." => Some(Site::Web),
        "admin." => Some(Site::Admin),
        "api." => Some(Site::Api),
        "api.staging." | "staging-api." => Some(Site::StagingApi),
        _ => None,
    }
}

pub async fn answer(world: &Arc<World>, site: Site, request: Request) -> Response {
    let page = |title: &str| {
        let page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
             <body><div id=\"root\"></div></body></html>\n"
        );
        let headers = [
            (header::SERVER, "AmazonS3"),
            (header::CACHE_CONTROL, "public, max-age=0"),
            (header::VIA, "1.1 5d2f1c0b7a.cloudfront.net (CloudFront)"),
            (HeaderName::from_static("x-amz-cf-id"), "cmVoZWFyc2FsIGFuc3dlcnMgZm9yIENsb3VkRnJvbnQ="),
        ];
        (headers, Html(page)).into_response()
    };
    let space = match site {
        Site::Web => return page("Gospelib"),
        Site::Admin => return page("Gospelib Admin"),
        Site::Api => world.shape.namespace("production"),
        Site::StagingApi => world.shape.namespace("staging"),
    };
    let Ok((pod, port)) = endpoint(world, &space, &world.shape.object("gateway"), "") else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "503 Service Temporarily Unavailable\n");
    };
    let answer = ask_pod(world, &pod, port, request).await;
    answer.unwrap_or_else(|| plain(StatusCode::BAD_GATEWAY, "502 Bad Gateway\n"))
}

/// Every address for a loopback listener (`reach: direct`): `/svc/<namespace>/<service>/<port>/<path>`,
/// `/host/<public name>/<path>`, and anything else by its Host header or, as a proxy, by its absolute URI.
pub fn direct(world: Arc<World>) -> Router {
    Router::new().fallback(open).with_state(world)
}

async fn open(State(world): State<Arc<World>>, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let absolute = request.uri().host().map(|host| (host.to_owned(), request.uri().port_u16().unwrap_or(80)));
    let (space, host, port, rest) = if let Some(rest) = path.strip_prefix("/svc/") {
        let mut parts = rest.splitn(4, '/');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (space, service, port, rest) = (next(), next(), next(), next());
        (space, service, port.parse().unwrap_or(80), rest)
    } else if let Some(rest) = path.strip_prefix("/host/") {
        let (host, rest) = rest.split_once('/').unwrap_or((rest, ""));
        ("default".into(), host.to_owned(), 443, rest.to_owned())
    } else {
        let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let (name, port) = header.rsplit_once(':').unwrap_or((header, "80"));
        let (host, port) = absolute.unwrap_or_else(|| (name.to_owned(), port.parse().unwrap_or(80)));
        ("default".into(), host, port, path.trim_start_matches('/').to_owned())
    };
    match format!("/{rest}{query}").parse() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return plain(StatusCode::BAD_REQUEST, "bad path\n"),
    }
    respond(&world, &space, &host, port, request).await
}
