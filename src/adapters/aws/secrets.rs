//! Secrets Manager: names and dates only. A value is never asked for.

use jiff::Timestamp;

use super::client::Aws;
use super::ecr::timestamp;
use super::errors::{absent_is_none, sdk_error};
use crate::error::Result;

/// What may be said of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    pub name: String,
    pub arn: String,
    pub changed_at: Option<Timestamp>,
    pub rotated_at: Option<Timestamp>,
    /// Set when its deletion is scheduled: it cannot be read from then on.
    pub deleted_at: Option<Timestamp>,
}

impl Aws {
    /// The secret `secret` (name or ARN); `None` when there is none.
    pub async fn describe_secret(&self, secret: &str) -> Result<Option<SecretInfo>> {
        let what = format!("describe secret {secret}");
        let asked = self
            .retry()
            .read(async || {
                let sent = self.secrets().describe_secret().secret_id(secret).send().await;
                sent.map_err(|error| sdk_error(&what, error, self.profile()))
            })
            .await;
        Ok(absent_is_none(asked)?.map(|answer| SecretInfo {
            name: answer.name().unwrap_or(secret).to_owned(),
            arn: answer.arn().unwrap_or_default().to_owned(),
            changed_at: answer.last_changed_date().and_then(timestamp),
            rotated_at: answer.last_rotated_date().and_then(timestamp),
            deleted_at: answer.deleted_date().and_then(timestamp),
        }))
    }
}
