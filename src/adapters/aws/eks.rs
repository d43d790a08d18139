//! EKS: where a cluster is, and which one it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::client::Aws;
use super::errors::sdk_error;
use crate::error::{Error, Result};

/// What `eks:DescribeCluster` says of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    pub name: String,
    pub arn: String,
    /// URL of the API server.
    pub endpoint: String,
    /// The API server's certificate authority, PEM.
    pub ca_pem: String,
    /// Kubernetes version: `1.33`.
    pub version: String,
    /// `ACTIVE`, `UPDATING`, …
    pub status: String,
}

impl Aws {
    /// The cluster `name` in this account and region.
    ///
    /// # Errors
    /// `NotFound` when there is none; outside when it is still being made and has no endpoint.
    pub async fn describe_cluster(&self, name: &str) -> Result<ClusterInfo> {
        let what = format!("describe EKS cluster {name} in {}", self.region());
        let answer = self
            .retry()
            .read(async || {
                let sent = self.eks().describe_cluster().name(name).send().await;
                sent.map_err(|error| sdk_error(&what, error, self.profile()))
            })
            .await?;
        let incomplete = |part: &str| Error::outside(format!("{what}: the answer has no {part}"));
        let cluster = answer.cluster().ok_or_else(|| incomplete("cluster"))?;
        let status = cluster.status().map_or("", |status| status.as_str()).to_owned();
        let field = |value: Option<&str>, part: &str| {
            value.map(ToOwned::to_owned).ok_or_else(|| incomplete(part).seen(format!("its status is {status}")))
        };
        let ca = field(cluster.certificate_authority().and_then(|ca| ca.data()), "certificate authority")?;
        // What is no certificate is found out where one is needed: the ARN is to be compared first.
        let ca = String::from_utf8_lossy(&STANDARD.decode(ca.trim()).unwrap_or_default()).into_owned();
        Ok(ClusterInfo {
            name: name.to_owned(),
            arn: field(cluster.arn(), "ARN")?,
            endpoint: field(cluster.endpoint(), "endpoint")?,
            ca_pem: ca,
            version: cluster.version().unwrap_or_default().to_owned(),
            status,
        })
    }
}
