//! Watch: a stream of changes, one JSON object a line.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::list::{Filter, version};
use super::request::{Call, Target};
use super::resources::Resource;
use super::table::Form;
use super::{Event, Status, Store, convert};
use crate::clock::Stopwatch;

/// Without `timeoutSeconds` a watch ends after this (a real server draws 30 to 60 minutes).
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);
/// How often a quiet watch says how far it is. Wall time: a request is a request.
const BOOKMARK_EVERY: Duration = Duration::from_secs(5);

struct Watch {
    store: Store,
    changed: tokio::sync::watch::Receiver<u64>,
    resource: &'static Resource,
    ns: Option<String>,
    filter: Filter,
    lines: Lines,
    /// Versions up to here were told.
    cursor: u64,
    bookmarks: bool,
    /// What goes out before the first change.
    ready: VecDeque<Value>,
    started: Stopwatch,
    timeout: Duration,
    ended: bool,
}

/// How objects are written.
struct Lines {
    form: Form,
    call: Call,
}

/// GET of a collection with `watch=true`.
pub(super) fn watch(store: &Store, call: Call, target: Target) -> Result<Response, Status> {
    let filter = Filter::of(&call, &target)?;
    let form = Form::asked(&call);
    let from = match call.ask("resourceVersion") {
        None | Some("0") => None,
        Some(text) => Some(version(text)?),
    };
    let initial = call.ask("sendInitialEvents").map(|_| call.flag("sendInitialEvents"));
    let timeout = call.ask("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).filter(|seconds| *seconds > 0);
    let mut watch = Watch {
        changed: store.changed(),
        store: store.clone(),
        resource: target.resource,
        ns: target.ns.clone(),
        filter,
        cursor: from.unwrap_or(0),
        bookmarks: call.flag("allowWatchBookmarks"),
        ready: VecDeque::new(),
        started: Stopwatch::start(),
        timeout: timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs),
        ended: false,
        lines: Lines { form, call },
    };
    // With no version given, a watch begins with what is there, unless it is told not to.
    if initial.unwrap_or(from.is_none()) {
        watch.begin_with_everything(initial == Some(true))?;
    } else if from.is_none() {
        watch.cursor = store.version();
    }
    let body = Body::from_stream(stream::unfold(watch, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), watch))
    }));
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

impl Watch {
    fn begin_with_everything(&mut self, marked: bool) -> Result<(), Status> {
        let (objects, version) = self.store.snapshot(self.resource.plural, self.ns.as_deref(), None)?;
        self.cursor = version;
        let selected = objects.iter().filter(|object| self.filter.matches(object));
        let lines: Vec<Value> = selected.map(|object| self.line("ADDED", object)).collect();
        self.ready.extend(lines);
        if marked && self.bookmarks {
            let mut line = self.bookmark();
            line["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            self.ready.push_back(line);
        }
        Ok(())
    }

    /// The next lines; `None` ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        let mut quiet_since = Stopwatch::start();
        while !self.ended {
            self.changed.borrow_and_update();
            self.read_changes();
            if !self.ready.is_empty() {
                return Some(self.take_lines());
            }
            let left = self.timeout.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero())?;
            let pause = left.min(BOOKMARK_EVERY.saturating_sub(quiet_since.elapsed()));
            match tokio::time::timeout(pause, self.changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) if self.bookmarks => {
                    let line = self.bookmark();
                    self.ready.push_back(line);
                }
                Err(_) => quiet_since = Stopwatch::start(),
            }
        }
        None
    }

    fn take_lines(&mut self) -> Bytes {
        let mut text = String::new();
        for line in self.ready.drain(..) {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        text.into()
    }

    fn read_changes(&mut self) {
        // Ages are those of the moment, not of the request.
        self.lines.call.now = self.store.clock().now();
        match self.store.events_since(self.resource.plural, self.cursor) {
            Ok((events, version)) => {
                self.cursor = self.cursor.max(version);
                for event in events {
                    let line = self.change(&event);
                    self.ready.extend(line);
                }
            }
            Err(status) => {
                self.ready.push_back(json!({"type": "ERROR", "object": status.to_value()}));
                self.ended = true;
            }
        }
    }

    /// An event as this watch sees it: what leaves the selection is deleted for it, what enters is added.
    fn change(&self, event: &Event) -> Option<Value> {
        let inside = |object: &Value| {
            self.ns.as_deref().is_none_or(|ns| object["metadata"]["namespace"] == ns) && self.filter.matches(object)
        };
        let before = event.previous.as_deref().is_some_and(inside);
        let after = !event.deleted && inside(&event.object);
        match (before, after) {
            (false, true) => Some(self.line("ADDED", &event.object)),
            (true, true) => Some(self.line("MODIFIED", &event.object)),
            (true, false) => {
                // The last state that was selected, with the version of its leaving.
                let mut last = event.previous.as_deref().cloned().unwrap_or_default();
                last["metadata"]["resourceVersion"] = json!(event.version.to_string());
                Some(self.line("DELETED", &last))
            }
            (false, false) => None,
        }
    }

    fn line(&self, kind: &str, object: &Value) -> Value {
        let shown = convert::outward(self.resource, object);
        json!({"type": kind, "object": self.lines.form.watched(self.resource, shown, &self.lines.call)})
    }

    fn bookmark(&self) -> Value {
        let object = json!({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(),
            "metadata": {"resourceVersion": self.cursor.to_string(), "creationTimestamp": null},
        });
        json!({"type": "BOOKMARK", "object": object})
    }
}
