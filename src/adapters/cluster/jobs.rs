//! Jobs: a program run inside the cluster, its end, its log.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::connect::Cluster;
use super::errors::kube_error;
use super::logs::Logs;
use crate::clock::Stopwatch;
use crate::error::{Error, Kind, Result};

/// Longest pause between two looks at a Job (wall time).
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The Jobs of one namespace.
#[derive(Clone)]
pub struct Jobs {
    cluster: Cluster,
    namespace: String,
}

/// A Job of one container that is tried once.
#[derive(Debug, Clone)]
pub struct JobSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub image: String,
    pub command: Vec<String>,
    /// The cluster ends it after this long.
    pub deadline: Duration,
    /// The cluster deletes it this long after its end, should we not.
    pub kept_for: Duration,
}

/// How a Job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    Succeeded,
    Failed { reason: String, message: String },
}

impl Jobs {
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self { cluster: cluster.clone(), namespace: namespace.to_owned() }
    }

    /// Makes it; one of this name that exists is a conflict.
    pub async fn create(&self, spec: &JobSpec) -> Result<()> {
        let job: Job = serde_json::from_value(manifest(spec))
            .map_err(|error| Error::internal(format!("describe job {}", spec.name)).because(error))?;
        let make = async || {
            let made = self.api().create(&PostParams::default(), &job).await;
            made.map(|_| ()).map_err(|error| kube_error(self.what("create", &spec.name), error))
        };
        let exists = async || Ok(self.cluster.get(&self.api(), &spec.name, "job").await?.map(|_| ()));
        self.cluster.retry().write(make, exists).await
    }

    /// How it ended; `None` while it has not.
    ///
    /// # Errors
    /// `NotFound` when there is no such Job.
    pub async fn outcome(&self, name: &str) -> Result<Option<JobOutcome>> {
        let found = self.cluster.get(&self.api(), name, "job").await?;
        let job = found.ok_or_else(|| {
            let what = format!("there is no job {name} in {}", self.namespace);
            Error::outside(what).class(crate::error::Class::NotFound)
        })?;
        Ok(ended(&job))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Kind::TimedOut`] after `within` (wall time).
    pub async fn wait(&self, name: &str, within: Duration) -> Result<JobOutcome> {
        let waited = Stopwatch::start();
        let mut pause = Duration::from_millis(20);
        loop {
            if let Some(outcome) = self.outcome(name).await? {
                return Ok(outcome);
            }
            if waited.elapsed() >= within {
                let seconds = within.as_secs();
                return Err(Error::new(
                    Kind::TimedOut,
                    format!("job {name} in {} did not end within {seconds} s", self.namespace),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// The last lines of its newest pod; empty when it has none.
    pub async fn log(&self, name: &str, lines: u32) -> Result<Vec<String>> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client().clone(), &self.namespace);
        let params = ListParams::default().labels(&format!("job-name={name}"));
        let pods = self.cluster.list(&api, &params, &format!("pods of job {name}")).await?;
        let newest = pods.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        match newest.and_then(|pod| pod.metadata.name) {
            Some(pod) => Logs::new(&self.cluster, &self.namespace).tail(&pod, None, lines, false).await,
            None => Ok(Vec::new()),
        }
    }

    /// Deletes it and its pods; one that is gone already is no error.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let deleted = self.cluster.retry().read(async || {
            let deleted = self.api().delete(name, &DeleteParams::background()).await;
            deleted.map(|_| ()).map_err(|error| kube_error(self.what("delete", name), error))
        });
        match deleted.await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    fn api(&self) -> Api<Job> {
        Api::namespaced(self.cluster.client().clone(), &self.namespace)
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("{verb} job {name} in {}", self.namespace)
    }
}

fn manifest(spec: &JobSpec) -> serde_json::Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": spec.name, "labels": spec.labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": spec.deadline.as_secs().max(1),
            "ttlSecondsAfterFinished": spec.kept_for.as_secs(),
            "template": {
                "metadata": {"labels": spec.labels},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "main",
                        "image": spec.image,
                        "command": spec.command,
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "capabilities": {"drop": ["ALL"]},
                            "runAsNonRoot": true,
                            "runAsUser": 65534,
                            "seccompProfile": {"type": "RuntimeDefault"}
                        }
                    }]
                }
            }
        }
    })
}

fn ended(job: &Job) -> Option<JobOutcome> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let condition = conditions.iter().find(|c| c.status == "True" && (c.type_ == "Complete" || c.type_ == "Failed"))?;
    Some(if condition.type_ == "Complete" {
        JobOutcome::Succeeded
    } else {
        let (reason, message) = (condition.reason.clone(), condition.message.clone());
        JobOutcome::Failed { reason: reason.unwrap_or_default(), message: message.unwrap_or_default() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_ends_by_its_conditions_alone() {
        let spec = JobSpec {
            name: "ask".into(),
            labels: BTreeMap::new(),
            image: "curl".into(),
            command: vec!["curl".into(), "http://x".into()],
            deadline: Duration::from_secs(9),
            kept_for: Duration::from_mins(1),
        };
        let mut value = manifest(&spec);
        assert!(ended(&serde_json::from_value(value.clone()).unwrap()).is_none());
        value["status"] = json!({"failed": 1, "conditions": [
            {"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]});
        let outcome = ended(&serde_json::from_value(value).unwrap()).unwrap();
        assert_eq!(outcome, JobOutcome::Failed { reason: "DeadlineExceeded".into(), message: String::new() });
    }
}
