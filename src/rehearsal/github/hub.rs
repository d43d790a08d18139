//! What GitHub knows beside the repository, and how it reacts to pushes.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::state::State;
use super::{seed, workflow};
use crate::rehearsal::git::{RefChange, Repo};
use crate::rehearsal::shape::Shape;
use crate::rehearsal::world::Past;
use crate::rehearsal::{Scenario, World};

/// Checks, runs, deployments, releases and rules.
pub struct Hub {
    /// Base URL of pages for people (`html_url`), without a slash at its end.
    base: OnceLock<String>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// GitHub creates no events for tags when one push brings more than this many (docs.github.com, "Events that trigger
/// workflows", push).
const MOST_TAGS: usize = 3;

impl Hub {
    /// GitHub at the beginning of the story; another `seed` numbers its objects otherwise.
    #[must_use]
    pub fn new(shape: &Shape, scenario: &Scenario, repo: &Repo, past: &Past, start: Timestamp, seed: u64) -> Self {
        Self {
            base: OnceLock::new(),
            state: Mutex::new(seed::state(shape, scenario, repo, past, start, seed)),
            changed: watch::Sender::new(0),
        }
    }

    /// Says where [`super::router`] is served (`http://127.0.0.1:4711`); once, before the first request.
    pub fn serve_at(&self, base_url: &str) {
        let _ = self.base.set(base_url.trim_end_matches('/').to_owned());
    }

    /// Where it is served; `None` until somebody said so.
    #[must_use]
    pub fn base(&self) -> Option<&str> {
        self.base.get().map(String::as_str)
    }

    /// Looks at the state.
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state, and wakes those who wait for a change.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|count| *count += 1);
        result
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reacts to what one push changed: checks run for the new tip of main or of a hotfix, pull requests that main has now
    /// are merged, a release tag starts the workflow.
    /// Called by the Git hosting after every push, inside the runtime.
    pub fn on_push(&self, world: &Arc<World>, changes: &[RefChange]) {
        let tags: Vec<&RefChange> =
            changes.iter().filter(|change| change.name.starts_with("refs/tags/") && change.new.is_some()).collect();
        for change in changes {
            let (Some(branch), Some(tip)) = (change.name.strip_prefix("refs/heads/"), &change.new) else { continue };
            let now = world.clock.now();
            if branch == "main" {
                self.change(|state| {
                    state.add_checks(branch, tip, now, |_| "success");
                    state.add_status(tip, now);
                    close_merged(state, world, tip, now);
                });
            } else if branch.starts_with("hotfix/") {
                self.change(|state| {
                    state.add_checks_that_take(branch, tip, now, [1, 3, 5], |_| "success");
                    state.add_status(tip, now);
                });
            }
        }
        if tags.len() > MOST_TAGS {
            return;
        }
        for tag in tags {
            let name = tag.name.trim_start_matches("refs/tags/");
            if name.starts_with("release/v") && tag.old.is_none() {
                workflow::start(world, name);
            }
        }
    }
}

/// A pull request whose head has reached its base by a push is merged.
fn close_merged(state: &mut State, world: &World, tip: &str, now: Timestamp) {
    for pull in state.pulls.iter_mut().filter(|pull| pull.closed.is_none() && pull.base == "main") {
        let head = world.repo.head(&pull.head).unwrap_or_else(|| pull.head_sha.clone());
        if world.repo.is_ancestor(&head, tip) {
            pull.merged = Some((tip.to_owned(), "dana-dev".to_owned(), now));
            (pull.closed, pull.updated, pull.head_sha) = (Some(now), now, head);
        }
    }
}
