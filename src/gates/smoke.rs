//! "Manual smoke tests pass": a person tried the critical user flows on staging, with this build, and said so.

use std::time::Duration;

use jiff::Timestamp;

use crate::adapters::cluster::ConfigMaps;
use crate::domain::{CommitSha, Evidence, WorldKind, duration, printable};
use crate::engine::{BoxFuture, Checked, Facts, Gate, StepIo};
use crate::error::Result;

use super::attestation::{self, Attestation, CONFIG_MAP};
use super::words::{between, candidate, clock_time};

const ATTEST: &str = "gospel-release checklist attest smoke --note … --link …";

pub struct Smoke {
    /// ConfigMaps of the production namespace.
    pub maps: ConfigMaps,
    /// How old an attestation may be.
    pub max_age: Duration,
    pub world: WorldKind,
}

impl Gate for Smoke {
    fn id(&self) -> &'static str {
        "smoke"
    }

    fn title(&self) -> String {
        "Manual smoke tests pass".into()
    }

    fn check<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let commit = match candidate(facts) {
                Ok(candidate) => &candidate.commit,
                Err(unknown) => return Ok(*unknown),
            };
            let found = attestation::read(&self.maps, self.id(), commit).await?;
            let mut checked = judge(commit, found.as_ref(), self.max_age, self.world, io.now());
            checked.evidence = checked.evidence.from(format!("config map {CONFIG_MAP}")).at(io.now());
            Ok(checked)
        })
    }
}

fn judge(
    commit: &CommitSha,
    found: Option<&Attestation>,
    max_age: Duration,
    world: WorldKind,
    now: Timestamp,
) -> Checked {
    let commit = commit.short();
    let Some(found) = found else {
        let evidence = Evidence::new(format!("nobody has attested the smoke tests of {commit}"));
        return Checked::fail(evidence).fix(ATTEST);
    };
    let who = printable(&found.who);
    let age = between(found.at, now);
    let mut evidence = Evidence::default()
        .fact("who", who.clone(), None)
        .fact("when", clock_time(found.at), age <= max_age)
        .fact("note", printable(&found.note), None);
    if let Some(link) = &found.link {
        let link = printable(link);
        evidence = evidence.fact("link", link.clone(), None).link(link);
    }
    if found.rehearsal && world == WorldKind::Real {
        evidence.summary = format!("the attestation of {commit} was given in a rehearsal; it satisfies no real gate");
        return Checked::fail(evidence).fix(ATTEST);
    }
    if found.note.trim().is_empty() {
        evidence.summary = format!("{who} attested {commit} without saying what was seen");
        return Checked::fail(evidence).fix(ATTEST);
    }
    let old = duration(age);
    if age > max_age {
        evidence.summary = format!("{who} attested {commit} {old} ago; at most {} old is accepted", duration(max_age));
        return Checked::fail(evidence).fix(ATTEST);
    }
    evidence.summary = format!("{who} attested {commit} {old} ago");
    Checked::pass(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Verdict;

    const WEEK: Duration = Duration::from_secs(7 * 86_400);

    fn commit() -> CommitSha {
        "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334".parse().unwrap()
    }

    fn attestation() -> Attestation {
        Attestation {
            gate: "smoke".into(),
            commit: commit(),
            who: "rhea-reviewer".into(),
            at: "2025-03-04T06:00:00Z".parse().unwrap(),
            note: "signed in, searched, studied".into(),
            link: Some("https://example.test/run/7".into()),
            rehearsal: false,
        }
    }

    fn judged(found: Option<&Attestation>, world: WorldKind) -> Checked {
        judge(&commit(), found, WEEK, world, "2025-03-04T09:00:00Z".parse().unwrap())
    }

    #[test]
    fn an_attestation_of_this_build_is_a_pass() {
        let checked = judged(Some(&attestation()), WorldKind::Real);
        assert_eq!(checked.verdict, Verdict::Pass);
        assert_eq!(checked.evidence.summary, "rhea-reviewer attested a1b2c3d 3 h ago");
        assert_eq!(checked.evidence.link.as_deref(), Some("https://example.test/run/7"));
    }

    #[test]
    fn nobody_said_so_is_a_failure_with_the_command() {
        let checked = judged(None, WorldKind::Rehearsal);
        assert_eq!(checked.verdict, Verdict::Fail);
        assert!(checked.fix.unwrap().starts_with("gospel-release checklist attest smoke"));
    }

    #[test]
    fn a_rehearsal_never_satisfies_a_real_gate() {
        let rehearsed = Attestation { rehearsal: true, ..attestation() };
        assert_eq!(judged(Some(&rehearsed), WorldKind::Real).verdict, Verdict::Fail);
        assert_eq!(judged(Some(&rehearsed), WorldKind::Rehearsal).verdict, Verdict::Pass);
        assert_eq!(judged(Some(&rehearsed), WorldKind::Mixed).verdict, Verdict::Pass);
    }

    #[test]
    fn an_old_or_empty_attestation_fails() {
        let old = Attestation { at: "2025-02-20T06:00:00Z".parse().unwrap(), ..attestation() };
        let checked = judged(Some(&old), WorldKind::Real);
        assert_eq!(checked.verdict, Verdict::Fail);
        assert!(checked.evidence.summary.contains("at most 7 d"), "{}", checked.evidence.summary);
        let empty = Attestation { note: "  ".into(), ..attestation() };
        assert_eq!(judged(Some(&empty), WorldKind::Real).verdict, Verdict::Fail);
    }

    #[test]
    fn what_people_write_is_made_safe() {
        let hostile = Attestation { who: "x\u{1b}[31m".into(), ..attestation() };
        assert!(!judged(Some(&hostile), WorldKind::Real).evidence.summary.contains('\u{1b}'));
    }
}
