//! What the databases hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What the databases hold, by environment (`staging`, `production`) and service.
#[derive(Debug, Default)]
pub struct Databases {
    schemas: Mutex<BTreeMap<(String, String), Schema>>,
    /// Where each environment's are served, once they are.
    addresses: OnceLock<BTreeMap<String, SocketAddr>>,
    /// Advisory locks: which session holds which key of which database.
    locks: Mutex<BTreeMap<(String, String, i64), u64>>,
}

/// golang-migrate's row: version, and whether the migration was left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub version: i64,
    pub dirty: bool,
}

/// One database, as far as releases see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Tables in golang-migrate's form, by name; `None` for an empty one.
    pub tables: BTreeMap<String, Option<Row>>,
    /// Every other statement that was run, oldest first.
    pub statements: Vec<String>,
}

impl Schema {
    /// The row of `schema_migrations`.
    #[must_use]
    pub fn migration(&self) -> Option<Row> {
        self.tables.get("schema_migrations").copied().flatten()
    }
}

impl Databases {
    /// Remembers the servers' addresses, by environment; the first call counts.
    pub fn serve_at(&self, addresses: &BTreeMap<String, SocketAddr>) {
        self.addresses.get_or_init(|| addresses.clone());
    }

    /// The server of an environment's databases.
    #[must_use]
    pub fn address(&self, environment: &str) -> Option<SocketAddr> {
        self.addresses.get()?.get(environment).copied()
    }

    /// Makes a database at this version; `None`: nothing was ever migrated, and the table does not exist.
    pub fn set(&self, environment: &str, service: &str, version: Option<i64>) {
        let row = version.map(|version| Row { version, dirty: false });
        let tables = row.map(|row| ("schema_migrations".to_owned(), Some(row))).into_iter().collect();
        let key = (environment.to_owned(), service.to_owned());
        self.schemas().insert(key, Schema { tables, statements: Vec::new() });
    }

    /// What a database holds; `None` when there is no such database.
    #[must_use]
    pub fn get(&self, environment: &str, service: &str) -> Option<Schema> {
        self.schemas().get(&(environment.to_owned(), service.to_owned())).cloned()
    }

    /// Changes a database; `None` when there is no such one.
    pub fn change<T>(&self, environment: &str, service: &str, change: impl FnOnce(&mut Schema) -> T) -> Option<T> {
        self.schemas().get_mut(&(environment.to_owned(), service.to_owned())).map(change)
    }

    /// Takes an advisory lock for a session, if it is free or already its own.
    pub(super) fn try_lock(&self, environment: &str, service: &str, key: i64, session: u64) -> bool {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        *locks.entry((environment.to_owned(), service.to_owned(), key)).or_insert(session) == session
    }

    /// Gives one lock of a session back; false when it does not hold it.
    pub(super) fn unlock(&self, environment: &str, service: &str, key: i64, session: u64) -> bool {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (environment.to_owned(), service.to_owned(), key);
        let held = locks.get(&key) == Some(&session);
        if held {
            locks.remove(&key);
        }
        held
    }

    /// Gives every lock of a session back: it ended.
    pub(super) fn unlock_all(&self, session: u64) {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, holder| *holder != session);
    }

    fn schemas(&self) -> MutexGuard<'_, BTreeMap<(String, String), Schema>> {
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
