//! The health endpoints of all services, asked at the same time.

use std::time::Duration;

use crate::adapters::cluster::Cluster;
use crate::adapters::reach::Route;
use crate::adapters::retry::Retry;
use crate::config::Config;
use crate::config::model::Environment;
use crate::domain::{Evidence, ServiceName, count, duration, printable};
use crate::error::{Result, chain};

/// Each service's endpoints in one environment.
#[derive(Clone)]
pub struct Endpoints {
    routes: Vec<(ServiceName, Route)>,
    paths: Vec<String>,
    samples: u32,
    timeout: Duration,
    described: String,
}

/// What one endpoint answered.
#[derive(Debug, Clone)]
pub struct EndpointLook {
    pub service: ServiceName,
    pub path: String,
    /// Every sample was answered below 400 in time.
    pub ok: bool,
    /// Slowest answer of the samples (wall time).
    pub slowest: Duration,
    /// `200 in 12 ms`, `503: {"failing":"postgres"}`, or why there was no answer.
    pub said: String,
    /// Nobody answered at all: the service may be well, and we cannot tell.
    pub unanswered: bool,
}

impl Endpoints {
    /// The configured way to each service of `environment`.
    pub fn new(config: &Config, environment: &Environment, cluster: &Cluster) -> Result<Self> {
        let health = &environment.health;
        let mut http = None;
        let route = |service: &crate::config::model::Service| {
            let deployment = config.deployment_of(service);
            Route::sharing(&mut http, &health.reach, &environment.namespace, &deployment, Some(cluster))
                .map(|route| (service.name.clone(), route))
        };
        Ok(Self {
            routes: config.services.iter().map(route).collect::<Result<_>>()?,
            paths: health.paths.clone(),
            samples: health.samples.max(1),
            timeout: health.timeout,
            described: environment.namespace.clone(),
        })
    }

    /// Asks every endpoint of every service, all at once; the samples of one endpoint follow each other.
    pub async fn look(&self) -> Vec<EndpointLook> {
        let asked = self
            .routes
            .iter()
            .flat_map(|(service, route)| self.paths.iter().map(move |path| self.sample(service, route, path)));
        futures::future::join_all(asked).await
    }

    async fn sample(&self, service: &ServiceName, route: &Route, path: &str) -> EndpointLook {
        let mut look = EndpointLook {
            service: service.clone(),
            path: path.to_owned(),
            ok: true,
            slowest: Duration::ZERO,
            said: String::new(),
            unanswered: false,
        };
        for _ in 0..self.samples {
            let retry = Retry { attempts: 3, ..Retry::default() };
            match retry.read(async || route.get(path, self.timeout).await).await {
                Ok(answer) => {
                    look.slowest = look.slowest.max(answer.elapsed);
                    look.said = format!("{} in {}", answer.status, duration(answer.elapsed));
                    if answer.status >= 400 {
                        look.ok = false;
                        let body: String = printable(answer.text().trim()).chars().take(160).collect();
                        look.said = format!("{}: {body}", answer.status);
                        break;
                    }
                }
                Err(error) => {
                    look.ok = false;
                    look.unanswered = true;
                    look.said = chain(&error);
                    break;
                }
            }
        }
        look
    }

    /// The looks as evidence: "6 of 6 services healthy (slowest 212 ms: search /ready)".
    #[must_use]
    pub fn evidence(&self, looks: &[EndpointLook]) -> Evidence {
        let healthy = self.routes.iter().filter(|(service, _)| all_ok(looks, service)).count();
        let slowest = looks.iter().filter(|look| look.ok).max_by_key(|look| look.slowest);
        let slowest = slowest.map_or(String::new(), |look| {
            format!(" (slowest {}: {} {})", duration(look.slowest), look.service, look.path)
        });
        let summary = format!("{healthy} of {} healthy{slowest}", count(self.routes.len(), "service"));
        let evidence = Evidence::new(summary).from(format!("{} of {}", self.paths.join(" and "), self.described));
        looks.iter().fold(evidence, |evidence, look| {
            evidence.fact(format!("{} {}", look.service, look.path), look.said.clone(), look.ok)
        })
    }
}

fn all_ok(looks: &[EndpointLook], service: &ServiceName) -> bool {
    looks.iter().filter(|look| look.service == *service).all(|look| look.ok)
}
