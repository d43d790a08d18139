//! What the world itself does with its infrastructure, without a command line.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::apply::Applying;
use super::cloud::Cloud;
use super::module::Module;
use super::plan::Planning;
use super::said::{Diagnostic, Voice};
use super::schema::Schemas;
use super::state::{Held, LockInfo, Place, State, uuid};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Applies a module in no time: what was done before the story begins, and what others do.
///
/// # Errors
/// What the program would say.
pub fn applied(home: &Path, dir: &Path, main: &str, clock: &Clock, who: &str) -> Result<()> {
    let failed = |why: String| Error::internal(format!("apply the rehearsed infrastructure: {why}"));
    let cloud = Cloud::open(home).ok_or_else(|| failed("there is none".to_owned()))?;
    let schemas = Schemas::built_in()?;
    let (mut out, mut err) = (std::io::sink(), std::io::sink());
    let voice = Voice::new(clock, &mut out, &mut err);
    let first = |all: Vec<Diagnostic>| {
        failed(all.first().map_or(String::new(), |one| format!("{} {} {:?}", one.summary, one.detail, one.range)))
    };
    let boxed = |one: Box<Diagnostic>| first(vec![*one]);
    let module = Module::of(&[("main.tf", main)], Vec::new(), &schemas).map_err(boxed)?;
    let place = Place::selected(dir, None);
    let info = LockInfo::new(&place, "OperationTypeApply", who, clock.wall());
    let mut held = Held::take(&place, &info).map_err(boxed)?;
    let prior = held.read().map_err(boxed)?;
    let planning = Planning {
        module: &module,
        schemas: &schemas,
        cloud: &cloud,
        prior: prior.as_ref(),
        workspace: &place.workspace,
        refresh_only: false,
    };
    let plan = planning.run(&voice).map_err(first)?;
    let mut state = State::read(&plan.refreshed).ok().flatten().unwrap_or_default();
    if prior.is_none() {
        state.lineage = uuid();
    }
    let interrupt = CancellationToken::new();
    let mut applying = Applying::new((&module, &schemas), &voice, &interrupt, (cloud.clone(), state, held));
    applying.at_once = true;
    // Nothing in it waits: no time goes by, and the past runs no commands.
    futures::executor::block_on(applying.run(&plan)).map_err(first)
}

/// Changes something that exists, as somebody does in the console; without attributes, it is gone.
pub fn changed_by_hand(home: &Path, dir: &Path, address: &str, set: &BTreeMap<String, Value>) -> Result<()> {
    let gone = || Error::internal(format!("the rehearsed infrastructure has no {address}"));
    let mut cloud = Cloud::open(home).ok_or_else(gone)?;
    let state = Place::selected(dir, None).look().ok().flatten().ok_or_else(gone)?;
    let instance = state.resources.get(address).ok_or_else(gone)?;
    let kind = address.split_once('.').map_or(address, |(kind, _)| kind);
    cloud.change(kind, &instance.attributes, set).ok_or_else(gone)?;
    cloud.save()
}

/// Somebody whose apply has not ended: it holds the state's lock until it is dropped.
pub struct Holder(#[allow(dead_code, reason = "it is held, not used")] Held);

impl Holder {
    /// `None` where somebody else holds it just now.
    #[must_use]
    pub fn take(dir: &Path, who: &str) -> Option<Self> {
        let place = Place::selected(dir, None);
        let info = LockInfo::new(&place, "OperationTypeApply", who, Clock::real().wall());
        Held::take(&place, &info).ok().map(Self)
    }
}
