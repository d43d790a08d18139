//! Amplify: what the front ends last shipped.

use jiff::Timestamp;

use super::client::Aws;
use super::ecr::timestamp;
use super::errors::{absent_is_none, sdk_error};
use crate::error::Result;

/// One deployment of a branch of an Amplify application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmplifyJob {
    pub id: String,
    /// `SUCCEED`, `FAILED`, `RUNNING`, … as Amplify writes them.
    pub status: String,
    pub commit: String,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

impl AmplifyJob {
    /// Whether it shipped.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status == "SUCCEED"
    }
}

impl Aws {
    /// The newest job of `branch` of application `app`; `None` when there is none.
    pub async fn last_amplify_job(&self, app: &str, branch: &str) -> Result<Option<AmplifyJob>> {
        let what = format!("list Amplify jobs of {app}, branch {branch}");
        let asked = self
            .retry()
            .read(async || {
                let sent = self.amplify().list_jobs().app_id(app).branch_name(branch).max_results(5).send().await;
                sent.map_err(|error| sdk_error(&what, error, self.profile()))
            })
            .await;
        let newest = absent_is_none(asked)?
            .and_then(|answer| answer.job_summaries().iter().max_by_key(|job| job.start_time().secs()).cloned());
        Ok(newest.map(|job| AmplifyJob {
            id: job.job_id().to_owned(),
            status: job.status().as_str().to_owned(),
            commit: job.commit_id().to_owned(),
            started_at: timestamp(job.start_time()),
            ended_at: job.end_time().and_then(timestamp),
        }))
    }
}
