//! `pods/{name}/portforward` over WebSocket: binary frames, one channel byte, as `v4.channel.k8s.io` has them
//! (k8s.io/kubelet, pkg/cri/streaming/portforward/websocket.go).

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::{IntoResponse, Response};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::services::{ask_pod, listens};
use crate::rehearsal::World;
use crate::rehearsal::controllers::POOLER;
use crate::rehearsal::controllers::object::{label, name, namespace};
use crate::rehearsal::kube::{Status, resources};

pub async fn port_forward(
    State(world): State<Arc<World>>,
    Path((namespace, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    let Some(pod) = world.kube.get("pods", &namespace, &name) else {
        return match resources::by_plural("pods") {
            Some(resource) => Status::not_found(resource, &name).into_response(),
            None => Status::bad_request("no pods here").into_response(),
        };
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let asked = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "ports");
    let ports: Vec<u16> =
        asked.flat_map(|(_, list)| list.split(',').filter_map(|p| p.parse().ok()).collect::<Vec<_>>()).collect();
    let (mut parts, _) = request.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let spdy = |text: &str| text.to_ascii_uppercase().contains("SPDY/3.1");
    if spdy(header("upgrade")) || spdy(header("sec-websocket-protocol")) {
        return Status::not_simulated("port-forwarding over SPDY, only over v4.channel.k8s.io; try the Service proxy")
            .into_response();
    }
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return Status::bad_request("Upgrade request required").into_response();
    };
    if ports.is_empty() {
        return Status::bad_request("query parameter \"ports\" is required").into_response();
    }
    upgrade
        .protocols(["v5.channel.k8s.io", "v4.channel.k8s.io"])
        .on_upgrade(move |socket| serve(world, pod, ports, socket))
}

/// Carries every port's bytes until the client leaves or all connections are closed.
async fn serve(world: Arc<World>, pod: Arc<Value>, ports: Vec<u16>, socket: WebSocket) {
    let (mut to_client, mut from_client) = socket.split();
    let (out, mut frames) = mpsc::channel::<Vec<u8>>(64);
    let mut writers = HashMap::new();
    for (index, port) in (0_u8..).zip(&ports) {
        let (data, error) = (2 * index, 2 * index + 1);
        for channel in [data, error] {
            let mut hello = vec![channel];
            hello.extend(port.to_le_bytes());
            let _ = out.send(hello).await;
        }
        if let Some(connection) = connect(&world, &pod, *port) {
            let (mut reader, writer) = tokio::io::split(connection);
            writers.insert(data, writer);
            let out = out.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                    let mut frame = vec![data];
                    frame.extend(&buffer[..count]);
                    if out.send(frame).await.is_err() {
                        break;
                    }
                }
            });
        } else {
            let mut frame = vec![error];
            frame.extend(refused(*port).into_bytes());
            let _ = out.send(frame).await;
        }
    }
    drop(out);
    loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => if to_client.send(Message::Binary(frame.into())).await.is_err() { break },
                // Every connection was closed from the pod's side.
                None => break,
            },
            message = from_client.next() => match message {
                Some(Ok(Message::Binary(frame))) => {
                    let Some((channel, bytes)) = frame.split_first() else { continue };
                    if let Some(writer) = writers.get_mut(channel)
                        && writer.write_all(bytes).await.is_err()
                    {
                        writers.remove(channel);
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
        }
    }
    let _ = to_client.send(Message::Close(None)).await;
}

/// What the kubelet says when nothing listens.
pub fn refused(port: u16) -> String {
    format!(
        "error forwarding port {port} to pod, uid : failed to execute portforward in network namespace: failed to \
         connect to localhost:{port} inside namespace: dial tcp 127.0.0.1:{port}: connect: connection refused"
    )
}

/// A connection to a pod's port, served by the pod; `None` when nothing listens there.
pub fn connect(world: &Arc<World>, pod: &Arc<Value>, port: u16) -> Option<DuplexStream> {
    if !listens(pod, port) {
        return None;
    }
    let (near, far) = tokio::io::duplex(64 * 1024);
    if label(pod, "app") == POOLER {
        tokio::spawn(pool(world.clone(), pod.clone(), far));
        return Some(near);
    }
    let (world, pod) = (world.clone(), pod.clone());
    tokio::spawn(async move {
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (world, pod) = (world.clone(), pod.clone());
            async move {
                // The pod as it is now: it may have become ready, or have gone.
                let (at, name) = (namespace(&pod).to_owned(), name(&pod).to_owned());
                let fresh = world.kube.get("pods", &at, &name).unwrap_or(pod);
                let answer = ask_pod(&world, &fresh, port, request.map(axum::body::Body::new)).await;
                answer.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::ConnectionReset))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new();
        // A client that hangs up ends its connection; nobody waits for the result.
        let _ = connection.serve_connection(hyper_util::rt::TokioIo::new(far), service).await;
    });
    Some(near)
}

/// The pooler passes a connection on to the databases of its environment.
async fn pool(world: Arc<World>, pod: Arc<Value>, mut client: DuplexStream) {
    let staging = namespace(&pod) == world.shape.namespace("staging");
    let Some(address) = world.databases.address(if staging { "staging" } else { "production" }) else { return };
    // Whoever hangs up first ends it; nobody waits for the result.
    if let Ok(mut server) = tokio::net::TcpStream::connect(address).await {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
