//! The databases: `schema_migrations` of each service in staging and in production, behind PostgreSQL's own protocol.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What the databases hold, by environment (`staging`, `production`) and service.
#[derive(Debug, Default)]
pub struct Databases(Mutex<BTreeMap<(String, String), Schema>>);

/// One database, as far as releases see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// golang-migrate's row: version and dirty; `None` when the table is empty.
    pub migration: Option<(i64, bool)>,
    /// Every other statement that was run, oldest first.
    pub statements: Vec<String>,
}

impl Databases {
    /// Sets the version a database is at.
    pub fn set(&self, environment: &str, service: &str, version: Option<i64>) {
        let schema = Schema { migration: version.map(|version| (version, false)), ..Schema::default() };
        self.lock().insert((environment.to_owned(), service.to_owned()), schema);
    }

    /// What a database holds; `None` when there is no such database.
    #[must_use]
    pub fn get(&self, environment: &str, service: &str) -> Option<Schema> {
        self.lock().get(&(environment.to_owned(), service.to_owned())).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Schema>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
