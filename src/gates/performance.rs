//! "Performance baseline acceptable": p95 on staging against its limit and against production over the same window.

use crate::config::model::Gates;
use crate::domain::{Evidence, duration};
use crate::engine::{BoxFuture, Checked, Facts, Gate, StepIo};
use crate::error::Result;
use crate::monitor::metrics::Metrics;
use crate::monitor::sli::{Look, millis, percent};

use super::waived::Waiver;
use super::words::some;

pub struct Performance {
    pub staging: Metrics,
    pub baseline: Baseline,
    pub limits: Gates,
}

/// What staging's latency is compared with.
pub enum Baseline {
    Production(Box<Metrics>),
    /// A first release has none; its own limit still counts.
    Waived(Waiver),
}

impl Gate for Performance {
    fn id(&self) -> &'static str {
        "performance"
    }

    fn title(&self) -> String {
        "Performance baseline acceptable".into()
    }

    fn check<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let now = io.now();
            let look = |metrics: &'a Metrics| metrics.look(self.limits.window, now);
            let (staging, baseline) = match &self.baseline {
                Baseline::Production(production) => {
                    let (staging, baseline) = futures::try_join!(look(&self.staging), look(production))?;
                    (staging, Some(baseline))
                }
                Baseline::Waived(_) => (look(&self.staging).await?, None),
            };
            let mut checked = judge(&staging, baseline.as_ref(), &self.limits);
            checked.evidence = checked.evidence.from(self.staging.source()).at(now);
            Ok(match &self.baseline {
                Baseline::Waived(waiver) if checked.verdict.lets_through() => waiver.apply(checked),
                _ => checked,
            })
        })
    }
}

fn judge(staging: &Look, baseline: Option<&Look>, limits: &Gates) -> Checked {
    let mut evidence = Evidence::default();
    let (mut slow, mut blind, mut unbased) = (Vec::new(), Vec::new(), Vec::new());
    let mut slowest: Option<(f64, String)> = None;
    let mut worst: Option<(f64, String)> = None;
    for (service, sli) in &staging.services {
        let name = service.to_string();
        let Some(p95) = sli.p95 else {
            evidence = evidence.fact(name.clone(), "no latency data on staging", None);
            blind.push(name);
            continue;
        };
        if slowest.as_ref().is_none_or(|(known, _)| *known < p95) {
            slowest = Some((p95, name.clone()));
        }
        let base = baseline.map(|look| look.services.get(service).and_then(|sli| sli.p95).filter(|base| *base > 0.0));
        let over_limit = p95 > limits.p95_seconds;
        let (said, ok) = match base {
            None => (format!("p95 {}", millis(p95)), Some(!over_limit)),
            Some(None) => {
                unbased.push(name.clone());
                let ok = if over_limit { Some(false) } else { None };
                (format!("p95 {}; production has no latency data to compare with", millis(p95)), ok)
            }
            Some(Some(base)) => {
                let ratio = p95 / base;
                if worst.as_ref().is_none_or(|(known, _)| *known < ratio) {
                    worst = Some((ratio, name.clone()));
                }
                let said = format!("p95 {}, production {} ({})", millis(p95), millis(base), change(ratio));
                (said, Some(!over_limit && ratio <= limits.p95_ratio))
            }
        };
        if over_limit {
            slow.push(format!("{name} {} (limit {})", millis(p95), millis(limits.p95_seconds)));
        } else if let (Some(false), Some(Some(base))) = (ok, base) {
            let (seen, limit) = (change(p95 / base), change(limits.p95_ratio));
            slow.push(format!("{name} {} against {} in production ({seen}, limit {limit})", millis(p95), millis(base)));
        }
        evidence = evidence.fact(name, said, ok);
    }
    // Staging and production differ in traffic and size: a comparison, not an experiment.
    if baseline.is_some() {
        evidence = evidence.fact("comparison", "staging against production, without a control group", None);
    }
    let window = duration(limits.window);
    if !slow.is_empty() {
        evidence.summary = format!("p95 over {window} is too high: {}", some(&slow));
        return Checked::fail(evidence).fix("find what made these services slower; compare with production's traces");
    }
    if !blind.is_empty() || staging.services.is_empty() {
        let of = if blind.is_empty() { "any service".into() } else { some(&blind) };
        evidence.summary = format!("staging has no latency data of {of} over {window}");
        return Checked::unknown(evidence)
            .fix("send traffic to staging, or check the queries under staging.prometheus");
    }
    if !unbased.is_empty() {
        evidence.summary = format!("production has no latency data of {} to compare with", some(&unbased));
        return Checked::unknown(evidence)
            .fix("check the queries under production.prometheus; a first release has no baseline: --first-release");
    }
    let (p95, service) = slowest.unwrap_or_default();
    let highest = format!("p95 at most {} on staging ({service})", millis(p95));
    evidence.summary = match worst {
        Some((ratio, service)) => format!("{highest}; at most {} against production ({service})", change(ratio)),
        None => highest,
    };
    Checked::pass(evidence)
}

/// `+12 %`, `-3 %`, `±0 %`.
fn change(ratio: f64) -> String {
    let change = ((ratio - 1.0) * 100.0).round() / 100.0;
    match change {
        change if change > 0.0 => format!("+{}", percent(change)),
        change if change < 0.0 => format!("-{}", percent(-change)),
        _ => "±0 %".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Verdict;
    use crate::monitor::sli::Sli;

    fn look(services: &[(&str, Option<f64>)]) -> Look {
        let sli = |p95: Option<f64>| Sli::of(Some(5.0), None, p95);
        let services = services.iter().map(|(name, p95)| (name.parse().unwrap(), sli(*p95))).collect();
        Look { at: "2025-03-04T10:00:00Z".parse().unwrap(), services }
    }

    fn judged(staging: &[(&str, Option<f64>)], production: Option<&[(&str, Option<f64>)]>) -> Checked {
        judge(&look(staging), production.map(look).as_ref(), &Gates::default())
    }

    #[test]
    fn as_fast_as_production_is_a_pass() {
        let staging = [("gateway", Some(0.1)), ("search", Some(0.22))];
        let checked = judged(&staging, Some(&[("gateway", Some(0.1)), ("search", Some(0.2))]));
        assert_eq!(checked.verdict, Verdict::Pass);
        let said = "p95 at most 220 ms on staging (search); at most +10 % against production (search)";
        assert_eq!(checked.evidence.summary, said);
    }

    #[test]
    fn slower_than_the_baseline_allows_fails() {
        let checked = judged(&[("gateway", Some(0.2))], Some(&[("gateway", Some(0.1))]));
        assert_eq!(checked.verdict, Verdict::Fail);
        let said = "p95 over 1 h is too high: gateway 200 ms against 100 ms in production (+100 %, limit +25 %)";
        assert_eq!(checked.evidence.summary, said);
    }

    #[test]
    fn slower_than_the_limit_fails_without_any_baseline() {
        let checked = judged(&[("gateway", Some(0.9))], None);
        assert_eq!(checked.verdict, Verdict::Fail);
        assert_eq!(checked.evidence.summary, "p95 over 1 h is too high: gateway 900 ms (limit 500 ms)");
        assert_eq!(judged(&[("gateway", Some(0.9))], Some(&[("gateway", None)])).verdict, Verdict::Fail);
    }

    #[test]
    fn no_data_on_either_side_is_unknown() {
        assert_eq!(judged(&[("gateway", None)], None).verdict, Verdict::Unknown);
        assert_eq!(judged(&[], None).verdict, Verdict::Unknown);
        let checked = judged(&[("gateway", Some(0.1))], Some(&[("gateway", None)]));
        assert_eq!(checked.verdict, Verdict::Unknown);
        assert!(checked.fix.unwrap().contains("--first-release"));
    }

    #[test]
    fn a_first_release_has_no_baseline() {
        assert_eq!(judged(&[("gateway", Some(0.1))], None).verdict, Verdict::Pass);
    }
}
