//! The hour after: errors, latency and restarts, looked at until it is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::adapters::cluster::Workloads;
use crate::config::Config;
use crate::domain::{Evidence, ServiceName, count, duration};
use crate::engine::{BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result};
use crate::monitor::metrics::Metrics;
use crate::monitor::pods::{of_services, restarted};
use crate::monitor::sli::{Judgement, Limits, Sli, Streak};

/// Watches production until `watch.for` has passed since the rollout. A resumed run goes on with the same hour.
pub struct Watch {
    metrics: Metrics,
    workloads: Workloads,
    config: Config,
    streak: Mutex<Streak>,
    /// Restarts that pods older than the release had at the first look.
    before: OnceLock<BTreeMap<String, u32>>,
}

/// The window of one look: long enough to hold requests, short enough to show what happens now.
const WINDOW: Duration = Duration::from_secs(300);

impl Watch {
    #[must_use]
    pub fn new(metrics: Metrics, workloads: Workloads, config: Config) -> Self {
        Self { metrics, workloads, config, streak: Mutex::default(), before: OnceLock::new() }
    }

    fn limits(&self) -> Limits {
        Limits { error_ratio: self.config.watch.error_ratio, p95: self.config.watch.p95_seconds }
    }

    fn judge(&self, look: &crate::monitor::sli::Look) -> Judgement {
        let mut streak = self.streak.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        streak.judge(look, self.limits(), self.config.watch.bad_looks)
    }

    /// The looks of this process: how many, and how many had data.
    fn looks(&self) -> (u32, u32) {
        self.streak.lock().unwrap_or_else(std::sync::PoisonError::into_inner).looks()
    }

    /// Pods of the services that restarted since the release; others in the namespace are not its doing.
    async fn restarts(&self, since: Timestamp) -> Result<Vec<String>> {
        let pods = of_services(&self.config, self.workloads.pods(None).await?);
        let before = self.before.get_or_init(|| {
            let older = pods.iter().filter(|pod| pod.created_at.is_some_and(|at| at < since));
            older.map(|pod| (pod.name.clone(), pod.restarts())).collect()
        });
        Ok(restarted(&pods, self.config.watch.restarts, before).into_iter().map(|pod| pod.said).collect())
    }

    /// The whole time in one look, for its end: this process may have seen little of it. `Ok(Err(…))` is what is still waited for.
    async fn whole(
        &self,
        since: Timestamp,
        now: Timestamp,
        watched: Duration,
        facts: &Facts,
    ) -> Result<std::result::Result<Vec<String>, String>> {
        let lasts = self.config.watch.lasts;
        let (whole, earlier) =
            futures::try_join!(self.metrics.look(watched.min(lasts * 2), now), self.metrics.look(lasts, since))?;
        let bad = whole.findings(self.limits()).into_iter().filter(|finding| finding.kind.is_bad());
        let bad: Vec<String> = bad.map(|finding| finding.said).collect();
        if !bad.is_empty() {
            return Err(regressed(bad, facts));
        }
        let silent = whole.services.iter().filter(|(_, sli)| !sli.has_data()).map(|(service, _)| service);
        let has_stopped = |service: &&ServiceName| earlier.services.get(*service).is_some_and(Sli::has_data);
        let (stopped, quiet): (Vec<_>, Vec<_>) = silent.partition(has_stopped);
        if stopped.is_empty() {
            return Ok(Ok(quiet.into_iter().map(ToString::to_string).collect()));
        }
        let names: Vec<&str> = stopped.into_iter().map(ServiceName::as_str).collect();
        Ok(Err(format!("metrics of {}, which had some before the release (no data)", names.join(", "))))
    }
}

impl Step for Watch {
    fn id(&self) -> &'static str {
        "watch"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Watch production for {}", duration(self.config.watch.lasts))
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    /// The hour, and as much again for an end that has no data.
    fn deadline(&self) -> Option<Duration> {
        Some(self.config.watch.lasts * 2)
    }

    fn every(&self) -> Duration {
        self.config.watch.every
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let since = facts.live_at.ok_or_else(|| Error::internal("the watch needs the time of the rollout"))?;
            let now = io.now();
            let watched = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            let window = WINDOW.min(watched.max(Duration::from_secs(60)));
            let (look, restarts) = futures::try_join!(self.metrics.look(window, now), self.restarts(since))?;
            if !restarts.is_empty() {
                return Err(regressed(restarts, facts));
            }
            let said = look.summary().unwrap_or_else(|| "no data".to_owned());
            match self.judge(&look) {
                Judgement::Regression { findings } => {
                    let seen = findings.into_iter().map(|finding| finding.said).collect();
                    return Err(regressed(seen, facts));
                }
                // An end without data is no good end: unknown blocks.
                Judgement::NoData => return Ok(Probe::NotYet("metrics of production (no data)".to_owned())),
                Judgement::Suspect { bad, of, findings } => {
                    let first = findings.first().map(|finding| finding.said.clone()).unwrap_or_default();
                    return Ok(Probe::NotYet(format!("{first} ({bad} of {of} bad looks)")));
                }
                Judgement::Good => {}
            }
            // Judged by when we looked: an answer that took long is no reason to give up.
            if watched < self.config.watch.lasts {
                let left = self.config.watch.lasts.saturating_sub(watched);
                return Ok(Probe::NotYet(format!(
                    "{} more; {said}",
                    duration(Duration::from_secs(left.as_secs().max(1)))
                )));
            }
            let quiet = match self.whole(since, now, watched, facts).await? {
                Ok(quiet) => quiet,
                Err(waited_for) => return Ok(Probe::NotYet(waited_for)),
            };
            let (looks, with_data) = self.looks();
            let evidence = Evidence::new(format!("{said} in {}, {with_data} with data", count(looks as usize, "look")))
                .from("Prometheus and pods of production")
                .at(now)
                .fact("watched since", since.to_string(), None);
            let quiet = (!quiet.is_empty()).then(|| quiet.join(", "));
            let evidence = quiet
                .into_iter()
                .fold(evidence, |evidence, quiet| evidence.fact("no requests, before or since", quiet, None));
            Ok(Probe::Done(Done::new(evidence)))
        })
    }
}

fn regressed(seen: Vec<String>, facts: &Facts) -> Error {
    let version = facts.version.as_ref().map_or_else(|| "the release".to_owned(), ToString::to_string);
    let error = Error::new(Kind::Regression, format!("{version} is live, and it is worse than its limits"));
    seen.into_iter()
        .fold(error, Error::seen)
        .seen("Before and after are compared with fixed limits: there is no control group.")
        .hint(super::way_back(facts))
        .hint("or, if this is not the release's doing, to go on watching: gospel-release resume")
}
