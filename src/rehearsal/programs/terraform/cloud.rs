//! What AWS has, beside the state: a file that the world's servers and the program share. Drift is where the two differ.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::{Attributes, Val, object};
use crate::error::{Error, Result};

/// The file's name in the world's directory.
pub const FILE: &str = "infrastructure.json";

/// What the program is told of its world, and what exists there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cloud {
    pub account: String,
    pub region: String,
    /// Attributes by `type/id`.
    pub resources: BTreeMap<String, Value>,
    /// World time of the last plan that was written to a file.
    #[serde(default)]
    pub planned: Option<jiff::Timestamp>,
    #[serde(skip)]
    home: PathBuf,
}

impl Cloud {
    /// A new world's, in its directory.
    #[must_use]
    pub fn new(home: &Path, account: &str, region: &str) -> Self {
        Self { account: account.into(), region: region.into(), home: home.to_owned(), ..Self::default() }
    }

    /// `None` where there is no such world any more.
    #[must_use]
    pub fn open(home: &Path) -> Option<Self> {
        let text = std::fs::read(home.join(FILE)).ok()?;
        Some(Self { home: home.to_owned(), ..serde_json::from_slice(&text).ok()? })
    }

    /// Writes it whole: whoever reads meanwhile has the old one or the new one.
    pub fn save(&self) -> Result<()> {
        let path = self.home.join(FILE);
        let failed = |error: std::io::Error| Error::outside(format!("write {}", path.display())).because(error);
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::internal("write JSON").because(error))?;
        let next = path.with_extension("json.new");
        std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, &path)).map_err(failed)
    }

    fn key(kind: &str, attributes: &Attributes) -> String {
        let id = attributes.get("id").map(Val::json).unwrap_or_default();
        format!("{kind}/{}", id.as_str().unwrap_or_default())
    }

    /// What there is now of something that a state knows.
    #[must_use]
    pub fn now(&self, kind: &str, known: &Attributes) -> Option<Attributes> {
        match Val::of(self.resources.get(&Self::key(kind, known))?) {
            Val::Map(attributes) => Some(attributes),
            _ => None,
        }
    }

    /// Changes something that exists, by hand; without attributes, it is gone. `None` where there is no such thing.
    pub fn change(&mut self, kind: &str, known: &Attributes, set: &BTreeMap<String, Value>) -> Option<()> {
        let key = Self::key(kind, known);
        if set.is_empty() {
            return self.resources.remove(&key).map(drop);
        }
        let resource = self.resources.get_mut(&key)?;
        set.iter().for_each(|(name, value)| resource[name.as_str()] = value.clone());
        Some(())
    }

    pub fn put(&mut self, kind: &str, attributes: &Attributes) {
        self.resources.insert(Self::key(kind, attributes), object(attributes));
    }

    pub fn remove(&mut self, kind: &str, attributes: &Attributes) {
        self.resources.remove(&Self::key(kind, attributes));
    }

    /// Whether something takes connections there: a database, or a cache.
    #[must_use]
    pub fn listens(&self, host: &str, port: u16) -> bool {
        let database = |one: &Value| one["address"] == host && port == 5432;
        let cache = |one: &Value| one["primary_endpoint_address"] == host && one["port"] == port;
        self.all("aws_db_instance").any(database) || self.all("aws_elasticache_replication_group").any(cache)
    }

    /// The resources of a type.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        let of = move |key: &str| key.split_once('/').is_some_and(|(found, _)| found == kind);
        self.resources.iter().filter(move |(key, _)| of(key)).map(|(_, value)| value)
    }
}
