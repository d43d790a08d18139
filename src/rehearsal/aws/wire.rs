//! What the AWS services have in common on the wire: SigV4 scopes, request ids, and errors in each protocol's form.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use bytes::Bytes;
use serde_json::{Value, json};

/// One request, taken apart.
pub(super) struct Call {
    pub method: Method,
    /// Path segments, percent-decoded.
    pub path: Vec<String>,
    /// Query and, for the Query protocol, the form.
    pub params: BTreeMap<String, String>,
    /// The operation of `X-Amz-Target`: `DescribeImages`.
    pub operation: String,
    pub body: Value,
    /// Service of the credential scope: `ecr`; `None` where the request is not signed.
    pub service: Option<String>,
    /// Access key of the credential scope.
    pub key: Option<String>,
    pub protocol: Protocol,
    /// Host and port that were asked.
    pub host: String,
    /// `accept-language` and friends are ignored; the id goes back in each answer.
    pub request_id: String,
}

/// How a service takes its parameters and gives its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `awsQuery`: a form in, XML out.
    Query,
    /// `awsJson1_1`: the operation in `X-Amz-Target`.
    Json,
    /// `restJson1`: the operation is the route.
    Rest,
}

/// An error as AWS gives it.
#[derive(Debug)]
pub(super) struct Fault {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

impl Fault {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// What the rehearsal does not have: 501, which AWS itself never answers here.
    pub fn not_rehearsed(what: impl std::fmt::Display) -> Self {
        Self::new(501, "NotImplemented", format!("the rehearsal has no {what}"))
    }
}

impl Call {
    pub fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Self {
        let mut params: BTreeMap<String, String> = pairs(uri.query().unwrap_or_default().as_bytes());
        let target = header(headers, "x-amz-target");
        let form = header(headers, "content-type").starts_with("application/x-www-form-urlencoded");
        if form {
            params.extend(pairs(body));
        }
        let protocol = match () {
            () if !target.is_empty() => Protocol::Json,
            () if params.contains_key("Action") => Protocol::Query,
            () => Protocol::Rest,
        };
        let (key, service) = scope(headers, &params).unzip();
        Self {
            method: method.clone(),
            path: uri.path().split('/').filter(|part| !part.is_empty()).map(percent_decoded).collect(),
            service,
            key,
            operation: target.rsplit('.').next().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(body).unwrap_or(Value::Null),
            params,
            protocol,
            host: header(headers, "host").to_owned(),
            request_id: next_request_id(),
        }
    }

    /// A text member of the JSON body.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.body[name].as_str()
    }
}

/// Access key and service in `Credential=AKID/date/region/service/aws4_request`, from the header or from a presigned URL.
fn scope(headers: &HeaderMap, params: &BTreeMap<String, String>) -> Option<(String, String)> {
    let authorization = header(headers, "authorization");
    let credential = match authorization.strip_prefix("AWS4-HMAC-SHA256") {
        Some(rest) => rest.split("Credential=").nth(1)?.split(',').next()?,
        None => params.get("X-Amz-Credential")?,
    };
    let key = credential.trim().split('/').next()?;
    let mut parts = credential.trim().rsplit('/');
    let service = (parts.next()? == "aws4_request").then(|| parts.next())??;
    Some((key.to_owned(), service.to_owned()))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

fn percent_decoded(part: &str) -> String {
    // A form decoder would turn `+` into a space: it is kept by escaping it first.
    let escaped = format!("={}", part.replace('+', "%2B"));
    url::form_urlencoded::parse(escaped.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Ids in AWS' form that never repeat within a process.
fn next_request_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-0000-4000-8000-{n:012x}", n.wrapping_mul(0x9E37_79B9) & 0xFFFF_FFFF)
}

/// A JSON answer of either JSON protocol.
pub(super) fn json_answer(call: &Call, value: &Value) -> Response<Body> {
    respond(200, media_type(call.protocol), &call.request_id, None, value.to_string())
}

/// An XML answer of the Query protocol.
pub(super) fn xml_answer(call: &Call, text: String) -> Response<Body> {
    respond(200, "text/xml", &call.request_id, None, text)
}

/// A fault in the form of the protocol in which it was asked.
pub(super) fn fault_answer(call: &Call, fault: &Fault) -> Response<Body> {
    let Fault { status, code, message } = fault;
    let body = match call.protocol {
        Protocol::Json => json!({ "__type": code, "message": message }).to_string(),
        Protocol::Rest => json!({ "message": message }).to_string(),
        Protocol::Query => format!(
            concat!(
                r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>{}</Type>"#,
                "<Code>{}</Code><Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>"
            ),
            if *status < 500 { "Sender" } else { "Receiver" },
            code,
            escaped(message),
            call.request_id
        ),
    };
    respond(*status, media_type(call.protocol), &call.request_id, Some(code), body)
}

fn media_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Query => "text/xml",
        Protocol::Json => "application/x-amz-json-1.1",
        Protocol::Rest => "application/json",
    }
}

fn respond(status: u16, media_type: &str, id: &str, code: Option<&str>, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    set("content-type", media_type);
    set("x-amzn-requestid", id);
    if let Some(code) = code {
        set("x-amzn-errortype", code);
    }
    response
}

/// Text inside an XML element.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() && !c.is_whitespace() => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// A page of `items`: `nextToken` is the index of the first item that is left.
pub(super) fn page(call: &Call, items: Vec<Value>, name: &str) -> Result<Value, Fault> {
    let asked = |name: &str| call.text(name).or_else(|| call.params.get(name).map(String::as_str));
    let from: usize = match asked("nextToken") {
        None => 0,
        Some(token) => token.parse().map_err(|_| {
            Fault::new(400, "InvalidParameterException", "Invalid parameter at 'nextToken': not a token of this list")
        })?,
    };
    let limit = call.body["maxResults"]
        .as_u64()
        .or_else(|| call.params.get("maxResults")?.parse().ok())
        .map_or(100, |n| usize::try_from(n).unwrap_or(100).clamp(1, 1000));
    let total = items.len();
    let items: Vec<Value> = items.into_iter().skip(from).take(limit).collect();
    let mut answer = json!({ name: items });
    if from + limit < total {
        answer["nextToken"] = json!((from + limit).to_string());
    }
    Ok(answer)
}

/// Seconds since the epoch, as the JSON protocols write timestamps.
pub(super) fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
