//! A local port that leads to a port of a Service: for programs that know only addresses.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::debug;

use crate::adapters::cluster::Cluster;
use crate::error::{Error, Result};

/// A listener on 127.0.0.1; each connection to it becomes a port-forward of its own. Closed when dropped.
pub struct Tunnel {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Tunnel {
    /// Listens on a free local port for port `port` of a Service.
    ///
    /// # Errors
    /// When the Service, its port or a ready pod is missing now. Later failures close the connection that meets them.
    pub async fn open(cluster: &Cluster, namespace: &str, service: &str, port: u16) -> Result<Self> {
        cluster.retry().read(async || cluster.target(namespace, service, port).await).await?;
        let what = format!("listen on a local port for service {service}:{port}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| Error::internal(what.clone()).because(error))?;
        let address = listener.local_addr().map_err(|error| Error::internal(what).because(error))?;
        let (cluster, namespace, service) = (cluster.clone(), namespace.to_owned(), service.to_owned());
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut local, _)) = listener.accept().await {
                let (cluster, namespace, service) = (cluster.clone(), namespace.clone(), service.clone());
                connections.spawn(async move {
                    let opened = async { cluster.open(&cluster.target(&namespace, &service, port).await?).await }.await;
                    match opened {
                        Ok(mut remote) => {
                            let _ = tokio::io::copy_bidirectional(&mut local, &mut remote).await;
                        }
                        Err(error) => debug!(?error, "tunnelled connection refused"),
                    }
                });
                // Finished ones are let go of.
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, _accepting: accepting })
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
