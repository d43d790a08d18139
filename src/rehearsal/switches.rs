//! Faults that somebody can repair, or bring about, while the world is served: the control address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::{Scenario, World};

/// The switchable faults and their state.
#[derive(Debug, Default)]
pub struct Switches {
    git_down: AtomicBool,
    git_hangs: AtomicBool,
    argo_down: AtomicBool,
    state_locked: AtomicBool,
}

/// Names of the switchable faults.
const NAMES: [&str; 4] = ["git-down", "git-hangs", "argo-down", "state-locked"];

impl Switches {
    /// As the scenario begins.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let knobs = &scenario.world;
        Self {
            git_down: knobs.git_down.into(),
            git_hangs: AtomicBool::new(false),
            argo_down: knobs.argo.down.into(),
            state_locked: knobs.infrastructure.locked_by.is_some().into(),
        }
    }

    /// Whether the Git hosting and its API are out of order.
    #[must_use]
    pub fn git_down(&self) -> bool {
        self.git_down.load(Ordering::Relaxed)
    }

    /// Whether Argo CD's controller does nothing.
    #[must_use]
    pub fn argo_down(&self) -> bool {
        self.argo_down.load(Ordering::Relaxed)
    }

    /// Whether somebody holds the lock of Terraform's state.
    #[must_use]
    pub fn state_locked(&self) -> bool {
        self.state_locked.load(Ordering::Relaxed)
    }

    fn named(&self, name: &str) -> Option<&AtomicBool> {
        match name {
            "git-down" => Some(&self.git_down),
            "git-hangs" => Some(&self.git_hangs),
            "argo-down" => Some(&self.argo_down),
            "state-locked" => Some(&self.state_locked),
            _ => None,
        }
    }

    /// Brings a fault about, or repairs it; `None` when there is no such one.
    pub fn switch(&self, name: &str, on: bool) -> Option<()> {
        self.named(name).map(|fault| fault.store(on, Ordering::Relaxed))
    }

    fn state(&self) -> Value {
        let state = |name: &&str| {
            let on = self.named(name).is_some_and(|switch| switch.load(Ordering::Relaxed));
            ((*name).to_owned(), Value::Bool(on))
        };
        Value::Object(NAMES.iter().map(state).collect::<Map<_, _>>())
    }
}

/// `GET /faults` shows every fault that can be switched; `PUT /faults/{name}` with `true` or `false` switches one;
/// `GET /requests` is the count of [`super::measure`].
pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/faults", get(list))
        .route("/faults/{name}", put(switch))
        .route("/requests", get(super::measure::requests))
        .fallback(async || StatusCode::NOT_IMPLEMENTED)
        .with_state(world)
}

async fn list(State(world): State<Arc<World>>) -> Json<Value> {
    Json(world.switches.state())
}

async fn switch(State(world): State<Arc<World>>, Path(name): Path<String>, body: String) -> Response {
    let Ok(on) = body.trim().parse::<bool>() else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "message": "the body is true or false" }))).into_response();
    };
    if world.switches.switch(&name, on).is_none() {
        let message = format!("there is no fault {name:?}");
        return (StatusCode::NOT_FOUND, Json(json!({ "message": message, "faults": NAMES }))).into_response();
    }
    Json(world.switches.state()).into_response()
}

/// Puts the outage of the Git hosting in front of it and of its API.
pub fn outage(router: Router, world: Arc<World>) -> Router {
    router.layer(middleware::from_fn_with_state(world, available))
}

async fn available(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    if world.switches.git_hangs.load(Ordering::Relaxed) {
        // The connection stands, and nothing comes.
        return std::future::pending().await;
    }
    if !world.switches.git_down() {
        return next.run(request).await;
    }
    // What GitHub's load balancers say when nothing is behind them.
    let text = "No server is currently available to service your request.\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, "text/plain")], text).into_response()
}
