//! What a refusal of GitHub's means.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use crate::error::{Class, Error};

/// Longest wait for a rate limit that is passed on; the retry cuts it further.
const LONGEST_LIMIT: Duration = Duration::from_hours(1);

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    message: String,
    errors: Vec<serde_json::Value>,
    documentation_url: Option<String>,
}

/// No answer at all, or half of one.
pub(super) fn unreachable(what: String, error: octocrab::Error) -> Error {
    // octocrab shows a backtrace in some of its texts; the causes below it are what people need.
    let transient = Class::Transient { retry_after: None };
    let error = match error {
        octocrab::Error::Service { source, .. } | octocrab::Error::Other { source, .. } => source,
        octocrab::Error::Hyper { source, .. } => source.into(),
        // A body that broke off.
        octocrab::Error::Reqwest { source, .. } => source.without_url().into(),
        other => return Error::internal(what).because(other),
    };
    // What octocrab's own layers failed at lies below the boxed error.
    Error::outside(format!("{what}: no answer")).because(error).class(transient)
}

/// The error that a status from 400 on stands for.
pub(super) fn error(what: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let class = classify(status, headers, &refusal);
    let said = if refusal.message.is_empty() { String::new() } else { format!(": {}", refusal.message) };
    let mut error = Error::outside(format!("{what} answered {}{said}", status.as_u16())).class(class);
    for detail in &refusal.errors {
        error = error.seen(describe(detail));
    }
    match status {
        StatusCode::UNAUTHORIZED => {
            error = error.hint("set GH_TOKEN or GITHUB_TOKEN to a valid token, or sign in with `gh auth login`");
        }
        StatusCode::FORBIDDEN if class == Class::Denied => {
            error = error.hint("the token may not do this: see docs/permissions.md for what it needs");
        }
        _ => {}
    }
    match refusal.documentation_url {
        Some(url) if class == Class::Denied => error.seen(format!("see {url}")),
        _ => error,
    }
}

/// `{"resource": "Release", "code": "already_exists", "field": "tag_name"}` → `Release.tag_name: already_exists`.
fn describe(detail: &serde_json::Value) -> String {
    let text = |key: &str| detail.get(key).and_then(serde_json::Value::as_str);
    match (detail.as_str(), text("message"), text("code")) {
        (Some(plain), ..) | (None, Some(plain), _) => plain.to_owned(),
        (None, None, Some(code)) => {
            let place: Vec<&str> = [text("resource"), text("field")].into_iter().flatten().collect();
            format!("{}: {code}", place.join("."))
        }
        _ => detail.to_string(),
    }
}

fn classify(status: StatusCode, headers: &HeaderMap, refusal: &Refusal) -> Class {
    match status {
        StatusCode::UNAUTHORIZED => Class::Denied,
        StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => limited(status, headers, refusal),
        StatusCode::NOT_FOUND | StatusCode::GONE => Class::NotFound,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Class::Conflict,
        StatusCode::UNPROCESSABLE_ENTITY if already_exists(refusal) => Class::Conflict,
        StatusCode::REQUEST_TIMEOUT => Class::Transient { retry_after: None },
        _ if status.is_server_error() => Class::Transient { retry_after: seconds(headers, "retry-after") },
        _ => Class::Terminal,
    }
}

fn already_exists(refusal: &Refusal) -> bool {
    refusal.errors.iter().any(|detail| detail.get("code").is_some_and(|code| code == "already_exists"))
}

/// 403 and 429 are also how GitHub says "later": the primary limit by `x-ratelimit-remaining: 0`, the secondary one by
/// `retry-after` or its message (docs.github.com, "Rate limits for the REST API").
fn limited(status: StatusCode, headers: &HeaderMap, refusal: &Refusal) -> Class {
    if let Some(after) = seconds(headers, "retry-after") {
        return Class::Transient { retry_after: Some(after.min(LONGEST_LIMIT)) };
    }
    if headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0") {
        return Class::Transient { retry_after: Some(until_reset(headers).unwrap_or(Duration::from_mins(1))) };
    }
    let secondary = refusal.message.to_ascii_lowercase().contains("secondary rate limit");
    if secondary || status == StatusCode::TOO_MANY_REQUESTS {
        // GitHub asks for at least a minute where it names no time.
        return Class::Transient { retry_after: Some(Duration::from_mins(1)) };
    }
    Class::Denied
}

fn seconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// From the server's own `Date` to `x-ratelimit-reset`: two times of one machine.
fn until_reset(headers: &HeaderMap) -> Option<Duration> {
    let reset: i64 = headers.get("x-ratelimit-reset")?.to_str().ok()?.parse().ok()?;
    let date = headers.get(http::header::DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let wait = Timestamp::from_second(reset).ok()?.duration_since(date);
    Some(Duration::try_from(wait).unwrap_or(Duration::from_secs(1)).min(LONGEST_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, headers: &[(&'static str, &str)], body: &str) -> Class {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        error("GitHub GET /x", StatusCode::from_u16(status).unwrap(), &map, body.as_bytes()).classified()
    }

    #[test]
    fn limits_are_transient_and_bounded() {
        let after = |s| Class::Transient { retry_after: Some(Duration::from_secs(s)) };
        let date = ("date", "Tue, 04 Mar 2025 09:00:00 GMT");
        let spent = ("x-ratelimit-remaining", "0");
        assert_eq!(class(403, &[spent, ("x-ratelimit-reset", "1741078830"), date], "{}"), after(30));
        assert_eq!(class(403, &[spent, ("x-ratelimit-reset", "1741999999"), date], "{}"), after(3600));
        assert_eq!(class(403, &[("retry-after", "7")], "{}"), after(7));
        assert_eq!(class(429, &[], "not json"), after(60));
        assert_eq!(
            class(403, &[], r#"{"message": "You have exceeded a secondary rate limit. Please wait"}"#),
            after(60)
        );
    }

    #[test]
    fn refusals_are_told_apart() {
        assert_eq!(class(401, &[], r#"{"message": "Bad credentials"}"#), Class::Denied);
        assert_eq!(class(403, &[], r#"{"message": "Resource not accessible by integration"}"#), Class::Denied);
        assert_eq!(class(404, &[], "{}"), Class::NotFound);
        assert_eq!(class(409, &[], "{}"), Class::Conflict);
        assert_eq!(class(502, &[], "<html>"), Class::Transient { retry_after: None });
        assert_eq!(class(422, &[], r#"{"message": "Validation Failed"}"#), Class::Terminal);
        let exists = r#"{"message": "Validation Failed",
            "errors": [{"resource": "Release", "code": "already_exists", "field": "tag_name"}]}"#;
        assert_eq!(class(422, &[], exists), Class::Conflict);
        let error = error("GitHub POST /x", StatusCode::UNPROCESSABLE_ENTITY, &HeaderMap::new(), exists.as_bytes());
        assert_eq!(error.evidence(), ["Release.tag_name: already_exists"]);
        assert_eq!(error.what(), "GitHub POST /x answered 422: Validation Failed");
    }
}
