//! Requests, errors and latency of every service, asked of Prometheus in three queries.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::adapters::cluster::Cluster;
use crate::adapters::prometheus::{Prometheus, Queries, by_label};
use crate::config::Config;
use crate::config::model::{self, Environment};
use crate::domain::ServiceName;
use crate::error::Result;

use super::sli::{Look, Sli};

/// The metrics of one environment.
#[derive(Clone)]
pub struct Metrics {
    prometheus: Prometheus,
    settings: model::Prometheus,
    namespace: String,
    /// What the results' label says, and which service that is.
    names: Vec<(ServiceName, String)>,
}

impl Metrics {
    /// The configured way to the environment's Prometheus.
    pub fn new(config: &Config, environment: &Environment, cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            prometheus: Prometheus::of(&environment.prometheus, &environment.namespace, Some(cluster))?,
            settings: environment.prometheus.clone(),
            namespace: environment.namespace.clone(),
            names: config
                .services
                .iter()
                .map(|service| (service.name.clone(), config.deployment_of(service)))
                .collect(),
        })
    }

    /// The last `window` before `at`. A service without data has empty values: *no data* is not zero.
    pub async fn look(&self, window: Duration, at: Timestamp) -> Result<Look> {
        let queries = Queries::fill(&self.settings, &self.namespace, window);
        let (requests, errors, p95) = futures::try_join!(
            self.by_service(&queries.requests, at),
            self.by_service(&queries.errors, at),
            self.by_service(&queries.p95, at),
        )?;
        let of = |values: &BTreeMap<String, f64>, service: &ServiceName, deployment: &String| {
            values.get(deployment).or_else(|| values.get(service.as_str())).copied()
        };
        let services = self.names.iter().map(|(service, deployment)| {
            let value = |values| of(values, service, deployment);
            (service.clone(), Sli::of(value(&requests), value(&errors), value(&p95)))
        });
        Ok(Look { at, services: services.collect() })
    }

    async fn by_service(&self, query: &str, at: Timestamp) -> Result<BTreeMap<String, f64>> {
        by_label(&self.prometheus.query(query, Some(at)).await?, &self.settings.label)
    }
}
