//! Prometheus' HTTP API over the generated traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use promql_parser::parser::Expr;
use serde_json::{Value, json};

use super::World;
use super::promql::{Labels, Outcome, evaluate, series};
use super::traffic::seconds;

/// The most points a series may have in one answer (Prometheus' limit).
const MAX_POINTS: f64 = 11_000.0;

/// The query API; other routes answer 501.
pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/api/v1/query", get(query).post(query))
        .route("/api/v1/query_range", get(query_range).post(query_range))
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/series", get(all_series).post(all_series))
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/-/ready", get(async || "Prometheus Server is Ready.\n"))
        .route("/-/healthy", get(async || "Prometheus Server is Healthy.\n"))
        .fallback(async || failure(StatusCode::NOT_IMPLEMENTED, "not_found", "the rehearsal has no such route"))
        .with_state(world)
}

/// Parameters of the URL and of a form, in order; names may repeat.
struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = Bytes::from_request(request, &()).await.map_err(IntoResponse::into_response)?;
        let parse = |text: &[u8]| url::form_urlencoded::parse(text).into_owned().collect::<Vec<_>>();
        let mut all = if form { parse(&body) } else { Vec::new() };
        all.extend(parse(query.as_bytes()));
        Ok(Self(all))
    }
}

impl Params {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The expression of `query`.
    fn query(&self) -> Result<Expr, Response> {
        let text = self.get("query").unwrap_or_default();
        promql_parser::parser::parse(text).map_err(|error| bad(&format!("invalid parameter \"query\": {error}")))
    }

    /// A moment in Unix seconds or RFC 3339.
    fn time(&self, name: &str) -> Result<Option<f64>, Response> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let unix = text.parse::<f64>().ok().filter(|value| value.is_finite());
        let stamp = || text.parse::<jiff::Timestamp>().ok().map(seconds);
        unix.or_else(stamp)
            .map(Some)
            .ok_or_else(|| bad(&format!("invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp")))
    }

    /// A length in seconds: a number, or `15s`, `5m`.
    fn step(&self) -> Result<f64, Response> {
        let text = self.get("step").unwrap_or_default();
        let number = || text.parse::<f64>().ok();
        let step = number().or_else(|| promql_parser::util::parse_duration(text).ok().map(|step| step.as_secs_f64()));
        match step {
            Some(step) if step.is_finite() && step > 0.0 => Ok(step),
            Some(_) => Err(bad(
                "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
            )),
            None => Err(bad(&format!("invalid parameter \"step\": cannot parse {text:?} to a valid duration"))),
        }
    }

    /// The selectors of `match[]`.
    fn selectors(&self) -> Result<Vec<promql_parser::parser::VectorSelector>, Response> {
        let texts = self.0.iter().filter(|(name, _)| name == "match[]");
        texts
            .map(|(_, text)| match promql_parser::parser::parse(text) {
                Ok(Expr::VectorSelector(selector)) => Ok(selector),
                Ok(_) => Err(bad("invalid parameter \"match[]\": expected a selector")),
                Err(error) => Err(bad(&format!("invalid parameter \"match[]\": {error}"))),
            })
            .collect()
    }
}

async fn query(State(world): State<Arc<World>>, params: Params) -> Result<Response, Response> {
    let at = params.time("time")?.unwrap_or_else(|| seconds(world.clock.now()));
    let expr = params.query()?;
    world.traffic.observe(&world);
    let data = match evaluate(&world, &expr, at).map_err(|error| bad(&error))? {
        Outcome::Scalar(value) => json!({ "resultType": "scalar", "result": point(at, value) }),
        Outcome::Text(text) => json!({ "resultType": "string", "result": [at, text] }),
        Outcome::Vector(samples) => {
            let sample = |(labels, value): &(Labels, f64)| json!({ "metric": labels, "value": point(at, *value) });
            json!({ "resultType": "vector", "result": samples.iter().map(sample).collect::<Vec<_>>() })
        }
    };
    Ok(success(data))
}

async fn query_range(State(world): State<Arc<World>>, params: Params) -> Result<Response, Response> {
    let missing = |name: &str| bad(&format!("invalid parameter {name:?}: cannot parse \"\" to a valid timestamp"));
    let start = params.time("start")?.ok_or_else(|| missing("start"))?;
    let end = params.time("end")?.ok_or_else(|| missing("end"))?;
    let step = params.step()?;
    if end < start {
        return Err(bad("invalid parameter \"end\": end timestamp must not be before start time"));
    }
    if (end - start) / step > MAX_POINTS {
        return Err(bad(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let expr = params.query()?;
    world.traffic.observe(&world);
    let mut rows: BTreeMap<Labels, Vec<Value>> = BTreeMap::new();
    let mut at = start;
    while at <= end {
        match evaluate(&world, &expr, at).map_err(|error| bad(&error))? {
            Outcome::Scalar(value) => rows.entry(Labels::new()).or_default().push(point(at, value)),
            Outcome::Vector(samples) => {
                for (labels, value) in samples {
                    rows.entry(labels).or_default().push(point(at, value));
                }
            }
            Outcome::Text(_) => {
                let text = "invalid expression type \"string\" for range query, must be Scalar or instant Vector";
                return Err(bad(text));
            }
        }
        at += step;
    }
    let rows: Vec<Value> =
        rows.into_iter().map(|(labels, values)| json!({ "metric": labels, "values": values })).collect();
    Ok(success(json!({ "resultType": "matrix", "result": rows })))
}

async fn all_series(State(world): State<Arc<World>>, params: Params) -> Result<Response, Response> {
    if params.get("match[]").is_none() {
        return Err(bad("no match[] parameter provided"));
    }
    Ok(success(json!(found(&world, &params)?)))
}

async fn labels(State(world): State<Arc<World>>, params: Params) -> Result<Response, Response> {
    let names: BTreeSet<String> = found(&world, &params)?.into_iter().flat_map(Labels::into_keys).collect();
    Ok(success(json!(names)))
}

async fn label_values(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Response> {
    let found = found(&world, &params)?.into_iter();
    let values: BTreeSet<String> = found.filter_map(|mut labels| labels.remove(&name)).collect();
    Ok(success(json!(values)))
}

/// The series of `match[]` between `start` and `end`; all of the last hour where nothing is said.
fn found(world: &World, params: &Params) -> Result<Vec<Labels>, Response> {
    let end = params.time("end")?.unwrap_or_else(|| seconds(world.clock.now()));
    let start = params.time("start")?.unwrap_or(end - 3600.0);
    world.traffic.observe(world);
    let mut selectors = params.selectors()?;
    if selectors.is_empty() {
        selectors.push(promql_parser::parser::VectorSelector::default());
    }
    Ok(selectors.iter().flat_map(|selector| series(world, selector, start, end)).collect())
}

async fn build_info() -> Response {
    success(json!({
        "version": "2.53.0",
        "revision": "rehearsal",
        "branch": "HEAD",
        "buildUser": "gospel-release",
        "buildDate": "20250301-00:00:00",
        "goVersion": "",
    }))
}

/// `[time, "value"]`.
fn point(at: f64, value: f64) -> Value {
    let text = match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    };
    json!([at, text])
}

fn success(data: Value) -> Response {
    axum::Json(json!({ "status": "success", "data": data })).into_response()
}

fn bad(error: &str) -> Response {
    failure(StatusCode::BAD_REQUEST, "bad_data", error)
}

fn failure(status: StatusCode, kind: &str, error: &str) -> Response {
    (status, axum::Json(json!({ "status": "error", "errorType": kind, "error": error }))).into_response()
}
