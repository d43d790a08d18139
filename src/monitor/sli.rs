//! Service level indicators: requests, errors, p95 of each service, and whether they are within their limits.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::ServiceName;

/// One look at all services.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    /// World time of it.
    pub at: Timestamp,
    pub services: BTreeMap<ServiceName, Sli>,
}

/// What a look found about one service. `None` is *no data*: an empty vector, NaN, infinity, or no requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sli {
    /// Requests per second.
    pub requests: Option<f64>,
    /// Share of failed requests, 0 to 1.
    pub error_ratio: Option<f64>,
    /// Seconds.
    pub p95: Option<f64>,
}

impl Sli {
    /// From what the three queries answered for one service: the rate of requests, the rate of failed ones, p95.
    ///
    /// A service that answered no request with an error has no such series at all: that is a ratio of 0, but only where
    /// requests are known and not 0.
    #[must_use]
    pub fn of(requests: Option<f64>, errors: Option<f64>, p95: Option<f64>) -> Self {
        let known = |value: Option<f64>| value.filter(|value| value.is_finite() && *value >= 0.0);
        // An infinite or NaN count of errors is not "no errors".
        let odd = errors.is_some_and(|errors| !errors.is_finite());
        let requests = known(requests);
        let error_ratio = requests
            .filter(|requests| *requests > 0.0 && !odd)
            .map(|requests| (known(errors).unwrap_or(0.0) / requests).min(1.0));
        Self { requests, error_ratio, p95: known(p95).filter(|_| requests.is_some_and(|requests| requests > 0.0)) }
    }

    /// Whether there were requests to judge by.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.error_ratio.is_some()
    }
}

/// What is still good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Share of failed requests, 0 to 1.
    pub error_ratio: f64,
    /// Seconds.
    pub p95: f64,
}

/// Something that a look found wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub service: ServiceName,
    pub kind: FindingKind,
    /// "gateway: 3.2 % of requests fail (limit 1 %)".
    pub said: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    Errors,
    Latency,
    /// No requests, or no metrics: nothing can be said, and that is said.
    NoData,
}

impl FindingKind {
    /// Whether it speaks against the release.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Errors | Self::Latency)
    }
}

impl Look {
    /// What is not as it should be, by service.
    #[must_use]
    pub fn findings(&self, limits: Limits) -> Vec<Finding> {
        let mut found = Vec::new();
        for (service, sli) in &self.services {
            let mut add = |kind, said: String| {
                found.push(Finding { service: service.clone(), kind, said: format!("{service}: {said}") });
            };
            if !sli.has_data() {
                add(FindingKind::NoData, "no requests seen, so nothing is known".into());
                continue;
            }
            if let Some(ratio) = sli.error_ratio.filter(|ratio| *ratio > limits.error_ratio) {
                let (seen, limit) = (percent(ratio), percent(limits.error_ratio));
                add(FindingKind::Errors, format!("{seen} of requests fail (limit {limit})"));
            }
            match sli.p95 {
                Some(p95) if p95 > limits.p95 => {
                    add(FindingKind::Latency, format!("p95 is {} (limit {})", millis(p95), millis(limits.p95)));
                }
                Some(_) => {}
                None => add(FindingKind::NoData, "no latency data".into()),
            }
        }
        found
    }

    /// One line: "errors at most 0.4 % (search), p95 at most 212 ms (search)"; `None` when no service has data.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let most = |value: fn(&Sli) -> Option<f64>| {
            self.services
                .iter()
                .filter_map(|(service, sli)| Some((service, value(sli)?)))
                .max_by(|a, b| a.1.total_cmp(&b.1))
        };
        let (service, ratio) = most(|sli| sli.error_ratio)?;
        let errors = format!("errors at most {} ({service})", percent(ratio));
        Some(match most(|sli| sli.p95) {
            Some((service, p95)) => format!("{errors}, p95 at most {} ({service})", millis(p95)),
            None => errors,
        })
    }
}

/// Bad looks in a row: one bad look is noise, `bad_looks` of them are a regression.
#[derive(Debug, Clone, Default)]
pub struct Streak {
    /// Looks in a row in which this service was bad in this way.
    bad: BTreeMap<(ServiceName, u8), u32>,
    looks: u32,
    looks_with_data: u32,
}

/// What the looks so far come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    Good,
    /// Bad now, but not for long enough.
    Suspect {
        bad: u32,
        of: u32,
        findings: Vec<Finding>,
    },
    /// The same thing was bad in `bad_looks` looks in a row.
    Regression {
        findings: Vec<Finding>,
    },
    /// This look had no data of any service.
    NoData,
}

impl Streak {
    /// Takes a look in. A look without data of a service neither lengthens nor ends its streak.
    pub fn judge(&mut self, look: &Look, limits: Limits, bad_looks: u32) -> Judgement {
        self.looks += 1;
        let findings = look.findings(limits);
        if look.services.values().any(Sli::has_data) {
            self.looks_with_data += 1;
        } else {
            return Judgement::NoData;
        }
        let mut longest = 0;
        let mut regressed = Vec::new();
        for (service, sli) in look.services.iter().filter(|(_, sli)| sli.has_data()) {
            for kind in [FindingKind::Errors, FindingKind::Latency] {
                let key = (service.clone(), kind as u8);
                let found = findings.iter().find(|finding| finding.service == *service && finding.kind == kind);
                match found {
                    Some(finding) => {
                        let bad = self.bad.entry(key).or_default();
                        *bad += 1;
                        longest = longest.max(*bad);
                        if *bad >= bad_looks.max(1) {
                            regressed.push(finding.clone());
                        }
                    }
                    None if kind == FindingKind::Latency && sli.p95.is_none() => {}
                    None => {
                        self.bad.remove(&key);
                    }
                }
            }
        }
        if !regressed.is_empty() {
            Judgement::Regression { findings: regressed }
        } else if longest > 0 {
            let findings = findings.into_iter().filter(|finding| finding.kind.is_bad()).collect();
            Judgement::Suspect { bad: longest, of: bad_looks.max(1), findings }
        } else {
            Judgement::Good
        }
    }

    /// How many looks there were, and how many of them had data.
    #[must_use]
    pub fn looks(&self) -> (u32, u32) {
        (self.looks, self.looks_with_data)
    }
}

/// `0.42 %`, `8 %`: two significant decimals below 1 %, one above, none when whole.
#[must_use]
pub fn percent(ratio: f64) -> String {
    let value = ratio * 100.0;
    let text = if value < 1.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// `212 ms`, `1.5 s`.
#[must_use]
pub fn millis(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        format!("{} s", format!("{seconds:.2}").trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { error_ratio: 0.01, p95: 0.5 };

    fn look(services: &[(&str, Sli)]) -> Look {
        let services = services.iter().map(|(name, sli)| (name.parse().unwrap(), *sli)).collect();
        Look { at: "2025-03-04T10:00:00Z".parse().unwrap(), services }
    }

    fn good() -> Sli {
        Sli::of(Some(10.0), Some(0.02), Some(0.12))
    }

    #[test]
    fn nan_an_empty_vector_and_no_requests_are_no_data() {
        assert!(!Sli::of(None, None, None).has_data());
        assert!(!Sli::of(Some(f64::NAN), Some(0.0), Some(0.1)).has_data());
        assert!(!Sli::of(Some(0.0), None, Some(f64::NAN)).has_data());
        assert!(!Sli::of(Some(3.0), Some(f64::NAN), Some(0.1)).has_data());
        assert_eq!(Sli::of(Some(3.0), None, Some(f64::NAN)).p95, None);
        // No errors ever: no such series, and that is a ratio of 0.
        assert_eq!(Sli::of(Some(3.0), None, Some(0.1)).error_ratio, Some(0.0));
    }

    #[test]
    fn limits_are_judged_by_service() {
        let look = look(&[
            ("auth", Sli::of(None, None, None)),
            ("gateway", Sli::of(Some(10.0), Some(0.8), Some(0.1))),
            ("search", Sli::of(Some(10.0), Some(0.0), Some(0.9))),
            ("study", good()),
        ]);
        let said: Vec<String> = look.findings(LIMITS).into_iter().map(|finding| finding.said).collect();
        assert_eq!(
            said,
            [
                "auth: no requests seen, so nothing is known",
                "gateway: 8 % of requests fail (limit 1 %)",
                "search: p95 is 900 ms (limit 500 ms)",
            ]
        );
        assert_eq!(look.summary().unwrap(), "errors at most 8 % (gateway), p95 at most 900 ms (search)");
    }

    #[test]
    fn bad_looks_count_only_in_a_row_and_for_the_same_thing() {
        let bad = look(&[("gateway", Sli::of(Some(10.0), Some(1.0), Some(0.1)))]);
        let slow = look(&[("gateway", Sli::of(Some(10.0), Some(0.0), Some(0.7)))]);
        let fine = look(&[("gateway", good())]);
        let blind = look(&[("gateway", Sli::of(None, None, None))]);
        let mut streak = Streak::default();
        assert!(matches!(streak.judge(&bad, LIMITS, 3), Judgement::Suspect { bad: 1, of: 3, .. }));
        assert!(matches!(streak.judge(&slow, LIMITS, 3), Judgement::Suspect { bad: 1, .. }));
        assert_eq!(streak.judge(&fine, LIMITS, 3), Judgement::Good);
        streak.judge(&bad, LIMITS, 3);
        streak.judge(&bad, LIMITS, 3);
        assert_eq!(streak.judge(&blind, LIMITS, 3), Judgement::NoData);
        assert!(matches!(streak.judge(&bad, LIMITS, 3), Judgement::Regression { .. }));
        assert_eq!(streak.looks(), (7, 6));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!((percent(0.0042), percent(0.08), percent(0.0)), ("0.42 %".into(), "8 %".into(), "0 %".into()));
        assert_eq!((percent(0.5), percent(1.0)), ("50 %".into(), "100 %".into()));
        assert_eq!((millis(0.212), millis(1.5), millis(10.0)), ("212 ms".into(), "1.5 s".into(), "10 s".into()));
    }
}
