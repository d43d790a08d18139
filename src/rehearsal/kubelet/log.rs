//! Container logs: `log/slog` lines in JSON, the same for the same pod and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::rehearsal::World;
use crate::rehearsal::controllers::object::{fnv, later, name, namespace, seconds, text, time};
use crate::rehearsal::controllers::{JOB_OUTPUT, LOG_INTERVAL};
use crate::rehearsal::kube::{Status, resources};
use crate::rehearsal::traffic::sick_since;

/// Older lines have been rotated away.
const KEPT: i64 = 5000;

/// `PodLogOptions`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Options {
    container: Option<String>,
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<usize>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    limit_bytes: Option<usize>,
}

/// One run of a container, first start or a later one.
#[derive(Debug, Clone)]
struct Run {
    from: Timestamp,
    /// `None` while it runs.
    to: Option<Timestamp>,
    crashed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    at: Timestamp,
    text: String,
}

pub async fn log(
    State(world): State<Arc<World>>,
    Path((namespace, name)): Path<(String, String)>,
    Query(options): Query<Options>,
) -> Response {
    match start(&world, &namespace, &name, &options) {
        Err(status) => status.into_response(),
        Ok((pod, run)) => {
            let body = if options.follow && run.to.is_none() {
                follow(world, pod, run, options)
            } else {
                let lines = select(lines(&world, &pod, &run, run.from, world.clock.now()), &options, world.clock.now());
                let mut text = written(&lines, options.timestamps).into_bytes();
                text.truncate(options.limit_bytes.unwrap_or(usize::MAX));
                Body::from(text)
            };
            ([(header::CONTENT_TYPE, "text/plain")], body).into_response()
        }
    }
}

fn start(world: &World, namespace: &str, name: &str, options: &Options) -> Result<(Arc<Value>, Run), Status> {
    let pod = world.kube.get("pods", namespace, name);
    let pod = pod.ok_or_else(|| match resources::by_plural("pods") {
        Some(resource) => Status::not_found(resource, name),
        None => Status::bad_request("no pods here"),
    })?;
    let own = text(&pod, "/spec/containers/0/name");
    let container = options.container.as_deref().unwrap_or(own);
    if container != own {
        return Err(Status::bad_request(format!("container {container} is not valid for pod {name}")));
    }
    match run_of(&pod, options.previous) {
        Some(run) => Ok((pod, run)),
        None if options.previous => Err(Status::bad_request(format!(
            "previous terminated container \"{container}\" in pod \"{name}\" not found"
        ))),
        None => {
            let reason = text(&pod, "/status/containerStatuses/0/state/waiting/reason");
            let why = match reason {
                "ErrImagePull" | "ImagePullBackOff" => "trying and failing to pull image",
                "" => "ContainerCreating",
                other => other,
            };
            let message = format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}");
            Err(Status::bad_request(message))
        }
    }
}

/// The container's present run (or its last, while it waits to be restarted), or the one before.
fn run_of(pod: &Value, previous: bool) -> Option<Run> {
    let status = pod.pointer("/status/containerStatuses/0")?;
    let ended = |state: &Value| {
        let to = time(state, "/terminated/finishedAt")?;
        let from = time(state, "/terminated/startedAt").unwrap_or(to);
        Some(Run { from, to: Some(to), crashed: state["terminated"]["exitCode"] != json!(0) })
    };
    let last = ended(&status["lastState"]);
    let running = time(status, "/state/running/startedAt").map(|from| Run { from, to: None, crashed: false });
    if previous { last } else { running.or_else(|| ended(&status["state"])).or(last) }
}

/// The lines from `from` to `to`, both inclusive.
fn lines(world: &World, pod: &Value, run: &Run, from: Timestamp, to: Timestamp) -> Vec<Line> {
    let to = run.to.unwrap_or(to);
    if let Some(output) = pod["metadata"]["annotations"][JOB_OUTPUT].as_str() {
        let lines = output.split_terminator('\n').map(|text| Line { at: run.from, text: text.to_owned() });
        return lines.collect();
    }
    let service = text(pod, "/spec/containers/0/name").to_owned();
    let mut all = Vec::new();
    let entry = |at: Timestamp, level: &str, msg: &str, more: Value| {
        let mut entry = json!({ "time": at.to_string(), "level": level, "msg": msg, "service": service });
        for (key, value) in more.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        Line { at, text: entry.to_string() }
    };
    let image = text(pod, "/spec/containers/0/image");
    all.push(entry(run.from, "INFO", "starting", json!({ "image": image })));
    if run.crashed {
        let end = run.to.unwrap_or(to);
        all.extend(panic_stack(&service).into_iter().map(|text| Line { at: end, text }));
    } else {
        let open = later(run.from, seconds(1));
        all.push(entry(open, "INFO", "listening", json!({ "addr": ":8080" })));
        let step = LOG_INTERVAL.as_secs();
        let number = |at: Timestamp| at.duration_since(open).as_secs().div_euclid(step);
        let last = number(to);
        let first = number(from).max(1).max(last - KEPT);
        for n in first..=last {
            let at = later(open, seconds(n * step));
            all.push(request_line(world, pod, &service, n, at, &entry));
        }
    }
    all.retain(|line| line.at >= from && line.at <= to);
    all
}

/// A request that the service answered. Of those of a service that the scenario spoils, one in twelve went wrong.
fn request_line(
    world: &World,
    pod: &Value,
    service: &str,
    n: i64,
    at: Timestamp,
    entry: &impl Fn(Timestamp, &str, &str, Value) -> Line,
) -> Line {
    let hash = fnv(&[name(pod), &n.to_string()]);
    let paths = ["/v1/books", "/v1/books/42/chapters", "/v1/search?q=light", "/v1/plans/7", "/v1/me"];
    let path = paths[usize::try_from(hash % 5).unwrap_or_default()];
    let failing = (world.scenario.world.staging_errors.as_deref() == Some(service)
        && namespace(pod) == world.shape.namespace("staging"))
        || sick_since(world, pod).is_some_and(|began| began <= at);
    let trace = format!("{hash:016x}");
    let took = 3 + hash % 90;
    if failing && hash.is_multiple_of(12) {
        let cause = "dial tcp 10.0.41.12:5432: i/o timeout";
        let more = json!({ "method": "GET", "path": path, "status": 500, "duration_ms": 5000 + took, "trace": trace,
            "error": cause });
        return entry(at, "ERROR", "request failed", more);
    }
    let more = json!({ "method": "GET", "path": path, "status": 200, "duration_ms": took, "trace": trace });
    entry(at, "INFO", "request", more)
}

/// What a Go service leaves behind that ends at its start.
fn panic_stack(service: &str) -> Vec<String> {
    let frame = |text: String, place: String| [text, format!("\t{place}")];
    let mut lines = vec![
        "panic: runtime error: invalid memory address or nil pointer dereference".to_owned(),
        "[signal SIGSEGV: segmentation violation code=0x1 addr=0x18 pc=0x7d21c4]".to_owned(),
        String::new(),
        "goroutine 1 [running]:".to_owned(),
    ];
    lines.extend(frame(
        format!("gospelib.com/{service}/internal/store.(*Bookmarks).Load(0x0)"),
        format!("/src/services/{service}/internal/store/bookmarks.go:41 +0x24"),
    ));
    lines.extend(frame("main.main()".into(), format!("/src/services/{service}/main.go:27 +0x1b8")));
    lines
}

fn select(mut lines: Vec<Line>, options: &Options, now: Timestamp) -> Vec<Line> {
    let since = options.since_time.or_else(|| Some(later(now, seconds(-options.since_seconds?))));
    if let Some(since) = since {
        lines.retain(|line| line.at >= since);
    }
    if let Some(tail) = options.tail_lines {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    lines
}

fn written(lines: &[Line], timestamps: bool) -> String {
    let line = |line: &Line| {
        if timestamps {
            format!("{} {}\n", line.at.strftime("%Y-%m-%dT%H:%M:%S%.9fZ"), line.text)
        } else {
            format!("{}\n", line.text)
        }
    };
    lines.iter().map(line).collect()
}

/// What is there, and then each line as it comes, until the container ends or the pod is gone.
fn follow(world: Arc<World>, pod: Arc<Value>, run: Run, options: Options) -> Body {
    struct Follow {
        world: Arc<World>,
        pod: Arc<Value>,
        run: Run,
        options: Options,
        seen: Option<Timestamp>,
        over: bool,
    }
    let start = Follow { world, pod, run, options, seen: None, over: false };
    let stream = futures::stream::unfold(start, async |mut state| {
        loop {
            if state.over {
                return None;
            }
            let fresh = state.world.kube.get("pods", namespace(&state.pod), name(&state.pod));
            let fresh = fresh.filter(|pod| pod["metadata"]["uid"] == state.pod["metadata"]["uid"]);
            let same_run = fresh.as_ref().and_then(|pod| run_of(pod, false)).filter(|run| run.from == state.run.from);
            if let (Some(fresh), Some(run)) = (fresh, same_run) {
                state.over = run.to.is_some();
                (state.pod, state.run) = (fresh, run);
            } else {
                state.over = true;
            }
            let now = state.world.clock.now();
            let first = state.seen.is_none();
            let from = state.seen.map_or(state.run.from, |seen| later(seen, jiff::SignedDuration::from_nanos(1)));
            let mut found = lines(&state.world, &state.pod, &state.run, from, now);
            if first {
                found = select(found, &state.options, now);
            }
            state.seen = Some(now);
            if !found.is_empty() || first {
                let text = Bytes::from(written(&found, state.options.timestamps));
                return Some((Ok::<_, std::convert::Infallible>(text), state));
            }
            let step = state.world.clock.to_wall(Duration::try_from(LOG_INTERVAL).unwrap_or_default());
            tokio::time::sleep(step.clamp(Duration::from_millis(2), Duration::from_millis(50))).await;
        }
    });
    Body::from_stream(stream)
}
