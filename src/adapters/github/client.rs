//! The transport: routes, pages, time-outs, retries.

use std::fmt;

use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use octocrab::Octocrab;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer;
use crate::adapters::http as web;
use crate::adapters::retry::Retry;
use crate::config::model;
use crate::error::{Attempting, Class, Error, Result};
use crate::process::Program;

/// More pages than any release needs; reaching it is an error, never a silent cut.
const MOST_PAGES: u32 = 50;

/// A GitHub token. It shows itself to nobody.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Wraps a token; white space around it (a file's last newline) is dropped. `None` when nothing is left.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The token that the `gh` program holds for the host of `api`; `None` when `gh` is not there or not signed in.
pub async fn token_from_gh(api: &str) -> Result<Option<Token>> {
    let host = url::Url::parse(api).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let mut program = Program::new("gh").args(["auth", "token"]).timeout(std::time::Duration::from_secs(10));
    if host != "api.github.com" {
        program = program.args(["--hostname", &host]);
    }
    match program.output().await {
        Ok(finished) if finished.success() => Ok(Token::new(&finished.text())),
        Ok(_) => Ok(None),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Percent-encodes one path segment: `release/v1.2.0` → `release%2Fv1.2.0`. Only RFC 3986's unreserved characters stay.
#[must_use]
pub fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// One repository on GitHub. Clones share the connections.
#[derive(Clone)]
pub struct GitHub {
    crab: Octocrab,
    slug: String,
    pub(super) retry: Retry,
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHub").field("slug", &self.slug).finish_non_exhaustive()
    }
}

/// One successful answer.
pub(super) struct Answer {
    pub headers: HeaderMap,
    pub body: bytes::Bytes,
}

impl GitHub {
    /// A client for the repository `slug` (`owner/name`). Nothing is contacted yet. Needs a Tokio runtime.
    pub fn connect(config: &model::GitHub, slug: &str, token: Option<Token>) -> Result<Self> {
        let part = |text: &str| {
            !text.is_empty()
                && text != "."
                && text != ".."
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if !slug.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name)) {
            return Err(Error::config(format!("repository.slug {slug:?} is not of the form owner/name")));
        }
        let wrong = |error: octocrab::Error| {
            Error::config(format!("github.api {:?} does not make a GitHub client", config.api)).because(error)
        };
        let base = config.api.trim_end_matches('/');
        let mut builder = Octocrab::builder().base_uri(base).map_err(wrong)?;
        if let Some(token) = token {
            builder = builder.personal_token(token.0);
        }
        let crab = builder.build_with_reqwest(web::client()?).map_err(wrong)?;
        Ok(Self { crab, slug: slug.to_owned(), retry: Retry::default() })
    }

    /// `owner/name`.
    #[must_use]
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// A route below the repository: `/repos/<slug>/<rest>`.
    pub(super) fn route(&self, rest: &str) -> String {
        format!("/repos/{}/{rest}", self.slug)
    }

    /// One request, one answer; a status from 400 on is an error.
    pub(super) async fn once<B: Serialize + ?Sized>(
        &self,
        method: &Method,
        route: &str,
        body: Option<&B>,
    ) -> Result<Answer> {
        let what = || format!("GitHub {method} {route}");
        let response = match *method {
            Method::GET => self.crab._get(route).await,
            Method::POST => self.crab._post(route, body).await,
            Method::PATCH => self.crab._patch(route, body).await,
            Method::PUT => self.crab._put(route, body).await,
            _ => return Err(Error::internal(format!("{} is not a method that is used", what()))),
        };
        let (parts, body) = response.map_err(|error| answer::unreachable(what(), error))?.into_parts();
        let body = body.collect().await.map_err(|error| answer::unreachable(what(), error))?.to_bytes();
        if parts.status.is_success() {
            Ok(Answer { headers: parts.headers, body })
        } else {
            Err(answer::error(&what(), parts.status, &parts.headers, &body))
        }
    }

    /// A read, repeated while it fails transiently.
    pub(super) async fn read(&self, route: &str) -> Result<Answer> {
        self.retry.read(async || self.once::<()>(&Method::GET, route, None).await).await
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T> {
        let answer = self.read(route).await?;
        parse(route, &answer.body)
    }

    /// As [`GitHub::get`]; 404 is `None`.
    pub(super) async fn find<T: DeserializeOwned>(&self, route: &str) -> Result<Option<T>> {
        match self.get(route).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every page of a list. `key` is the field that holds the list, where the answer is an object.
    pub(super) async fn all<T: DeserializeOwned>(&self, route: &str, key: Option<&str>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for page in 1..=MOST_PAGES {
            let joint = if route.contains('?') { '&' } else { '?' };
            let paged = format!("{route}{joint}per_page=100&page={page}");
            let answer = self.read(&paged).await?;
            all.extend(items::<T>(&paged, &answer.body, key)?);
            if !has_next(&answer.headers) {
                return Ok(all);
            }
        }
        Err(Error::outside(format!("GitHub {route} has more than {MOST_PAGES} pages")))
    }

    /// A write that must not happen twice: after a transient failure `effect` tells whether it happened.
    pub(super) async fn write<B, T, E>(
        &self,
        method: Method,
        route: &str,
        body: Option<&B>,
        read: impl Fn(&Answer) -> Result<T>,
        effect: impl FnMut() -> E,
    ) -> Result<T>
    where
        B: Serialize + ?Sized,
        E: Future<Output = Result<Option<T>>>,
    {
        let act = async || read(&self.once(&method, route, body).await?);
        self.retry.write(act, effect).await
    }
}

/// Reads an answer's JSON; the error names the field.
pub(super) fn parse<T: DeserializeOwned>(route: &str, body: &[u8]) -> Result<T> {
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        Error::outside(format!("GitHub's answer to {route} is not what its API describes")).because(error)
    })
}

fn items<T: DeserializeOwned>(route: &str, body: &[u8], key: Option<&str>) -> Result<Vec<T>> {
    let Some(key) = key else { return parse(route, body) };
    let mut whole: serde_json::Map<String, serde_json::Value> = parse(route, body)?;
    let list = whole.remove(key).ok_or_else(|| Error::outside(format!("GitHub's answer to {route} has no {key:?}")))?;
    serde_path_to_error::deserialize(list)
        .map_err(|error| Error::outside(error.to_string()))
        .attempting(|| format!("GitHub's answer to {route} is not what its API describes"))
}

/// Whether a `Link` header names a next page.
fn has_next(headers: &HeaderMap) -> bool {
    headers
        .get_all(http::header::LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|link| link.split(';').skip(1).any(|rel| rel.trim() == r#"rel="next""#)))
}

/// `None` for an error that says "you may not ask": a token that cannot read a thing is not the thing's absence.
pub(super) fn denied<T>(result: Result<T>) -> Result<std::result::Result<T, Error>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.classified() == Class::Denied => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_encoded_segment_stays_one_segment_and_decodes_to_itself(text in "\\PC{0,40}") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
            // A form-urlencoded decoder is an independent reader of percent signs ('+' never occurs).
            let query = format!("k={encoded}");
            let decoded = url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, v)| v.into_owned());
            prop_assert_eq!(decoded, Some(text));
        }
    }

    #[test]
    fn refs_with_slashes_are_one_segment() {
        assert_eq!(encode("release/v1.2.0"), "release%2Fv1.2.0");
        assert_eq!(encode("../x y"), "..%2Fx%20y");
    }

    #[test]
    fn next_pages_are_found() {
        let mut headers = HeaderMap::new();
        assert!(!has_next(&headers));
        let link = r#"<https://api.github.com/x?page=1>; rel="prev", <https://api.github.com/x?page=3>; rel="next""#;
        headers.insert(http::header::LINK, link.parse().unwrap());
        assert!(has_next(&headers));
        headers.insert(http::header::LINK, r#"<https://api.github.com/x?page=1>; rel="last""#.parse().unwrap());
        assert!(!has_next(&headers));
    }

    #[test]
    fn tokens_and_slugs_are_checked() {
        assert!(Token::new(" \n").is_none());
        assert_eq!(format!("{:?}", Token::new("ghp_secret\n").unwrap()), "Token(…)");
        for bad in ["", "a", "a/", "/b", "a/b/c", "a/..", "a b/c"] {
            assert!(GitHub::connect(&model::GitHub::default(), bad, None).is_err(), "{bad:?}");
        }
    }
}
