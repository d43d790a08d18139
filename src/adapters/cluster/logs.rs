//! The last lines of a container.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};

use super::connect::Cluster;
use super::errors::kube_error;
use crate::error::Result;

/// Most bytes that are read of one log.
const LIMIT: i64 = 1024 * 1024;

/// Container logs of one namespace.
#[derive(Clone)]
pub struct Logs {
    cluster: Cluster,
    namespace: String,
}

impl Logs {
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.to_owned() }
    }

    /// The last `lines` lines of a container, oldest first; with `previous` those before its last restart. Empty when it has
    /// not started, or was never restarted. The text is as the container wrote it: escape it before it reaches a terminal.
    pub async fn tail(&self, pod: &str, container: Option<&str>, lines: u32, previous: bool) -> Result<Vec<String>> {
        let params = LogParams { tail_lines: Some(i64::from(lines)), previous, ..LogParams::default() };
        self.read(pod, container, params).await
    }

    /// What a container wrote in the last `seconds` (by the node's clock), oldest first; at most `lines` lines.
    pub async fn since(&self, pod: &str, container: Option<&str>, seconds: i64, lines: u32) -> Result<Vec<String>> {
        let params = LogParams {
            since_seconds: Some(seconds.max(1)),
            tail_lines: Some(i64::from(lines)),
            ..LogParams::default()
        };
        self.read(pod, container, params).await
    }

    async fn read(&self, pod: &str, container: Option<&str>, params: LogParams) -> Result<Vec<String>> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        let params = LogParams { container: container.map(ToOwned::to_owned), limit_bytes: Some(LIMIT), ..params };
        let text = self
            .cluster
            .retry()
            .read(async || match api.logs(pod, &params).await {
                Ok(text) => Ok(text),
                Err(kube::Error::Api(status)) if status.code == 400 && nothing_yet(&status.message) => {
                    Ok(String::new())
                }
                Err(error) => Err(kube_error(format!("read the log of pod {pod} in {}", self.namespace), error)),
            })
            .await?;
        Ok(text.lines().map(ToOwned::to_owned).collect())
    }
}

/// The kubelet's ways of saying that there is no log (kubelet `validateContainerLogStatus`).
fn nothing_yet(message: &str) -> bool {
    ["waiting to start", "previous terminated container", "is not available", "not found in pod"]
        .iter()
        .any(|words| message.contains(words))
        && !message.contains("is not valid for pod")
}
