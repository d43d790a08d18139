//! A connection to a port of a pod, through the API server.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams, Portforwarder};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::connect::Cluster;
use super::errors::kube_error;
use crate::error::{Class, Error, Result};

/// A pod and its port behind a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub namespace: String,
    pub pod: String,
    pub port: u16,
}

/// A byte stream to a port of a pod; closed when dropped.
pub struct Forwarded {
    stream: DuplexStream,
    forwarder: Portforwarder,
    refusal: Option<BoxFuture<'static, Option<String>>>,
}

impl Cluster {
    /// A ready pod behind port `port` of a Service, and the pod's own port. The pod changes with each rollout: ask again for
    /// each connection.
    ///
    /// # Errors
    /// `NotFound` when there is no such Service or port; transient when no pod is ready.
    pub async fn target(&self, namespace: &str, service: &str, port: u16) -> Result<Target> {
        let services: Api<Service> = Api::namespaced(self.client().clone(), namespace);
        let missing = |what: String| Error::outside(what).class(Class::NotFound);
        let found = self.get(&services, service, "service").await?;
        let found = found.ok_or_else(|| missing(format!("there is no service {service} in {namespace}")))?;
        let spec = found.spec.unwrap_or_default();
        let wanted = spec.ports.unwrap_or_default().into_iter().find(|p| p.port == i32::from(port));
        let wanted = wanted.ok_or_else(|| missing(format!("service {service} in {namespace} has no port {port}")))?;
        let selector = spec.selector.unwrap_or_default();
        if selector.is_empty() {
            return Err(missing(format!("service {service} in {namespace} selects no pods")));
        }
        let selector = selector.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
        let pods: Api<Pod> = Api::namespaced(self.client().clone(), namespace);
        let what = format!("pods of service {service} in {namespace}");
        let pods = self.list(&pods, &ListParams::default().labels(&selector), &what).await?;
        let pod = pods.into_iter().find(ready).ok_or_else(|| {
            Error::outside(format!("no pod of service {service} in {namespace} is ready"))
                .class(Class::Transient { retry_after: None })
        })?;
        let port = pod_port(&pod, wanted.target_port.as_ref(), port)
            .ok_or_else(|| missing(format!("the pods of service {service} in {namespace} have no such port")))?;
        Ok(Target { namespace: namespace.to_owned(), pod: pod.metadata.name.unwrap_or_default(), port })
    }

    /// Opens a connection to a pod's port.
    pub async fn open(&self, target: &Target) -> Result<Forwarded> {
        let api: Api<Pod> = Api::namespaced(self.patient().clone(), &target.namespace);
        let Target { namespace, pod, port } = target;
        let what = || format!("forward a port to {pod}:{port} in {namespace}");
        let opened = tokio::time::timeout(std::time::Duration::from_secs(20), api.portforward(pod, &[*port])).await;
        let mut forwarder = opened
            .map_err(|_| {
                Error::outside(format!("{} within 20 s", what())).class(Class::Transient { retry_after: None })
            })?
            .map_err(|error| kube_error(what(), error))?;
        let stream = forwarder.take_stream(*port).ok_or_else(|| Error::internal(what()))?;
        let refusal =
            forwarder.take_error(*port).map(|refusal| Box::pin(refusal) as BoxFuture<'static, Option<String>>);
        Ok(Forwarded { stream, forwarder, refusal })
    }
}

impl Forwarded {
    /// Resolves to why the pod's end refused (`connection refused`, …), or to `None` when the connection ends without that.
    pub fn take_refusal(&mut self) -> BoxFuture<'static, Option<String>> {
        self.refusal.take().unwrap_or_else(|| Box::pin(std::future::ready(None)))
    }
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none() && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn pod_port(pod: &Pod, target: Option<&IntOrString>, service_port: u16) -> Option<u16> {
    match target {
        None => Some(service_port),
        Some(IntOrString::Int(port)) => u16::try_from(*port).ok(),
        Some(IntOrString::String(name)) => {
            let containers = &pod.spec.as_ref()?.containers;
            let ports = containers.iter().flat_map(|c| c.ports.iter().flatten());
            ports.into_iter().find(|p| p.name.as_ref() == Some(name)).and_then(|p| u16::try_from(p.container_port).ok())
        }
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_ports_are_found_in_the_pod() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]}
        }))
        .unwrap();
        assert_eq!(pod_port(&pod, Some(&IntOrString::String("http".into())), 80), Some(8080));
        assert_eq!(pod_port(&pod, Some(&IntOrString::Int(9000)), 80), Some(9000));
        assert_eq!(pod_port(&pod, None, 80), Some(80));
        assert_eq!(pod_port(&pod, Some(&IntOrString::String("grpc".into())), 80), None);
        assert!(!ready(&pod));
    }
}
