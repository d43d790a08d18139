//! The cost table of a runbook, and how what it says compares with what is computed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cost::by_use;
use super::values::glob;
use super::{Amount, Cost, Prices};

/// A line of the runbook's cost table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CostRow {
    /// Its first column: `RDS PostgreSQL`.
    pub resource: String,
    /// Its second column: `db.r6g.large`.
    pub instance: String,
    /// What the runbook says it costs, in US dollars a month.
    pub monthly: f64,
    /// Types of resources that the line is about; `*` stands for anything.
    pub types: Vec<String>,
    /// The size that is priced where there is no plan: `t3.medium`, `cluster`; none where it is paid by use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// How many of that size.
    #[serde(default = "one")]
    pub count: u32,
}

const fn one() -> u32 {
    1
}

/// A line, computed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    pub resource: String,
    pub instance: String,
    /// What the runbook says.
    pub runbook: f64,
    /// The price of the line's size; of what is paid by use, the price of what is assumed; `None` for a line without a price.
    pub list: Option<f64>,
    /// What is assumed of use, where the list price rests on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumed: Option<String>,
    /// What the plan's resources cost after apply; `None` where there is no plan, or none of them has a price.
    pub plan: Option<f64>,
    /// How many of the plan's resources of this line have no price.
    pub unknown: usize,
    /// Why the runbook's number does not hold; `None` where it does.
    pub disagrees: Option<String>,
}

/// The line of what is in the plan and in no line of the table.
pub const ELSEWHERE: &str = "everything else";

/// The runbook's numbers are rounded ("~"): this much, or a twentieth, is no disagreement.
const ROUNDING: f64 = 2.0;

/// Each line of `rows`, and at the end a line for what is in the plan and in no line. `costs` are those of a plan.
#[must_use]
pub fn compare(rows: &[CostRow], prices: &Prices, costs: Option<&[Cost]>) -> Vec<Compared> {
    let mut lines: Vec<Compared> = rows.iter().map(|row| line(row, prices, costs)).collect();
    let covered = |cost: &&Cost| rows.iter().any(|row| row.covers(&cost.kind));
    let rest: Vec<&Cost> = costs.unwrap_or_default().iter().filter(|cost| !covered(cost)).collect();
    let rest: Vec<&Cost> = rest.into_iter().filter(|cost| cost.after != Amount::Absent).collect();
    if !rest.is_empty() {
        let (known, unknown) = sum(rest.into_iter());
        let disagrees = Some(missing(known, unknown)).filter(|_| known >= ROUNDING || unknown > 0);
        let (resource, instance) = (ELSEWHERE.to_owned(), "not in the table".to_owned());
        lines.push(Compared {
            resource,
            instance,
            runbook: 0.0,
            list: None,
            assumed: None,
            plan: Some(known),
            unknown,
            disagrees,
        });
    }
    lines
}

impl CostRow {
    /// Whether a type of resources belongs to this line.
    #[must_use]
    pub fn covers(&self, kind: &str) -> bool {
        self.types.iter().any(|pattern| glob(pattern, kind))
    }
}

fn line(row: &CostRow, prices: &Prices, costs: Option<&[Cost]>) -> Compared {
    let (list, assumed) = match &row.size {
        Some(size) => (prices.of_size(size).map(|price| price * f64::from(row.count)), None),
        None => by_use(&row.types, prices).map_or((None, None), |(price, assumed)| (Some(price), Some(assumed))),
    };
    let ours = costs.map(|costs| {
        let ours = costs.iter().filter(|cost| row.covers(&cost.kind) && cost.after != Amount::Absent);
        (ours.clone().count(), sum(ours))
    });
    let (plan, unknown) = match ours {
        Some((0, _)) => (Some(0.0), 0),
        Some((count, (_, unknown))) if count == unknown => (None, unknown),
        Some((_, (known, unknown))) => (Some(known), unknown),
        None => (None, 0),
    };
    let disagrees = match (plan, list) {
        _ if unknown > 0 => Some(format!("{unknown} of its resources have no known price")),
        (Some(plan), _) => differs(row.monthly, plan, "the plan's resources cost"),
        // An amount that was assumed does not prove a line wrong.
        (None, Some(list)) if assumed.is_none() => differs(row.monthly, list, &format!("{} costs", row.instance)),
        (None, _) => None,
    };
    Compared {
        resource: row.resource.clone(),
        instance: row.instance.clone(),
        runbook: row.monthly,
        list,
        assumed,
        plan,
        unknown,
        disagrees,
    }
}

/// Why the sum of the runbook's lines does not hold; `None` where it does.
#[must_use]
pub fn total_disagrees(lines: &[Compared]) -> Option<String> {
    let runbook = lines.iter().map(|line| line.runbook).sum();
    let unknown: usize = lines.iter().map(|line| line.unknown).sum();
    let planned = lines.iter().any(|line| line.plan.is_some() || line.unknown > 0);
    let computed = lines.iter().filter_map(|line| if planned { line.plan } else { line.list }).sum();
    let more = if unknown == 0 { String::new() } else { format!(", and {unknown} have no known price") };
    let what = if planned { "the plan's resources cost" } else { "its lines cost" };
    differs(runbook, computed, what).map(|text| format!("{text}{more}"))
}

fn differs(runbook: f64, computed: f64, what: &str) -> Option<String> {
    let apart = (runbook - computed).abs();
    let far = apart > ROUNDING.max(computed.max(runbook) / 20.0);
    far.then(|| format!("the runbook says ${runbook:.0}, {what} ${computed:.2}"))
}

fn missing(known: f64, unknown: usize) -> String {
    let unknown = if unknown == 0 { String::new() } else { format!(", and {unknown} have no known price") };
    format!("the runbook has no line for these: ${known:.2}{unknown}")
}

fn sum<'a>(costs: impl Iterator<Item = &'a Cost>) -> (f64, usize) {
    costs.fold((0.0, 0), |(known, unknown), cost| match cost.after.dollars() {
        Some(dollars) => (known + dollars, unknown),
        None => (known, unknown + 1),
    })
}
