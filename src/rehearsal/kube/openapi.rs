//! OpenAPI, as much as clients need in order to validate and patch on the server's side: paths, verbs and parameters.
//!
//! There are no schemas: what kubectl cannot find there it leaves to the server (field validation) or takes from its
//! own types (strategic merge).

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Status;
use super::discovery::{VERSION, group_versions};
use super::request::Call;
use super::resources::{RESOURCES, Resource};
use super::status::json_response;
use axum::response::{IntoResponse, Response};
use http::header;

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The answer at an OpenAPI path; `None` when the path is not one.
pub(super) fn answer(call: &Call) -> Option<Result<Response, Status>> {
    let path = call.path.trim_end_matches('/');
    if path == "/openapi/v2" {
        return Some(Ok(v2(call)));
    }
    let rest = path.strip_prefix("/openapi/v3")?;
    if rest.is_empty() {
        return Some(Ok(json_response(StatusCode::OK, &index())));
    }
    let version = rest.trim_start_matches("/apis/").trim_start_matches("/api/");
    Some(if group_versions().iter().any(|known| known == version) {
        Ok(json_response(StatusCode::OK, &document(version)))
    } else {
        Err(Status::new(404, "NotFound", "the server could not find the requested resource"))
    })
}

fn root(version: &str) -> String {
    if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") }
}

fn index() -> Value {
    let paths: Map<String, Value> = group_versions()
        .iter()
        .map(|version| {
            let root = root(version);
            (root.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{root}?hash={VERSION}")}))
        })
        .collect();
    json!({"paths": paths})
}

fn document(version: &str) -> Value {
    let mut paths = Map::new();
    for resource in RESOURCES.iter().filter(|resource| resource.api_version() == version) {
        let place = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("/{}{place}/{}", root(version), resource.plural);
        paths.insert(format!("{collection}/{{name}}"), verbs(resource, &["get", "put", "patch", "delete"]));
        paths.insert(collection, verbs(resource, &["get", "post", "delete"]));
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes (rehearsal)", "version": VERSION},
        "paths": paths, "components": {"schemas": {}},
    })
}

fn verbs(resource: &Resource, methods: &[&str]) -> Value {
    let gvk = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let operation = |method: &str| {
        let names: &[&str] = match method {
            "patch" => &["dryRun", "fieldManager", "fieldValidation", "force"],
            "post" | "put" => &["dryRun", "fieldManager", "fieldValidation"],
            "delete" => &["dryRun", "propagationPolicy"],
            _ => &["labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch"],
        };
        let parameter = |name: &&str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
        json!({
            "parameters": names.iter().map(parameter).collect::<Vec<_>>(),
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-group-version-kind": gvk,
        })
    };
    Value::Object(methods.iter().map(|method| ((*method).to_owned(), operation(method))).collect())
}

/// The second version has no use for us but that kubectl reads it when it does not find what it seeks in the third.
fn v2(call: &Call) -> Response {
    if call.header(header::ACCEPT).contains("protobuf") {
        return ([(header::CONTENT_TYPE, V2_PROTOBUF)], v2_protobuf()).into_response();
    }
    let document = json!({"swagger": "2.0", "info": {"title": "Kubernetes (rehearsal)", "version": VERSION},
                          "paths": {}, "definitions": {}});
    json_response(StatusCode::OK, &document)
}

/// `openapi.v2.Document` (github.com/google/gnostic-models): swagger = 1, info = 2 { title = 1, version = 2 },
/// paths = 8.
fn v2_protobuf() -> Vec<u8> {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("the fields here are a few words long");
        debug_assert!(length < 128, "one byte of length");
        [&[(number << 3) | 2, length][..], content].concat()
    }
    let info = [field(1, b"Kubernetes (rehearsal)"), field(2, VERSION.as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info), field(8, b"")].concat()
}
