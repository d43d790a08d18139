//! A request, taken apart: what the path names and what the query asks.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use http::{HeaderMap, Method, Uri, header};
use jiff::Timestamp;
use serde_json::Value;

use super::Status;
use super::auth::User;
use super::resources::{self, Resource};

/// The largest body that a real API server takes (3 MiB).
const BODY: usize = 3 << 20;

/// What a path below a served group names.
pub(super) struct Target {
    pub resource: &'static Resource,
    /// `None`: cluster scope, or all namespaces.
    pub ns: Option<String>,
    pub name: Option<String>,
    pub sub: Option<String>,
}

/// Everything of a request but its target.
pub(super) struct Call {
    pub method: Method,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub user: String,
    /// World time at which it was read.
    pub now: Timestamp,
}

impl Call {
    pub async fn read(request: Request, now: Timestamp) -> Result<Self, Status> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            path: decode(parts.uri.path()),
            user: parts.extensions.get::<User>().map(|user| user.0.clone()).unwrap_or_default(),
            method: parts.method,
            headers: parts.headers,
            body: read_body(body).await?,
            now,
        })
    }

    /// A query parameter that is there and not empty.
    pub fn ask(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.ask(name), Some("true" | "1" | "True"))
    }

    pub fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn dry_run(&self) -> Result<bool, Status> {
        match self.ask("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                Err(Status::bad_request(format!("dryRun: Unsupported value: \"{other}\": only All is served")))
            }
        }
    }

    /// Who writes: `fieldManager`, else the first word of the user agent.
    pub fn manager(&self) -> String {
        let agent = self.header(header::USER_AGENT).split('/').next().unwrap_or_default();
        let name = self.ask("fieldManager").unwrap_or(if agent.is_empty() { "unknown" } else { agent });
        name.chars().take(128).collect()
    }

    /// The media type of the body, without parameters.
    pub fn media(&self) -> &str {
        self.header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim()
    }

    /// The body as an object, from JSON or YAML.
    pub fn object(&self) -> Result<Value, Status> {
        let media = self.media();
        if media.contains("protobuf") {
            return Err(Status::unsupported_media("the rehearsal speaks JSON and YAML, not protobuf"));
        }
        if media.ends_with("yaml") {
            return serde_yaml::from_slice(&self.body)
                .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Status::bad_request(format!("the object provided is unrecognized: {error}")))
    }
}

async fn read_body(body: Body) -> Result<Bytes, Status> {
    let too_large = |_| Status::new(413, "RequestEntityTooLarge", format!("limit is {BODY} bytes"));
    to_bytes(body, BODY).await.map_err(too_large)
}

/// Percent-decodes a path; what is not an escape stays.
fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| path.get(at + 1..at + 3)).flatten();
        if let Some(byte) = escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads `/api/v1/…` or `/apis/<group>/<version>/…`.
pub(super) fn target(path: &str) -> Result<Target, Status> {
    let unknown = || Status::not_simulated(&format!("the path {path}"));
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version) = match parts.as_slice() {
        ["api", version, _, ..] => ("", *version),
        ["apis", group, version, _, ..] => (*group, *version),
        _ => return Err(unknown()),
    };
    parts.drain(..if group.is_empty() { 2 } else { 3 });
    let mut ns = None;
    // `namespaces/x/pods` is inside a namespace; `namespaces/x` and `namespaces/x/status` are the namespace itself.
    if parts.len() > 2 && parts[0] == "namespaces" && !matches!(parts[2], "status" | "finalize") {
        ns = Some(parts[1].to_owned());
        parts.drain(..2);
    }
    let resource = resources::served(group, version, parts[0]).ok_or_else(|| not_served(group, version, parts[0]))?;
    if ns.is_some() && !resource.namespaced || parts.len() > 3 {
        return Err(unknown());
    }
    let owned = |at: usize| parts.get(at).map(|part| (*part).to_owned()).filter(|part| !part.is_empty());
    let target = Target { resource, ns, name: owned(1), sub: owned(2) };
    if target.name.is_some() && resource.namespaced && target.ns.is_none() {
        return Err(unknown());
    }
    Ok(target)
}

/// What a request asks for, in the words of RBAC: `list pods`, `watch deployments`, `proxy services`, `get version`.
pub fn verb_and_resource(method: &Method, uri: &Uri) -> String {
    let query = uri.query().unwrap_or_default();
    let Ok(path) = target(uri.path().split_once("/proxy").map_or(uri.path(), |(before, _)| before)) else {
        return format!("{} {}", method.as_str().to_lowercase(), uri.path().trim_matches('/'));
    };
    let watches = query.split('&').any(|part| matches!(part, "watch=true" | "watch=1"));
    let verb = match (method.as_str(), path.name.is_some()) {
        _ if uri.path().contains("/proxy") => "proxy",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) if watches => "watch",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        (other, _) => other,
    };
    let sub = path.sub.map(|sub| format!("/{sub}")).unwrap_or_default();
    format!("{verb} {}{sub}", path.resource.plural)
}

/// A group that is served in another version answers as a real server does: 404. Others say what they are.
fn not_served(group: &str, version: &str, plural: &str) -> Status {
    let neighbour = resources::RESOURCES.iter().any(|r| r.group == group && r.plural == plural);
    if neighbour && !group.is_empty() {
        return Status::new(404, "NotFound", "the server could not find the requested resource");
    }
    let name = if group.is_empty() { format!("{plural} ({version})") } else { format!("{plural}.{group}/{version}") };
    Status::not_simulated(&format!("the resource {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let t = target("/api/v1/namespaces/n/pods/p/status").unwrap();
        assert_eq!(
            (t.resource.plural, t.ns.as_deref(), t.name.as_deref(), t.sub.as_deref()),
            ("pods", Some("n"), Some("p"), Some("status"))
        );
        let t = target("/api/v1/namespaces/n").unwrap();
        assert_eq!((t.resource.plural, t.ns, t.name.as_deref()), ("namespaces", None, Some("n")));
        let t = target("/apis/apps/v1/deployments").unwrap();
        assert_eq!((t.resource.plural, t.ns, t.name), ("deployments", None, None));
        assert_eq!(target("/apis/external-secrets.io/v1beta1/externalsecrets").err().unwrap().code, 404);
        assert_eq!(target("/apis/apps/v1/statefulsets").err().unwrap().code, 501);
        assert_eq!(target("/api/v1/pods/p").err().unwrap().code, 501);
        assert_eq!(decode("/a%2Fb%zz"), "/a/b%zz");
    }
}
