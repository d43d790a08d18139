//! How a plan is run: probe, journal, act; recorded, shared, resumed. It knows nothing about releases.

mod event;
mod facts;
mod failpoint;
mod gate;
mod journal;
mod plan;
mod run;
mod state;
mod step;
mod store;
#[cfg(test)]
mod tests;

pub use event::{Answer, Event, Listener, Question, SeenEvent};
pub use facts::{Candidate, Change, Fact, Facts, NewImage, Rollback, Shipped, WorkflowRun};
pub use gate::{Checked, Gate};
pub use journal::fold;
pub use journal::{FORMAT, Journal, Line};
pub use plan::{Plan, Stage};
pub use run::{Engine, Local, Shared};
pub use state::{Confirmed, Ended, GateState, Header, PlannedStep, Record, RunState, StepState};
pub use step::{Act, BoxFuture, Done, Effect, Probe, Step, StepIo};
pub use store::{RunDir, StateDir};
