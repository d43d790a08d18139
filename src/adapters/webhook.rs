//! Telling people: one JSON message to a webhook. Its URL is a secret, and is in no error and no log.

use serde_json::json;

use super::http::classify;
use super::retry::Retry;
use crate::error::{Class, Error, Result};

/// Posts `{"text": …}` (the form that Slack, Mattermost and others read).
///
/// Repeated only where the message cannot have arrived: no connection, or 429.
pub async fn post(client: &reqwest::Client, url: &str, text: &str) -> Result<()> {
    let body = json!({ "text": text });
    Retry::default()
        .read(async || {
            let response = client.post(url).json(&body).send().await.map_err(failed)?;
            let status = response.status().as_u16();
            if response.status().is_success() {
                return Ok(());
            }
            let class = match classify(status, super::http::retry_after(response.headers())) {
                Class::Transient { .. } if status != 429 => Class::Terminal,
                class => class,
            };
            Err(Error::outside(format!("the webhook answered {status}")).class(class))
        })
        .await
}

fn failed(error: reqwest::Error) -> Error {
    let arrived_nowhere = error.is_connect();
    let wrong = error.is_builder();
    let error = error.without_url();
    if wrong {
        return Error::config("the webhook's URL is not a URL").because(error);
    }
    let failed = Error::outside("post to the webhook: no answer").because(error);
    if arrived_nowhere {
        failed.class(Class::Transient { retry_after: None })
    } else {
        failed.seen("the message may have arrived")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn server(answers: &'static [u16]) -> (String, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = calls.clone();
        let app = axum::Router::new().fallback(move |body: String| {
            let call = seen.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_eq!(body, r#"{"text":"v1.2.0 is live"}"#);
                axum::http::StatusCode::from_u16(answers[call]).unwrap()
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks/s3cret", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (url, calls)
    }

    #[tokio::test]
    async fn only_what_cannot_have_arrived_is_repeated() {
        let client = super::super::http::client().unwrap();
        let (url, calls) = server(&[429, 200]).await;
        post(&client, &url, "v1.2.0 is live").await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let (url, calls) = server(&[500]).await;
        let error = post(&client, &url, "v1.2.0 is live").await.unwrap_err();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert!(!format!("{error:?}").contains("s3cret"));
        let error = post(&client, "not a url/s3cret", "x").await.unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}
