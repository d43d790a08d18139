//! A Terraform plan as a person judges it: what changes, what it risks, what it costs, and what the rules say.

mod change;
mod constraint;
mod judgement;
mod plan_json;
mod record;

pub use change::{Action, Attribute, Change, Shown};
pub use constraint::Constraint;
pub use judgement::{Counts, Judgement, judge};
pub use plan_json::{Check, Document, LARGEST, OutputChange, RawChange, Section, read};
pub use record::{PlanRecord, StateId};
