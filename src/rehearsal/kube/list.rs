//! Get and list: selectors, paging, resourceVersion.

use std::sync::Arc;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::request::{Call, Target};
use super::selector::{Fields, Labels};
use super::status::json_response;
use super::store::key_of;
use super::table::Form;
use super::{Status, Store, convert, scale};

/// GET of one object or of its subresource.
pub(super) fn get(store: &Store, call: &Call, target: &Target) -> Result<Response, Status> {
    let (resource, name) = (target.resource, target.name.as_deref().unwrap_or_default());
    let ns = target.ns.as_deref().unwrap_or_default();
    let object = store.get(resource.plural, ns, name).ok_or_else(|| Status::not_found(resource, name))?;
    if target.sub.as_deref() == Some("scale") {
        return Ok(json_response(StatusCode::OK, &scale::of(&object)));
    }
    let shown = convert::outward(resource, &object);
    Ok(json_response(StatusCode::OK, &Form::asked(call).one(resource, shown, call)))
}

/// What `labelSelector` and `fieldSelector` ask for.
pub(super) struct Filter {
    labels: Labels,
    fields: Fields,
}

impl Filter {
    pub fn of(call: &Call, target: &Target) -> Result<Self, Status> {
        Ok(Self {
            labels: Labels::parse(call.ask("labelSelector").unwrap_or_default())?,
            fields: Fields::parse(target.resource, call.ask("fieldSelector").unwrap_or_default())?,
        })
    }

    pub fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }
}

/// The objects that the selectors match, now.
pub(super) fn matching(store: &Store, call: &Call, target: &Target) -> Result<(Vec<Arc<Value>>, u64), Status> {
    let filter = Filter::of(call, target)?;
    let (mut objects, version) = store.snapshot(target.resource.plural, target.ns.as_deref(), None)?;
    objects.retain(|object| filter.matches(object));
    Ok((objects, version))
}

/// Where the next page goes on: the version of the first page, and the last key given out.
#[derive(serde::Serialize, serde::Deserialize)]
struct Continue {
    #[serde(rename = "v")]
    version: u64,
    #[serde(rename = "k")]
    after: (String, String),
}

impl Continue {
    fn read(token: &str) -> Result<Self, Status> {
        let wrong = || Status::bad_request("continue key is not valid");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
        serde_json::from_slice(&bytes).map_err(|_| wrong())
    }

    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(json!({"v": self.version, "k": self.after}).to_string())
    }
}

/// GET of a collection.
pub(super) fn list(store: &Store, call: &Call, target: &Target) -> Result<Response, Status> {
    let resource = target.resource;
    let filter = Filter::of(call, target)?;
    let from = call.ask("continue").map(Continue::read).transpose()?;
    let at = match &from {
        Some(from) => Some(from.version),
        None => exact_version(store, call)?,
    };
    let (mut objects, version) = store.snapshot(resource.plural, target.ns.as_deref(), at).map_err(|status| {
        if from.is_none() {
            return status;
        }
        Status::expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.")
    })?;
    objects.retain(|object| filter.matches(object));
    if let Some(from) = &from {
        objects.retain(|object| key_of(object) > from.after);
    }
    let limit = call.ask("limit").and_then(|limit| limit.parse::<usize>().ok()).filter(|limit| *limit > 0);
    let mut meta = json!({"resourceVersion": version.to_string()});
    if let Some(limit) = limit.filter(|limit| *limit < objects.len()) {
        let remaining = objects.len() - limit;
        objects.truncate(limit);
        if let Some(last) = objects.last() {
            meta["continue"] = json!(Continue { version, after: key_of(last) }.write());
        }
        if call.ask("labelSelector").is_none() && call.ask("fieldSelector").is_none() {
            meta["remainingItemCount"] = json!(remaining);
        }
    }
    let items = objects.iter().map(|object| convert::outward(resource, object)).collect();
    Ok(json_response(StatusCode::OK, &Form::asked(call).many(resource, items, meta, call)))
}

/// The version that a list must show exactly; `None` for "at least this", which now always is.
fn exact_version(store: &Store, call: &Call) -> Result<Option<u64>, Status> {
    let Some(text) = call.ask("resourceVersion") else { return Ok(None) };
    let version = version(text)?;
    let latest = store.version();
    if version > latest {
        let mut status =
            Status::new(504, "Timeout", format!("Too large resource version: {version}, current: {latest}"));
        status.details = json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                                "retryAfterSeconds": 1});
        return Err(status);
    }
    Ok((call.ask("resourceVersionMatch") == Some("Exact")).then_some(version))
}

/// A resourceVersion as the number that it is here.
pub(super) fn version(text: &str) -> Result<u64, Status> {
    text.parse()
        .map_err(|_| Status::bad_request(format!("Invalid value: \"{text}\": resourceVersion must be a number")))
}
