//! A look at the metrics of all services of one environment: three queries, asked at the same time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::sli::{Look, Sli};
use crate::adapters::cluster::Cluster;
use crate::adapters::prometheus::{Prometheus, Queries, by_label};
use crate::config::Config;
use crate::config::model::{self, Environment};
use crate::domain::ServiceName;
use crate::error::{Attempting, Result};

/// The metrics of one environment.
#[derive(Clone)]
pub struct Metrics {
    prometheus: Prometheus,
    settings: model::Prometheus,
    namespace: String,
    /// Each service, and its Deployment: either may be what the label holds.
    services: Vec<(ServiceName, String)>,
}

impl Metrics {
    /// The configured way to the environment's Prometheus.
    pub fn new(config: &Config, environment: &Environment, cluster: &Cluster) -> Result<Self> {
        let settings = &environment.prometheus;
        Ok(Self {
            prometheus: Prometheus::of(settings, &environment.namespace, Some(cluster))?,
            settings: settings.clone(),
            namespace: environment.namespace.clone(),
            services: names(config),
        })
    }

    /// Whom the queries ask, for evidence.
    #[must_use]
    pub fn source(&self) -> String {
        format!("Prometheus, namespace {}", self.namespace)
    }

    /// One look over the `window` that ends at `at`. Every service is in it, those without data too: *no data* is not zero.
    pub async fn look(&self, window: Duration, at: Timestamp) -> Result<Look> {
        let queries = Queries::fill(&self.settings, &self.namespace, window);
        let (requests, errors, p95) = futures::try_join!(
            self.ask("request rate", &queries.requests, at),
            self.ask("error rate", &queries.errors, at),
            self.ask("p95 latency", &queries.p95, at),
        )?;
        Ok(Look { at, services: combine(&self.services, &requests, &errors, &p95) })
    }

    /// As [`Metrics::look`], without latency: one query less.
    pub async fn look_at_errors(&self, window: Duration, at: Timestamp) -> Result<Look> {
        let queries = Queries::fill(&self.settings, &self.namespace, window);
        let (requests, errors) = futures::try_join!(
            self.ask("request rate", &queries.requests, at),
            self.ask("error rate", &queries.errors, at),
        )?;
        Ok(Look { at, services: combine(&self.services, &requests, &errors, &BTreeMap::new()) })
    }

    async fn ask(&self, what: &str, query: &str, at: Timestamp) -> Result<BTreeMap<String, f64>> {
        let asked = async { by_label(&self.prometheus.query(query, Some(at)).await?, &self.settings.label) };
        asked.await.attempting(|| format!("ask Prometheus for the {what} of {}", self.namespace))
    }
}

fn names(config: &Config) -> Vec<(ServiceName, String)> {
    config.services.iter().map(|service| (service.name.clone(), config.deployment_of(service))).collect()
}

fn combine(
    services: &[(ServiceName, String)],
    requests: &BTreeMap<String, f64>,
    errors: &BTreeMap<String, f64>,
    p95: &BTreeMap<String, f64>,
) -> BTreeMap<ServiceName, Sli> {
    let all = services.iter().map(|(service, deployment)| {
        let value =
            |values: &BTreeMap<String, f64>| values.get(deployment).or_else(|| values.get(service.as_str())).copied();
        (service.clone(), Sli::of(value(requests), value(errors), value(p95)))
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_deployment_or_name_and_absent_ones_are_no_data() {
        let config = Config::default();
        let values = |pairs: &[(&str, f64)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let requests: BTreeMap<String, f64> = values(&[("gospelib-gateway", 10.0), ("auth", 2.0)]);
        let errors = values(&[("gospelib-gateway", 1.0)]);
        let found = combine(&names(&config), &requests, &errors, &BTreeMap::new());
        let ratio = |name: &str| found[&name.parse::<ServiceName>().unwrap()].error_ratio;
        assert_eq!((ratio("gateway"), ratio("auth"), ratio("search")), (Some(0.1), Some(0.0), None));
        assert_eq!(found.len(), config.services.len());
    }
}
