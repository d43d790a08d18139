//! Production answers: each service's endpoints, and the runbook's public URLs.

use std::time::Duration;

use crate::adapters::http::probe_url;
use crate::domain::{count, duration};
use crate::engine::{BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result};
use crate::monitor::endpoints::Endpoints;

/// Waits until every endpoint and URL is healthy.
pub struct ProductionHealth {
    pub endpoints: Endpoints,
    pub http: reqwest::Client,
    pub urls: Vec<String>,
    /// World time within which they must be.
    pub within: Duration,
}

impl ProductionHealth {
    async fn urls(&self) -> Vec<(String, bool, String)> {
        let asked = self.urls.iter().map(async |url| match probe_url(&self.http, url).await {
            Ok(probe) => (url.clone(), probe.is_ok(), format!("{} in {}", probe.status, duration(probe.elapsed))),
            Err(error) => (url.clone(), false, error.to_string()),
        });
        futures::future::join_all(asked).await
    }
}

impl Step for ProductionHealth {
    fn id(&self) -> &'static str {
        "health"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Production answers".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.within)
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let (looks, urls) = futures::join!(self.endpoints.look(), self.urls());
            let mut evidence = self.endpoints.evidence(&looks).at(io.now());
            for (url, ok, said) in urls {
                evidence = evidence.fact(url, said, ok);
            }
            let wrong: Vec<String> = evidence.wrong().map(|fact| format!("{}: {}", fact.of, fact.seen)).collect();
            if let Some(first) = wrong.first() {
                let more = if wrong.len() > 1 { format!("; {} more", wrong.len() - 1) } else { String::new() };
                return Ok(Probe::NotYet(format!("{first}{more}")));
            }
            if !self.urls.is_empty() {
                evidence.summary.push_str(&format!(", {} answer", count(self.urls.len(), "URL")));
            }
            Ok(Probe::Done(Done::new(evidence)))
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(Kind::TimedOut, format!("production is not healthy: {waited_for}"))
            .seen("The new pods are ready and serve.")
            .hint("to go back: gospel-release rollback")
            .hint("to look again: gospel-release resume")
    }
}
