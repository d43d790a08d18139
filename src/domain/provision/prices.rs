//! Prices: a dated table with its sources, for one region.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::values::glob;
use crate::error::{Error, Result};

const BUILT_IN: &str = include_str!("prices.yaml");

/// A table of prices in US dollars.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The day for which the prices hold, as far as is known.
    pub as_of: jiff::civil::Date,
    /// The region that they hold for.
    pub region: String,
    /// Hours in a month.
    pub hours: f64,
    /// Amounts that are assumed of what is paid by use, by name.
    pub assume: BTreeMap<String, f64>,
    tables: Vec<Table>,
    /// Types that cost nothing by themselves.
    free: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    unit: Unit,
    source: String,
    prices: BTreeMap<String, f64>,
}

/// What a price is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Unit {
    Hour,
    Month,
    /// A gigabyte kept for a month.
    GbMonth,
    /// A gigabyte moved.
    Gb,
}

impl Prices {
    /// The built-in table.
    pub fn built_in() -> Result<Self> {
        Self::read(BUILT_IN).map_err(|error| Error::internal("read the built-in prices").because(error))
    }

    /// Reads a table of the same form.
    ///
    /// # Errors
    /// Another form, a price or an amount below 0, no hours.
    pub fn read(text: &str) -> Result<Self> {
        let prices: Self = serde_yaml::from_str(text)
            .map_err(|error| Error::config("this is not a table of prices").because(error.to_string()))?;
        let amounts = prices.tables.iter().flat_map(|table| table.prices.values()).chain(prices.assume.values());
        if !amounts.chain([&prices.hours]).all(|amount| amount.is_finite() && *amount >= 0.0) || prices.hours <= 0.0 {
            return Err(Error::config("a price, an amount or the hours of a month are below 0"));
        }
        Ok(prices)
    }

    /// Dollars a month for one of `size` in the table `table` (an hour's price times the hours of a month).
    #[must_use]
    pub fn monthly(&self, table: &str, size: &str) -> Option<f64> {
        let table = self.tables.iter().find(|one| one.name == table)?;
        let price = *table.prices.get(size)?;
        Some(if table.unit == Unit::Hour { price * self.hours } else { price })
    }

    /// Dollars a month for one of `size`, whatever table it is in; sizes of servers are unique.
    #[must_use]
    pub fn of_size(&self, size: &str) -> Option<f64> {
        self.tables.iter().find_map(|table| self.monthly(&table.name, size))
    }

    /// An amount that is assumed; 0 is never assumed silently.
    #[must_use]
    pub fn assumed(&self, name: &str) -> Option<f64> {
        self.assume.get(name).copied()
    }

    /// Whether a type costs nothing by itself.
    #[must_use]
    pub fn is_free(&self, kind: &str) -> bool {
        self.free.iter().any(|pattern| glob(pattern, kind))
    }

    /// The pages that the prices are from, each once.
    #[must_use]
    pub fn sources(&self) -> Vec<&str> {
        let mut sources: Vec<&str> = self.tables.iter().map(|table| table.source.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_read_and_knows_its_units() {
        let prices = Prices::built_in().unwrap();
        assert!((prices.monthly("eks", "cluster").unwrap() - 73.0).abs() < 1e-9);
        assert!((prices.monthly("route53", "zone").unwrap() - 0.5).abs() < 1e-9);
        assert!((prices.of_size("db.r6g.large").unwrap() - 164.25).abs() < 1e-9);
        assert_eq!(prices.monthly("ec2", "x99.huge"), None);
        assert!(
            prices.is_free("aws_iam_role") && !prices.is_free("aws_s3_bucket") && prices.is_free("aws_s3_bucket_acl")
        );
        assert!(prices.sources().iter().all(|source| source.starts_with("https://aws.amazon.com/")));
    }

    #[test]
    fn a_table_with_a_mistake_is_refused() {
        let good = BUILT_IN.replace("hours: 730", "hours: 0");
        assert!(Prices::read(&good).is_err());
        assert!(Prices::read(&BUILT_IN.replace("cluster: 0.10", "cluster: -1")).is_err());
        assert!(Prices::read(&BUILT_IN.replace("unit: hour", "unit: fortnight")).is_err());
        assert!(Prices::read("prices: 1").is_err());
    }
}
