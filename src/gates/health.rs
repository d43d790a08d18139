//! "Health checks are green on staging": every endpoint of every service, several times, all services at once.

use crate::domain::Evidence;
use crate::engine::{BoxFuture, Checked, Facts, Gate, StepIo};
use crate::error::Result;
use crate::monitor::endpoints::{EndpointLook, Endpoints};

use super::words::some;

pub struct Health {
    /// Of staging.
    pub endpoints: Endpoints,
}

impl Gate for Health {
    fn id(&self) -> &'static str {
        "health"
    }

    fn title(&self) -> String {
        "Health checks are green on staging".into()
    }

    fn check<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let looks = self.endpoints.look().await;
            Ok(judge(&looks, self.endpoints.evidence(&looks).at(io.now())))
        })
    }
}

/// A bad answer fails; no answer at all is unknown: it may be the way that is broken, not the service.
fn judge(looks: &[EndpointLook], mut evidence: Evidence) -> Checked {
    let endpoint = |look: &EndpointLook| format!("{} {}", look.service, look.path);
    let bad: Vec<&EndpointLook> = looks.iter().filter(|look| !look.ok && !look.unanswered).collect();
    let silent: Vec<String> = looks.iter().filter(|look| !look.ok && look.unanswered).map(endpoint).collect();
    if let Some(first) = bad.first() {
        let names: Vec<String> = bad.iter().map(|look| endpoint(look)).collect();
        // The body stands in the facts.
        let answer = first.said.split_once(": ").map_or(first.said.as_str(), |(status, _)| status);
        evidence.summary = format!("{}; not green: {} ({answer})", evidence.summary, some(&names));
        return Checked::fail(evidence).fix(format!("make {} healthy on staging, then check again", some(&names)));
    }
    if !silent.is_empty() {
        evidence.summary = format!("{}; no answer from {}", evidence.summary, some(&silent));
        return Checked::unknown(evidence)
            .fix("gospel-release doctor tries the way to staging's endpoints (staging.health.reach)");
    }
    if looks.is_empty() {
        evidence.summary = "no endpoint is configured, so nothing was asked".into();
        return Checked::unknown(evidence).fix("name the paths under staging.health.paths");
    }
    Checked::pass(evidence)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::Verdict;

    fn look(service: &str, ok: bool, unanswered: bool) -> EndpointLook {
        EndpointLook {
            service: service.parse().unwrap(),
            path: "/ready".into(),
            ok,
            slowest: Duration::from_millis(12),
            said: if ok { "200 in 12 ms" } else { "503: postgres" }.into(),
            unanswered,
        }
    }

    fn judged(looks: &[EndpointLook]) -> Checked {
        judge(looks, Evidence::new("1 of 2 services healthy"))
    }

    #[test]
    fn all_green_is_a_pass() {
        assert_eq!(judged(&[look("gateway", true, false)]).verdict, Verdict::Pass);
    }

    #[test]
    fn a_bad_answer_fails_and_is_quoted() {
        let checked = judged(&[look("gateway", true, false), look("search", false, false), look("auth", false, true)]);
        assert_eq!(checked.verdict, Verdict::Fail);
        assert_eq!(checked.evidence.summary, "1 of 2 services healthy; not green: search /ready (503)");
    }

    #[test]
    fn no_answer_and_no_endpoint_are_unknown() {
        assert_eq!(judged(&[look("search", false, true)]).verdict, Verdict::Unknown);
        assert_eq!(judged(&[]).verdict, Verdict::Unknown);
    }
}
