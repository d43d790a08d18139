//! ECR's uploads and downloads of layers, as far as image configurations go (API reference, version 2015-09-21): layers
//! with files in them are nowhere.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::ecr::{may_push, repository};
use super::router::account;
use super::wire::{Call, Fault};
use crate::rehearsal::World;

/// The path under which a blob is downloaded, without credentials, as from S3.
const DOWNLOADS: &str = "layers";

/// Begins, goes on with or ends an upload.
pub(super) fn answer(world: &World, call: &Call) -> Result<Value, Fault> {
    may_push(world, call, &call.operation)?;
    let (name, _) = repository(world, call)?;
    let mut answer = json!({ "registryId": account(world), "repositoryName": name });
    if call.operation == "InitiateLayerUpload" {
        answer["uploadId"] = json!(world.registry.begin_upload(&call.request_id));
        answer["partSize"] = json!(20_971_520);
        return Ok(answer);
    }
    let id = call.text("uploadId").unwrap_or_default();
    let missing = || Fault::new(400, "UploadNotFoundException", format!("The upload with id '{id}' does not exist"));
    answer["uploadId"] = json!(id);
    if call.operation == "UploadLayerPart" {
        let bytes = call.text("layerPartBlob").and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.ok_or_else(|| Fault::new(400, "InvalidLayerPartException", "The layer part is not valid"))?;
        let first = usize::try_from(call.body["partFirstByte"].as_u64().unwrap_or(0)).unwrap_or(0);
        let length = world.registry.upload(id, first, &bytes).ok_or_else(missing)?;
        answer["lastByteReceived"] = json!(length.saturating_sub(1));
        return Ok(answer);
    }
    let digest = world.registry.finish_upload(id).ok_or_else(missing)?;
    let asked = call.body["layerDigests"].as_array().into_iter().flatten();
    if !asked.clone().any(|asked| *asked == json!(digest)) {
        return Err(Fault::new(400, "InvalidLayerException", "The layer digest does not match the bytes"));
    }
    answer["layerDigest"] = json!(digest);
    Ok(answer)
}

/// Where a blob's bytes are.
pub(super) fn download_url(world: &World, call: &Call) -> Result<Value, Fault> {
    let (name, _) = repository(world, call)?;
    let digest = call.text("layerDigest").unwrap_or_default();
    if world.registry.blob(digest).is_none() {
        let text = format!("The layer with digest '{digest}' is not accessible in the repository with name '{name}'");
        return Err(Fault::new(400, "LayerInaccessibleException", text));
    }
    Ok(json!({ "layerDigest": digest, "downloadUrl": format!("http://{}/{DOWNLOADS}/{digest}", call.host) }))
}

/// A blob's bytes, where the path asks for them.
pub(super) fn download(world: &World, call: &Call) -> Option<Response<Body>> {
    let [first, digest] = call.path.as_slice() else { return None };
    if first != DOWNLOADS || call.method != http::Method::GET {
        return None;
    }
    let mut response = Response::new(Body::empty());
    match world.registry.blob(digest) {
        Some(bytes) => *response.body_mut() = Body::from(bytes),
        None => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Some(response)
}
