//! What came back over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::error::{Error, Result};

/// An answer of the service itself, whatever its status. (That nobody answered is an error instead.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    /// The beginning of the body: at most 64 KiB of a GET, 8 MiB of a query.
    pub body: Vec<u8>,
    /// Whether the body was longer.
    pub truncated: bool,
    /// Wall time from the request to the end of the (kept) body.
    pub elapsed: Duration,
}

impl HttpAnswer {
    /// 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text; bytes that are not UTF-8 are replaced. Escape it before it reaches a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The first `limit` bytes of a body, and whether there were more.
pub(super) async fn read_body<B>(mut body: B, limit: usize) -> Result<(Vec<u8>, bool)>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Error::outside("the answer broke off")
                .class(crate::error::Class::Transient { retry_after: None })
                .because(error)
        })?;
        if let Some(data) = frame.data_ref() {
            let room = limit - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok((kept, true));
            }
        }
    }
    Ok((kept, false))
}
