//! What break glass leaves open, and the releases that must not come back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CommitSha, Digest, RunId, ServiceName, Version};

/// Something left open on purpose, with an owner, a reason and a time by which it is to be closed. Whether it is closed is seen in
/// the world, never declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    #[serde(flatten)]
    pub kind: DebtKind,
    /// `user@host`.
    pub owner: String,
    pub reason: String,
    /// The run that opened it.
    pub run: RunId,
    /// World time.
    pub opened: Timestamp,
    /// World time after which it is overdue.
    pub due: Timestamp,
    /// The command that closes it, where only who opened it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "debt", rename_all = "kebab-case")]
pub enum DebtKind {
    /// Production runs other images than Git says.
    LiveDiffers,
    /// Automated sync is switched off.
    SyncPaused,
    /// A hotfix is in production and not on main.
    NotMerged { branch: String, commit: CommitSha },
    /// A gate was gone without, by name.
    Waived { gate: String },
    /// A quarantined release is still what main would release.
    Quarantined { release: String },
}

impl Debt {
    /// Its key where debts are kept; a later debt of the same kind and object takes its place.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.kind {
            DebtKind::LiveDiffers => "live-differs".to_owned(),
            DebtKind::SyncPaused => "sync-paused".to_owned(),
            DebtKind::NotMerged { branch, .. } => format!("not-merged.{}", branch.replace('/', ".")),
            DebtKind::Waived { gate } => format!("waived.{gate}.{}", self.run),
            DebtKind::Quarantined { release } => format!("quarantined.{release}"),
        }
    }

    /// In a few words.
    #[must_use]
    pub fn title(&self) -> String {
        self.kind.title()
    }

    /// The same debt, opened again before it was closed: it is as old as it was, and keeps its reason where no new one is given.
    #[must_use]
    pub fn going_on(self, known: &Self) -> Self {
        let reason = if self.reason.is_empty() { known.reason.clone() } else { self.reason };
        Self { opened: known.opened, due: known.due, reason, ..self }
    }

    /// Whether the world may be so again after it was closed, by somebody else's doing.
    #[must_use]
    pub fn may_come_again(&self) -> bool {
        matches!(self.kind, DebtKind::LiveDiffers | DebtKind::SyncPaused)
    }

    /// Whether its time has passed.
    #[must_use]
    pub fn overdue(&self, now: Timestamp) -> bool {
        now >= self.due
    }
}

impl DebtKind {
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::LiveDiffers => "production runs other images than Git says".to_owned(),
            Self::SyncPaused => "automated sync is paused".to_owned(),
            Self::NotMerged { branch, commit } => format!("{branch} ({}) is not on main", commit.short()),
            Self::Waived { gate } => format!("the gate {gate} was waived"),
            Self::Quarantined { release } => format!("{release} is in quarantine, and main still builds on it"),
        }
    }
}

/// A release, or some images of it, that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// `None` where what ran was no release.
    pub version: Option<Version>,
    /// The images that must not come back, by service.
    pub digests: BTreeMap<ServiceName, Digest>,
    pub who: String,
    pub reason: String,
    pub run: RunId,
    /// World time.
    pub at: Timestamp,
    /// What production was rolled back to.
    pub back_to: Version,
}

impl Quarantined {
    /// Its key where quarantined releases are kept.
    #[must_use]
    pub fn key(&self) -> String {
        self.version.as_ref().map_or_else(|| format!("run.{}", self.run), ToString::to_string)
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        self.version.as_ref().map_or_else(|| "what production ran".to_owned(), ToString::to_string)
    }

    /// Whether every image of `other` is in this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.digests.iter().all(|(service, digest)| self.digests.get(service) == Some(digest))
    }

    /// With the images and reason that an `earlier` entry of this release has, too: what is taken out twice, service by service,
    /// stays out.
    #[must_use]
    pub fn with(mut self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        for (service, digest) in earlier.digests {
            self.digests.entry(service).or_insert(digest);
        }
        if self.reason.is_empty() {
            self.reason = earlier.reason;
        }
        self
    }

    /// The services whose candidate image is one of these.
    pub fn hits<'a>(&'a self, images: &'a BTreeMap<ServiceName, Digest>) -> impl Iterator<Item = &'a ServiceName> {
        images.iter().filter(|(service, digest)| self.digests.get(*service) == Some(digest)).map(|(service, _)| service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_quarantine_stays_there() {
        let digest = |c: char| -> Digest { format!("sha256:{}", c.to_string().repeat(64)).parse().unwrap() };
        let of = |services: &[(&str, char)]| Quarantined {
            version: Some(Version::new(1, 2, 0)),
            digests: services.iter().map(|(name, c)| (name.parse().unwrap(), digest(*c))).collect(),
            who: "dana@laptop".into(),
            reason: String::new(),
            run: "r".parse().unwrap(),
            at: Timestamp::UNIX_EPOCH,
            back_to: Version::new(1, 1, 1),
        };
        let earlier = Quarantined { reason: "it crashes".into(), ..of(&[("gateway", 'a'), ("auth", 'b')]) };
        let both = of(&[("auth", 'c'), ("study", 'd')]).with(Some(earlier));
        assert_eq!(both.digests, of(&[("gateway", 'a'), ("auth", 'c'), ("study", 'd')]).digests);
        assert_eq!(both.reason, "it crashes");
    }

    #[test]
    fn a_debt_is_written_flat_and_read_again() {
        let debt = Debt {
            kind: DebtKind::NotMerged { branch: "hotfix/login".into(), commit: "a".repeat(40).parse().unwrap() },
            owner: "olga@desk".into(),
            reason: "login was down".into(),
            run: "20250304-090000-abcd".parse().unwrap(),
            opened: "2025-03-04T09:00:00Z".parse().unwrap(),
            due: "2025-03-05T09:00:00Z".parse().unwrap(),
            closed_by: None,
        };
        let text = serde_json::to_string(&debt).unwrap();
        assert!(text.contains(r#""debt":"not-merged""#), "{text}");
        assert_eq!(serde_json::from_str::<Debt>(&text).unwrap(), debt);
        assert_eq!(debt.key(), "not-merged.hotfix.login");
        assert!(debt.overdue(debt.due) && !debt.overdue(debt.opened));
    }
}
