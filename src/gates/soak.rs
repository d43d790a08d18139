//! "Staging ran the candidate for at least 24 h": there now, without interruption, for the whole time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Digest, Evidence, ServiceName, count, duration, printable};
use crate::engine::Checked;

use super::timeline::{Argo, Since, Version as Ran, since};
use super::words::{after, between, clock_time, some};

/// What is known of one service on staging.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Pods that are not being deleted, by what they run; `None` where it is not known.
    pub pods: Vec<(String, Option<Digest>)>,
    /// When the oldest of them was made.
    pub oldest_pod: Option<Timestamp>,
    /// What its Deployment ran, by ReplicaSet.
    pub ran: Vec<Ran>,
    /// What Argo CD deployed; `None` when it has no history.
    pub argo: Option<Argo>,
}

/// The verdict: every service must have run its candidate's digest for `needed`, until `now`.
///
/// `accepted` are the digests that count as the candidate's, by service: an index's and its platforms'.
pub fn judge(
    accepted: &BTreeMap<ServiceName, Vec<Digest>>,
    observed: &BTreeMap<ServiceName, Observed>,
    needed: Duration,
    now: Timestamp,
) -> Checked {
    let mut evidence = Evidence::default().at(now);
    let (mut absent, mut unknown, mut short) = (Vec::new(), Vec::new(), Vec::new());
    let mut latest: Option<(Timestamp, String)> = None;
    for (service, digests) in accepted {
        let answer = service_since(digests, observed.get(service));
        let (said, ok) = match &answer {
            Answer::Unknown(why) => {
                unknown.push(service.to_string());
                (why.clone(), None)
            }
            Answer::Absent(why) => {
                absent.push(service.to_string());
                (why.clone(), Some(false))
            }
            Answer::Since(since) => {
                let ran = between(since.at, now);
                let long_enough = ran >= needed;
                if !long_enough {
                    short.push(format!("{service} ({})", duration(ran)));
                }
                let why = printable(&since.why);
                if latest.as_ref().is_none_or(|(at, _)| *at < since.at) {
                    latest = Some((since.at, format!("{service}: {why}")));
                }
                (format!("{} since {} ({why})", duration(ran), clock_time(since.at)), Some(long_enough))
            }
        };
        evidence = evidence.fact(service.to_string(), said, ok);
    }
    let services = count(accepted.len(), "service");
    let least = latest.as_ref().map(|(at, _)| duration(between(*at, now))).unwrap_or_default();
    let need = duration(needed);
    if !absent.is_empty() {
        evidence.summary = format!("staging does not run the candidate in {}", some(&absent));
        return Checked::fail(evidence).fix("deploy the candidate to staging, and let it soak");
    }
    if !unknown.is_empty() || accepted.is_empty() {
        let of = if unknown.is_empty() { "any service".to_owned() } else { some(&unknown) };
        evidence.summary = format!("for how long staging has run the candidate is not known of {of}");
        return Checked::unknown(evidence).fix("check that the Deployments and ReplicaSets of staging can be read");
    }
    if let (false, Some((at, why))) = (short.is_empty(), &latest) {
        evidence.summary = format!("the candidate has run on staging for {least}, {need} needed ({why})");
        return Checked::fail(evidence).fix(format!("eligible at {}", clock_time(after(*at, needed))));
    }
    evidence.summary = format!("{services} ran the candidate for {least} without interruption, {need} needed");
    Checked::pass(evidence)
}

enum Answer {
    Since(Since),
    /// It does not run now.
    Absent(String),
    Unknown(String),
}

fn service_since(digests: &[Digest], observed: Option<&Observed>) -> Answer {
    let Some(observed) = observed else { return Answer::Unknown("its Deployment could not be read".into()) };
    if observed.pods.is_empty() {
        return Answer::Absent("no pod runs".into());
    }
    let other =
        observed.pods.iter().find(|(_, digest)| digest.as_ref().is_some_and(|digest| !digests.contains(digest)));
    if let Some((pod, Some(digest))) = other {
        return Answer::Absent(format!("{pod} runs {}, not the candidate", digest.short()));
    }
    if let Some((pod, _)) = observed.pods.iter().find(|(_, digest)| digest.is_none()) {
        return Answer::Unknown(format!("what {pod} runs is not known"));
    }
    match since(digests, &observed.ran, observed.argo.as_ref(), observed.oldest_pod) {
        Some(since) => Answer::Since(since),
        None => Answer::Unknown("no ReplicaSet tells since when".into()),
    }
}
