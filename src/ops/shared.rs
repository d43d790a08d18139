//! The copy of a run in the cluster: a ConfigMap `gospel-release-<run>`, so that another machine can go on.

use std::collections::BTreeMap;

use tokio::sync::Mutex;

use crate::adapters::cluster::{ConfigMaps, StoredMap};
use crate::domain::RunId;
use crate::engine::{BoxFuture, Record, RunState, Shared};
use crate::error::{Error, Kind, Result};

use super::lock::Lock;

/// What their names begin with.
const PREFIX: &str = "gospel-release-";
/// Marks our ConfigMaps; the value says whether the run can be resumed.
const OPEN: &str = "gospel-release.dev/open";
/// A ConfigMap holds 1 MiB; the folded state stays far below (docs/architecture.md).
const LARGEST: usize = 256 * 1024;
/// How many finished runs are kept in the cluster.
const KEPT: usize = 20;

/// The runs in a production namespace.
#[derive(Clone)]
pub struct Runs {
    maps: ConfigMaps,
}

/// A run that holds the lock, and its shared copy.
pub struct Claim {
    runs: Runs,
    lock: Lock,
    /// The ConfigMap's resourceVersion; `None` until it exists.
    version: Mutex<Option<String>>,
}

impl Runs {
    #[must_use]
    pub fn new(maps: ConfigMaps) -> Self {
        Self { maps }
    }

    /// The shared copy of one run, and its resourceVersion.
    pub async fn get(&self, run: &RunId) -> Result<Option<(RunState, String)>> {
        let Some(map) = self.maps.get(&name(run)).await? else { return Ok(None) };
        Ok(Some((read(&map)?, map.resource_version)))
    }

    /// All runs that can be read, oldest first: what nobody can read must not keep anybody from looking, or from going back.
    pub async fn all(&self) -> Result<Vec<RunState>> {
        Ok(self.all_and_unread().await?.0)
    }

    /// As [`Runs::all`], and those that were left open and that nobody can read here.
    pub async fn all_and_unread(&self) -> Result<(Vec<RunState>, Vec<RunId>)> {
        let maps = self.maps.list(OPEN).await?;
        let unread = maps.iter().filter(|map| is_unread(map));
        let unread = unread.filter_map(|map| map.name.strip_prefix(PREFIX)?.parse().ok()).collect();
        Ok((oldest_first(maps.iter().filter_map(|map| read(map).ok()).collect()), unread))
    }

    /// Whether a run was left open, and nobody can read it here.
    pub async fn is_unread(&self, run: &RunId) -> Result<bool> {
        Ok(self.maps.get(&name(run)).await?.as_ref().is_some_and(is_unread))
    }

    /// Closes a run that nobody can read; what is written there stays, for who can.
    pub async fn close_unread(&self, run: &RunId) -> Result<()> {
        let Some(mut map) = self.maps.get(&name(run)).await? else { return Ok(()) };
        map.labels.insert(OPEN.to_owned(), "false".to_owned());
        self.maps.replace(&map).await.map(drop)
    }

    /// The runs that were left open, oldest first.
    ///
    /// # Errors
    /// Also where one of them cannot be read: what it changed is not known.
    pub async fn open(&self) -> Result<Vec<RunState>> {
        let maps = self.maps.list(&format!("{OPEN}=true")).await?;
        Ok(oldest_first(maps.iter().map(read).collect::<Result<_>>()?))
    }

    /// As [`Runs::open`], without those that cannot be read.
    pub async fn open_and_readable(&self) -> Result<Vec<RunState>> {
        let maps = self.maps.list(&format!("{OPEN}=true")).await?;
        Ok(oldest_first(maps.iter().filter_map(|map| read(map).ok()).collect()))
    }

    /// Records how a run ended whose process is gone, by compare-and-swap. One that is closed already stays as it is.
    pub async fn close(&self, run: &RunId, ended: &Record) -> Result<()> {
        let Some((mut state, version)) = self.get(run).await? else { return Ok(()) };
        if !state.is_open() {
            return Ok(());
        }
        state.apply(ended)?;
        let mut map = map(&state)?;
        map.resource_version = version;
        self.maps.replace(&map).await.map(drop)
    }

    /// Deletes the oldest finished runs beyond [`KEPT`].
    async fn prune(&self) -> Result<()> {
        let mut done = self.maps.list(&format!("{OPEN}=false")).await?;
        done.sort_by_key(|run| run.created_at);
        for old in done.iter().take(done.len().saturating_sub(KEPT)) {
            self.maps.delete(&old.name).await?;
        }
        Ok(())
    }

    /// Joins the lock with the shared copy; `version` is the copy's resourceVersion, if it exists.
    #[must_use]
    pub fn claim(&self, lock: Lock, version: Option<String>) -> Claim {
        Claim { runs: self.clone(), lock, version: Mutex::new(version) }
    }
}

fn oldest_first(mut runs: Vec<RunState>) -> Vec<RunState> {
    runs.sort_by_key(|run| run.header.started_at);
    runs
}

impl Claim {
    /// Gives the lock back.
    pub async fn release(self) -> Result<()> {
        self.lock.release().await
    }

    /// Deletes old finished runs from the cluster.
    pub async fn prune(&self) -> Result<()> {
        self.runs.prune().await
    }

    async fn store(&self, state: &RunState) -> Result<()> {
        let mut version = self.version.lock().await;
        let mut map = map(state)?;
        let stored = match version.take() {
            Some(known) => {
                map.resource_version.clone_from(&known);
                let stored = self.runs.maps.replace(&map).await;
                if stored.is_err() {
                    *version = Some(known);
                }
                stored
            }
            None => self.runs.maps.create(&map).await,
        };
        match stored {
            Ok(stored) => {
                *version = Some(stored);
                Ok(())
            }
            Err(error) if error.is_conflict() || error.is_not_found() => Err(Error::new(
                Kind::Locked,
                format!("another process changed the shared copy of run {}", state.header.run),
            )
            .because(error)
            .hint("gospel-release status")),
            Err(error) => Err(error.context(format!("save the shared copy of run {}", state.header.run))),
        }
    }
}

impl Shared for Claim {
    fn save<'a>(&'a self, state: &'a RunState) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.store(state))
    }

    fn still_ours(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.lock.still_ours())
    }

    fn stop_asked_by(&self) -> Option<String> {
        self.lock.stop_asked_by().map(str::to_owned)
    }

    fn rest(&self, resting: bool) {
        self.lock.rest(resting);
    }
}

fn name(run: &RunId) -> String {
    format!("{PREFIX}{run}")
}

fn map(state: &RunState) -> Result<StoredMap> {
    let text = |state: &RunState| {
        serde_json::to_string(state).map_err(|error| Error::internal("write a run's state as JSON").because(error))
    };
    let mut json = text(state)?;
    if json.len() > LARGEST {
        json = text(&without_details(state.clone()))?;
    }
    if json.len() > LARGEST {
        let size = json.len() / 1024;
        return Err(Error::internal(format!(
            "the state of run {} is {size} KiB, too large to share",
            state.header.run
        )));
    }
    let labels = [
        (OPEN.to_owned(), state.is_open().to_string()),
        ("app.kubernetes.io/managed-by".to_owned(), "gospel-release".to_owned()),
    ];
    Ok(StoredMap {
        name: name(&state.header.run),
        labels: labels.into(),
        data: BTreeMap::from([("state.json".to_owned(), json)]),
        ..StoredMap::default()
    })
}

/// Evidence in detail stays in the journal; the shared copy needs what decides.
fn without_details(mut state: RunState) -> RunState {
    state.gates.values_mut().for_each(|gate| gate.evidence.facts.clear());
    for step in state.steps.values_mut() {
        if let crate::engine::StepState::Done { evidence, .. } = step {
            evidence.facts.clear();
        }
    }
    state
}

fn is_unread(map: &StoredMap) -> bool {
    map.labels.get(OPEN).is_some_and(|open| open == "true") && read(map).is_err()
}

fn read(map: &StoredMap) -> Result<RunState> {
    let text = map.data.get("state.json").map(String::as_str).unwrap_or_default();
    serde_json::from_str(text).map_err(|error| {
        let run = map.name.strip_prefix(PREFIX).unwrap_or(&map.name);
        Error::config(format!("the config map {} does not hold a run of this version", map.name))
            .because(error)
            .hint("use the gospel-release that began it")
            .hint(format!("or close it unread: gospel-release abort {run}"))
    })
}
