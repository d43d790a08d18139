//! The part of PromQL that release tools ask: selectors, rates, sums, quantiles, arithmetic. The rest is refused.

use std::collections::BTreeMap;

use promql_parser::label::Matchers;
use promql_parser::parser::token;
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, Offset, VectorMatchCardinality,
    VectorSelector,
};

use super::World;
use super::traffic::{BUCKETS, CODES, Counted, Life, SCRAPE, Usage, counter};

/// A series' labels.
pub type Labels = BTreeMap<String, String>;

/// What an expression is worth at one moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Scalar(f64),
    Vector(Vec<(Labels, f64)>),
    Text(String),
}

/// How far back a selector looks for the last sample, in seconds (Prometheus' default).
const LOOKBACK: f64 = 300.0;
const NAME: &str = "__name__";

/// Evaluates `expr` at `at`, in seconds since the epoch. The error says what is not rehearsed, or not valid.
pub fn evaluate(world: &World, expr: &Expr, at: f64) -> Result<Outcome, String> {
    match expr {
        Expr::Paren(inner) => evaluate(world, &inner.expr, at),
        Expr::NumberLiteral(number) => Ok(Outcome::Scalar(number.val)),
        Expr::StringLiteral(text) => Ok(Outcome::Text(text.val.clone())),
        Expr::Unary(inner) => Ok(map(evaluate(world, &inner.expr, at)?, |value| -value)),
        Expr::VectorSelector(selector) => instant(world, selector, at).map(Outcome::Vector),
        Expr::Call(call) => self::call(world, call, at),
        Expr::Aggregate(aggregate) => self::aggregate(world, aggregate, at).map(Outcome::Vector),
        Expr::Binary(binary) => self::binary(world, binary, at),
        Expr::MatrixSelector(_) => {
            Err("a range vector is rehearsed only as an argument of rate, irate, increase".into())
        }
        Expr::Subquery(_) => Err("subqueries are not rehearsed".into()),
        Expr::Extension(_) => Err("extensions are not rehearsed".into()),
    }
}

/// The labels of every series that a selector matches and that has a sample between two moments.
pub fn series(world: &World, selector: &VectorSelector, from: f64, to: f64) -> Vec<Labels> {
    let mut found: Vec<Labels> = matching(world, selector)
        .into_iter()
        .filter(|series| series.lives.iter().any(|life| life.from <= to && life.until.is_none_or(|end| end >= from)))
        .map(|series| series.labels)
        .collect();
    found.dedup();
    found
}

/// One series: the lives that carry its labels, oldest first.
struct Series {
    labels: Labels,
    usage: Usage,
    peers: std::sync::Arc<Vec<Life>>,
    lives: Vec<Life>,
    /// `None` for `up`.
    counted: Option<Counted>,
}

impl Series {
    /// The last sample at or before `at`, if it is recent enough.
    fn at(&self, at: f64) -> Option<f64> {
        let fresh = |life: &&Life| life.from <= at && life.until.is_none_or(|until| until > at - LOOKBACK);
        let life = self.lives.iter().rev().find(fresh)?;
        match self.counted {
            // A target that is gone is not scraped any more: no series instead of 0.
            None => life.until.is_none_or(|until| until > at).then_some(1.0),
            Some(counted) => Some(counter(&self.usage, &self.peers, life, counted, at)),
        }
    }

    /// How much the counter grew, resets taken into account; `None` with fewer than two samples.
    fn increase(&self, from: f64, to: f64) -> Option<f64> {
        let counted = self.counted?;
        let (mut total, mut samples) = (0.0, 0.0);
        for life in self.lives.iter().filter(|life| life.from < to && life.until.is_none_or(|until| until > from)) {
            let end = life.until.unwrap_or(to).min(to);
            samples += (end - life.from.max(from)) / SCRAPE;
            let before = if life.from >= from { 0.0 } else { self.count(life, counted, from) };
            total += self.count(life, counted, end) - before;
        }
        (samples >= 1.0).then_some(total)
    }

    fn count(&self, life: &Life, counted: Counted, at: f64) -> f64 {
        counter(&self.usage, &self.peers, life, counted, at)
    }
}

/// A metric's name, the label that its series differ in, and what it counts (`None` for `up`).
type Metric = (&'static str, Option<(&'static str, &'static str)>, Option<Counted>);

/// The metrics that exist.
fn metrics() -> Vec<Metric> {
    let codes = CODES.iter().map(|code| ("http_requests_total", Some(("code", *code)), Some(Counted::Code(code))));
    let buckets = BUCKETS
        .iter()
        .map(|(le, bound)| ("http_request_duration_seconds_bucket", Some(("le", *le)), Some(Counted::Within(*bound))));
    let rest = [
        ("up", Some(("job", "gospelib")), None),
        ("http_request_duration_seconds_count", None, Some(Counted::Requests)),
        ("http_request_duration_seconds_sum", None, Some(Counted::Seconds)),
    ];
    codes.chain(buckets).chain(rest).collect()
}

fn matching(world: &World, selector: &VectorSelector) -> Vec<Series> {
    let could = |name: &str, value: &str| {
        let all = selector.matchers.matchers.iter().filter(|matcher| matcher.name == name);
        all.into_iter().all(|matcher| matcher.is_match(value))
    };
    let mut found = Vec::new();
    let services =
        world.traffic.services(|namespace, service| could("namespace", namespace) && could("service", service));
    for ((namespace, service), lives) in services {
        let (usage, peers) = (Usage::of(world, &namespace, &service), std::sync::Arc::new(lives));
        let mut pods: BTreeMap<(&str, &str), Vec<Life>> = BTreeMap::new();
        for life in peers.iter() {
            pods.entry((&life.pod, &life.version)).or_default().push(life.clone());
        }
        for (metric, extra, counted) in metrics() {
            if selector.name.as_deref().is_some_and(|name| name != metric) {
                continue;
            }
            for ((pod, version), lives) in &pods {
                let mut labels: Labels = [
                    (NAME, metric),
                    ("namespace", namespace.as_str()),
                    ("service", service.as_str()),
                    ("pod", pod),
                    ("version", version),
                ]
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
                labels.extend(extra.map(|(name, value)| (name.to_owned(), value.to_owned())));
                if matches(&selector.matchers, &labels) {
                    let (usage, peers) = (usage.clone(), peers.clone());
                    found.push(Series { labels, usage, peers, lives: lives.clone(), counted });
                }
            }
        }
    }
    found
}

fn matches(matchers: &Matchers, labels: &Labels) -> bool {
    let value = |name: &str| labels.get(name).map_or("", String::as_str);
    let all =
        |group: &[promql_parser::label::Matcher]| group.iter().all(|matcher| matcher.is_match(value(&matcher.name)));
    all(&matchers.matchers) && (matchers.or_matchers.is_empty() || matchers.or_matchers.iter().any(|group| all(group)))
}

/// The moment that a selector looks at.
fn moment(selector: &VectorSelector, at: f64) -> Result<f64, String> {
    if selector.at.is_some() {
        return Err("the @ modifier is not rehearsed".into());
    }
    Ok(match selector.offset {
        None => at,
        Some(Offset::Pos(back)) => at - back.as_secs_f64(),
        Some(Offset::Neg(ahead)) => at + ahead.as_secs_f64(),
    })
}

fn instant(world: &World, selector: &VectorSelector, at: f64) -> Result<Vec<(Labels, f64)>, String> {
    let at = moment(selector, at)?;
    let now = super::traffic::seconds(world.clock.now());
    if at > now {
        return Ok(Vec::new());
    }
    let sample = |series: Series| series.at(at).map(|value| (series.labels, value));
    Ok(matching(world, selector).into_iter().filter_map(sample).collect())
}

/// `rate`, `irate` and `increase`: the plain growth over the window, not extrapolated to its edges.
fn growth(world: &World, function: &str, range: &MatrixSelector, at: f64) -> Result<Vec<(Labels, f64)>, String> {
    let at = moment(&range.vs, at)?.min(super::traffic::seconds(world.clock.now()));
    let window = range.range.as_secs_f64();
    let (from, divisor) = match function {
        "rate" => (at - window, window),
        "irate" => (at - SCRAPE, SCRAPE),
        _ => (at - window, 1.0),
    };
    let grown = |mut series: Series| {
        let value = series.increase(from, at)?;
        series.labels.remove(NAME);
        Some((series.labels, value / divisor))
    };
    Ok(matching(world, &range.vs).into_iter().filter_map(grown).collect())
}

fn call(world: &World, call: &Call, at: f64) -> Result<Outcome, String> {
    let argument = |index: usize| {
        let expr: &Expr = call.args.args.get(index).ok_or("an argument is missing")?;
        Ok::<&Expr, String>(expr)
    };
    let vector = |index: usize| match evaluate(world, argument(index)?, at)? {
        Outcome::Vector(samples) => Ok(samples),
        _ => Err(format!("{} wants an instant vector", call.func.name)),
    };
    let scalar = |index: usize| match evaluate(world, argument(index)?, at)? {
        Outcome::Scalar(value) => Ok(value),
        _ => Err(format!("{} wants a scalar", call.func.name)),
    };
    match call.func.name {
        "rate" | "irate" | "increase" => {
            let mut range = argument(0)?;
            while let Expr::Paren(inner) = range {
                range = &inner.expr;
            }
            let Expr::MatrixSelector(range) = range else {
                return Err(format!("{} is rehearsed only over a selector with a range", call.func.name));
            };
            growth(world, call.func.name, range, at).map(Outcome::Vector)
        }
        "histogram_quantile" => Ok(Outcome::Vector(histogram_quantile(scalar(0)?, vector(1)?))),
        "scalar" => {
            let samples = vector(0)?;
            Ok(Outcome::Scalar(if samples.len() == 1 { samples[0].1 } else { f64::NAN }))
        }
        "vector" => Ok(Outcome::Vector(vec![(Labels::new(), scalar(0)?)])),
        "time" => Ok(Outcome::Scalar(at)),
        "abs" => Ok(map(Outcome::Vector(vector(0)?), f64::abs)),
        "absent" => Ok(Outcome::Vector(if vector(0)?.is_empty() { vec![(Labels::new(), 1.0)] } else { Vec::new() })),
        other => Err(format!("the function {other} is not rehearsed")),
    }
}

fn map(outcome: Outcome, change: impl Fn(f64) -> f64) -> Outcome {
    match outcome {
        Outcome::Scalar(value) => Outcome::Scalar(change(value)),
        Outcome::Vector(samples) => {
            Outcome::Vector(samples.into_iter().map(|(labels, value)| (nameless(labels), change(value))).collect())
        }
        text @ Outcome::Text(_) => text,
    }
}

fn nameless(mut labels: Labels) -> Labels {
    labels.remove(NAME);
    labels
}

/// Linear interpolation within the bucket that holds the quantile, as Prometheus does it.
fn histogram_quantile(quantile: f64, samples: Vec<(Labels, f64)>) -> Vec<(Labels, f64)> {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (mut labels, count) in samples {
        let Some(bound) = labels.remove("le").and_then(|le| le.parse().ok()) else { continue };
        histograms.entry(nameless(labels)).or_default().push((bound, count));
    }
    let value = |(labels, mut buckets): (Labels, Vec<(f64, f64)>)| {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        (labels, bucket_quantile(quantile, &buckets))
    };
    histograms.into_iter().map(value).collect()
}

fn bucket_quantile(quantile: f64, buckets: &[(f64, f64)]) -> f64 {
    let Some((bound, total)) = buckets.last().copied() else { return f64::NAN };
    if quantile.is_nan() || bound.is_finite() || buckets.len() < 2 || total == 0.0 {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    let rank = quantile * total;
    let index = buckets.iter().position(|(_, count)| *count >= rank).unwrap_or(buckets.len() - 1);
    if index == buckets.len() - 1 {
        return buckets[index - 1].0;
    }
    let (start, below) = if index == 0 { (0.0, 0.0) } else { buckets[index - 1] };
    let (end, count) = buckets[index];
    start + (end - start) * (rank - below) / (count - below)
}

fn aggregate(world: &World, aggregate: &AggregateExpr, at: f64) -> Result<Vec<(Labels, f64)>, String> {
    let Outcome::Vector(samples) = evaluate(world, &aggregate.expr, at)? else {
        return Err(format!("{} wants an instant vector", aggregate.op));
    };
    let key = |labels: Labels| -> Labels {
        match &aggregate.modifier {
            None => Labels::new(),
            Some(LabelModifier::Include(by)) => {
                labels.into_iter().filter(|(name, _)| by.labels.contains(name)).collect()
            }
            Some(LabelModifier::Exclude(without)) => {
                nameless(labels).into_iter().filter(|(name, _)| !without.labels.contains(name)).collect()
            }
        }
    };
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for (labels, value) in samples {
        groups.entry(key(labels)).or_default().push(value);
    }
    let fold: fn(&[f64]) -> f64 = match aggregate.op.id() {
        token::T_SUM => |values| values.iter().sum(),
        token::T_AVG => |values| values.iter().sum::<f64>() / values.len() as f64,
        token::T_MAX => |values| values.iter().copied().fold(f64::NAN, f64::max),
        token::T_MIN => |values| values.iter().copied().fold(f64::NAN, f64::min),
        token::T_COUNT => |values| values.len() as f64,
        _ => return Err(format!("the aggregation {} is not rehearsed", aggregate.op)),
    };
    Ok(groups.into_iter().map(|(labels, values)| (labels, fold(&values))).collect())
}

fn binary(world: &World, binary: &BinaryExpr, at: f64) -> Result<Outcome, String> {
    let (left, right) = (evaluate(world, &binary.lhs, at)?, evaluate(world, &binary.rhs, at)?);
    let operator = Operator::of(binary)?;
    match (left, right) {
        (Outcome::Scalar(a), Outcome::Scalar(b)) => Ok(Outcome::Scalar(operator.number(a, b))),
        (Outcome::Vector(samples), Outcome::Scalar(b)) => {
            Ok(Outcome::Vector(samples.into_iter().filter_map(|(labels, a)| operator.apply(labels, a, b, a)).collect()))
        }
        (Outcome::Scalar(a), Outcome::Vector(samples)) => {
            Ok(Outcome::Vector(samples.into_iter().filter_map(|(labels, b)| operator.apply(labels, a, b, b)).collect()))
        }
        (Outcome::Vector(left), Outcome::Vector(right)) => matched(binary, &operator, left, right).map(Outcome::Vector),
        _ => Err("texts have no arithmetic".into()),
    }
}

struct Operator {
    id: token::TokenId,
    compares: bool,
    /// A comparison answers 0 or 1 instead of filtering.
    as_bool: bool,
}

impl Operator {
    fn of(binary: &BinaryExpr) -> Result<Self, String> {
        let id = binary.op.id();
        let known = matches!(id, token::T_ADD | token::T_SUB | token::T_MUL | token::T_DIV | token::T_MOD);
        let compares = binary.op.is_comparison_operator();
        if known || compares {
            Ok(Self { id, compares, as_bool: binary.return_bool() })
        } else {
            Err(format!("the operator {} is not rehearsed", binary.op))
        }
    }

    fn number(&self, a: f64, b: f64) -> f64 {
        match self.id {
            token::T_ADD => a + b,
            token::T_SUB => a - b,
            token::T_MUL => a * b,
            token::T_DIV => a / b,
            token::T_MOD => a % b,
            _ => f64::from(u8::from(self.holds(a, b))),
        }
    }

    #[allow(clippy::float_cmp, reason = "PromQL's == is exact")]
    fn holds(&self, a: f64, b: f64) -> bool {
        match self.id {
            token::T_EQLC => a == b,
            token::T_NEQ => a != b,
            token::T_GTR => a > b,
            token::T_GTE => a >= b,
            token::T_LSS => a < b,
            _ => a <= b,
        }
    }

    /// The sample of `a op b`; a comparison keeps the vector's own value `kept`, or drops the sample.
    fn apply(&self, labels: Labels, a: f64, b: f64, kept: f64) -> Option<(Labels, f64)> {
        if self.compares && !self.as_bool {
            return self.holds(a, b).then_some((labels, kept));
        }
        Some((nameless(labels), self.number(a, b)))
    }
}

/// One-to-one matching of two vectors.
fn matched(
    binary: &BinaryExpr,
    operator: &Operator,
    left: Vec<(Labels, f64)>,
    right: Vec<(Labels, f64)>,
) -> Result<Vec<(Labels, f64)>, String> {
    let modifier = binary.modifier.as_ref();
    if modifier.is_some_and(|modifier| modifier.card != VectorMatchCardinality::OneToOne) {
        return Err("group_left and group_right are not rehearsed".into());
    }
    let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
    let key = |labels: &Labels| -> Labels {
        let keep = |name: &String| match matching {
            None => name != NAME,
            Some(LabelModifier::Include(on)) => on.labels.contains(name),
            Some(LabelModifier::Exclude(ignoring)) => name != NAME && !ignoring.labels.contains(name),
        };
        labels.iter().filter(|(name, _)| keep(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let mut by_key: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, value) in right {
        if by_key.insert(key(&labels), value).is_some() {
            return Err("found duplicate series for the match group on the right hand-side of the operation".into());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut answer = Vec::new();
    for (labels, a) in left {
        let key = key(&labels);
        let Some(b) = by_key.get(&key) else { continue };
        if !seen.insert(key.clone()) {
            return Err("multiple matches for labels: many-to-one matching must be explicit".into());
        }
        let labels = if operator.compares && !operator.as_bool { labels } else { key };
        answer.extend(operator.apply(labels, a, *b, a));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated_within_their_bucket() {
        let buckets = [(0.1, 50.0), (0.2, 100.0), (f64::INFINITY, 100.0)];
        assert!((bucket_quantile(0.95, &buckets) - 0.19).abs() < 1e-12);
        assert!((bucket_quantile(0.25, &buckets) - 0.05).abs() < 1e-12);
        assert!(bucket_quantile(0.95, &[(f64::INFINITY, 0.0)]).is_nan());
        assert!(bucket_quantile(0.95, &[]).is_nan());
    }
}
