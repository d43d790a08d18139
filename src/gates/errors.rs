//! "No error spikes on staging": the share of failed requests, over the whole window and in each part of it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::adapters::cluster::{PodState, Workloads};
use crate::domain::{Evidence, ServiceName, count, duration};
use crate::engine::{BoxFuture, Checked, Facts, Gate, StepIo};
use crate::error::Result;
use crate::monitor::metrics::Metrics;
use crate::monitor::sli::{Look, Sli, percent};

use super::words::some;

/// Into how many parts the window is divided, at most.
const PARTS: u32 = 12;
/// A rate over fewer than two scrapes is nothing; they are usually a minute apart at most.
const SHORTEST_PART: Duration = Duration::from_secs(120);

pub struct Errors {
    /// Of staging.
    pub metrics: Metrics,
    /// Of staging: restarts are told beside the errors.
    pub workloads: Workloads,
    pub window: Duration,
    /// Highest share of failed requests, 0 to 1.
    pub limit: f64,
}

impl Gate for Errors {
    fn id(&self) -> &'static str {
        "errors"
    }

    fn title(&self) -> String {
        "No error spikes on staging".into()
    }

    fn check<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let now = io.now();
            let (part, ends) = parts(self.window, now);
            let parts = ends.into_iter().map(|end| self.metrics.look_at_errors(part, end));
            let (whole, parts, pods) = futures::try_join!(
                self.metrics.look(self.window, now),
                futures::future::try_join_all(parts),
                self.workloads.pods(None),
            )?;
            let mut checked = judge(&whole, &parts, self.window, part, self.limit);
            let evidence = checked.evidence.from(self.metrics.source()).at(now);
            checked.evidence = restarts(&pods, self.window, now)
                .into_iter()
                .fold(evidence, |evidence, (pod, said)| evidence.fact(pod, said, None));
            Ok(checked)
        })
    }
}

/// Length of a part, and when each ends, oldest first.
fn parts(window: Duration, now: Timestamp) -> (Duration, Vec<Timestamp>) {
    let part = (window / PARTS).max(SHORTEST_PART).min(window.max(Duration::from_secs(1)));
    let fit = u32::try_from(window.as_secs() / part.as_secs().max(1)).unwrap_or(1).clamp(1, PARTS);
    let end = |back: u32| {
        let back = SignedDuration::try_from(part * back).unwrap_or(SignedDuration::ZERO);
        now.checked_sub(back).unwrap_or(now)
    };
    (part, (0..fit).rev().map(end).collect())
}

fn judge(whole: &Look, parts: &[Look], window: Duration, part: Duration, limit: f64) -> Checked {
    let mut evidence = Evidence::default();
    let (mut failing, mut spiking, mut blind) = (Vec::new(), Vec::new(), Vec::new());
    for (service, sli) in &whole.services {
        let Some(ratio) = sli.error_ratio else {
            blind.push(service.to_string());
            evidence = evidence.fact(service.to_string(), "no requests seen, so nothing is known", None);
            continue;
        };
        let mut said = format!("{} of requests failed", percent(ratio));
        let mut ok = ratio <= limit;
        if !ok {
            failing.push(format!("{service} {}", percent(ratio)));
        }
        if let Some((at, worst)) = worst_spike(service, parts, part, limit) {
            said = format!("{said}; {} at {}", percent(worst), at.strftime("%H:%M UTC"));
            if ok {
                spiking.push(format!("{service} {} at {}", percent(worst), at.strftime("%H:%M UTC")));
            }
            ok = false;
        }
        evidence = evidence.fact(service.to_string(), said, ok);
    }
    let (limit, window) = (percent(limit), duration(window));
    if !failing.is_empty() || !spiking.is_empty() {
        let mut said = Vec::new();
        if !failing.is_empty() {
            said.push(format!("requests fail over {window}: {}", some(&failing)));
        }
        if !spiking.is_empty() {
            said.push(format!("error spikes: {}", some(&spiking)));
        }
        evidence.summary = format!("{} (limit {limit})", said.join("; "));
        return Checked::fail(evidence)
            .fix("read the logs of these services on staging; release a build without the errors");
    }
    if !blind.is_empty() || whole.services.is_empty() {
        let of = if blind.is_empty() { "any service".into() } else { some(&blind) };
        evidence.summary = format!("no requests of {of} were seen in {window}, so errors are not known");
        return Checked::unknown(evidence)
            .fix("send traffic to staging, or check the queries under staging.prometheus");
    }
    let worst =
        whole.services.iter().max_by(|a, b| a.1.error_ratio.unwrap_or(0.0).total_cmp(&b.1.error_ratio.unwrap_or(0.0)));
    let (service, ratio) =
        worst.map_or((String::new(), 0.0), |(s, sli)| (s.to_string(), sli.error_ratio.unwrap_or(0.0)));
    // A part in which nothing was asked has no spike, and proves nothing.
    let known = parts.iter().filter(|look| look.services.values().all(Sli::has_data)).count();
    let parts = match known {
        known if known == parts.len() => count(known, "part"),
        known => format!("{known} of {} with data of every service", count(parts.len(), "part")),
    };
    evidence.summary = if ratio > 0.0 {
        format!(
            "at most {} of requests failed over {window} ({service}; limit {limit}); no spike in {parts}",
            percent(ratio)
        )
    } else {
        format!("no request failed over {window}; no spike in {parts}")
    };
    Checked::pass(evidence)
}

/// The worst part of a service that is above the limit by more than chance.
fn worst_spike(service: &ServiceName, parts: &[Look], part: Duration, limit: f64) -> Option<(Timestamp, f64)> {
    parts
        .iter()
        .filter_map(|look| Some((look.at, look.services.get(service)?)))
        .filter(|(_, sli)| is_spike(sli, part, limit))
        .filter_map(|(at, sli)| Some((at, sli.error_ratio?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Whether more requests failed than the limit allows and three standard deviations of chance explain: one failed request of
/// three, in a quiet minute, is no spike.
fn is_spike(sli: &Sli, part: Duration, limit: f64) -> bool {
    let (Some(rate), Some(ratio)) = (sli.requests, sli.error_ratio) else { return false };
    let requests = rate * part.as_secs_f64();
    let allowed = requests * limit;
    let failed = requests * ratio;
    ratio > limit && failed >= 2.0 && failed > allowed + 3.0 * allowed.sqrt()
}

/// Pods that restarted within the window: beside the errors, they help to understand.
fn restarts(pods: &[PodState], window: Duration, now: Timestamp) -> Vec<(String, String)> {
    let recent = |pod: &&PodState| {
        let end = pod.last_terminated().and_then(|(_, end)| end.at);
        pod.restarts() > 0 && end.is_some_and(|at| super::words::between(at, now) <= window)
    };
    let said = |pod: &PodState| {
        crate::monitor::pods::restarted(std::slice::from_ref(pod), 1, &BTreeMap::new()).pop().map(|pod| pod.said)
    };
    pods.iter().filter(recent).filter_map(|pod| Some((pod.name.clone(), said(pod)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Verdict;

    const HOUR: Duration = Duration::from_secs(3600);
    const PART: Duration = Duration::from_secs(300);

    fn now() -> Timestamp {
        "2025-03-04T10:00:00Z".parse().unwrap()
    }

    /// A look: requests per second and share of errors, by service.
    fn look(services: &[(&str, Option<(f64, f64)>)]) -> Look {
        let sli = |data: Option<(f64, f64)>| match data {
            Some((requests, ratio)) => Sli::of(Some(requests), Some(requests * ratio), None),
            None => Sli::default(),
        };
        Look { at: now(), services: services.iter().map(|(name, data)| (name.parse().unwrap(), sli(*data))).collect() }
    }

    fn judged(whole: &Look, parts: &[Look]) -> Checked {
        judge(whole, parts, HOUR, PART, 0.01)
    }

    #[test]
    fn few_errors_are_a_pass() {
        let whole = look(&[("gateway", Some((10.0, 0.002))), ("search", Some((3.0, 0.0)))]);
        let checked = judged(&whole, std::slice::from_ref(&whole));
        assert_eq!(checked.verdict, Verdict::Pass);
        let said = "at most 0.2 % of requests failed over 1 h (gateway; limit 1 %); no spike in 1 part";
        assert_eq!(checked.evidence.summary, said);
    }

    #[test]
    fn too_many_errors_fail_and_are_named() {
        let checked = judged(&look(&[("gateway", Some((10.0, 0.08))), ("search", Some((3.0, 0.0)))]), &[]);
        assert_eq!(checked.verdict, Verdict::Fail);
        assert_eq!(checked.evidence.summary, "requests fail over 1 h: gateway 8 % (limit 1 %)");
    }

    #[test]
    fn a_short_spike_fails_although_the_hour_looks_fine() {
        let whole = look(&[("gateway", Some((10.0, 0.006)))]);
        let spike = look(&[("gateway", Some((10.0, 0.07)))]);
        let checked = judged(&whole, &[whole.clone(), spike]);
        assert_eq!(checked.verdict, Verdict::Fail);
        assert_eq!(checked.evidence.summary, "error spikes: gateway 7 % at 10:00 UTC (limit 1 %)");
    }

    #[test]
    fn one_failed_request_in_a_quiet_part_is_no_spike() {
        let whole = look(&[("gateway", Some((0.01, 0.005)))]);
        let quiet = look(&[("gateway", Some((0.01, 0.34)))]);
        assert_eq!(judged(&whole, &[quiet]).verdict, Verdict::Pass);
    }

    #[test]
    fn an_empty_vector_is_unknown_for_that_service() {
        let checked = judged(&look(&[("gateway", Some((10.0, 0.0))), ("search", None)]), &[]);
        assert_eq!(checked.verdict, Verdict::Unknown);
        assert_eq!(checked.evidence.summary, "no requests of search were seen in 1 h, so errors are not known");
        assert_eq!(judged(&look(&[]), &[]).verdict, Verdict::Unknown);
        // A failure that is known outweighs what is not.
        let both = look(&[("gateway", Some((10.0, 0.5))), ("search", None)]);
        assert_eq!(judged(&both, &[]).verdict, Verdict::Fail);
    }

    #[test]
    fn the_window_is_divided_into_parts_that_hold_two_scrapes() {
        let (part, ends) = parts(HOUR, now());
        assert_eq!((part, ends.len(), *ends.last().unwrap()), (PART, 12, now()));
        assert_eq!(ends[0], now() - SignedDuration::from_mins(55));
        let (part, ends) = parts(Duration::from_secs(600), now());
        assert_eq!((part, ends.len()), (SHORTEST_PART, 5));
        let (part, ends) = parts(Duration::from_secs(60), now());
        assert_eq!((part, ends.len()), (Duration::from_secs(60), 1));
    }
}
