//! Whether the release that production runs now can be restored: the judgement, from what was found.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::adapters::cluster::ExternalSecretState;
use crate::adapters::migrate::{Risk, RiskLevel};
use crate::domain::{Digest, Evidence, ServiceName, Version, count, printable};
use crate::engine::{Checked, Rollback};
use crate::error::Error;

use super::image_fate::ImageFate;
use super::words::some;

/// What was found. Without a target there is nothing to go back to.
#[derive(Default)]
pub(super) struct Wayback {
    pub target: Option<Version>,
    /// What production's pods run, by service: one digest each, if all is well.
    pub images: BTreeMap<ServiceName, Vec<(Digest, ImageFate)>>,
    /// The migrations that the target's code does not know: the candidate's, or those that production has by now.
    pub pending: Vec<PendingRisk>,
    pub secrets: Vec<SecretFate>,
    /// Production has those migrations already, and it goes back now: what is there now is enough.
    pub applied: bool,
    /// What could not be asked, where it is no hindrance.
    pub unasked: Vec<String>,
}

/// A migration, and whether the code we go back to can live with it.
#[derive(Debug, Clone)]
pub(super) struct PendingRisk {
    pub service: ServiceName,
    /// `8 add_bookmarks`.
    pub name: String,
    pub risk: Risk,
    pub of: Of,
}

/// What a [`PendingRisk`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A migration that the target's code does not know.
    Migration,
    /// As that, and Git could not be read.
    Unread,
    /// One of the target's own, which the database does not have.
    Missing,
}

impl PendingRisk {
    /// No database can be asked.
    pub fn not_known(why: &str) -> Self {
        let risk = Risk { level: RiskLevel::Unknown, reasons: vec![why.to_owned()] };
        Self { service: "schema".parse().expect("a DNS label"), name: "its version".into(), risk, of: Of::Migration }
    }

    /// A database is at a migration, and what that means to the target is not known.
    pub fn not_known_of(service: &ServiceName, version: i64, why: String) -> Self {
        let risk = Risk { level: RiskLevel::Unknown, reasons: vec![why] };
        Self { service: service.clone(), name: format!("migration {version}"), risk, of: Of::Unread }
    }

    /// Whether the database has the target's own migrations cannot be told.
    pub fn untold(service: &ServiceName, name: String, why: &str) -> Self {
        let risk = Risk { level: RiskLevel::Unknown, reasons: vec![why.to_owned()] };
        Self { service: service.clone(), name, risk, of: Of::Missing }
    }

    /// The database is behind what the target's code was written for.
    pub fn missing(service: &ServiceName, name: String, target: &Version, has: i64) -> Self {
        let why = format!("{target} needs it, and the database is at {has}");
        let risk = Risk { level: RiskLevel::Incompatible, reasons: vec![why] };
        Self { service: service.clone(), name, risk, of: Of::Missing }
    }

    /// `auth: migration 3 (v1.1.0 has no release tag to read)`.
    pub fn said(&self) -> String {
        format!("{}: {} ({})", self.service, self.name, self.risk.reasons.join("; "))
    }

    /// Which migrations are pending could not be told.
    pub fn unreadable(service: &ServiceName, error: &Error) -> Self {
        let risk = Risk { level: RiskLevel::Unknown, reasons: vec![error.to_string()] };
        Self { service: service.clone(), name: "migrations".into(), risk, of: Of::Migration }
    }
}

/// A secret that the target needs, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretFate {
    pub name: String,
    pub fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// And what was seen of it.
    There(&'static str),
    /// Why it would not be there.
    Lost(String),
    /// Why it would not be there, though the cluster has it as it was before.
    Stale(String),
    NotKnown(&'static str),
}

impl SecretFate {
    pub fn gone(key: &str, remote: &str) -> Self {
        let fate = Fate::Lost(format!("secret {remote} (for {key}) is not in Secrets Manager"));
        Self { name: key.to_owned(), fate }
    }

    pub fn there(key: &str, remote: &str, deleted: Option<Timestamp>) -> Self {
        let fate = match deleted {
            Some(_) => Fate::Lost(format!("secret {remote} (for {key}) is scheduled for deletion")),
            None => Fate::There("its secret is there"),
        };
        Self { name: key.to_owned(), fate }
    }

    /// An ExternalSecret that takes whatever fits; `now`: the cluster does by the very same words.
    pub fn found(name: &str, now: bool) -> Self {
        let fate = if now {
            Fate::There("the cluster finds its secrets by the same words now")
        } else {
            Fate::NotKnown("it takes whatever secrets fit (dataFrom), and which must be there is not known")
        };
        Self { name: format!("ExternalSecret {name}"), fate }
    }

    /// An ExternalSecret of a form that is not known here.
    pub fn unreadable(name: &str) -> Self {
        let fate = Fate::NotKnown("which secrets it asks for cannot be read from its manifest");
        Self { name: format!("ExternalSecret {name}"), fate }
    }

    /// An ExternalSecret whose newest spec has not arrived; `None` where it has.
    pub fn not_synced(secret: &ExternalSecretState) -> Option<Self> {
        let why = match &secret.ready {
            None => "it has never said whether it is ready",
            Some(ready) if !ready.is_true() => &ready.message,
            Some(_) if !secret.current() => "its newest spec has not been acted on (kubectl describe says why)",
            Some(_) => return None,
        };
        let fate = Fate::Stale(format!("ExternalSecret {} is not ready: {why}", secret.name));
        Some(Self { name: secret.name.clone(), fate })
    }
}

/// The way back, and the gate's answer. Every reason is one sentence.
pub(super) fn judge(wayback: &Wayback) -> (Rollback, Checked) {
    let Some(target) = &wayback.target else {
        let why = "production runs no release, so there is nothing to go back to";
        let rollback = Rollback { target: None, usable: false, reasons: vec![why.into()] };
        let fix = "where this is the first release: --first-release waives it, by name";
        return (rollback, Checked::fail(Evidence::new(why)).fix(fix));
    };
    let mut found = Findings::default();
    found.images(&wayback.images, wayback.applied);
    found.schema(&wayback.pending, wayback.applied);
    found.secrets(&wayback.secrets, wayback.applied);
    for what in &wayback.unasked {
        found.fact("not asked", what, None);
        found.notes.push(printable(what));
    }
    let Findings { mut evidence, against, unknown, notes, fix, .. } = found;
    if !against.is_empty() {
        evidence.summary = format!("{target} cannot be restored: {}", some(&against));
        let fix = fix.unwrap_or_else(|| "restore what is missing before the release".into());
        let reasons = against.into_iter().chain(unknown).collect();
        return (Rollback { target: Some(target.clone()), usable: false, reasons }, Checked::fail(evidence).fix(fix));
    }
    if !unknown.is_empty() {
        evidence.summary = format!("whether {target} can be restored is not known: {}", some(&unknown));
        let rollback = Rollback { target: Some(target.clone()), usable: false, reasons: unknown };
        let fix = if wayback.applied {
            "look at these by hand; where the old code is known to run on this schema: --accept-schema --reason TEXT"
        } else {
            "look at these by hand; a way back that is not known is none"
        };
        return (rollback, Checked::unknown(evidence).fix(fix));
    }
    let images = wayback.images.len();
    let said = notes.join(", ");
    evidence.summary = if wayback.applied { said } else { format!("{target} can be restored: {said}") };
    evidence = evidence.fact("target", format!("{target}, {}", count(images, "image")), None);
    (Rollback { target: Some(target.clone()), usable: true, reasons: notes }, Checked::pass(evidence))
}

#[derive(Default)]
struct Findings {
    evidence: Evidence,
    /// What speaks against it.
    against: Vec<String>,
    /// What cannot be told.
    unknown: Vec<String>,
    /// What speaks for it.
    notes: Vec<String>,
    fix: Option<String>,
}

impl Findings {
    fn fact(&mut self, of: &str, seen: &str, ok: Option<bool>) {
        let evidence = std::mem::take(&mut self.evidence);
        self.evidence = evidence.fact(of, printable(seen), ok);
    }

    fn against(&mut self, why: String, fix: &str) {
        self.fix.get_or_insert_with(|| fix.to_owned());
        self.against.push(printable(&why));
    }

    /// `now`: they are pulled now, and not some day.
    fn images(&mut self, images: &BTreeMap<ServiceName, Vec<(Digest, ImageFate)>>, now: bool) {
        let (mut kept, mut not_known) = (0, 0);
        for (service, found) in images {
            let name = service.as_str();
            match found.as_slice() {
                [(digest, ImageFate::Kept(said))] => {
                    kept += 1;
                    self.fact(name, &format!("{}: {said}", digest.short()), Some(true));
                }
                [(digest, fate @ (ImageFate::Doomed(why) | ImageFate::NotKnown(why)))] if now => {
                    kept += usize::from(matches!(fate, ImageFate::Doomed(_)));
                    not_known += usize::from(matches!(fate, ImageFate::NotKnown(_)));
                    self.fact(name, &format!("{}: {why}", digest.short()), None);
                }
                [(digest, ImageFate::Doomed(why) | ImageFate::Lost(why))] => {
                    self.fact(name, &format!("{}: {why}", digest.short()), Some(false));
                    let fix = "push the missing image to ECR again, by digest, or protect it from the lifecycle policy";
                    self.against(format!("{name} {}: {why}", digest.short()), fix);
                }
                [(digest, ImageFate::NotKnown(why))] => {
                    self.fact(name, &format!("{}: {why}", digest.short()), None);
                    self.unknown.push(format!("{name} {}: {why}", digest.short()));
                }
                [] if now => {
                    self.fact(name, "ECR has no image of its tag", Some(false));
                    self.against(format!("{name}: ECR has no image of its tag"), "push the missing image to ECR again");
                }
                [] => {
                    self.fact(name, "no pod runs it", None);
                    self.unknown.push(format!("{name}: no running pod tells its image"));
                }
                several => {
                    let list: Vec<&str> = several.iter().map(|(digest, _)| digest.short()).collect();
                    self.fact(name, &format!("pods run {}", list.join(" and ")), None);
                    self.unknown.push(format!("{name}: its pods run {} images", several.len()));
                }
            }
        }
        if images.is_empty() {
            self.unknown.push("no service's image is known".into());
        }
        self.notes.push(format!("{kept} of {} in ECR", count(images.len(), "image")));
        if not_known > 0 {
            self.notes.push(format!("NOT KNOWN of {not_known}"));
        }
    }

    fn schema(&mut self, pending: &[PendingRisk], applied: bool) {
        for PendingRisk { service, name, risk, of } in pending {
            let level = format!("{:?}", risk.level).to_lowercase();
            let reason = risk.reasons.first().map(|reason| format!(": {reason}")).unwrap_or_default();
            let said = format!("{name} is {level}{reason}");
            let ok = match risk.level {
                RiskLevel::Additive | RiskLevel::Locking => Some(true),
                RiskLevel::Unknown => None,
                RiskLevel::Incompatible | RiskLevel::Destructive => Some(false),
            };
            self.fact(&format!("{service} schema"), &said, ok);
            match ok {
                Some(true) => {}
                None => self.unknown.push(printable(&format!("{service}: {said}"))),
                Some(false) => {
                    let fix = if *of == Of::Missing {
                        "run the missing migrations first, or, where the code is known to run on this schema: --accept-schema --reason TEXT"
                    } else if applied {
                        "down migrations are never run: mend forward with a hotfix, or, where the old code is known to run on this schema: --accept-schema --reason TEXT"
                    } else {
                        "split it: release the code that needs neither first, and drop or change in a later release"
                    };
                    self.against(format!("{service}: migration {said}"), fix);
                }
            }
        }
        self.notes.push(match pending.len() {
            0 => "no schema change".into(),
            n => format!("schema stays compatible ({})", count(n, "migration")),
        });
    }

    fn secrets(&mut self, secrets: &[SecretFate], now: bool) {
        let mut not_known = 0;
        for SecretFate { name, fate } in secrets {
            match fate {
                Fate::There(said) => self.fact(name, said, Some(true)),
                // Pods read what the cluster has.
                Fate::Stale(why) if now => self.fact(name, why, None),
                Fate::Lost(why) | Fate::Stale(why) => {
                    self.fact(name, why, Some(false));
                    self.against(why.clone(), "restore the secret in Secrets Manager (names only are read here)");
                }
                Fate::NotKnown(why) => {
                    not_known += 1;
                    self.fact(name, why, None);
                    if !now {
                        self.unknown.push(printable(&format!("{name}: {why}")));
                    }
                }
            }
        }
        if secrets.len() > not_known {
            self.notes.push(format!("{} there", count(secrets.len() - not_known, "secret")));
        }
        if not_known > 0 {
            self.notes.push(format!("NOT KNOWN of {}", count(not_known, "ExternalSecret")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::cluster::Condition;
    use crate::domain::Verdict;

    fn digest(c: char) -> Digest {
        format!("sha256:{}", c.to_string().repeat(64)).parse().unwrap()
    }

    fn now() -> Timestamp {
        "2025-03-04T09:00:00Z".parse().unwrap()
    }

    fn pending(level: RiskLevel, reason: &str) -> PendingRisk {
        let risk = Risk { level, reasons: vec![reason.into()] };
        PendingRisk { service: "auth".parse().unwrap(), name: "4 change_users".into(), risk, of: Of::Migration }
    }

    fn wayback() -> Wayback {
        let kept = (digest('a'), ImageFate::Kept("in ECR".into()));
        Wayback {
            target: Some(Version::new(1, 1, 1)),
            images: BTreeMap::from([("auth".parse().unwrap(), vec![kept])]),
            pending: vec![pending(RiskLevel::Additive, "")],
            secrets: vec![SecretFate::there("CLERK_SECRET_KEY", "gospelib/clerk", None)],
            applied: false,
            unasked: Vec::new(),
        }
    }

    fn judged(wayback: &Wayback) -> (Rollback, Checked) {
        judge(wayback)
    }

    #[test]
    fn a_target_that_is_whole_is_usable() {
        let (rollback, checked) = judged(&wayback());
        assert!(rollback.usable);
        assert_eq!(checked.verdict, Verdict::Pass);
        let said = "v1.1.1 can be restored: 1 of 1 image in ECR, schema stays compatible (1 migration), 1 secret there";
        assert_eq!(checked.evidence.summary, said);
    }

    #[test]
    fn what_may_be_gone_some_day_does_not_stop_a_rollback_now() {
        for fate in [ImageFate::Doomed("rule 5".into()), ImageFate::NotKnown("rule 7".into())] {
            let mut found = wayback();
            found.images.insert("auth".parse().unwrap(), vec![(digest('a'), fate)]);
            assert!(!judged(&found).0.usable);
            found.applied = true;
            found.unasked = vec!["its secrets could not be asked".into()];
            let (rollback, checked) = judged(&found);
            assert!(rollback.usable, "{:?}", rollback.reasons);
            assert!(
                checked.evidence.summary.contains("its secrets could not be asked"),
                "{}",
                checked.evidence.summary
            );
        }
        let mut gone = wayback();
        gone.applied = true;
        gone.images.insert("auth".parse().unwrap(), Vec::new());
        assert_eq!(judged(&gone).0.reasons, ["auth: ECR has no image of its tag"]);
        let mut stale = wayback();
        let late = SecretFate { name: "gospelib-secrets".into(), fate: Fate::Stale("not ready".into()) };
        stale.secrets.push(late);
        assert!(!judged(&stale).0.usable);
        stale.applied = true;
        assert!(judged(&stale).0.usable);
    }

    #[test]
    fn secrets_of_which_names_do_not_tell_are_not_known_and_no_pass() {
        let mut found = wayback();
        found.secrets = vec![SecretFate::found("app", true)];
        assert!(judged(&found).0.usable);
        for fate in [SecretFate::found("app", false), SecretFate::unreadable("app")] {
            found.secrets = vec![fate];
            found.applied = false;
            let (rollback, checked) = judged(&found);
            assert_eq!((rollback.usable, checked.verdict), (false, Verdict::Unknown));
            assert!(rollback.reasons[0].starts_with("ExternalSecret app: "), "{:?}", rollback.reasons);
            // Pods read what the cluster has.
            found.applied = true;
            let (rollback, checked) = judged(&found);
            assert!(rollback.usable);
            assert!(checked.evidence.summary.contains("NOT KNOWN of 1 ExternalSecret"), "{}", checked.evidence.summary);
        }
    }

    #[test]
    fn without_a_release_there_is_no_way_back() {
        let (rollback, checked) = judged(&Wayback::default());
        assert!(!rollback.usable && rollback.target.is_none());
        assert_eq!(checked.verdict, Verdict::Fail);
        assert!(checked.fix.unwrap().contains("--first-release"));
    }

    #[test]
    fn an_image_that_is_lost_or_not_known_is_no_way_back() {
        let mut untold = wayback();
        untold.images.insert("auth".parse().unwrap(), vec![(digest('a'), ImageFate::NotKnown("rule 5".into()))]);
        let (rollback, checked) = judged(&untold);
        assert_eq!((rollback.usable, checked.verdict), (false, Verdict::Unknown));
        assert!(rollback.reasons[0].contains("rule 5"), "{:?}", rollback.reasons);
        let mut lost = wayback();
        lost.images
            .insert("auth".parse().unwrap(), vec![(digest('a'), ImageFate::Lost("it is no longer in ECR".into()))]);
        let (rollback, checked) = judged(&lost);
        assert!(!rollback.usable);
        assert_eq!(
            checked.evidence.summary,
            "v1.1.1 cannot be restored: auth sha256:aaaaaaaaaaaa: it is no longer in ECR"
        );
    }

    #[test]
    fn a_destructive_or_incompatible_migration_blocks_the_way_back() {
        for level in [RiskLevel::Destructive, RiskLevel::Incompatible] {
            let mut broken = wayback();
            broken.pending.push(pending(level, "line 1: dropping a column"));
            let (rollback, checked) = judged(&broken);
            assert!(!rollback.usable);
            assert_eq!(checked.verdict, Verdict::Fail);
            assert!(checked.fix.unwrap().starts_with("split it"));
        }
        let mut locking = wayback();
        locking.pending.push(pending(RiskLevel::Locking, ""));
        assert!(judged(&locking).0.usable);
    }

    #[test]
    fn what_cannot_be_told_is_unknown_and_not_usable() {
        let mut odd = wayback();
        odd.pending.push(pending(RiskLevel::Unknown, "not SQL"));
        let (rollback, checked) = judged(&odd);
        assert_eq!((rollback.usable, checked.verdict), (false, Verdict::Unknown));
        let mut two = wayback();
        let kept = || ImageFate::Kept(String::new());
        two.images.insert("auth".parse().unwrap(), vec![(digest('a'), kept()), (digest('b'), kept())]);
        assert_eq!(judged(&two).1.verdict, Verdict::Unknown);
        two.images.clear();
        assert_eq!(judged(&two).1.verdict, Verdict::Unknown);
    }

    #[test]
    fn a_missing_or_dying_secret_blocks_the_way_back() {
        for fate in [SecretFate::gone("K", "gospelib/k"), SecretFate::there("K", "gospelib/k", Some(now()))] {
            let mut broken = wayback();
            broken.secrets.push(fate);
            let (rollback, checked) = judged(&broken);
            assert_eq!((rollback.usable, checked.verdict), (false, Verdict::Fail));
            assert!(rollback.reasons[0].contains("gospelib/k"));
        }
    }

    #[test]
    fn a_secret_whose_newest_spec_has_not_arrived_is_not_there() {
        let secret = |status: &str, synced: i64| ExternalSecretState {
            name: "gospelib-secrets".into(),
            target: "gospelib-secrets".into(),
            keys: Vec::new(),
            data_from: Vec::new(),
            ready: Some(Condition {
                kind: "Ready".into(),
                status: status.into(),
                reason: String::new(),
                message: "could not get secret".into(),
                since: None,
            }),
            refreshed_at: None,
            refresh_interval: None,
            generation: 3,
            synced_generation: Some(synced),
            api_version: "v1".into(),
        };
        assert_eq!(SecretFate::not_synced(&secret("True", 3)), None);
        for (secret, why) in
            [(secret("False", 3), "could not get secret"), (secret("True", 2), "its newest spec has not been acted on")]
        {
            let mut unsynced = wayback();
            unsynced.secrets.extend(SecretFate::not_synced(&secret));
            let (rollback, _) = judged(&unsynced);
            assert!(!rollback.usable && rollback.reasons[0].contains(why), "{:?}", rollback.reasons);
        }
    }
}
