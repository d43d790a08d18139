//! What a run has chosen so far. Choices come from the journal; facts about the world are found again by probes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{CommitSha, Digest, OverlayImage, ServiceName, Version};

/// The choices of a run, folded from its journal. Steps read them; they change only through [`Fact`]s.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The version that is being released.
    pub version: Option<Version>,
    /// The release that runs in production now.
    pub previous: Option<Version>,
    /// What staging runs.
    pub candidate: Option<Candidate>,
    /// The way back.
    pub rollback: Option<Rollback>,
    /// The workflow run that our tag started.
    pub workflow_run: Option<WorkflowRun>,
    /// What the registry has for this version, by service.
    pub shipped: BTreeMap<ServiceName, Shipped>,
    /// The commit that put the version into the production overlay.
    pub overlay_commit: Option<CommitSha>,
    /// World time at which every pod ran the new digests and was ready: the watch begins here.
    pub live_at: Option<Timestamp>,
    /// The GitHub Release.
    pub release_url: Option<String>,
    /// What a rollback restores, or a hotfix puts in.
    pub change: Option<Change>,
    /// The images that a rollback takes out of production.
    pub quarantined: BTreeMap<ServiceName, Digest>,
    /// The gates that were gone without, by name.
    pub waived: BTreeSet<String>,
}

/// One choice, as journalled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    Version(Version),
    Previous(Version),
    Candidate(Candidate),
    Rollback(Rollback),
    WorkflowRun(WorkflowRun),
    Shipped(BTreeMap<ServiceName, Shipped>),
    OverlayCommit(CommitSha),
    LiveAt(Timestamp),
    ReleaseUrl(String),
    Change(Change),
    Quarantined(BTreeMap<ServiceName, Digest>),
    /// One more gate was gone without.
    Waived(String),
}

/// A change of the production overlay that we make ourselves: which images, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What each affected service's entry in the overlay shall say.
    pub images: BTreeMap<ServiceName, NewImage>,
    pub reason: String,
    /// Whether every service is affected: what production runs afterwards is one release.
    pub whole: bool,
}

/// One service's image, as the overlay names it and as pods run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewImage {
    pub entry: OverlayImage,
    /// `None` where the registry does not know: nothing is begun with such an image.
    pub digest: Option<Digest>,
}

/// A build that soaked on staging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The newest commit that its images were built from.
    pub commit: CommitSha,
    /// What staging's pods run, by service.
    pub images: BTreeMap<ServiceName, Digest>,
}

/// Where we can go back to, and whether.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// `None` on a first release.
    pub target: Option<Version>,
    pub usable: bool,
    /// What speaks against it, or for it: one sentence each.
    pub reasons: Vec<String>,
}

/// A run of the production workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRun {
    pub id: u64,
    pub url: String,
}

/// An image of the released version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipped {
    pub digest: Digest,
    /// Whether it is the very digest that soaked on staging.
    pub soaked: bool,
}

impl Facts {
    /// Takes choices in; a later one replaces an earlier one of its kind. Who looks at `facts` just now goes on with what they were.
    pub fn learn(facts: &mut Arc<Self>, chosen: &[Fact]) {
        if !chosen.is_empty() {
            let facts = Arc::make_mut(facts);
            chosen.iter().cloned().for_each(|fact| facts.take(fact));
        }
    }

    fn take(&mut self, fact: Fact) {
        match fact {
            Fact::Version(version) => self.version = Some(version),
            Fact::Previous(version) => self.previous = Some(version),
            Fact::Candidate(candidate) => self.candidate = Some(candidate),
            Fact::Rollback(rollback) => self.rollback = Some(rollback),
            Fact::WorkflowRun(run) => self.workflow_run = Some(run),
            Fact::Shipped(shipped) => self.shipped = shipped,
            Fact::OverlayCommit(commit) => self.overlay_commit = Some(commit),
            Fact::LiveAt(at) => self.live_at = Some(at),
            Fact::ReleaseUrl(url) => self.release_url = Some(url),
            Fact::Change(change) => self.change = Some(change),
            Fact::Quarantined(images) => self.quarantined = images,
            Fact::Waived(gate) => drop(self.waived.insert(gate)),
        }
    }
}
