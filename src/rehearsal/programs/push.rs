//! A push, as ECR's JSON API takes it (API reference: InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload,
//! PutImage). A real docker speaks the registry's HTTP API instead; what ECR holds afterwards is the same.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::builder::{Engine, Image, with_tag};

/// Why a push failed, in the words of the registry's HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Before a byte of the image was taken.
    Upload(String),
    /// When the image was to be named.
    Manifest(String),
    /// The registry cannot be reached, or never answered well.
    Away(String),
}

/// How often a request is made whose answer was bad.
const TRIES: u32 = 5;

/// Host, repository and tag of a reference.
pub fn parts(reference: &str) -> Option<(String, String, String)> {
    let full = with_tag(reference);
    let (host, rest) = full.split_once('/')?;
    let (repository, tag) = rest.rsplit_once(':')?;
    host.contains('.').then(|| (host.to_owned(), repository.to_owned(), tag.to_owned()))
}

/// Pushes an image under its repository and tag. Returns the manifest's size in bytes.
pub async fn push(engine: &Engine, image: &Image, repository: &str, tag: &str) -> Result<usize, Refused> {
    let ecr = Ecr { engine, client: reqwest::Client::new() };
    let named = |mut body: Value| {
        body["repositoryName"] = json!(repository);
        body
    };
    let upload = ecr.ask("InitiateLayerUpload", named(json!({}))).await.map_err(Refused::of_upload)?;
    let id = &upload["uploadId"];
    let bytes = image.config.as_bytes();
    let part = json!({
        "uploadId": id, "partFirstByte": 0, "partLastByte": bytes.len().saturating_sub(1),
        "layerPartBlob": STANDARD.encode(bytes),
    });
    ecr.ask("UploadLayerPart", named(part)).await.map_err(Refused::of_upload)?;
    let complete = named(json!({ "uploadId": id, "layerDigests": [image.id()] }));
    match ecr.ask("CompleteLayerUpload", complete).await {
        // A layer that is there is there; an upload whose end was not heard is over.
        Ok(_) => {}
        Err(fault) if matches!(fault.code.as_str(), "LayerAlreadyExistsException" | "UploadNotFoundException") => {}
        Err(fault) => return Err(Refused::of_upload(fault)),
    }
    let manifest: Value = serde_json::from_str(&image.manifest).unwrap_or_default();
    let put = named(json!({
        "imageManifest": image.manifest, "imageManifestMediaType": manifest["mediaType"], "imageTag": tag,
    }));
    match ecr.ask("PutImage", put).await {
        Ok(_) => Ok(image.manifest.len()),
        // Over the registry's HTTP API the same bytes under the same tag are a success.
        Err(fault) if fault.code == "ImageAlreadyExistsException" => Ok(image.manifest.len()),
        Err(fault) => Err(Refused::of_manifest(fault)),
    }
}

struct Ecr<'a> {
    engine: &'a Engine,
    client: reqwest::Client,
}

/// What ECR answered instead.
struct Fault {
    /// Empty where it could not be asked.
    code: String,
    message: String,
}

impl Ecr<'_> {
    async fn ask(&self, operation: &str, body: Value) -> Result<Value, Fault> {
        let settings = &self.engine.settings;
        let mut last = Fault { code: String::new(), message: String::new() };
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
            }
            let scope = format!("{}/20250304/{}/ecr/aws4_request", settings.access_key, settings.region);
            let request = self
                .client
                .post(&settings.aws)
                .timeout(Duration::from_secs(20))
                .header(
                    "authorization",
                    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
                )
                .header("content-type", "application/x-amz-json-1.1")
                .header("x-amz-target", format!("AmazonEC2ContainerRegistry_V20150921.{operation}"))
                .body(body.to_string());
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => {
                    last.message = error.to_string();
                    continue;
                }
            };
            let good = response.status().is_success();
            let busy = response.status().is_server_error() || response.status().as_u16() == 429;
            let Ok(answer) = response.json::<Value>().await else {
                last.message = "unexpected end of the answer".into();
                continue;
            };
            if good {
                return Ok(answer);
            }
            let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
            last = Fault { code: text("__type"), message: text("message") };
            if !busy && last.code != "ThrottlingException" {
                return Err(last);
            }
        }
        last.code.clear();
        Err(last)
    }
}

impl Refused {
    fn of_upload(fault: Fault) -> Self {
        if fault.code.is_empty() { Self::Away(fault.message) } else { Self::Upload(words(&fault)) }
    }

    fn of_manifest(fault: Fault) -> Self {
        if fault.code.is_empty() { Self::Away(fault.message) } else { Self::Manifest(words(&fault)) }
    }
}

/// The registry's error codes in the form in which clients print them (OCI distribution specification, "Error codes").
fn words(fault: &Fault) -> String {
    let code = match fault.code.as_str() {
        "AccessDeniedException" => "denied",
        "RepositoryNotFoundException" => "name unknown",
        "ImageTagAlreadyExistsException" => "tag invalid",
        _ => "unknown",
    };
    format!("{code}: {}", fault.message)
}
