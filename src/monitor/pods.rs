//! What pods say about a rollout: ready, under way, or doomed, and why; before any deadline of Kubernetes' own passes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::adapters::cluster::{ContainerState, DeploymentState, PodState};
use crate::config::Config;
use crate::config::model::Rollout;
use crate::domain::{Digest, ImageRef, ServiceName, count, duration, printable};

use super::doom::{Doom, of_pod};

/// How a service's rollout stands. Texts begin with the service's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diagnosis {
    /// Every pod runs an accepted digest and is ready, there are enough, and no old one is left.
    Ready,
    /// Not yet, and nothing says that it will not come: what is missing.
    Progressing(String),
    /// It will not come up by itself.
    Doomed { why: String, kind: Doom },
}

/// What a service should run.
#[derive(Debug, Clone)]
pub struct Expected {
    pub service: ServiceName,
    /// Name of its container.
    pub container: String,
    /// The digests that count as the new image: an index's and its platforms'.
    pub digests: Vec<Digest>,
    /// The tag under which a Deployment may name it without a digest.
    pub tag: Option<String>,
    /// Pods that must be ready at least.
    pub replicas: u32,
}

impl Expected {
    /// Whether an image reference names the new image. Without a digest only the tag can tell.
    fn names(&self, image: &ImageRef) -> bool {
        match &image.digest {
            Some(digest) => self.digests.contains(digest),
            None => self.tag.is_some() && self.tag == image.tag,
        }
    }

    /// Whether a container that was pulled runs the new image. A spec that pins a digest runs it, whichever level of it the node reports.
    fn runs(&self, container: &ContainerState) -> bool {
        let pinned = || container.image.parse::<ImageRef>().ok().and_then(|image| image.digest);
        let reported = container.digest.as_ref();
        reported.is_some_and(|digest| self.digests.contains(digest))
            || reported.is_some() && pinned().is_some_and(|digest| self.digests.contains(&digest))
    }

    fn serves(&self, pod: &PodState) -> bool {
        pod.ready && pod.main(&self.container).is_some_and(|container| self.runs(container))
    }
}

/// Diagnoses one service. `pods` may be those of the whole namespace.
#[must_use]
pub fn diagnose<P: Borrow<PodState>>(
    expected: &Expected,
    deployment: Option<&DeploymentState>,
    pods: &[P],
    rollout: &Rollout,
    now: Timestamp,
) -> Diagnosis {
    let service = &expected.service;
    let not_yet = |note: String| Diagnosis::Progressing(format!("{service}: {note}"));
    let Some(deployment) = deployment else {
        return not_yet("its Deployment is not there".into());
    };
    // Generation first: until the controller has seen the spec, no count and no pod says anything about it.
    if !deployment.observed() {
        return not_yet(format!("generation {} is not observed yet", deployment.generation));
    }
    let Some(template) = deployment.image(&expected.container) else {
        return not_yet(format!("its Deployment has no container {}", expected.container));
    };
    if !expected.names(template) {
        return not_yet(format!("its Deployment still names {}", short_image(template)));
    }
    let ours = |pod: &&PodState| is_selected(pod, deployment) && !pod.deleting && pod.phase != "Succeeded";
    let (new, old): (Vec<&PodState>, Vec<&PodState>) =
        pods.iter().map(Borrow::borrow).filter(ours).partition(|pod| is_new(pod, expected, template));
    let wanted = expected.replicas.max(deployment.desired) as usize;
    if let Some((why, kind)) = worst(&new, expected, wanted, rollout, now) {
        return Diagnosis::Doomed { why: format!("{service}: {why}"), kind };
    }
    let old = old.iter().filter(|pod| pod.phase != "Failed").count();
    let ready = new.iter().filter(|pod| expected.serves(pod)).count();
    let unready = new.iter().filter(|pod| pod.phase != "Failed" && !expected.serves(pod)).count();
    if ready < wanted {
        let note = format!("{ready} of {wanted} new pods ready");
        return not_yet(match why_not_ready(&new) {
            _ if deployment.paused => format!("{note}, and its rollout is paused"),
            Some(why) => format!("{note}, {why}"),
            None => note,
        });
    }
    if old > 0 {
        return not_yet(format!("{} left", count(old, "old pod")));
    }
    if unready > 0 {
        return not_yet(format!("{} not ready", count(unready, "more pod")));
    }
    Diagnosis::Ready
}

fn is_selected(pod: &PodState, deployment: &DeploymentState) -> bool {
    let selector = &deployment.selector;
    !selector.is_empty() && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}

/// A pod of the newest template, as far as its image tells: the digest it runs or, before it was pulled, the image it names.
fn is_new(pod: &PodState, expected: &Expected, template: &ImageRef) -> bool {
    let Some(container) = pod.main(&expected.container) else { return false };
    match &container.digest {
        // A tag alone may have meant another image when this pod started.
        Some(_) => expected.runs(container),
        None => container.image.parse::<ImageRef>().is_ok_and(|image| image == *template || expected.names(&image)),
    }
}

/// The most frequent doom among the new pods.
fn worst(
    new: &[&PodState],
    expected: &Expected,
    wanted: usize,
    rollout: &Rollout,
    now: Timestamp,
) -> Option<(String, Doom)> {
    let mut dooms: Vec<(Doom, usize, String)> = Vec::new();
    for pod in new {
        let Some((kind, cause)) = of_pod(pod, &expected.container, rollout, now) else { continue };
        match dooms.iter_mut().find(|(known, _, _)| *known == kind) {
            Some((_, pods, _)) => *pods += 1,
            None => dooms.push((kind, 1, cause)),
        }
    }
    // The first of equals: pods come in the order of their names, so that the answer is always the same.
    let (kind, pods, cause) = dooms.into_iter().rev().max_by_key(|(_, pods, _)| *pods)?;
    Some((format!("{pods} of {} pods {cause}", wanted.max(pods)), kind))
}

/// What the new pods wait for, in a few words.
fn why_not_ready(new: &[&PodState]) -> Option<String> {
    let unready: Vec<&&PodState> = new.iter().filter(|pod| !pod.ready).collect();
    if let Some(reason) = unready.iter().find_map(|pod| pod.reason.as_deref().filter(|_| pod.phase == "Failed")) {
        return Some(format!("one was ended ({})", printable(reason)));
    }
    if let Some((_, waiting)) = unready.iter().find_map(|pod| pod.waiting()) {
        return Some(printable(&waiting.reason));
    }
    let running = unready.iter().filter(|pod| pod.phase == "Running").count();
    (running > 0).then(|| format!("{running} running but not ready"))
}

/// `…/gospelib-gateway@sha256:ab12cd34ef56`, or with the tag where there is no digest.
#[must_use]
pub fn short_image(image: &ImageRef) -> String {
    let name = if image.name.contains('/') { format!("…/{}", image.short_name()) } else { image.name.clone() };
    printable(&match (&image.digest, &image.tag) {
        (Some(digest), _) => format!("{name}@{}…", digest.short()),
        (None, Some(tag)) => format!("{name}:{tag}"),
        (None, None) => name,
    })
}

/// All services at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    pub ready: usize,
    pub of: usize,
    /// What is missing, by service.
    pub waiting: Vec<String>,
    /// What will not come up, by service.
    pub doomed: Vec<String>,
}

impl Overview {
    #[must_use]
    pub fn of<'a>(diagnoses: impl IntoIterator<Item = &'a Diagnosis>) -> Self {
        let mut overview = Self::default();
        for diagnosis in diagnoses {
            overview.of += 1;
            match diagnosis {
                Diagnosis::Ready => overview.ready += 1,
                Diagnosis::Progressing(note) => overview.waiting.push(note.clone()),
                Diagnosis::Doomed { why, .. } => overview.doomed.push(why.clone()),
            }
        }
        overview
    }

    #[must_use]
    pub fn all_ready(&self) -> bool {
        self.ready == self.of && self.of > 0
    }

    /// "4 of 6 services ready; search: 0 of 2 new pods ready; 1 more".
    #[must_use]
    pub fn note(&self) -> String {
        let ready = format!("{} of {} services ready", self.ready, self.of);
        let mut rest = self.doomed.iter().chain(&self.waiting);
        match (rest.next(), rest.count()) {
            (None, _) => ready,
            (Some(first), 0) => format!("{ready}; {first}"),
            (Some(first), more) => format!("{ready}; {first}; {more} more"),
        }
    }
}

/// A pod that restarted more often than it may, for the watch after a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restarted {
    pub pod: String,
    pub restarts: u32,
    /// "gospelib-gateway-5d9-x2k restarted 3 times, last: exit code 137 (OOMKilled)".
    pub said: String,
}

/// The pods of the configured services; others in the namespace are nobody's release.
#[must_use]
pub fn of_services(config: &Config, pods: Vec<PodState>) -> Vec<PodState> {
    let names: BTreeSet<String> = config.services.iter().map(|service| config.deployment_of(service)).collect();
    pods.into_iter().filter(|pod| pod.app().is_some_and(|app| names.contains(app))).collect()
}

/// The pods with at least `limit` restarts beyond those they had `before` (by name; none where it is not there). Terminating ones do not
/// count.
#[must_use]
pub fn restarted(pods: &[PodState], limit: u32, before: &BTreeMap<String, u32>) -> Vec<Restarted> {
    let new = |pod: &PodState| pod.restarts().saturating_sub(before.get(&pod.name).copied().unwrap_or_default());
    let often = pods.iter().filter(|pod| !pod.deleting && new(pod) >= limit.max(1));
    often
        .map(|pod| {
            let times = count(new(pod) as usize, "time");
            let last = pod.last_terminated().map(|(container, _)| format!(", last: {}", ended(container)));
            let said = format!("{} restarted {times}{}", pod.name, last.unwrap_or_default());
            Restarted { pod: pod.name.clone(), restarts: new(pod), said }
        })
        .collect()
}

/// `exit code 137 (OOMKilled)`.
pub(super) fn ended(container: &ContainerState) -> String {
    let end = container.terminated.as_ref().or(container.last_terminated.as_ref());
    match end {
        None => "its end is not known".into(),
        Some(end) if end.reason.is_empty() || end.reason == "Error" => format!("exit code {}", end.exit_code),
        Some(end) => format!("exit code {} ({})", end.exit_code, printable(&end.reason)),
    }
}

/// For how long something has lasted, where that is known.
pub(super) fn lasted(since: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    Duration::try_from(now.duration_since(since?)).ok()
}

/// ` for 4 min`.
pub(super) fn lasting(lasted: Option<Duration>) -> String {
    lasted.map(|lasted| format!(" for {}", duration(lasted))).unwrap_or_default()
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
