//! The loop in which every controller has its turn.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::jobs::{Curl, EXIT_CODE, OUTPUT, request_of};
use super::memory::Memory;
use super::object::{annotate, name, namespace};
use crate::rehearsal::World;

/// Longest wall time between two turns: clients' writes wake the controllers before.
const TICK: Duration = Duration::from_millis(20);
/// Turns without a pause, while each changes something.
const BURST: usize = 12;

/// The running controllers; they stop when this is dropped.
pub struct Controllers {
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Controllers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Starts every controller. Call it inside a Tokio runtime, after [`super::seed`].
#[must_use]
pub fn start(world: Arc<World>) -> Controllers {
    let lease = tokio::spawn(super::seed::keep_lease(world.clone()));
    Controllers { tasks: vec![tokio::spawn(run(world)), lease] }
}

async fn run(world: Arc<World>) {
    let mut memory = Memory::new("present");
    let mut changed = world.kube.changed();
    loop {
        for _ in 0..BURST {
            changed.mark_unchanged();
            turn(&world, &mut memory, world.clock.now());
            for pod in std::mem::take(&mut memory.requests) {
                tokio::spawn(request(world.clone(), pod));
            }
            if !changed.has_changed().unwrap_or(false) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let wait = memory.take_wake().map_or(TICK, |at| wall_until(&world, at)).clamp(Duration::from_millis(1), TICK);
        if tokio::time::timeout(wait, changed.changed()).await.is_ok() {
            // Writers come in crowds; one look for all of them.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// Every controller once, in the order in which one's work is the next one's cause.
pub fn turn(world: &World, memory: &mut Memory, now: Timestamp) {
    if !world.switches.argo_down() {
        super::owners::reconcile(world);
        super::argo::reconcile(world, memory, now);
    }
    memory.unless_settled(world, now, |memory| {
        super::secrets::reconcile(world, memory, now);
        super::deployment::reconcile(world, memory, now);
        super::jobs::reconcile(world, memory, now);
        super::replicaset::reconcile(world, memory, now);
        super::kubelet::reconcile(world, memory, now);
    });
}

fn wall_until(world: &World, at: Timestamp) -> Duration {
    let left = at.duration_since(world.clock.now()).max(SignedDuration::ZERO);
    world.clock.to_wall(Duration::try_from(left).unwrap_or_default())
}

/// Makes the request of a Job's pod, and leaves what it printed with the pod.
async fn request(world: Arc<World>, pod: Value) {
    let Some(curl) = request_of(&pod) else { return };
    let (exit, output) = fetch(&world, &pod, &curl).await;
    let _ = world.kube.modify("pods", namespace(&pod), name(&pod), |pod| {
        annotate(pod, OUTPUT, output);
        annotate(pod, EXIT_CODE, exit.to_string());
    });
}

/// `curl telnet://…`: an open connection is waited on until the time is over. Only what Terraform made is there.
fn connect(world: &World, host: &str, port: u16, curl: &Curl) -> (u8, String) {
    let there = super::super::infrastructure::cloud(world).listens(host, port);
    let form = curl.write_out.as_deref().unwrap_or_default();
    let written = form.replace("%{time_connect}", if there { "0.003120" } else { "0.000000" });
    if there {
        (28, format!("{written}curl: (28) Time-out\n"))
    } else {
        (6, format!("{written}curl: (6) Could not resolve host: {host}\n"))
    }
}

/// Exit code and output, as `curl` has them.
async fn fetch(world: &Arc<World>, pod: &Value, curl: &Curl) -> (u8, String) {
    let url = if curl.url.contains("://") { curl.url.clone() } else { format!("http://{}", curl.url) };
    let Ok(url) = url.parse::<url::Url>() else { return (3, "curl: (3) URL rejected\n".into()) };
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    if url.scheme() == "telnet" {
        return connect(world, &host, port, curl);
    }
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = http::Request::builder()
        .method(curl.method.as_str())
        .uri(path)
        .header("host", &host)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(curl.body.clone().unwrap_or_default()));
    let Ok(request) = request else { return (3, "curl: (3) URL rejected\n".into()) };
    let Some(response) = crate::rehearsal::kubelet::reach(world, namespace(pod), &host, port, request).await else {
        return (6, format!("curl: (6) Could not resolve host: {host}\n"));
    };
    let status = response.status();
    let mut output = String::new();
    if curl.head {
        output.push_str(&format!("HTTP/1.1 {status}\r\n"));
        for (name, value) in response.headers() {
            output.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
        }
        output.push_str("\r\n");
    }
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap_or_default();
    if curl.fail && status.as_u16() >= 400 {
        return (22, format!("curl: (22) The requested URL returned error: {}\n", status.as_u16()));
    }
    if !curl.silent_body {
        output.push_str(&String::from_utf8_lossy(&body));
    }
    if let Some(form) = &curl.write_out {
        let seconds = "0.004";
        let filled = form.replace("%{http_code}", status.as_str()).replace("%{response_code}", status.as_str());
        output.push_str(&filled.replace("%{time_total}", seconds).replace("%{size_download}", &body.len().to_string()));
    }
    (0, output)
}
