//! What only a person can see, recorded where everybody who may release can read it: one ConfigMap in the production namespace.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::adapters::cluster::{ConfigMaps, Register};
use crate::domain::CommitSha;
use crate::error::{Attempting, Error, Result};

/// The ConfigMap's name.
pub const CONFIG_MAP: &str = "gospel-release-attestations";
/// More than anybody looks back; the oldest are dropped.
const KEPT: usize = 100;

/// Somebody looked, at one build, and says what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// The gate: `smoke`.
    pub gate: String,
    pub commit: CommitSha,
    pub who: String,
    /// World time.
    pub at: Timestamp,
    pub note: String,
    pub link: Option<String>,
    /// It was given in a rehearsed or mixed world; it satisfies no real gate.
    #[serde(default)]
    pub rehearsal: bool,
}

impl Attestation {
    /// Its key in the ConfigMap: `smoke.<commit>`.
    #[must_use]
    pub fn key(&self) -> String {
        key(&self.gate, &self.commit)
    }
}

fn key(gate: &str, commit: &CommitSha) -> String {
    format!("{gate}.{commit}")
}

/// The attestation of a gate for one build; `None` when nobody gave one.
///
/// # Errors
/// One that cannot be read is an error, not an absence.
pub async fn read(maps: &ConfigMaps, gate: &str, commit: &CommitSha) -> Result<Option<Attestation>> {
    let Some(map) = maps.get(CONFIG_MAP).await? else { return Ok(None) };
    find(&map.data, gate, commit)
}

fn find(data: &BTreeMap<String, String>, gate: &str, commit: &CommitSha) -> Result<Option<Attestation>> {
    let Some(text) = data.get(&key(gate, commit)) else { return Ok(None) };
    let what = || format!("read the attestation {} in config map {CONFIG_MAP}", key(gate, commit));
    let found: Attestation = serde_json::from_str(text).map_err(|error| Error::outside(what()).because(error))?;
    if found.gate != gate || found.commit != *commit {
        return Err(Error::outside("it speaks of another gate or build than its key")).attempting(what);
    }
    Ok(Some(found))
}

/// Records an attestation; a later one of the same gate and build replaces it.
///
/// # Errors
/// Also a conflict, when others kept writing at the same time.
pub async fn record(maps: &ConfigMaps, attestation: &Attestation) -> Result<()> {
    let text = serde_json::to_string(attestation)
        .map_err(|error| Error::internal("write an attestation as JSON").because(error))?;
    Register::new(maps.clone(), CONFIG_MAP).change(|data| add(data, attestation, text.clone())).await
}

fn add(data: &mut BTreeMap<String, String>, attestation: &Attestation, text: String) {
    data.insert(attestation.key(), text);
    prune(data);
}

/// Drops the oldest. What cannot be read is not ours to drop.
fn prune(data: &mut BTreeMap<String, String>) {
    let given = |text: &String| serde_json::from_str::<Attestation>(text).ok().map(|attestation| attestation.at);
    let mut known: Vec<(Timestamp, String)> =
        data.iter().filter_map(|(key, text)| Some((given(text)?, key.clone()))).collect();
    known.sort();
    let drop = known.len().saturating_sub(KEPT);
    for (_, key) in known.drain(..drop) {
        data.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attestation(n: u8) -> Attestation {
        Attestation {
            gate: "smoke".into(),
            commit: format!("{n:040x}").parse().unwrap(),
            who: "rhea@desk".into(),
            at: "2025-03-01T00:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(i64::from(n)),
            note: "signed in, searched, studied".into(),
            link: None,
            rehearsal: false,
        }
    }

    fn written(data: &mut BTreeMap<String, String>, n: u8) {
        let attestation = attestation(n);
        add(data, &attestation, serde_json::to_string(&attestation).unwrap());
    }

    #[test]
    fn one_is_found_again_by_gate_and_build() {
        let mut data = BTreeMap::new();
        written(&mut data, 7);
        let commit = attestation(7).commit;
        assert_eq!(find(&data, "smoke", &commit).unwrap(), Some(attestation(7)));
        assert_eq!(find(&data, "smoke", &attestation(8).commit).unwrap(), None);
    }

    #[test]
    fn one_that_cannot_be_read_or_was_copied_is_an_error() {
        let commit = attestation(7).commit;
        let broken = BTreeMap::from([(key("smoke", &commit), "{".to_owned())]);
        assert!(find(&broken, "smoke", &commit).is_err());
        let copied = BTreeMap::from([(key("smoke", &commit), serde_json::to_string(&attestation(8)).unwrap())]);
        assert!(find(&copied, "smoke", &commit).is_err());
    }

    #[test]
    fn the_oldest_are_dropped_and_foreign_keys_kept() {
        let mut data = BTreeMap::from([("notes".to_owned(), "by hand".to_owned())]);
        (0..=120).for_each(|n| written(&mut data, n));
        assert_eq!(data.len(), KEPT + 1);
        assert!(data.contains_key("notes") && data.contains_key(&attestation(120).key()));
        assert!(!data.contains_key(&attestation(20).key()));
    }
}
