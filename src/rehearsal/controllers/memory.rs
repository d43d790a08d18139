//! What controllers remember between their turns.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::Value;

use super::argo::Attention;
use super::kubelet::Life;
use super::object::{fnv, name, safe_name};
use crate::rehearsal::World;

/// The controllers' memory. The object store is the truth; this is only when to look again, and what to call things.
#[derive(Default)]
pub struct Memory {
    /// Names made after the start differ from those of the past.
    pub salt: String,
    /// Pods by uid.
    pub lives: HashMap<String, Life>,
    /// Applications by name.
    pub applications: HashMap<String, Attention>,
    /// Job pods whose command is a request, to be made by whoever runs the controllers.
    pub requests: Vec<Value>,
    /// Versions of an object and of what it owns, by uid, when its controller last found nothing to do.
    pub quiet: HashMap<String, u64>,
    serial: HashMap<String, u32>,
    wake: Option<Timestamp>,
    settled: Option<Settled>,
}

/// The workloads' controllers found nothing to do.
struct Settled {
    /// The latest change that they saw.
    seen: u64,
    /// When the passing of time alone gives them something to do.
    until: Option<Timestamp>,
}

/// What the workloads' controllers look at.
const WORKLOADS: [&str; 7] = ["externalsecrets", "secrets", "deployments", "replicasets", "pods", "jobs", "cronjobs"];

impl Memory {
    pub fn new(salt: impl Into<String>) -> Self {
        Self { salt: salt.into(), ..Self::default() }
    }

    /// Asks for a turn no later than `at` (world time).
    pub fn wake(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |before| before.min(at)));
    }

    /// When the next turn is due; forgets it.
    pub fn take_wake(&mut self) -> Option<Timestamp> {
        self.wake.take()
    }

    /// Gives the workloads' controllers their turn, unless nothing has changed since they found nothing to do, and nothing is due.
    pub fn unless_settled(&mut self, world: &World, now: Timestamp, turn: impl FnOnce(&mut Self)) {
        let seen = world.kube.last_change(&WORKLOADS);
        let still =
            self.settled.take().filter(|settled| settled.seen == seen && settled.until.is_none_or(|at| at > now));
        let others = self.take_wake();
        let settled = still.or_else(|| {
            turn(self);
            let until = self.take_wake();
            if world.kube.last_change(&WORKLOADS) != seen {
                until.into_iter().for_each(|at| self.wake(at));
                return None;
            }
            Some(Settled { seen, until })
        });
        let due = settled.as_ref().and_then(|settled| settled.until);
        others.into_iter().chain(due).for_each(|at| self.wake(at));
        self.settled = settled;
    }

    /// The name of the next pod of `owner`: the same world makes the same names.
    pub fn pod_name(&mut self, seed: u64, owner: &Value) -> String {
        let owner_name = name(owner);
        let serial = self.serial.entry(owner_name.to_owned()).or_default();
        *serial += 1;
        let hash = fnv(&[&self.salt, &seed.to_string(), owner_name, &serial.to_string()]);
        format!("{owner_name}-{}", safe_name(hash, 5))
    }

    /// Forgets pods that are gone.
    pub fn keep_lives(&mut self, alive: &HashSet<String>) {
        self.lives.retain(|uid, _| alive.contains(uid));
    }
}
