//! What every answer has: authorisation, errors in GitHub's form, pages, ETag, rate-limit headers.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::json::Links;
use crate::rehearsal::World;

pub type Answer = Result<Response, fail::Failure>;

/// What a handler knows of its caller.
pub struct Cx {
    pub world: Arc<World>,
    pub links: Links,
    /// Whose token it is.
    pub login: String,
    pub query: Query,
}

/// The query string, decoded.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    fn of(text: &str) -> Self {
        Self(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is absent, or is this.
    pub fn allows(&self, name: &str, value: &str) -> bool {
        self.get(name).is_none_or(|wanted| wanted == value)
    }

    fn number(&self, name: &str, otherwise: usize) -> usize {
        self.get(name).and_then(|text| text.parse().ok()).filter(|n| *n > 0).unwrap_or(otherwise)
    }
}

impl FromRequestParts<Arc<World>> for Cx {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, world: &Arc<World>) -> Result<Self, Infallible> {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
        let base = world.hub.base().map_or_else(|| format!("http://{host}"), str::to_owned);
        let links = Links { base, slug: world.shape.slug.clone() };
        let login = login(&parts.headers).unwrap_or_default();
        Ok(Self { world: world.clone(), links, login, query: Query::of(parts.uri.query().unwrap_or_default()) })
    }
}

/// The person behind the token; `None` where there is none or it is not ours.
fn login(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    match token.trim().strip_prefix("ghp_rehearsal").filter(|_| known)? {
        "" => Some("dana-dev".to_owned()),
        rest => rest.strip_prefix('_').map(str::to_owned),
    }
}

pub fn ok(value: Value) -> Response {
    with_status(StatusCode::OK, value)
}

pub fn with_status(status: StatusCode, value: Value) -> Response {
    let json = (header::CONTENT_TYPE, "application/json; charset=utf-8");
    (status, [json], value.to_string()).into_response()
}

/// One page of a list, as the list itself, with its `Link` header.
pub fn page(cx: &Cx, path: &str, items: Vec<Value>) -> Response {
    let (items, link) = cut(cx, path, items);
    linked(ok(Value::Array(items)), link)
}

/// One page of a list, as `{"total_count": …, <name>: […]}`.
pub fn counted(cx: &Cx, path: &str, name: &str, items: Vec<Value>) -> Response {
    let total = items.len();
    let (items, link) = cut(cx, path, items);
    linked(ok(json!({"total_count": total, name: items})), link)
}

/// One page of a list inside a larger object.
pub fn page_within(cx: &Cx, path: &str, mut value: Value, name: &str, items: Vec<Value>) -> Response {
    let (items, link) = cut(cx, path, items);
    value[name] = Value::Array(items);
    linked(ok(value), link)
}

fn linked(mut response: Response, link: Option<String>) -> Response {
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

fn cut(cx: &Cx, path: &str, items: Vec<Value>) -> (Vec<Value>, Option<String>) {
    let size = cx.query.number("per_page", 30).min(100);
    let page = cx.query.number("page", 1);
    let last = items.len().div_ceil(size).max(1);
    let address = |page: usize| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(cx.query.0.iter().filter(|(key, _)| key != "page"));
        query.append_pair("page", &page.to_string());
        format!("{}?{}", cx.links.api(path), query.finish())
    };
    let mut links = Vec::new();
    if page > 1 {
        links.push(format!("<{}>; rel=\"prev\"", address(page - 1)));
        links.push(format!("<{}>; rel=\"first\"", address(1)));
    }
    if page < last {
        links.push(format!("<{}>; rel=\"next\"", address(page + 1)));
        links.push(format!("<{}>; rel=\"last\"", address(last)));
    }
    let items = items.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect();
    (items, (!links.is_empty()).then(|| links.join(", ")))
}

/// Authorisation before, headers after.
pub async fn envelope(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let count = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let wanted = request.headers().get(header::IF_NONE_MATCH).cloned();
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    let ours = {
        let mut parts = request.uri().path().split('/').skip(1);
        let slug = |owner: Option<&str>, name: Option<&str>| {
            format!("{}/{}", owner.unwrap_or_default(), name.unwrap_or_default()) == world.shape.slug
        };
        parts.next() != Some("repos") || slug(parts.next(), parts.next())
    };
    let response = if request.headers().get(header::AUTHORIZATION).is_some() && login(request.headers()).is_none() {
        fail::of(StatusCode::UNAUTHORIZED, "Bad credentials").into_response()
    } else if login(request.headers()).is_none() {
        fail::of(StatusCode::UNAUTHORIZED, "Requires authentication").into_response()
    } else if ours {
        next.run(request).await
    } else {
        fail::not_found().into_response()
    };
    let mut response =
        if reads && response.status() == StatusCode::OK { tagged(response, wanted.as_ref()).await } else { response };
    let headers = response.headers_mut();
    let reset = world.clock.wall().as_second() + 3600;
    let used = count % 5000;
    for (name, value) in [
        ("x-github-api-version-selected", "2022-11-28".to_owned()),
        ("x-github-media-type", "github.v3; format=json".to_owned()),
        ("x-github-request-id", format!("{:04X}:{count:06X}", world.seed & 0xffff)),
        ("x-ratelimit-limit", "5000".to_owned()),
        ("x-ratelimit-remaining", (5000 - used).to_string()),
        ("x-ratelimit-used", used.to_string()),
        ("x-ratelimit-reset", reset.to_string()),
        ("x-ratelimit-resource", "core".to_owned()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// Adds the ETag, and answers 304 to whoever has these bytes already.
async fn tagged(response: Response, wanted: Option<&HeaderValue>) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let hash = Sha256::digest(&bytes);
    let tag = format!("W/\"{hash:x}\"");
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        if wanted == Some(&tag) {
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers.remove(header::CONTENT_TYPE);
            parts.headers.insert(header::ETAG, tag);
            return Response::from_parts(parts, Body::empty());
        }
        parts.headers.insert(header::ETAG, tag);
    }
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=60, s-maxage=60"));
    Response::from_parts(parts, Body::from(bytes))
}

/// A route that is GitHub's, perhaps, and not the rehearsal's.
pub async fn unknown(request: Request) -> Response {
    let what = format!("{} {} is not rehearsed", request.method(), request.uri().path());
    fail::of(StatusCode::NOT_IMPLEMENTED, &what).into_response()
}

/// A request's body as JSON.
pub fn body(bytes: &Bytes) -> Result<Value, fail::Failure> {
    serde_json::from_slice(bytes).map_err(|_| fail::of(StatusCode::BAD_REQUEST, "Problems parsing JSON"))
}

/// Errors in GitHub's form.
pub mod fail {
    use super::{IntoResponse, Response, StatusCode, Value, json, with_status};

    pub struct Failure(StatusCode, Value);

    impl IntoResponse for Failure {
        fn into_response(self) -> Response {
            with_status(self.0, self.1)
        }
    }

    pub fn of(status: StatusCode, message: &str) -> Failure {
        let status_text = status.as_str().to_owned();
        let body =
            json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": status_text});
        Failure(status, body)
    }

    pub fn not_found() -> Failure {
        of(StatusCode::NOT_FOUND, "Not Found")
    }

    /// 422, with the field that is wrong.
    pub fn invalid(resource: &str, field: &str, code: &str) -> Failure {
        let Failure(status, mut body) = of(StatusCode::UNPROCESSABLE_ENTITY, "Validation Failed");
        body["errors"] = json!([{"resource": resource, "field": field, "code": code}]);
        Failure(status, body)
    }
}
