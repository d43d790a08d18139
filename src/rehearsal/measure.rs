//! What a measurement needs of a world: known delays in wall time, and a count of what the Kubernetes API was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{World, kube};

/// Delays that do not run faster with the world's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// From a pod's creation until it is ready; `None`: seconds of world time, a few for each step.
    pub ready_after: Option<Duration>,
    /// How long a service takes to answer on its health endpoints.
    pub probe_delay: Duration,
}

/// A world's delays, and its count.
#[derive(Debug, Default)]
pub struct Measure {
    pub pace: Pace,
    /// Requests by verb and resource: `patch deployments`.
    requests: Mutex<BTreeMap<String, u64>>,
}

impl Measure {
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, requests: Mutex::default() }
    }

    fn count(&self, what: String) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// `{"total": 214, "requests": {"patch deployments": 100, …}}`.
    fn shown(&self) -> Value {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "total": requests.values().sum::<u64>(), "requests": *requests })
    }
}

/// `GET /requests`: everything that the Kubernetes API was asked since the world began.
pub async fn requests(State(world): State<Arc<World>>) -> Json<Value> {
    Json(world.measure.shown())
}

/// Counts what comes in, before anything else looks at it.
pub fn counted(router: Router, world: Arc<World>) -> Router {
    router.layer(middleware::from_fn_with_state(world, count))
}

async fn count(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    world.measure.count(kube::verb_and_resource(request.method(), request.uri()));
    next.run(request).await
}
