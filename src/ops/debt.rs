//! Debts: what break glass left open. Whether one is closed is seen in the world, never declared.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jiff::Timestamp;
use serde::Serialize;

use crate::adapters::cluster::{Applications, ConfigMaps, Reading, Register, Workloads};
use crate::adapters::git::{Git, ReleaseTag};
use crate::adapters::github::GitHub;
use crate::config::Config;
use crate::domain::{CommitSha, Debt, DebtKind, HotfixName, Quarantined, Version, duration, printable};
use crate::error::{Error, Result};
use crate::monitor::agreement;

use super::connect::{Connected, hurried};
use super::target;

/// The ConfigMap of debts.
pub const DEBTS: &str = "gospel-release-debts";
/// The ConfigMap of quarantined releases.
pub const QUARANTINE: &str = "gospel-release-quarantine";

/// A debt that is open, and the command that closes it.
#[derive(Debug, Clone, Serialize)]
pub struct Open {
    #[serde(flatten)]
    pub debt: Debt,
    pub overdue: bool,
    /// What was seen of it; "not known" where it could not be looked at, and then it stays open.
    pub seen: String,
    pub close: String,
}

/// A record that cannot be read here: it counts as open.
#[derive(Debug, Clone, Serialize)]
pub struct Unread {
    pub config_map: &'static str,
    pub key: String,
    /// The command that shows it.
    pub look: String,
}

impl Unread {
    fn all<T>(register: &Register, config_map: &'static str, reading: &Reading<T>) -> impl Iterator<Item = Self> {
        reading.unread.iter().map(move |key| Self { config_map, key: key.clone(), look: register.look() })
    }
}

/// What debts are looked for in.
pub struct Places<'a> {
    pub config: &'a Config,
    pub git: Option<&'a Git>,
    /// Only GitHub knows of a hotfix that was squashed into main.
    pub github: Option<&'a GitHub>,
    pub workloads: &'a Workloads,
    pub applications: Option<&'a Applications>,
    pub maps: ConfigMaps,
}

/// What several debts are compared with.
#[derive(Default)]
struct Beside {
    quarantined: BTreeMap<String, Quarantined>,
    hotfixes: Vec<CommitSha>,
    /// The releases that main's overlay has named; its history is read once.
    named: OnceLock<Vec<Version>>,
}

/// What is known of releases that were rolled back.
pub async fn quarantined(maps: &ConfigMaps) -> Result<BTreeMap<String, Quarantined>> {
    Register::new(maps.clone(), QUARANTINE).all().await
}

/// Whether anything is written down at all.
pub async fn any(maps: &ConfigMaps) -> Result<bool> {
    let (debts, quarantine) = futures::try_join!(maps.get(DEBTS), maps.get(QUARANTINE))?;
    Ok([debts, quarantine].into_iter().flatten().any(|map| !map.data.is_empty()))
}

/// The debts that are open, for who is connected to everything and goes on with nothing that cannot be read.
pub(super) async fn open(connected: &Connected, config: &Config, now: Timestamp) -> Result<Vec<Open>> {
    let maps = ConfigMaps::new(&connected.production.cluster, &config.production.namespace);
    if !any(&maps).await? {
        return Ok(Vec::new());
    }
    let places = Places::of(connected, config, maps);
    let (open, unread) = places.open(now).await?;
    match unread.first() {
        None => Ok(open),
        Some(unread) => {
            let what =
                format!("{} in config map {} cannot be read by this gospel-release", unread.key, unread.config_map);
            Err(Error::outside(what).hint(&unread.look))
        }
    }
}

/// As [`open`], for who must go on: what cannot be read, or asked, is not told.
pub(super) async fn open_as_far_as_known(connected: &Connected, config: &Config, now: Timestamp) -> Vec<Debt> {
    let maps = ConfigMaps::new(&connected.production.cluster, &config.production.namespace);
    let open = match any(&maps).await {
        Ok(true) => Places::of(connected, config, maps).open(now).await,
        _ => return Vec::new(),
    };
    open.map(|(open, _)| open.into_iter().map(|open| open.debt).collect()).unwrap_or_default()
}

impl<'a> Places<'a> {
    /// For who is connected to everything.
    fn of(connected: &'a Connected, config: &'a Config, maps: ConfigMaps) -> Self {
        Self {
            config,
            git: Some(&connected.git),
            github: Some(&connected.github),
            workloads: &connected.production.workloads,
            applications: Some(&connected.applications),
            maps,
        }
    }

    /// The debts that are open, oldest first, and what cannot be read.
    pub async fn open(&self, now: Timestamp) -> Result<(Vec<Open>, Vec<Unread>)> {
        let [register, quarantine] = [DEBTS, QUARANTINE].map(|name| Register::new(self.maps.clone(), name));
        let (debts, quarantined) =
            futures::try_join!(register.readable::<Debt>(), quarantine.readable::<Quarantined>())?;
        let unread = Unread::all(&register, DEBTS, &debts).chain(Unread::all(&quarantine, QUARANTINE, &quarantined));
        let unread: Vec<Unread> = unread.collect();
        let quarantined = quarantined.records;
        let mut debts: Vec<Debt> = debts.records.into_values().collect();
        let hotfixes: Vec<CommitSha> = debts.iter().filter_map(hotfix_of).cloned().collect();
        debts.extend(quarantined.values().map(|entry| self.of_quarantine(entry)));
        let beside = Beside { quarantined, hotfixes, named: OnceLock::new() };
        let mut open = Vec::new();
        for debt in debts {
            let seen = match self.seen(&debt, &beside).await {
                Ok(None) => continue,
                Ok(Some(seen)) => seen,
                Err(error) => format!("not known: {}", printable(&error.to_string())),
            };
            open.push(Open { overdue: debt.overdue(now), seen, close: close(&debt), debt });
        }
        open.sort_by_key(|open| open.debt.opened);
        Ok((open, unread))
    }

    fn of_quarantine(&self, entry: &Quarantined) -> Debt {
        Debt {
            kind: DebtKind::Quarantined { release: entry.key() },
            owner: entry.who.clone(),
            reason: entry.reason.clone(),
            run: entry.run.clone(),
            opened: entry.at,
            due: entry.at.checked_add(self.config.debt.due_after).unwrap_or(Timestamp::MAX),
            closed_by: None,
        }
    }

    /// What is seen of a debt; `None` when it is closed.
    async fn seen(&self, debt: &Debt, beside: &Beside) -> Result<Option<String>> {
        match &debt.kind {
            DebtKind::LiveDiffers => self.differing().await,
            DebtKind::SyncPaused => {
                let Some(applications) = self.applications else { return Ok(Some("not known".into())) };
                let app = applications.application(&self.config.argo.application).await?;
                // Where nobody but a person has switched it off, nobody owes that it is on.
                let paused = applications.is_paused(&app).await?;
                Ok(paused.then(|| format!("automated sync of {} is off", app.name)))
            }
            DebtKind::NotMerged { branch, commit } => {
                let Some(git) = self.git else { return Ok(Some("not known: Git does not answer".into())) };
                let tip = git.main_tip()?;
                let merged = git.has(commit) && git.is_ancestor(commit, &tip)?;
                if merged || self.gone(git, commit).await? {
                    return Ok(None);
                }
                let main = &self.config.repository.main;
                if let Some(github) = self.github
                    && hurried("GitHub", true, github.merged_pull(branch, main, commit)).await?.is_some()
                {
                    return Ok(None);
                }
                Ok(Some(format!("{} is not in {main}", commit.short())))
            }
            DebtKind::Waived { .. } => self.since_released(debt.opened, &beside.hotfixes),
            DebtKind::Quarantined { release } => {
                // What was no release is left behind by the next one above the release that it was on.
                let entry = beside.quarantined.get(release);
                self.above(entry.map(|entry| entry.version.as_ref().unwrap_or(&entry.back_to)), beside)
            }
        }
    }

    /// Whether a hotfix was taken out of production again before it became a release: then main owes it nothing.
    async fn gone(&self, git: &Git, commit: &CommitSha) -> Result<bool> {
        if git.release_tags()?.iter().any(|tag| tag.commit == *commit) {
            return Ok(false);
        }
        let tag = commit.hotfix_tag();
        let deployments = self.workloads.deployments().await?;
        Ok(!deployments.iter().flat_map(|found| found.images.values()).any(|image| image.tag.as_ref() == Some(&tag)))
    }

    /// The services whose Deployment names another image than main's overlay, or than the commit that Argo CD compares with: it
    /// could put that one back. That other objects differ is nothing that break glass has brought.
    async fn differing(&self) -> Result<Option<String>> {
        let Some(git) = self.git else { return Ok(Some("not known: Git does not answer".into())) };
        let deployments = self.workloads.deployments().await?;
        let from =
            |commit: &CommitSha| Ok(agreement::said(&agreement::differing_at(self.config, git, &deployments, commit)?));
        if let Some(differing) = from(&git.main_tip()?)? {
            return Ok(Some(differing));
        }
        let Some(applications) = self.applications else {
            return Ok(Some("not known: Argo CD cannot be asked".into()));
        };
        let app = applications.application(&self.config.argo.application).await?;
        if let Some(why) = &app.unclear {
            return Ok(Some(format!("what Argo CD compares with cannot be told: {}", printable(why))));
        }
        let Some(revision) = app.revision.as_deref().and_then(|text| text.parse::<CommitSha>().ok()) else {
            return Ok(Some(format!("{} has compared nothing with Git yet", app.name)));
        };
        let short = revision.short();
        if !git.has(&revision) {
            return Ok(Some(format!("Argo CD compares with {short}, which is not known here")));
        }
        Ok(from(&revision)?
            .map(|differing| format!("Argo CD compares with {short} still, which has another {differing}")))
    }

    /// Closed once a release was made after it: that one passed every gate. The tag of a hotfix is no such release.
    fn since_released(&self, opened: Timestamp, hotfixes: &[CommitSha]) -> Result<Option<String>> {
        let Some(git) = self.git else { return Ok(Some("not known: Git does not answer".into())) };
        let passed = |tag: &ReleaseTag| !hotfixes.contains(&tag.commit) && tag.when.is_some_and(|when| when > opened);
        let later = git.release_tags()?.iter().any(passed);
        Ok((!later).then(|| "no release since".to_owned()))
    }

    /// Closed once a release above the bad one is there, and is not itself in quarantine.
    fn above(&self, bad: Option<&Version>, beside: &Beside) -> Result<Option<String>> {
        let (Some(git), Some(bad)) = (self.git, bad) else { return Ok(Some("not known".into())) };
        let good = |version: &Version| version > bad && !beside.quarantined.contains_key(&version.to_string());
        Ok((!self.named(git, beside)?.iter().any(good)).then(|| format!("no good release above {bad} yet")))
    }

    /// A tag whose release was rejected or failed brought nothing to production: main's overlay says what was there.
    fn named<'b>(&self, git: &Git, beside: &'b Beside) -> Result<&'b [Version]> {
        if let Some(named) = beside.named.get() {
            return Ok(named);
        }
        let past = target::releases(self.config, git, &[])?.into_iter().filter(|past| past.named_at.is_some());
        Ok(beside.named.get_or_init(|| past.map(|past| past.version).collect()))
    }
}

/// Strikes out what is closed and might come again: another's doing is not to be taken for it. What stays closed for good stays
/// written down. Called under the lock.
pub(super) async fn strike_out(connected: &Connected, config: &Config) -> Result<()> {
    let maps = ConfigMaps::new(&connected.production.cluster, &config.production.namespace);
    let register = Register::new(maps.clone(), DEBTS);
    let debts = register.readable::<Debt>().await?.records;
    let places = Places::of(connected, config, maps);
    let mut closed = BTreeMap::new();
    for (key, debt) in debts.into_iter().filter(|(_, debt)| debt.may_come_again()) {
        // What cannot be looked at stays.
        if matches!(places.seen(&debt, &Beside::default()).await, Ok(None)) {
            closed.insert(key, debt);
        }
    }
    register.remove(&closed).await
}

fn hotfix_of(debt: &Debt) -> Option<&CommitSha> {
    match &debt.kind {
        DebtKind::NotMerged { commit, .. } => Some(commit),
        _ => None,
    }
}

/// The command that closes a debt.
fn close(debt: &Debt) -> String {
    match &debt.kind {
        DebtKind::LiveDiffers | DebtKind::SyncPaused => {
            let again = debt.closed_by.as_deref().map_or("the command that opened it".to_owned(), printable);
            format!("{again} (once Git and Argo CD answer)")
        }
        DebtKind::NotMerged { branch, .. } => {
            let name = branch.strip_prefix(HotfixName::BRANCH).unwrap_or(branch);
            format!("gospel-release hotfix finish {name}")
        }
        DebtKind::Waived { gate } => format!("gospel-release promote (its {gate} gate closes it)"),
        DebtKind::Quarantined { .. } => "mend it on main, let it soak, then: gospel-release promote".to_owned(),
    }
}

/// Open debts, told together: the gates that one run went without are one of them.
pub struct Told<'a> {
    pub title: String,
    /// The first of them, if there are several.
    pub open: &'a Open,
    close: String,
}

/// As people read them.
#[must_use]
pub fn told(debts: &[Open]) -> Vec<Told<'_>> {
    let together = |a: &Open, b: &Open| waived(a).is_some() && waived(b).is_some() && a.debt.run == b.debt.run;
    let mut groups: Vec<Vec<&Open>> = Vec::new();
    for open in debts {
        match groups.iter_mut().find(|group| together(group[0], open)) {
            Some(group) => group.push(open),
            None => groups.push(vec![open]),
        }
    }
    groups.iter().map(|group| one(group)).collect()
}

fn waived(open: &Open) -> Option<&str> {
    match &open.debt.kind {
        DebtKind::Waived { gate } => Some(gate),
        _ => None,
    }
}

fn one<'a>(group: &[&'a Open]) -> Told<'a> {
    let open = group[0];
    let gates: Vec<&str> = group.iter().filter_map(|open| waived(open)).collect();
    if gates.len() < 2 {
        return Told { title: open.debt.title(), open, close: open.close.clone() };
    }
    Told {
        title: format!("the gates {} were waived", gates.join(", ")),
        open,
        close: "gospel-release promote (its gates close them)".to_owned(),
    }
}

/// In a line and what is beneath it, for people.
#[must_use]
pub fn lines(told: &Told<'_>, now: Timestamp) -> Vec<String> {
    let open = told.open;
    let age = |at: Timestamp| duration(std::time::Duration::try_from(now.duration_since(at)).unwrap_or_default());
    let due = if open.overdue {
        format!("OVERDUE since {}", age(open.debt.due))
    } else {
        let left = std::time::Duration::try_from(open.debt.due.duration_since(now)).unwrap_or_default();
        format!("due in {}", duration(left))
    };
    let reason =
        if open.debt.reason.is_empty() { String::new() } else { format!(": {}", printable(&open.debt.reason)) };
    vec![
        format!("{} ({}), {due}", told.title, open.seen),
        format!("  {} ago by {}{reason}", age(open.debt.opened), printable(&open.debt.owner)),
        format!("  to close: {}", told.close),
    ]
}
