//! A world for the tests of this room and of the Git hosting: no controllers, a fast clock.

use std::future::IntoFuture;
use std::sync::Arc;

use super::Hub;
use crate::clock::Clock;
use crate::rehearsal::aws::Registry;
use crate::rehearsal::measure::Measure;
use crate::rehearsal::postgres::Databases;
use crate::rehearsal::shape::Shape;
use crate::rehearsal::switches::{self, Switches};
use crate::rehearsal::{Scenario, World, git, kube};

/// A world with these knobs (YAML), a million times as fast as ours.
pub fn world(knobs: &str) -> (tempfile::TempDir, Arc<World>) {
    let text = format!("{{name: t, summary: t, breaks: t, engineer: t, exit: {{}}, world: {knobs}}}");
    let scenario: Scenario = serde_yaml::from_str(&text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let start = "2025-03-04T09:00:00Z".parse().unwrap();
    let (shape, clock) = (Shape::gospelib(), Clock::scaled_from_now(start, 1_000_000.0));
    let registry = Registry::new(&shape, 1, false);
    let path = dir.path().join("gospelib.git");
    let (repo, past) = git::create(&path, &shape, &scenario, &registry, start, 1).unwrap();
    let hub = Hub::new(&shape, &scenario, &repo, &past, start, 1);
    let (kube, databases) = (kube::Store::new(clock.clone()), Databases::default());
    let traffic = crate::rehearsal::traffic::Traffic::new(start);
    let (switches, measure) = (Switches::new(&scenario), Measure::default());
    let world = World {
        clock,
        seed: 1,
        scenario,
        shape,
        past,
        kube,
        registry,
        repo,
        hub,
        databases,
        traffic,
        switches,
        measure,
    };
    (dir, Arc::new(world))
}

pub struct Served {
    pub world: Arc<World>,
    pub url: String,
    _dir: tempfile::TempDir,
}

/// The same, with GitHub and the Git hosting on a port of 127.0.0.1, and its control address below `/control`.
pub async fn serve(knobs: &str) -> Served {
    let (dir, world) = world(knobs);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    world.hub.serve_at(&url);
    let router = git::http::router(world.clone()).merge(super::router(world.clone()));
    let router = switches::outage(router, world.clone()).nest_service("/control", switches::router(world.clone()));
    tokio::spawn(axum::serve(listener, router).into_future());
    Served { world, url, _dir: dir }
}
