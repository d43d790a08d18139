//! What the team must know later: quarantined releases, and debts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::adapters::cluster::Register;
use crate::domain::{Debt, DebtKind, Evidence, Quarantined, ServiceName, count};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::Result;

/// Puts the bad release into quarantine: `promote` refuses its images.
pub struct Quarantine {
    pub register: Register,
    pub entry: Quarantined,
}

impl Step for Quarantine {
    fn id(&self) -> &'static str {
        "quarantine"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Quarantine {}", self.entry.name())
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let known = self.register.readable::<Quarantined>().await?.records;
            Ok(match known.get(&self.entry.key()) {
                Some(known) if known.run == self.entry.run || known.covers(&self.entry) => {
                    Probe::Done(Done::new(Evidence::new(format!("since {}", known.at))))
                }
                _ => Probe::NotYet("not in quarantine".to_owned()),
            })
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let known = self.register.readable::<Quarantined>().await?.records.remove(&self.entry.key());
            let entry = Quarantined { at: io.now(), ..self.entry.clone() }.with(known);
            self.register.put(&entry.key(), &entry).await?;
            let evidence = Evidence::new(format!("{}; promote refuses them", count(entry.digests.len(), "image")));
            Ok(Act::Done(Done::new(evidence.at(io.now()))))
        })
    }
}

/// Takes images that production runs again, and runs well, out of quarantine.
pub struct LiftQuarantine {
    pub register: Register,
    /// The release's key.
    pub key: String,
    /// The services that run it again.
    pub services: BTreeSet<ServiceName>,
}

impl LiftQuarantine {
    async fn entry(&self) -> Result<Option<Quarantined>> {
        let entry = self.register.readable::<Quarantined>().await?.records.remove(&self.key);
        Ok(entry.filter(|entry| entry.digests.keys().any(|service| self.services.contains(service))))
    }
}

impl Step for LiftQuarantine {
    fn id(&self) -> &'static str {
        "lift-quarantine"
    }

    fn title(&self, _facts: &Facts) -> String {
        format!("Take {} out of quarantine", self.key)
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            Ok(match self.entry().await? {
                None => Probe::Done(Done::said("production runs it again")),
                Some(_) => Probe::NotYet("in quarantine".to_owned()),
            })
        })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let Some(known) = self.entry().await? else { return Ok(Act::Waiting { note: String::new() }) };
            let mut left = known.clone();
            left.digests.retain(|service, _| !self.services.contains(service));
            if left.digests.is_empty() {
                self.register.remove(&BTreeMap::from([(self.key.clone(), known)])).await?;
            } else {
                self.register.put(&self.key, &left).await?;
            }
            Ok(Act::Waiting { note: String::new() })
        })
    }
}

/// Writes down what break glass will leave open, before it is done.
pub struct RecordDebts {
    pub register: Register,
    /// Without times: those are of the moment in which they are written.
    pub debts: Vec<Debt>,
    /// The debts that are open already: one that is opened again goes on, and is not due later for it.
    pub open: Vec<Debt>,
    /// What is written for each gate that was gone without; its kind is filled in.
    pub waived: Option<Debt>,
    /// World time after which a debt is overdue.
    pub due_after: std::time::Duration,
}

impl RecordDebts {
    fn all(&self, facts: &Facts) -> Vec<Debt> {
        let of = |gate: &String| {
            let kind = DebtKind::Waived { gate: gate.clone() };
            self.waived.clone().map(|debt| Debt { kind, ..debt })
        };
        self.debts.iter().cloned().chain(facts.waived.iter().filter_map(of)).collect()
    }
}

impl Step for RecordDebts {
    fn id(&self) -> &'static str {
        "debts"
    }

    fn title(&self, facts: &Facts) -> String {
        format!("Write down {}", count(self.all(facts).len(), "debt"))
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn probe<'a>(&'a self, facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let known = self.register.readable::<Debt>().await?.records;
            let debts = self.all(facts);
            let missing = debts.iter().filter(|debt| known.get(&debt.key()).is_none_or(|known| known.run != debt.run));
            Ok(match missing.count() {
                0 => Probe::Done(Done::said(debts.iter().map(Debt::title).collect::<Vec<_>>().join("; "))),
                n => Probe::NotYet(format!("{} not written down", count(n, "debt"))),
            })
        })
    }

    fn act<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            let now = io.now();
            for debt in &self.all(facts) {
                let due = now.checked_add(self.due_after).unwrap_or(Timestamp::MAX);
                let debt = Debt { opened: now, due, ..debt.clone() };
                let known = self.open.iter().find(|known| known.key() == debt.key());
                let debt = known.map_or(debt.clone(), |known| debt.going_on(known));
                self.register.put(&debt.key(), &debt).await?;
            }
            Ok(Act::Waiting { note: String::new() })
        })
    }
}
