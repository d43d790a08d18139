//! A service's database, as it is reached from here.

use crate::adapters::cluster::Cluster;
use crate::adapters::postgres::{MigrationState, migration_state};
use crate::adapters::reach::Tunnel;
use crate::config::model::{self, ReachBy};
use crate::config::{Config, Env};
use crate::domain::ServiceName;
use crate::error::{Error, Result};

/// Where a service's migrations and its database are.
#[derive(Clone)]
pub struct Database {
    pub service: ServiceName,
    /// Directory of golang-migrate files in the repository.
    pub migrations: String,
    pub table: String,
    /// Secret: it holds a password.
    pub url: String,
    /// Kubernetes Service, namespace and port of a port-forward.
    forward: Option<(Cluster, String, String, u16)>,
}

impl Database {
    /// The databases of all services that have one, in staging or production.
    ///
    /// # Errors
    /// [`crate::Kind::Config`] when the environment variable that carries a URL is not set.
    pub fn all(
        config: &Config,
        environment: &model::Environment,
        staging: bool,
        cluster: &Cluster,
        env: &Env,
    ) -> Result<Vec<Self>> {
        let with = config.services.iter().filter_map(|service| Some((service, service.database.as_ref()?)));
        with.map(|(service, database)| {
            let name = if staging { &database.staging_url_env } else { &database.url_env };
            let url = env.get(name).ok_or_else(|| {
                Error::config(format!("{}'s database: the environment variable {name} is not set", service.name))
                    .hint(format!("export {name}=postgres://…"))
            })?;
            Ok(Self {
                service: service.name.clone(),
                migrations: database.migrations.clone(),
                table: database.table.clone(),
                url: url.to_owned(),
                forward: forward(&database.reach, environment, &config.deployment_of(service), cluster)?,
            })
        })
        .collect()
    }

    /// Version and dirtiness, from the table itself.
    pub async fn state(&self) -> Result<MigrationState> {
        let tunnel = self.tunnel().await?;
        migration_state(&self.url, &self.table, tunnel.as_ref().map(Tunnel::address)).await
    }

    /// The port-forward to it, where it is reached by one.
    pub async fn tunnel(&self) -> Result<Option<Tunnel>> {
        match &self.forward {
            None => Ok(None),
            Some((cluster, namespace, service, port)) => {
                Tunnel::open(cluster, namespace, service, *port).await.map(Some)
            }
        }
    }
}

fn forward(
    reach: &model::Reach,
    environment: &model::Environment,
    deployment: &str,
    cluster: &Cluster,
) -> Result<Option<(Cluster, String, String, u16)>> {
    match reach.by {
        ReachBy::Direct => Ok(None),
        ReachBy::PortForward => {
            let namespace = reach.namespace.clone().unwrap_or_else(|| environment.namespace.clone());
            let service = reach.service.as_deref().unwrap_or("{service}").replace("{service}", deployment);
            Ok(Some((cluster.clone(), namespace, service, reach.port.unwrap_or(5432))))
        }
        ReachBy::ApiProxy | ReachBy::Job => Err(Error::config(
            "a database is reached directly or by port-forward: neither the API server's proxy nor a Job speaks PostgreSQL",
        )),
    }
}
