//! Since when a service has run the same image without interruption: what ReplicaSets tell, and what Argo CD's history tells.

use jiff::Timestamp;

use crate::domain::{Digest, ImageRef};

use super::words::clock_time;

/// One ReplicaSet of a Deployment: one version of its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub name: String,
    pub created: Timestamp,
    /// `deployment.kubernetes.io/revision`: the number of its newest activation.
    pub revision: Option<u64>,
    pub image: ImageRef,
    /// Whether the Deployment returned to it: then its age says nothing of the time since.
    pub again: bool,
    /// Whether it is the one that should run now.
    pub active: bool,
}

/// What Argo CD's history tells of one service. A self-heal leaves no entry, and only the last ten are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Argo {
    /// Oldest first.
    pub deployed: Vec<Deployed>,
}

/// One sync of Argo CD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    pub at: Timestamp,
    /// The commit, for people.
    pub revision: String,
    /// The image that the overlay named at that commit; `None` when it could not be read there.
    pub image: Option<ImageRef>,
}

/// Since when, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    pub at: Timestamp,
    pub why: String,
}

/// The latest of all that speak: the begin can only be too late, never too early. A restarted or rescheduled pod changes nothing;
/// another image in between does, however short it ran. Where nothing tells the begin, the error says why.
pub(super) fn since(
    digests: &[Digest],
    ran: &[Version],
    argo: Option<&Argo>,
    oldest_pod: Option<Timestamp>,
) -> Result<Since, String> {
    let active = ran.iter().find(|version| version.active).ok_or("no ReplicaSet tells since when")?;
    let from_argo = argo.and_then(|argo| argo.since(digests));
    // Pods do not tell the return either: where the other image's rollout was broken off, the old ones never went.
    if active.again && from_argo.is_none() {
        return Err(format!("staging returned to ReplicaSet {}, and nothing tells when", active.name));
    }
    let again = from_argo.as_ref().map(|since| since.at).or(oldest_pod);
    let from_cluster = of_replica_sets(digests, ran, active, again);
    Ok(match from_argo {
        Some(argo) if argo.at > from_cluster.at => argo,
        _ => from_cluster,
    })
}

/// From the ReplicaSets, newest activation first, as far back as they name the same image. `again` is the best known time of
/// a return to an earlier ReplicaSet: that keeps its old creation time.
fn of_replica_sets(digests: &[Digest], ran: &[Version], active: &Version, again: Option<Timestamp>) -> Since {
    let same = |version: &Version| is_same(&version.image, &active.image, digests);
    let mut order: Vec<&Version> = ran.iter().filter(|version| !std::ptr::eq(*version, active)).collect();
    // Revision 0 stands for "not known": such a ReplicaSet is placed by its age alone.
    order.sort_by_key(|version| (version.revision.unwrap_or(0), version.created));
    let before_active = |version: &&&Version| match (version.revision, active.revision) {
        (Some(theirs), Some(ours)) => theirs < ours,
        _ => true,
    };
    let mut first = active;
    let mut interrupted_by = None;
    for version in order.iter().filter(before_active).rev() {
        if !same(version) {
            interrupted_by = Some(*version);
            break;
        }
        // What ran before a return to it cannot be told.
        if version.again {
            break;
        }
        if follows(version, first) {
            first = version;
        }
    }
    // Every other image whose ReplicaSet is younger than the begin ran after it, whatever the revisions say.
    let younger = ran.iter().filter(|version| !same(version) && version.created > first.created);
    let interruption = younger.max_by_key(|version| version.created);
    match interruption {
        None => {
            let why = match interrupted_by {
                Some(other) => format!("{} ran before", label(&other.image)),
                None => format!("ReplicaSet {} began then", first.name),
            };
            Since { at: first.created, why }
        }
        Some(other) => {
            let why = format!("{} was deployed {}", label(&other.image), clock_time(other.created));
            Since { at: again.map_or(other.created, |again| again.max(other.created)), why }
        }
    }
}

/// Whether two ReplicaSets of the same image were activated one after the other in the order of their age: a later revision with an earlier
/// creation time was activated again, and what ran in between cannot be told from it.
fn follows(earlier: &Version, later: &Version) -> bool {
    earlier.created <= later.created
}

fn is_same(image: &ImageRef, active: &ImageRef, digests: &[Digest]) -> bool {
    match &image.digest {
        Some(digest) => digests.contains(digest),
        None => image.name == active.name && image.tag == active.tag && image.tag.is_some() && active.digest.is_none(),
    }
}

fn label(image: &ImageRef) -> String {
    match (&image.tag, &image.digest) {
        (Some(tag), Some(digest)) => format!("{tag} ({})", digest.short()),
        (Some(tag), None) => tag.clone(),
        (None, Some(digest)) => digest.short().to_owned(),
        (None, None) => "another image".into(),
    }
}

impl Argo {
    /// The first of the uninterrupted entries with this image, if something else came before it: a history that knows nothing else
    /// tells no begin (older entries are dropped).
    fn since(&self, digests: &[Digest]) -> Option<Since> {
        let newest = self.deployed.last()?;
        let same = |deployed: &&Deployed| match (&deployed.image, &newest.image) {
            (Some(image), Some(newest)) => is_same(image, newest, digests),
            _ => false,
        };
        let run = self.deployed.iter().rev().take_while(same).count();
        let at = self.deployed.len() - run;
        let before = self.deployed.get(at.checked_sub(1)?)?;
        // Git names another image than the one that runs: what runs is not what was deployed last.
        let Some(first) = self.deployed.get(at) else {
            let named = newest.image.as_ref().map_or("an image that cannot be read".into(), label);
            return Some(Since { at: newest.at, why: format!("Git at {} names {named}", newest.revision) });
        };
        let other = before.image.as_ref().map_or("another build".into(), label);
        let why = format!("{other} until the sync of {} at {}", first.revision, clock_time(first.at));
        Some(Since { at: first.at, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(c: char) -> Digest {
        format!("sha256:{}", c.to_string().repeat(64)).parse().unwrap()
    }

    fn image(c: char) -> ImageRef {
        ImageRef { name: "r/gospelib-gateway".into(), tag: Some(format!("sha-{c}")), digest: Some(digest(c)) }
    }

    fn hour(h: i64) -> Timestamp {
        "2025-03-03T00:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_hours(h)
    }

    fn version(c: char, revision: u64, h: i64, active: bool) -> Version {
        Version {
            name: format!("rs-{revision}"),
            created: hour(h),
            revision: Some(revision),
            image: image(c),
            again: false,
            active,
        }
    }

    /// The Deployment returned to it.
    fn again(version: Version) -> Version {
        Version { again: true, ..version }
    }

    fn begin(ran: &[Version], argo: Option<&Argo>, oldest_pod: Option<i64>) -> Option<i64> {
        let since = since(&[digest('a')], ran, argo, oldest_pod.map(hour)).ok()?;
        Some(since.at.duration_since(hour(0)).as_hours())
    }

    fn argo(entries: &[(char, i64)]) -> Argo {
        let deployed =
            |(c, h): &(char, i64)| Deployed { at: hour(*h), revision: "abc1234".into(), image: Some(image(*c)) };
        Argo { deployed: entries.iter().map(deployed).collect() }
    }

    #[test]
    fn the_active_replica_set_tells_the_begin() {
        assert_eq!(begin(&[version('b', 1, 0, false), version('a', 2, 5, true)], None, Some(9)), Some(5));
        assert_eq!(begin(&[], None, None), None);
    }

    #[test]
    fn a_redeploy_of_the_same_digest_does_not_reset() {
        let ran = [version('b', 1, 0, false), version('a', 2, 3, false), version('a', 3, 9, true)];
        assert_eq!(begin(&ran, None, None), Some(3));
    }

    #[test]
    fn another_digest_in_between_resets() {
        let ran = [version('a', 1, 1, false), version('b', 2, 3, false), version('a', 3, 6, true)];
        assert_eq!(begin(&ran, None, None), Some(6));
    }

    #[test]
    fn a_return_to_the_old_replica_set_resets_although_its_creation_time_is_old() {
        // Kubernetes raises the old ReplicaSet's revision and keeps its creation time.
        let ran = [version('b', 2, 20, false), version('a', 3, 1, true)];
        assert_eq!(begin(&ran, None, None), Some(20));
        assert_eq!(begin(&ran, None, Some(21)), Some(21));
        let ran = [version('b', 2, 20, false), again(version('a', 3, 1, true))];
        // Argo knows the time of the return better than the pods, which may have been rescheduled since.
        assert_eq!(begin(&ran, Some(&argo(&[('a', 1), ('b', 20), ('a', 22)])), Some(24)), Some(22));
    }

    #[test]
    fn two_returns_do_not_hide_each_other() {
        // b, a, b again, a again: by age alone the active one looks undisturbed.
        let ran = [again(version('b', 3, 0, false)), again(version('a', 4, 2, true))];
        // ReplicaSets alone cannot tell when, nor can pods.
        assert_eq!(begin(&ran, None, None), None);
        assert_eq!(begin(&ran, None, Some(21)), None);
        assert_eq!(begin(&ran, Some(&argo(&[('b', 0), ('a', 2), ('b', 20), ('a', 21)])), Some(21)), Some(21));
    }

    #[test]
    fn a_new_replica_set_after_a_return_counts_from_its_own_begin() {
        let ran = [again(version('b', 3, 0, false)), again(version('a', 4, 2, false)), version('a', 5, 30, true)];
        assert_eq!(begin(&ran, None, Some(31)), Some(30));
    }

    #[test]
    fn argo_history_that_knows_nothing_else_tells_no_begin() {
        let ran = [version('a', 2, 5, true)];
        assert_eq!(begin(&ran, Some(&argo(&[('a', 9), ('a', 12)])), None), Some(5));
        assert_eq!(begin(&ran, Some(&argo(&[('b', 4), ('a', 9), ('a', 12)])), None), Some(9));
    }

    #[test]
    fn git_that_names_another_image_than_runs_resets() {
        let ran = [version('a', 2, 5, true)];
        assert_eq!(begin(&ran, Some(&argo(&[('a', 4), ('b', 30)])), None), Some(30));
    }

    #[test]
    fn tags_without_digests_are_compared_as_written() {
        let tagged = |tag: &str| ImageRef { name: "r/x".into(), tag: Some(tag.into()), digest: None };
        assert!(is_same(&tagged("v1"), &tagged("v1"), &[digest('a')]));
        assert!(!is_same(&tagged("v1"), &tagged("v2"), &[digest('a')]));
        assert!(!is_same(&tagged("v1"), &image('a'), &[digest('a')]));
    }
}
