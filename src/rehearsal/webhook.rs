//! A webhook sink: takes whatever is posted, and shows it.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::clock::Clock;

/// What was received, oldest first.
#[derive(Debug, Clone)]
pub struct Webhook {
    clock: Clock,
    received: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, received: Arc::default() }
    }

    /// What was posted so far: `{path, at, headers, body}`.
    #[must_use]
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `POST` anything; `GET /received` lists it.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }
}

async fn answer(
    State(sink): State<Webhook>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: bytes::Bytes,
) -> Response {
    match method {
        Method::POST => {
            let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
            let kind = headers.get("content-type").and_then(|value| value.to_str().ok());
            let entry = json!({
                "path": uri.path(),
                "at": sink.clock.now().to_string(),
                "content_type": kind,
                "body": serde_json::from_slice(&body).unwrap_or_else(|_| text()),
            });
            sink.received.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            (StatusCode::OK, "ok").into_response()
        }
        Method::GET if uri.path() == "/received" => Json(sink.received()).into_response(),
        _ => StatusCode::NOT_IMPLEMENTED.into_response(),
    }
}
