//! What the team must know later: quarantined releases, and debts.

use jiff::Timestamp;

use crate::adapters::cluster::Register;
use crate::domain::{Debt, DebtKind, Evidence, Quarantined, count};
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

/// Writes down what break glass will leave open, before it is done.
pub struct RecordDebts {
    pub register: Register,
    /// Without times: those are of the moment in which they are written.
    pub debts: Vec<Debt>,
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
                self.register.put(&debt.key(), &debt).await?;
            }
            Ok(Act::Waiting { note: String::new() })
        })
    }
}
