//! Where to go back to: from run records, release tags and the overlay's history together; any of them may be missing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::adapters::aws::{Aws, ImageId};
use crate::adapters::git::{Git, PathChange, ReleaseTag};
use crate::config::Config;
use crate::domain::{CommitSha, Digest, OverlayImage, Quarantined, ServiceName, Version, overlay_images};
use crate::engine::RunState;
use crate::error::{Error, Kind, Result};

use super::live::released_hotfix;

/// How many commits of the overlay are read.
const HISTORY: usize = 200;

/// A release that ran in production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    pub version: Version,
    /// What the overlay said of each service's image, as far as it is known.
    pub entries: BTreeMap<ServiceName, OverlayImage>,
    /// When the overlay last named it, by its commit.
    pub named_at: Option<Timestamp>,
    /// The run that verified it healthy.
    pub verified_by: Option<String>,
    /// Whether its release tag is there, and where.
    pub tag: Option<CommitSha>,
}

/// The releases that production ran, newest version first.
pub fn releases(config: &Config, git: &Git, runs: &[RunState]) -> Result<Vec<Past>> {
    let mut found: BTreeMap<Version, Past> = BTreeMap::new();
    let tags = git.release_tags()?;
    for change in overlay_history(config, git)? {
        let named = change.content.as_deref().and_then(|yaml| named(config, &tags, yaml));
        let Some((version, entries)) = named else { continue };
        let entry = found.entry(version.clone()).or_insert_with(|| Past::of(version));
        if entry.entries.is_empty() {
            entry.entries = entries;
            entry.named_at = Some(change.commit.when);
        }
    }
    for tag in tags.iter().cloned() {
        let entry = found.entry(tag.version.clone()).or_insert_with(|| Past::of(tag.version));
        entry.tag = Some(tag.commit);
    }
    for run in runs {
        let Some(version) = verified(run).or_else(|| hotfix_verified(run, &tags)) else { continue };
        let entry = found.entry(version.clone()).or_insert_with(|| Past::of(version.clone()));
        entry.verified_by = Some(run.header.run.to_string());
        // A hotfix shipped some services only: what the others were, it does not say.
        if entry.entries.is_empty() && run.facts.change.as_ref().is_none_or(|change| change.whole) {
            let of = |(service, image): (&ServiceName, &crate::engine::Shipped)| {
                let tag = Some(version.to_string());
                (service.clone(), OverlayImage { tag, digest: Some(image.digest.clone()), ..OverlayImage::default() })
            };
            entry.entries = run.facts.shipped.iter().map(of).collect();
        }
    }
    let mut all: Vec<Past> = found.into_values().collect();
    all.reverse();
    Ok(all)
}

impl Past {
    fn of(version: Version) -> Self {
        Self { version, entries: BTreeMap::new(), named_at: None, verified_by: None, tag: None }
    }

    /// Whether anything says that it really ran: a tag alone does not.
    fn ran(&self) -> bool {
        self.verified_by.is_some() || self.named_at.is_some()
    }

    /// What speaks for it, in a sentence.
    #[must_use]
    pub fn known_by(&self) -> String {
        match (&self.verified_by, &self.named_at) {
            (Some(run), _) => format!("verified healthy by run {run}"),
            (None, Some(at)) => format!(
                "in production since {}; no run record says that it was verified",
                at.strftime("%Y-%m-%d %H:%M UTC")
            ),
            (None, None) => "only its release tag is known".to_owned(),
        }
    }
}

/// The version that a run left in production, verified.
fn verified(run: &RunState) -> Option<&Version> {
    // Not a hotfix that was shipped: what it verified is the release with the hotfix on it, and not the release.
    let good = |outcome: &str| match outcome {
        "released" | "rolled-back" => true,
        // Where its workflow run was followed to its end.
        "finished" => !run.facts.shipped.is_empty(),
        _ => false,
    };
    let ended = run.ended.as_ref().filter(|ended| good(&ended.outcome))?;
    let whole = run.facts.change.as_ref().is_none_or(|change| change.whole);
    (ended.exit == 0 && whole).then_some(run.facts.version.as_ref()).flatten()
}

/// The release that was tagged since on the commit of a hotfix which a run shipped and verified.
fn hotfix_verified<'a>(run: &RunState, releases: &'a [ReleaseTag]) -> Option<&'a Version> {
    let shipped = run.ended.as_ref().is_some_and(|ended| ended.outcome == "shipped" && ended.exit == 0);
    let commit = &run.facts.candidate.as_ref().filter(|_| shipped)?.commit;
    releases.iter().find(|tag| tag.commit == *commit).map(|tag| &tag.version)
}

fn overlay_history(config: &Config, git: &Git) -> Result<Vec<PathChange>> {
    git.path_history(&config.production.kustomization(), &git.main_tip()?, HISTORY)
}

/// The release that an overlay names: all its services' tags say the same version, or a hotfix whose release was tagged since and
/// the versions below it. An overlay that cannot be read names none.
fn named(
    config: &Config,
    releases: &[ReleaseTag],
    yaml: &[u8],
) -> Option<(Version, BTreeMap<ServiceName, OverlayImage>)> {
    let images = overlay_images(yaml).ok()?;
    let mut entries = BTreeMap::new();
    let (mut versions, mut hotfixes) = (BTreeSet::new(), BTreeSet::new());
    for service in &config.services {
        if let Some(image) = images.get(&config.image_of(service)) {
            let tag = image.tag.as_deref()?;
            match tag.parse::<Version>() {
                Ok(version) => drop(versions.insert(version)),
                Err(_) => drop(hotfixes.insert(released_hotfix(tag, releases)?)),
            }
            entries.insert(service.name.clone(), image.clone());
        }
    }
    let version = match (hotfixes.into_iter().next_back(), versions.len()) {
        (Some(hotfix), _) if versions.iter().all(|version| *version < hotfix) => hotfix,
        (None, 1) => versions.into_iter().next()?,
        _ => return None,
    };
    Some((version, entries))
}

/// The release that main's overlay names now, if it is one.
pub fn named_now(config: &Config, git: &Git) -> Result<Option<Version>> {
    let yaml = git.file_at(&git.main_tip()?, &config.production.kustomization())?.unwrap_or_default();
    Ok(named(config, &git.release_tags()?, &yaml).map(|(version, _)| version))
}

/// The release to go back to: the one asked for, or the newest of those `before` what runs that ran, verified ones first, none from
/// quarantine.
///
/// # Errors
/// [`Kind::Usage`] when the one asked for is not known; [`Kind::GateBlocked`] when there is none.
pub fn choose(
    releases: &[Past],
    asked: Option<&Version>,
    before: impl Fn(&Version) -> bool,
    quarantine: &BTreeMap<String, Quarantined>,
) -> Result<Past> {
    let known = || releases.iter().map(|past| past.version.to_string()).take(8).collect::<Vec<_>>().join(", ");
    if let Some(asked) = asked {
        return releases.iter().find(|past| past.version == *asked).cloned().ok_or_else(|| {
            Error::usage(format!("{asked} is not known: no run, no release tag and no overlay names it"))
                .hint(format!("known releases: {}", known()))
        });
    }
    let below = |past: &&Past| before(&past.version);
    let free = |past: &&Past| !quarantine.contains_key(&past.version.to_string());
    let candidates: Vec<&Past> = releases.iter().filter(below).filter(|past| past.ran()).filter(free).collect();
    let verified = candidates.iter().find(|past| past.verified_by.is_some());
    verified.or(candidates.first()).map(|past| (*past).clone()).ok_or_else(|| {
        Error::new(Kind::GateBlocked, "there is no release to go back to")
            .seen(format!("known releases: {}", known()))
            .hint("gospel-release rollback --to VERSION names one")
    })
}

/// Where a quarantined release above what runs cannot be read, production may have gone back from it already: one release further
/// is named by who wants it.
///
/// # Errors
/// A usage error, before anything was changed.
pub fn must_be_named(runs: &Version, unread: &[String]) -> Result<()> {
    let above = unread.iter().filter_map(|key| key.parse::<Version>().ok()).find(|version| version > runs);
    let Some(above) = above else { return Ok(()) };
    Err(Error::usage(format!("production runs {runs}, and may have gone back to it from {above}: what is written of that in quarantine cannot be read"))
        .seen("Nothing was changed.")
        .hint("to look: gospel-release status")
        .hint(format!("where {runs} is bad as well: gospel-release rollback --to VERSION")))
}

/// The target's digest of each affected service: from its overlay, or from ECR by its tag; `None` where ECR has none.
pub async fn digests(
    config: &Config,
    aws: &Aws,
    past: &Past,
    services: &[ServiceName],
) -> Result<BTreeMap<ServiceName, Option<Digest>>> {
    let by_name = config.service_map();
    let mut digests: BTreeMap<ServiceName, Option<Digest>> = BTreeMap::new();
    let mut asked: Vec<(ServiceName, (String, ImageId))> = Vec::new();
    for name in services {
        let entry = past.entry(name);
        let Some(service) = by_name.get(name) else { continue };
        match (&entry.digest, &entry.tag) {
            (Some(digest), _) => drop(digests.insert(name.clone(), Some(digest.clone()))),
            (None, Some(tag)) => asked.push((name.clone(), (config.image_of(service), ImageId::Tag(tag.clone())))),
            (None, None) => drop(digests.insert(name.clone(), None)),
        }
    }
    let keys: Vec<_> = asked.iter().map(|(_, key)| key.clone()).collect();
    let found = aws.images(&keys).await?;
    for (name, key) in asked {
        let image = found.get(&key).and_then(Option::as_ref);
        digests.insert(name, image.map(|image| image.digest.clone()));
    }
    Ok(digests)
}

impl Past {
    /// What the overlay shall say of a service: as it did, or the version's own tag.
    #[must_use]
    pub fn entry(&self, service: &ServiceName) -> OverlayImage {
        let own = || OverlayImage { tag: Some(self.version.to_string()), ..OverlayImage::default() };
        self.entries.get(service).cloned().unwrap_or_else(own)
    }

    /// Whether the service was part of it, as far as its overlay tells.
    #[must_use]
    pub fn has(&self, service: &ServiceName) -> bool {
        self.entries.is_empty() || self.entries.contains_key(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(version: &str, named: bool, verified: bool) -> Past {
        let mut past = Past::of(version.parse().unwrap());
        past.named_at = named.then(|| "2025-03-01T00:00:00Z".parse().unwrap());
        past.verified_by = verified.then(|| "20250301-000000-abcd".to_owned());
        past
    }

    fn chosen(all: &[Past], current: &str, quarantined: &[&str]) -> Result<String> {
        let entry = |version: &&str| {
            let quarantined = Quarantined {
                version: version.parse().ok(),
                digests: BTreeMap::new(),
                who: String::new(),
                reason: String::new(),
                run: "r".parse().unwrap(),
                at: Timestamp::UNIX_EPOCH,
                back_to: "v1.0.0".parse().unwrap(),
            };
            ((*version).to_owned(), quarantined)
        };
        let quarantine = quarantined.iter().map(entry).collect();
        let current: Version = current.parse().unwrap();
        choose(all, None, |version| *version < current, &quarantine).map(|past| past.version.to_string())
    }

    #[test]
    fn a_hotfix_that_was_shipped_verifies_the_release_that_was_tagged_on_it() {
        let commit = "a".repeat(40);
        let state = |outcome: &str| -> RunState {
            let candidate = serde_json::json!({ "commit": commit, "images": {} });
            serde_json::from_value(serde_json::json!({
                "header": {
                    "run": "r", "command": "hotfix ship", "project": "p", "tool": "0.1.0", "steps": [], "plan_hash": "",
                    "world": { "kind": "rehearsal", "cluster": "c", "namespace": "n", "repository": "o/n" },
                    "by": "dana@laptop", "started_at": "2025-03-04T09:00:00Z", "config": null,
                },
                "facts": { "candidate": candidate },
                "ended": { "outcome": outcome, "exit": 0, "open": false },
                "seq": 2,
            }))
            .unwrap()
        };
        let tag = |commit: &str| ReleaseTag {
            version: Version::new(1, 1, 2),
            tag: "release/v1.1.2".into(),
            commit: commit.parse().unwrap(),
            annotated: true,
            tagger: None,
            when: None,
            message: None,
        };
        assert_eq!(hotfix_verified(&state("shipped"), &[tag(&commit)]), Some(&Version::new(1, 1, 2)));
        assert_eq!(hotfix_verified(&state("shipped"), &[tag(&"b".repeat(40))]), None);
        assert_eq!(hotfix_verified(&state("failed"), &[tag(&commit)]), None);
    }

    #[test]
    fn the_newest_verified_release_below_the_current_one_is_chosen() {
        let all = [past("v1.2.0", true, true), past("v1.1.1", true, false), past("v1.1.0", true, true)];
        assert_eq!(chosen(&all, "v1.2.0", &[]).unwrap(), "v1.1.0");
        let unverified = [past("v1.2.0", true, true), past("v1.1.1", true, false), past("v1.1.0", true, false)];
        assert_eq!(chosen(&unverified, "v1.2.0", &[]).unwrap(), "v1.1.1");
        assert_eq!(chosen(&unverified, "v1.2.0", &["v1.1.1"]).unwrap(), "v1.1.0");
        assert_eq!(chosen(&[past("v1.0.0", false, false)], "v1.2.0", &[]).unwrap_err().kind(), Kind::GateBlocked);
    }
}
