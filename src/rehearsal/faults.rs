//! Bad days: a share of requests is answered with 429, 5xx, a reset or slowly; some writes take effect all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::middleware::{self, Next};
use axum::{Json, Router, response::IntoResponse};
use serde_json::json;

/// Whose errors are imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    Kubernetes,
    GitHub,
    Git,
    Aws,
    Prometheus,
    Webhook,
}

/// The fault plan of one API: a function of the seed, the route and how often the route was asked.
#[derive(Debug)]
struct Faults {
    api: Api,
    seed: u64,
    /// 0 to 1.
    share: f64,
    routes: Mutex<BTreeMap<String, Route>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Route {
    asked: u64,
    bad_in_a_row: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    TooMany,
    Status(u16),
    Reset,
    Slow,
    /// The request takes effect, and its answer is lost.
    AfterEffect(u16),
    ResetAfterEffect,
}

/// How often in a row a route may answer badly; a client that tries three times gets through.
const MOST_IN_A_ROW: u8 = 2;

/// Puts bad answers in front of `router`; with a share of 0 it is left as it is.
pub fn layer(router: Router, api: Api, seed: u64, share: f64) -> Router {
    if share <= 0.0 {
        return router;
    }
    let faults = Arc::new(Faults { api, seed, share, routes: Mutex::default() });
    router.layer(middleware::from_fn_with_state(faults, answer))
}

async fn answer(State(faults): State<Arc<Faults>>, request: Request, next: Next) -> Response<Body> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let fault = if exempt(&path) { None } else { faults.next(&method, &path) };
    match fault {
        None => next.run(request).await,
        Some(Fault::TooMany) => faults.too_many(&request),
        Some(Fault::Status(status)) => faults.broken(status),
        Some(Fault::Reset) => reset(),
        Some(Fault::Slow) => {
            tokio::time::sleep(Duration::from_millis(200)).await;
            next.run(request).await
        }
        Some(Fault::AfterEffect(status)) => {
            drop(next.run(request).await);
            faults.broken(status)
        }
        Some(Fault::ResetAfterEffect) => {
            drop(next.run(request).await);
            reset()
        }
    }
}

/// Port-forwards are streams, and a proxied health endpoint is the service's own word: neither is an API's answer.
fn exempt(path: &str) -> bool {
    path.contains("/portforward") || (path.contains("/proxy/") && !path.contains("/api/v1/query"))
}

impl Faults {
    fn next(&self, method: &http::Method, path: &str) -> Option<Fault> {
        let key = format!("{:?} {method} {path}", self.api);
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let route = routes.entry(key.clone()).or_default();
        route.asked += 1;
        let start = key.bytes().fold(self.seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut random = fastrand::Rng::with_seed(start.wrapping_add(route.asked.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        if random.f64() >= self.share || route.bad_in_a_row >= MOST_IN_A_ROW {
            route.bad_in_a_row = 0;
            return None;
        }
        let mut kinds =
            vec![Fault::TooMany, Fault::Status(500), Fault::Status(502), Fault::Status(503), Fault::Reset, Fault::Slow];
        // `git` speaks POST for reading too; its writes are judged by what the remote says afterwards.
        if !matches!(*method, http::Method::GET | http::Method::HEAD) && self.api != Api::Git {
            kinds.extend([Fault::AfterEffect(502), Fault::AfterEffect(502), Fault::ResetAfterEffect]);
        }
        let fault = kinds[random.usize(..kinds.len())];
        if fault != Fault::Slow {
            route.bad_in_a_row += 1;
        }
        Some(fault)
    }

    /// 429 with `Retry-After: 1`, in the form that the API uses.
    fn too_many(&self, request: &Request) -> Response<Body> {
        let json_target = request.headers().contains_key("x-amz-target");
        let mut response = match self.api {
            Api::Kubernetes => kubernetes(429, "TooManyRequests", "the server has received too many requests"),
            Api::GitHub => {
                let text = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
                let url = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api";
                (StatusCode::TOO_MANY_REQUESTS, Json(json!({ "message": text, "documentation_url": url })))
                    .into_response()
            }
            Api::Aws if json_target => {
                aws(400, "ThrottlingException", json!({ "__type": "ThrottlingException", "message": "Rate exceeded" }))
            }
            Api::Aws => aws(429, "TooManyRequestsException", json!({ "message": "Rate exceeded" })),
            Api::Git | Api::Prometheus | Api::Webhook => StatusCode::TOO_MANY_REQUESTS.into_response(),
        };
        let mut set = |name: &'static str, value: &'static str| {
            response.headers_mut().insert(name, http::HeaderValue::from_static(value));
        };
        set("retry-after", "1");
        if self.api == Api::GitHub {
            set("x-ratelimit-limit", "5000");
            set("x-ratelimit-remaining", "4321");
            set("x-ratelimit-used", "679");
            set("x-ratelimit-resource", "core");
        }
        response
    }

    /// A 5xx in the form that the API, or what stands in front of it, uses.
    fn broken(&self, status: u16) -> Response<Body> {
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        if status == 502 {
            let page =
                "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>502 Bad Gateway</body>\r\n</html>";
            return (code, [("content-type", "text/html")], page).into_response();
        }
        match self.api {
            Api::Kubernetes if status == 503 => kubernetes(status, "ServiceUnavailable", "apiserver is shutting down"),
            Api::Kubernetes => {
                kubernetes(status, "InternalError", "Internal error occurred: etcdserver: leader changed")
            }
            Api::GitHub => (code, Json(json!({ "message": "Server Error" }))).into_response(),
            Api::Aws if status == 503 => {
                aws(status, "ServiceUnavailableException", json!({ "message": "Service is unavailable" }))
            }
            Api::Aws => aws(status, "ServerException", json!({ "message": "Internal failure" })),
            Api::Prometheus => {
                let body = json!({ "status": "error", "errorType": "internal", "error": "storage is not ready" });
                (code, Json(body)).into_response()
            }
            Api::Git | Api::Webhook => code.into_response(),
        }
    }
}

fn kubernetes(code: u16, reason: &str, message: &str) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": { "retryAfterSeconds": 1 }, "code": code,
    });
    (StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(status)).into_response()
}

fn aws(code: u16, kind: &'static str, body: serde_json::Value) -> Response<Body> {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, [("x-amzn-errortype", kind), ("x-amzn-requestid", "00000000-0000-4000-8000-00000000bad0")], Json(body))
        .into_response()
}

/// An answer that breaks off before its first byte of body: hyper then closes the connection.
fn reset() -> Response<Body> {
    let broken = futures::stream::once(async {
        Err::<bytes::Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    Response::new(Body::from_stream(broken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_repeatable_about_as_many_as_asked_and_never_three_in_a_row() {
        let plan = || {
            let faults = Faults { api: Api::GitHub, seed: 7, share: 0.3, routes: Mutex::default() };
            (0..1000).map(|_| faults.next(&http::Method::POST, "/repos")).collect::<Vec<_>>()
        };
        let first = plan();
        assert_eq!(first, plan());
        let bad = first.iter().filter(|fault| fault.is_some()).count();
        assert!((200..350).contains(&bad), "{bad}");
        assert!(first.contains(&Some(Fault::AfterEffect(502))));
        let hard = |fault: &Option<Fault>| !matches!(fault, None | Some(Fault::Slow));
        assert!(!first.windows(3).any(|three| three.iter().all(hard)));
    }
}
