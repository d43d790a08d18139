//! Prometheus' query API. Empty answers and NaN are *no data*, never a number.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::http as web;
use super::reach::Route;
use super::retry::Retry;
use crate::config::model;
use crate::error::{Class, Error, Result};

/// One series' value at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    /// Finite: what is not a number is no sample.
    pub value: f64,
    pub at: Timestamp,
}

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A Prometheus server.
#[derive(Clone)]
pub struct Prometheus {
    route: Route,
    retry: Retry,
}

/// The three questions of an environment, filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queries {
    pub requests: String,
    pub errors: String,
    pub p95: String,
}

impl Queries {
    /// Fills `{namespace}` and `{window}` into the configured questions.
    #[must_use]
    pub fn fill(config: &model::Prometheus, namespace: &str, window: Duration) -> Self {
        let window = model::span::format(window.max(Duration::from_millis(1)));
        // The namespace stands in a PromQL string.
        let namespace = namespace.replace('\\', r"\\").replace('"', "\\\"");
        let fill = |query: &str| query.replace("{namespace}", &namespace).replace("{window}", &window);
        Self { requests: fill(&config.requests), errors: fill(&config.errors), p95: fill(&config.p95) }
    }
}

impl Prometheus {
    /// The server at the end of `route`; its API is at `/api/v1`.
    #[must_use]
    pub fn new(route: Route) -> Self {
        Self { route, retry: Retry::default() }
    }

    /// The server of an environment, reached as configured.
    pub fn of(config: &model::Prometheus, namespace: &str, cluster: Option<&Cluster>) -> Result<Self> {
        Route::new(&config.reach, namespace, "prometheus", cluster).map(Self::new)
    }

    /// Where it is and how it is reached, for evidence.
    #[must_use]
    pub fn described(&self) -> String {
        format!("Prometheus at {}", self.route.described())
    }

    /// An instant query, at `at` or at the server's now. Series without a number are left out: an empty answer is *no data*.
    pub async fn query(&self, promql: &str, at: Option<Timestamp>) -> Result<Vec<Sample>> {
        let time = at.map(|at| format!("{:.3}", at.as_duration().as_secs_f64()));
        let mut form = vec![("query", promql)];
        form.extend(time.as_deref().map(|time| ("time", time)));
        self.retry
            .read(async || {
                let answer = self.route.post_form("/api/v1/query", &form, TIMEOUT).await?;
                if answer.truncated {
                    return Err(Error::outside("Prometheus' answer is too long").hint("aggregate the query by service"));
                }
                read(answer.status, &answer.body)
            })
            .await
    }
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// Reads an answer of the query API (prometheus.io, "HTTP API").
fn read(status: u16, body: &[u8]) -> Result<Vec<Sample>> {
    // A proxy's page, the API server's own Status, or half an answer are no answers of Prometheus.
    let own = |answer: &Answer| answer.status == "success" || answer.error_type.is_some();
    let Some(answer) = serde_json::from_slice::<Answer>(body).ok().filter(own) else {
        let class = if status < 400 { Class::Terminal } else { web::classify(status, None) };
        return Err(Error::outside(format!("Prometheus answered {status}, and not in its own form")).class(class));
    };
    if answer.status != "success" {
        let class = match answer.error_type.as_deref() {
            // The query itself is wrong: asking again does not help.
            Some("bad_data") => Class::Terminal,
            _ => web::classify(status, None),
        };
        let kind = answer.error_type.unwrap_or_else(|| "error".into());
        let text = answer.error.unwrap_or_default();
        return Err(Error::outside(format!("Prometheus refused the query: {kind}: {text}")).class(class));
    }
    let data = answer.data.ok_or_else(|| Error::outside("Prometheus answered success without data"))?;
    let malformed = |error: serde_json::Error| Error::outside("Prometheus' answer is not of its form").because(error);
    let series = match data.kind.as_str() {
        "vector" => serde_json::from_value::<Vec<Series>>(data.result).map_err(malformed)?,
        "scalar" => {
            let value = serde_json::from_value(data.result).map_err(malformed)?;
            vec![Series { metric: BTreeMap::new(), value }]
        }
        other => {
            return Err(Error::config(format!("a query gave a {other}, not one value per series"))
                .hint("the queries of `prometheus` in the configuration must be instant vectors"));
        }
    };
    Ok(series.into_iter().filter_map(sample).collect())
}

fn sample(series: Series) -> Option<Sample> {
    let (at, text) = series.value;
    let value = match text.as_str() {
        "+Inf" | "-Inf" | "NaN" => return None,
        text => text.parse::<f64>().ok().filter(|value| value.is_finite())?,
    };
    let at = jiff::SignedDuration::try_from_secs_f64(at).ok()?;
    Some(Sample { labels: series.metric, value, at: Timestamp::from_duration(at).ok()? })
}

/// The values by one label (`service`). A series without the label is left out.
///
/// # Errors
/// Two series with the same label value: the query must aggregate by that label.
pub fn by_label(samples: &[Sample], label: &str) -> Result<BTreeMap<String, f64>> {
    let mut map = BTreeMap::new();
    for sample in samples {
        let Some(name) = sample.labels.get(label) else { continue };
        if map.insert(name.clone(), sample.value).is_some() {
            return Err(Error::config(format!("a query gave more than one series for {label}={name:?}"))
                .hint(format!("aggregate it: sum by ({label}) (…)")));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_no_data() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"service":"gospelib-gateway"},"value":[1741078800.5,"0.25"]},
            {"metric":{"service":"gospelib-auth"},"value":[1741078800.5,"NaN"]},
            {"metric":{"service":"gospelib-study"},"value":[1741078800.5,"+Inf"]}]}}"#;
        let samples = read(200, body).unwrap();
        let map = by_label(&samples, "service").unwrap();
        assert_eq!(map.into_iter().collect::<Vec<_>>(), [("gospelib-gateway".to_owned(), 0.25)]);
        assert_eq!(samples[0].at, "2025-03-04T09:00:00.5Z".parse().unwrap());
        assert!(read(200, br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#).unwrap().is_empty());
        let scalar = read(200, br#"{"status":"success","data":{"resultType":"scalar","result":[1741078800,"3"]}}"#);
        assert_eq!(scalar.unwrap()[0].value.to_bits(), 3f64.to_bits());
        assert!(by_label(&[samples[0].clone(), samples[0].clone()], "service").is_err());
    }

    #[test]
    fn refusals_are_errors() {
        let bad = br#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected end"}"#;
        let error = read(400, bad).unwrap_err();
        assert!(error.what().contains("unexpected end") && !error.is_transient());
        assert!(read(503, br#"{"status":"error","errorType":"unavailable","error":"x"}"#).unwrap_err().is_transient());
        let status = br#"{"kind":"Status","status":"Failure","message":"no endpoints","code":503}"#;
        assert!(read(503, status).unwrap_err().is_transient());
        assert!(read(502, b"<html>Bad Gateway</html>").unwrap_err().is_transient());
        assert!(read(200, br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#).is_err());
    }

    #[test]
    fn queries_are_filled() {
        let hour = Duration::from_hours(1);
        let queries = Queries::fill(&model::Prometheus::default(), "gospelib-staging", hour);
        assert_eq!(
            queries.requests,
            r#"sum by (service) (rate(http_requests_total{namespace="gospelib-staging"}[1h]))"#
        );
        for query in [&queries.requests, &queries.errors, &queries.p95] {
            promql_parser::parser::parse(query).unwrap();
        }
    }
}
