//! "Staging ran the candidate for at least 24 h": there now, without interruption, for the whole time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::adapters::aws::Aws;
use crate::adapters::cluster::{
    AppHistory, Applications, ContainerState, DeploymentState, PodState, ReplicaSetState, Workloads,
};
use crate::adapters::git::Git;
use crate::config::Config;
use crate::domain::{
    CommitSha, Digest, Evidence, ImageRef, OverlayImage, ServiceName, count, duration, overlay_images, printable,
};
use crate::engine::{BoxFuture, Candidate, Checked, Facts, Gate, StepIo};
use crate::error::Result;

use super::timeline::{Argo, Deployed, Since, Version as Ran, since};
use super::words::{after, between, candidate, clock_time, some};

/// Manifests asked for at a time.
const CONCURRENCY: usize = 32;

pub struct Soak {
    pub config: Config,
    /// Of staging.
    pub workloads: Workloads,
    /// Argo CD, for the history of staging's Application.
    pub applications: Applications,
    pub git: Arc<Git>,
    /// The account that holds the images.
    pub aws: Aws,
}

impl Gate for Soak {
    fn id(&self) -> &'static str {
        "soak"
    }

    fn title(&self) -> String {
        format!("Staging ran the candidate for at least {}", duration(self.config.gates.soak))
    }

    fn check<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let candidate = match candidate(facts) {
                Ok(candidate) => candidate,
                Err(unknown) => return Ok(*unknown),
            };
            let (deployments, replica_sets, pods, synced) = futures::try_join!(
                self.workloads.deployments(),
                self.workloads.replica_sets(),
                self.workloads.pods(None),
                self.synced(),
            )?;
            let accepted = self.accepted(candidate, &deployments).await?;
            let mut observed = BTreeMap::new();
            for (service, digests) in &accepted {
                let by_name = self.config.service_map();
                let Some(settings) = by_name.get(service) else { continue };
                let name = self.config.deployment_of(settings);
                let Some(deployment) = deployments.iter().find(|deployment| deployment.name == name) else { continue };
                let mut seen = observe(service, digests, deployment, &replica_sets, &pods);
                seen.argo = synced.as_ref().map(|synced| synced.of(&self.config.image_of(settings)));
                observed.insert(service.clone(), seen);
            }
            let mut checked = judge(&accepted, &observed, self.config.gates.soak, io.now());
            checked.evidence = checked.evidence.from(format!(
                "pods and ReplicaSets of {}, history of {}",
                self.workloads.namespace(),
                self.config.argo.staging_application
            ));
            if synced.is_none() {
                checked.evidence =
                    checked.evidence.fact("Argo CD", "no Application for staging: its history is not used", None);
            }
            Ok(checked)
        })
    }
}

/// The syncs of staging, each with the images that its overlay named.
struct Synced(Vec<(AppHistory, Option<BTreeMap<String, OverlayImage>>)>);

impl Synced {
    /// One image's part of it.
    fn of(&self, image: &str) -> Argo {
        let reference = |found: &OverlayImage| ImageRef {
            name: found.name.clone().unwrap_or_else(|| image.to_owned()),
            tag: found.tag.clone(),
            digest: found.digest.clone(),
        };
        let deployed = self.0.iter().map(|(entry, images)| Deployed {
            at: entry.deployed_at,
            revision: entry.revision.get(..7).unwrap_or(&entry.revision).to_owned(),
            image: images.as_ref().and_then(|images| images.get(image)).map(reference),
        });
        Argo { deployed: deployed.collect() }
    }
}

impl Soak {
    /// `None` where staging has no Application.
    async fn synced(&self) -> Result<Option<Synced>> {
        let application = match self.applications.application(&self.config.argo.staging_application).await {
            Ok(application) => application,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        application.must_be_clear()?;
        let unknown = |entry: &AppHistory| entry.revision.parse().is_ok_and(|commit: CommitSha| !self.git.has(&commit));
        if application.history.iter().any(unknown) {
            self.git.fetch().await?;
        }
        let read = application.history.into_iter().map(|entry| {
            let images = self.overlay_at(&entry.revision);
            images.map(|images| (entry, images))
        });
        read.collect::<Result<Vec<_>>>().map(|entries| Some(Synced(entries)))
    }

    /// The images that staging's overlay named at a revision; `None` where it cannot be read there.
    fn overlay_at(&self, revision: &str) -> Result<Option<BTreeMap<String, OverlayImage>>> {
        let Ok(commit) = revision.parse::<CommitSha>() else { return Ok(None) };
        if !self.git.has(&commit) {
            return Ok(None);
        }
        let Some(yaml) = self.git.file_at(&commit, &self.config.staging.kustomization())? else { return Ok(None) };
        Ok(overlay_images(&yaml).ok())
    }

    /// The digests that count as the candidate's: its own; the platforms in it, where it names an index; and the index that the
    /// Deployment names, where the candidate is one of its platforms.
    async fn accepted(
        &self,
        candidate: &Candidate,
        deployments: &[DeploymentState],
    ) -> Result<BTreeMap<ServiceName, Vec<Digest>>> {
        let asked: Vec<_> =
            candidate.images.iter().map(|(service, digest)| self.levels(service, digest, deployments)).collect();
        stream::iter(asked).buffer_unordered(CONCURRENCY).try_collect().await
    }

    async fn levels(
        &self,
        service: &ServiceName,
        digest: &Digest,
        deployments: &[DeploymentState],
    ) -> Result<(ServiceName, Vec<Digest>)> {
        let mut digests = vec![digest.clone()];
        let Some(settings) = self.config.services.iter().find(|settings| settings.name == *service) else {
            return Ok((service.clone(), digests));
        };
        let repository = self.config.image_of(settings);
        digests.extend(self.aws.equivalents(&repository, digest).await?.into_iter().filter(|other| other != digest));
        let name = self.config.deployment_of(settings);
        let deployment = deployments.iter().find(|deployment| deployment.name == name);
        let named = deployment.and_then(|deployment| deployment.image(service.as_str())?.digest.as_ref());
        if let Some(named) = named.filter(|named| !digests.contains(named))
            && self.aws.equivalents(&repository, named).await?.contains(digest)
        {
            digests.push(named.clone());
        }
        Ok((service.clone(), digests))
    }
}

/// What the cluster says of one service.
fn observe(
    service: &ServiceName,
    digests: &[Digest],
    deployment: &DeploymentState,
    replica_sets: &[ReplicaSetState],
    pods: &[PodState],
) -> Observed {
    let container = service.as_str();
    let ours = |pod: &&PodState| {
        let selected = deployment.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
        selected
            && !deployment.selector.is_empty()
            && !pod.deleting
            && pod.phase != "Failed"
            && pod.phase != "Succeeded"
    };
    let pods: Vec<&PodState> = pods.iter().filter(ours).collect();
    let of_deployment = replica_sets.iter().filter(|set| set.deployment.as_deref() == Some(deployment.name.as_str()));
    let ran = of_deployment.filter_map(|set| {
        let image =
            set.images.get(container).or_else(|| set.images.values().next().filter(|_| set.images.len() == 1))?;
        let active = match (set.revision, deployment.revision) {
            (Some(theirs), Some(current)) => theirs == current,
            _ => set.desired > 0,
        };
        Some(Ran {
            name: set.name.clone(),
            created: set.created_at?,
            revision: set.revision,
            image: image.clone(),
            again: set.again,
            active,
        })
    });
    Observed {
        oldest_pod: pods.iter().filter_map(|pod| pod.created_at).min(),
        ran: ran.collect(),
        argo: None,
        pods: pods.iter().map(|pod| (pod.name.clone(), running(pod.main(container), digests))).collect(),
    }
}

/// What a container runs: the digest that its spec pins, where that is an accepted one, or else what the node reports.
fn running(container: Option<&ContainerState>, digests: &[Digest]) -> Option<Digest> {
    let container = container?;
    let pinned = container.image.parse::<ImageRef>().ok().and_then(|image| image.digest);
    pinned.filter(|pinned| digests.contains(pinned)).or_else(|| container.digest.clone())
}

/// What is known of one service on staging.
#[derive(Debug, Clone, Default)]
struct Observed {
    /// Pods that are not being deleted, by what they run; `None` where it is not known.
    pods: Vec<(String, Option<Digest>)>,
    /// When the oldest of them was made.
    oldest_pod: Option<Timestamp>,
    /// What its Deployment ran, by ReplicaSet.
    ran: Vec<Ran>,
    /// What Argo CD deployed; `None` when it has no history.
    argo: Option<Argo>,
}

/// The verdict: every service must have run its candidate's digest for `needed`, until `now`.
///
/// `accepted` are the digests that count as the candidate's, by service: an index's and its platforms'.
fn judge(
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
        let fix = "check that the Deployments and ReplicaSets of staging can be read; where staging returned to an earlier one, kubectl rollout restart begins a time that can be told";
        return Checked::unknown(evidence).fix(fix);
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
        Ok(since) => Answer::Since(since),
        Err(why) => Answer::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Verdict;

    const DAY: Duration = Duration::from_secs(86_400);

    fn digest(c: char) -> Digest {
        format!("sha256:{}", c.to_string().repeat(64)).parse().unwrap()
    }

    fn image(c: char) -> ImageRef {
        ImageRef { name: "r/gospelib-gateway".into(), tag: Some(format!("sha-{c}")), digest: Some(digest(c)) }
    }

    fn now() -> Timestamp {
        "2025-03-04T09:00:00Z".parse().unwrap()
    }

    fn ago(hours: i64) -> Timestamp {
        now() - jiff::SignedDuration::from_hours(hours)
    }

    fn ran(c: char, revision: u64, hours: i64, active: bool) -> Ran {
        Ran {
            name: format!("rs-{revision}"),
            created: ago(hours),
            revision: Some(revision),
            image: image(c),
            again: false,
            active,
        }
    }

    fn argo(entries: &[(char, i64)]) -> Argo {
        let deployed =
            |(c, h): &(char, i64)| Deployed { at: ago(*h), revision: "abc1234".into(), image: Some(image(*c)) };
        Argo { deployed: entries.iter().map(deployed).collect() }
    }

    /// Two pods of `a` since `hours`, before that `b`.
    fn seen(hours: i64) -> Observed {
        Observed {
            pods: vec![("gw-1".into(), Some(digest('a'))), ("gw-2".into(), Some(digest('a')))],
            oldest_pod: Some(ago(1)),
            ran: vec![ran('b', 1, 900, false), ran('a', 2, hours, true)],
            argo: Some(argo(&[('b', 900), ('a', hours)])),
        }
    }

    fn judged(observed: Observed) -> Checked {
        let service: ServiceName = "gateway".parse().unwrap();
        let accepted = BTreeMap::from([(service.clone(), vec![digest('a')])]);
        judge(&accepted, &BTreeMap::from([(service, observed)]), DAY, now())
    }

    #[test]
    fn a_day_without_interruption_is_a_pass_although_a_pod_restarted() {
        let checked = judged(seen(26));
        assert_eq!(checked.verdict, Verdict::Pass);
        assert_eq!(checked.evidence.summary, "1 service ran the candidate for 26 h without interruption, 24 h needed");
    }

    #[test]
    fn too_short_fails_and_says_when_it_will_do() {
        let checked = judged(seen(6));
        assert_eq!(checked.verdict, Verdict::Fail);
        assert_eq!(checked.fix.as_deref(), Some("eligible at 2025-03-05 03:00 UTC"));
        assert!(checked.evidence.summary.starts_with("the candidate has run on staging for 6 h, 24 h needed"));
    }

    #[test]
    fn another_digest_in_between_resets_and_is_named() {
        let mut observed = seen(26);
        observed.ran = vec![ran('a', 3, 26, true), ran('b', 2, 4, false)];
        observed.argo = Some(argo(&[('a', 26), ('b', 4), ('a', 3)]));
        let checked = judged(observed);
        assert_eq!(checked.verdict, Verdict::Fail);
        let summary = &checked.evidence.summary;
        assert!(summary.contains("for 3 h, 24 h needed") && summary.contains("sha-b"), "{summary}");
        assert_eq!(checked.fix.as_deref(), Some("eligible at 2025-03-05 06:00 UTC"));
    }

    #[test]
    fn a_digest_that_is_not_there_now_fails_however_long_it_ran() {
        let mut observed = seen(26);
        observed.pods[1].1 = Some(digest('b'));
        let checked = judged(observed);
        assert_eq!(checked.verdict, Verdict::Fail);
        assert_eq!(checked.evidence.summary, "staging does not run the candidate in gateway");
        assert_eq!(judged(Observed { pods: Vec::new(), ..seen(26) }).verdict, Verdict::Fail);
    }

    #[test]
    fn a_return_that_nothing_dates_is_unknown() {
        let back = Ran { again: true, ..ran('a', 4, 26, true) };
        let observed = Observed { ran: vec![ran('b', 3, 900, false), back], argo: None, ..seen(26) };
        let checked = judged(observed);
        assert_eq!(checked.verdict, Verdict::Unknown);
        let seen = &checked.evidence.facts[0].seen;
        assert!(seen.contains("returned to ReplicaSet rs-4") && seen.contains("nothing tells when"), "{seen}");
    }

    #[test]
    fn what_cannot_be_seen_is_unknown() {
        let mut observed = seen(26);
        observed.pods[0].1 = None;
        assert_eq!(judged(observed).verdict, Verdict::Unknown);
        assert_eq!(judged(Observed { ran: Vec::new(), ..seen(26) }).verdict, Verdict::Unknown);
        assert_eq!(judge(&BTreeMap::new(), &BTreeMap::new(), DAY, now()).verdict, Verdict::Unknown);
        let accepted = BTreeMap::from([("gateway".parse().unwrap(), vec![digest('a')])]);
        assert_eq!(judge(&accepted, &BTreeMap::new(), DAY, now()).verdict, Verdict::Unknown);
    }
}
