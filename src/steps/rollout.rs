//! Every pod of every service on the new digest and ready: by generation, pods and digest, never by `Available`.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OnceCell;

use crate::adapters::aws::Aws;
use crate::adapters::cluster::{DeploymentState, Events, Live, Logs, PodState, Workloads};
use crate::config::Config;
use crate::domain::{Digest, Evidence, ServiceName, printable};
use crate::engine::{BoxFuture, Done, Effect, Fact, Facts, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result};
use crate::monitor::fingerprint::telling;
use crate::monitor::pods::{Diagnosis, Expected, Overview, diagnose};

use super::apply_images::ApplyImages;

/// Lines of a sick pod's log that are read, and that are shown.
const LOG_READ: u32 = 60;
const LOG_SHOWN: usize = 5;

/// Waits for the rollout; fails as soon as a pod says that it cannot come up.
pub struct Rollout {
    workloads: Workloads,
    events: Events,
    logs: Logs,
    aws: Aws,
    config: Config,
    /// Asked of ECR once: digests do not change.
    expected: OnceCell<Vec<Expected>>,
    /// From the first look on: no look costs a request after that.
    live: OnceLock<Live>,
    /// What was applied past Git, and must not be put back meanwhile.
    applied: Option<ApplyImages>,
}

impl Rollout {
    /// `config`: its services are the ones that are waited for.
    #[must_use]
    pub fn new(workloads: Workloads, events: Events, logs: Logs, aws: Aws, config: Config) -> Self {
        Self { workloads, events, logs, aws, config, expected: OnceCell::new(), live: OnceLock::new(), applied: None }
    }

    /// As it is, of images that were applied past Git: something that puts the old ones back is told at once.
    #[must_use]
    pub fn applied(self, applied: ApplyImages) -> Self {
        Self { applied: Some(applied), ..self }
    }

    async fn ask_expected(&self, facts: &Facts) -> Result<Vec<Expected>> {
        let expected = self.config.services.iter().map(async |service| {
            let digest = wanted(&service.name, facts)?;
            // A hotfix, and a release that began as one, are not named by their version.
            let entry = facts.change.as_ref().and_then(|change| change.images.get(&service.name));
            let own = || facts.version.as_ref().map(ToString::to_string);
            // A spec that pins a digest runs it, whichever level of it a node reports: only where a tag is named, ECR must tell.
            let pinned = entry.is_some_and(|image| image.entry.digest.is_some());
            let mut digests = vec![digest.clone()];
            if !pinned {
                digests.extend(self.aws.equivalents(&self.config.image_of(service), &digest).await?);
            }
            Ok::<_, Error>(Expected {
                service: service.name.clone(),
                container: service.name.to_string(),
                digests,
                tag: entry.and_then(|image| image.entry.tag.clone()).or_else(own),
                replicas: self.config.production.replicas,
            })
        });
        futures::future::try_join_all(expected).await
    }

    fn diagnoses(
        &self,
        expected: &[Expected],
        deployments: &[impl Borrow<DeploymentState>],
        pods: &[impl Borrow<PodState>],
        now: Timestamp,
    ) -> Vec<(ServiceName, Diagnosis)> {
        let deployments: BTreeMap<&str, &DeploymentState> =
            deployments.iter().map(Borrow::borrow).map(|one: &DeploymentState| (one.name.as_str(), one)).collect();
        let labelled = by_label(deployments.values().copied(), pods.iter().map(Borrow::borrow));
        let diagnoses = self.config.services.iter().zip(expected).map(|(service, expected)| {
            let deployment = deployments.get(self.config.deployment_of(service).as_str()).copied();
            let of_it = deployment.and_then(first_label).and_then(|label| labelled.get(&label));
            let pods = of_it.map_or(&[][..], Vec::as_slice);
            (service.name.clone(), diagnose(expected, deployment, pods, &self.config.rollout, now))
        });
        diagnoses.collect()
    }

    /// What the sick pods of a service say: their last event and their last lines.
    async fn symptoms(&self, service: &ServiceName, pods: &[Arc<PodState>]) -> Vec<String> {
        let by_name = self.config.service_map();
        let deployment = by_name.get(service).map(|service| self.config.deployment_of(service)).unwrap_or_default();
        let sick = pods.iter().find(|pod| pod.app() == Some(deployment.as_str()) && !pod.ready && !pod.deleting);
        let Some(pod) = sick else { return Vec::new() };
        let crashed = pod.restarts() > 0;
        let (events, lines) = futures::join!(
            self.events.about("Pod", &pod.name, 2),
            self.logs.tail(&pod.name, Some(service.as_str()), LOG_READ, crashed),
        );
        let mut seen = Vec::new();
        // Symptoms are extra: where they cannot be had, the diagnosis stands without them.
        for event in events.unwrap_or_default() {
            seen.push(format!("event {}: {}: {}", pod.name, event.reason, printable(&event.message)));
        }
        for line in telling(&lines.unwrap_or_default(), LOG_SHOWN) {
            seen.push(format!("log {}: {}", pod.name, printable(line)));
        }
        seen
    }

    async fn doomed(&self, doomed: BTreeMap<ServiceName, String>, pods: &[Arc<PodState>], facts: &Facts) -> Error {
        let first = doomed.values().next().cloned().unwrap_or_default();
        let more = doomed.len() - 1;
        let what = if more == 0 { first } else { format!("{first}; and {more} more") };
        let mut error = Error::outside(what);
        for (service, why) in &doomed {
            if more > 0 {
                error = error.seen(why.clone());
            }
            error = self.symptoms(service, pods).await.into_iter().fold(error, Error::seen);
        }
        error.seen(serving(facts)).hint(super::way_back(facts)).hint("or mend the cause, then: gospel-release resume")
    }
}

type Label<'a> = (&'a str, &'a str);

/// The first pair of a Deployment's selector.
fn first_label(deployment: &DeploymentState) -> Option<Label<'_>> {
    deployment.selector.first_key_value().map(|(key, value)| (key.as_str(), value.as_str()))
}

/// Pods by such pairs: of many services each has few pods, and each look at all of them must not cost the square.
fn by_label<'a>(
    deployments: impl Iterator<Item = &'a DeploymentState>,
    pods: impl Iterator<Item = &'a PodState>,
) -> BTreeMap<Label<'a>, Vec<&'a PodState>> {
    let keys: BTreeSet<&str> = deployments.filter_map(first_label).map(|(key, _)| key).collect();
    let mut labelled: BTreeMap<Label<'_>, Vec<&PodState>> = BTreeMap::new();
    for pod in pods {
        for key in &keys {
            if let Some(value) = pod.labels.get(*key) {
                labelled.entry((*key, value.as_str())).or_default().push(pod);
            }
        }
    }
    labelled
}

fn wanted(service: &ServiceName, facts: &Facts) -> Result<Digest> {
    let shipped = facts.shipped.get(service).map(|image| image.digest.clone());
    shipped.ok_or_else(|| Error::internal(format!("no digest was recorded for {service}")))
}

/// A rolling update keeps old pods until new ones are ready.
fn serving(facts: &Facts) -> String {
    match &facts.previous {
        // What is taken out may never have arrived.
        _ if facts.change.is_some() => "The pods that were there keep serving until new ones are ready.".to_owned(),
        Some(previous) => format!("The pods of {previous} keep serving until new ones are ready."),
        None => "No earlier release serves.".to_owned(),
    }
}

impl Step for Rollout {
    fn id(&self) -> &'static str {
        "rollout"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Pods run the new images".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.config.rollout.within)
    }

    fn every(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn changed(&self) -> Option<BoxFuture<'_, ()>> {
        let live = self.live.get()?;
        Some(Box::pin(live.changed()))
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let expected = self.expected.get_or_try_init(|| self.ask_expected(facts)).await?;
            let live = self.live.get_or_init(|| self.workloads.live());
            let (deployments, pods) = live.look().await?;
            if let Some(applied) = &self.applied {
                applied.must_stay(facts, &deployments)?;
            }
            let now = io.now();
            let diagnoses = self.diagnoses(expected, &deployments, &pods, now);
            let doomed: BTreeMap<ServiceName, String> = diagnoses
                .iter()
                .filter_map(|(service, diagnosis)| match diagnosis {
                    Diagnosis::Doomed { why, .. } => Some((service.clone(), why.clone())),
                    _ => None,
                })
                .collect();
            if !doomed.is_empty() {
                return Err(self.doomed(doomed, &pods, facts).await);
            }
            let overview = Overview::of(diagnoses.iter().map(|(_, diagnosis)| diagnosis));
            if !overview.all_ready() {
                return Ok(Probe::NotYet(overview.note()));
            }
            // Two watches are two streams: what is called done is what one more look at both says.
            let (deployments, pods) = futures::try_join!(self.workloads.deployments(), self.workloads.pods(None))?;
            let diagnoses = self.diagnoses(expected, &deployments, &pods, now);
            let overview = Overview::of(diagnoses.iter().map(|(_, diagnosis)| diagnosis));
            if !overview.all_ready() {
                return Ok(Probe::NotYet(overview.note()));
            }
            let evidence = Evidence::new(overview.note())
                .from(format!("Deployments and pods of {}", self.workloads.namespace()))
                .at(now);
            let live_at = facts.live_at.unwrap_or(now);
            Ok(Probe::Done(Done::new(evidence).learn(Fact::LiveAt(live_at))))
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(Kind::TimedOut, format!("the rollout did not finish: {waited_for}"))
            .seen("Old pods keep serving until new ones are ready.")
            .hint("to go on waiting: gospel-release resume")
            .hint("to go back: gospel-release rollback")
    }
}
