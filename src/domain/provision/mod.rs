//! A Terraform plan as a person judges it: what changes, what it risks, what it costs, and what the rules say.

mod change;
mod checks;
mod constraint;
mod cost;
mod cost_table;
mod course;
mod json_text;
mod judgement;
mod plan_json;
mod policy;
mod prices;
mod record;
mod risk;
mod secret;
mod values;

pub use change::{Action, Attribute, Change, Shown};
pub use checks::Check;
pub use constraint::Constraint;
pub use cost::{Amount, Cost, Total, cost};
pub use cost_table::{Compared, CostRow, ELSEWHERE, compare, total_disagrees};
pub use course::{Became, Came, Course, Doing, Expected, Fate, Holding, Part, Summary, became};
pub use judgement::{Counts, Judgement, Measure, judge};
pub use plan_json::{Document, LARGEST, OutputChange, RawChange, Section, read, too_long};
pub use policy::{Finding, Level, Rule, RuleAction, WHOLE, built_in};
pub use prices::Prices;
pub use record::{PlanRecord, PlanUse, StateId};
pub use risk::{Risk, RiskKind, risks};
