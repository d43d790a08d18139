//! Small records that the whole team reads: one ConfigMap, one JSON document a key.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config_maps::{ConfigMaps, StoredMap};
use crate::error::{Error, Kind, Result};

/// How often a write is tried again after somebody else was faster.
const ATTEMPTS: u32 = 5;

/// One such ConfigMap.
#[derive(Clone)]
pub struct Register {
    maps: ConfigMaps,
    name: &'static str,
}

/// What a register holds.
#[derive(Debug)]
pub struct Reading<T> {
    /// By key.
    pub records: BTreeMap<String, T>,
    /// The keys of what cannot be read here: a newer tool wrote it, or a hand.
    pub unread: Vec<String>,
}

impl Register {
    #[must_use]
    pub fn new(maps: ConfigMaps, name: &'static str) -> Self {
        Self { maps, name }
    }

    /// Every record, by key.
    ///
    /// # Errors
    /// One that cannot be read is an error, not an absence.
    pub async fn all<T: DeserializeOwned>(&self) -> Result<BTreeMap<String, T>> {
        self.each().await?.map(|(key, record)| Ok((key, record?))).collect()
    }

    /// The records that can be read, and the keys of those that cannot: for who must act, or look, all the same.
    pub async fn readable<T: DeserializeOwned>(&self) -> Result<Reading<T>> {
        let mut reading = Reading { records: BTreeMap::new(), unread: Vec::new() };
        for (key, record) in self.each().await? {
            match record {
                Ok(record) => drop(reading.records.insert(key, record)),
                Err(_) => reading.unread.push(key),
            }
        }
        Ok(reading)
    }

    /// How a person looks at it.
    #[must_use]
    pub fn look(&self) -> String {
        self.maps.look_at(self.name)
    }

    async fn each<T: DeserializeOwned>(&self) -> Result<impl Iterator<Item = (String, Result<T>)>> {
        let data = self.maps.get(self.name).await?.unwrap_or_default().data;
        Ok(data.into_iter().map(|(key, text)| {
            let record = serde_json::from_str(&text).map_err(|error| {
                let failed = Error::outside(format!("read {key} in config map {}", self.name));
                failed.because(error).hint(self.look())
            });
            (key, record)
        }))
    }

    /// Writes one record; an earlier one of that key is replaced.
    pub async fn put<T: Serialize>(&self, key: &str, record: &T) -> Result<()> {
        let text = serde_json::to_string(record)
            .map_err(|error| Error::internal(format!("write {key} as JSON")).because(error))?;
        self.change(|data| drop(data.insert(key.to_owned(), text.clone()))).await
    }

    /// Removes records that are as they were read; one that is not there, or was written anew, is no error.
    pub async fn remove<T: Serialize>(&self, records: &BTreeMap<String, T>) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let as_value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let same = |key: &String, text: &String| {
            records.get(key).is_some_and(|record| serde_json::to_value(record).ok() == as_value(text))
        };
        self.change(|data| data.retain(|key, text| !same(key, text))).await
    }

    /// Changes the whole, by compare-and-swap.
    ///
    /// # Errors
    /// Also a conflict, when others kept writing at the same time.
    pub async fn change(&self, change: impl Fn(&mut BTreeMap<String, String>)) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let found = self.maps.get(self.name).await?;
            let exists = found.is_some();
            let mut map = found.unwrap_or_default();
            let before = map.data.clone();
            change(&mut map.data);
            if map.data == before {
                return Ok(());
            }
            let map = self.named(map);
            let written = if exists { self.maps.replace(&map).await } else { self.maps.create(&map).await };
            match written {
                Ok(_) => return Ok(()),
                // Somebody else wrote, or deleted it: look again.
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let what = format!("write to config map {}: others kept writing to it", self.name);
        Err(Error::new(Kind::Outside, what).hint("try again"))
    }

    fn named(&self, mut map: StoredMap) -> StoredMap {
        self.name.clone_into(&mut map.name);
        map.labels.insert("app.kubernetes.io/managed-by".into(), "gospel-release".into());
        map
    }
}
