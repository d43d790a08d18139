//! promtool against the rehearsed Prometheus, and our metrics adapter against a real one.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use gospel_release::adapters::prometheus::{Prometheus, Queries, by_label};
use gospel_release::adapters::reach::Route;
use gospel_release::config::model::{self, ReachBy};
use gospel_release::monitor::sli::Sli;
use jiff::Timestamp;

use crate::harness::{Client, Server, World, free_port, http, need};

#[test]
fn promtool_queries_the_rehearsed_prometheus() {
    if !need(&["promtool"]) {
        return;
    }
    let (world, config) = (World::shared(), model::Prometheus::default());
    let url = world.url("prometheus");
    // World time; the server's own now is the wall clock's, for promtool.
    let status = http("GET", &format!("{url}/api/v1/query?query=time()"), &[], None).unwrap().json();
    let now = status["data"]["result"][0].as_f64().unwrap();
    let instant = |query: &str| {
        let at = format!("--time={now}");
        Client::new("promtool").args(["query", "instant", &at, url, query]).run()
    };
    for namespace in ["gospelib-staging", "gospelib-production"] {
        let queries = Queries::fill(&config, namespace, Duration::from_mins(30));
        for query in [&queries.requests, &queries.p95] {
            let found = instant(query).ok();
            assert_eq!(found.lines().count(), 6, "{query}: {found}");
            assert!(found.contains("{service=\"gospelib-gateway\"} => "), "{query}: {found}");
        }
        instant(&queries.errors).ok();
    }
    assert!(instant("http_requests_total{namespace=\"elsewhere\"}").ok().trim().is_empty());
    let wrong = instant("sum by (").refused();
    assert!(wrong.contains("bad_data"), "{wrong}");

    let (start, end) = (format!("--start={}", now - 3600.0), format!("--end={now}"));
    let query = "sum(rate(http_requests_total{namespace=\"gospelib-production\"}[5m]))";
    let range = Client::new("promtool").args(["query", "range", &start, &end, "--step=5m", url, query]).run().ok();
    assert_eq!(range.lines().filter(|line| line.contains(" @[")).count(), 13, "{range}");
    let labels = Client::new("promtool").args(["query", "labels", url, "service"]).run().ok();
    assert!(labels.lines().any(|label| label == "gospelib-study"), "{labels}");
    let matching = "--match=http_requests_total{namespace=\"gospelib-staging\"}";
    let series = Client::new("promtool").args(["query", "series", matching, &start, &end, url]).run().ok();
    assert!(series.contains("gospelib-gateway"), "{series}");
}

/// Seconds between two samples.
const STEP: i64 = 15;
/// Samples: two hours.
const SAMPLES: i64 = 480;

/// Two hours of samples that end at `end`: the gateway answers 10 requests a second, 2 % of them with 500, and restarts in
/// the middle; nine of ten last less than 0.1 s and all less than 0.5 s. auth has no errors, content no requests, study only one
/// sample, and the latency of search is counted in a bucket whose count never grows.
fn openmetrics(end: i64) -> String {
    let (mut counters, mut buckets) = (String::new(), String::new());
    let labels = |service: &str| format!("namespace=\"shop\",service=\"gospelib-{service}\"");
    let counter = |text: &mut String, service: &str, code: &str, value: &dyn Fn(i64) -> i64| {
        for n in 0..SAMPLES {
            let (value, at) = (value(n), end - (SAMPLES - 1 - n) * STEP);
            writeln!(text, "http_requests_total{{{},code=\"{code}\"}} {value} {at}", labels(service)).unwrap();
        }
    };
    // A restart: counters begin again at zero.
    let restarted = |n: i64| n % (SAMPLES / 2);
    counter(&mut counters, "gateway", "200", &|n| restarted(n) * 147);
    counter(&mut counters, "gateway", "500", &|n| restarted(n) * 3);
    counter(&mut counters, "auth", "200", &|n| n * 30);
    counter(&mut counters, "content", "200", &|_| 7);
    writeln!(counters, "http_requests_total{{{},code=\"200\"}} 1 {end}", labels("study")).unwrap();
    for (service, le, rate) in [
        ("gateway", "0.1", 135),
        ("gateway", "0.5", 150),
        ("gateway", "+Inf", 150),
        ("search", "0.1", 0),
        ("search", "+Inf", 0),
    ] {
        for n in 0..SAMPLES {
            let at = end - (SAMPLES - 1 - n) * STEP;
            let value = restarted(n) * rate;
            let labels = labels(service);
            writeln!(buckets, "http_request_duration_seconds_bucket{{{labels},le=\"{le}\"}} {value} {at}").unwrap();
        }
    }
    format!(
        "# TYPE http_requests counter\n{counters}# TYPE http_request_duration_seconds_bucket unknown\n{buckets}# EOF\n"
    )
}

fn backfilled(dir: &Path, end: i64) -> Option<(Server, String)> {
    if !need(&["prometheus", "promtool"]) {
        return None;
    }
    let (metrics, data) = (dir.join("metrics.txt"), dir.join("data"));
    std::fs::write(&metrics, openmetrics(end)).unwrap();
    let made =
        Client::new("promtool").args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&metrics).arg(&data).run();
    made.ok();
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n").unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let server = Server::start(
        "prometheus",
        &[
            &format!("--config.file={}", config.display()),
            &format!("--storage.tsdb.path={}", data.display()),
            "--storage.tsdb.retention.time=30d",
            &format!("--web.listen-address={address}"),
        ],
        |_| {},
    );
    let url = format!("http://{address}");
    let server = server.ready_at(&format!("{url}/-/ready"));
    Some((server, url))
}

#[tokio::test(flavor = "multi_thread")]
async fn our_adapter_reads_a_real_prometheus() {
    // The samples lie in the past: blocks of the running hour would not be merged yet.
    let end = Timestamp::now().as_second() - 7200;
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let started = tokio::task::spawn_blocking(move || backfilled(&place, end)).await.unwrap();
    let Some((_server, url)) = started else { return };
    let direct = model::Reach { by: ReachBy::Direct, url: Some(url), ..model::Reach::default() };
    let config = model::Prometheus { reach: direct, ..model::Prometheus::default() };
    let prometheus = Prometheus::of(&config, "shop", None).unwrap();
    let at = Timestamp::from_second(end).unwrap();
    let ask = async |query: &str| by_label(&prometheus.query(query, Some(at)).await.unwrap(), "service").unwrap();

    let queries = Queries::fill(&config, "shop", Duration::from_mins(30));
    let (requests, errors, p95) = (ask(&queries.requests).await, ask(&queries.errors).await, ask(&queries.p95).await);
    let sli = |service: &str| {
        let value =
            |values: &std::collections::BTreeMap<String, f64>| values.get(&format!("gospelib-{service}")).copied();
        Sli::of(value(&requests), value(&errors), value(&p95))
    };
    let near =
        |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value - wanted).abs() < wanted * 0.02 + 1e-9);
    let gateway = sli("gateway");
    assert!(near(gateway.requests, 10.0) && near(gateway.error_ratio, 0.02), "{gateway:?}");
    // 90 % below 0.1 s and the rest below 0.5 s: the 95th is in the middle of the second bucket.
    assert!(near(gateway.p95, 0.3), "{gateway:?}");
    let auth = sli("auth");
    assert!(near(auth.requests, 2.0) && auth.error_ratio == Some(0.0) && auth.p95.is_none(), "{auth:?}");
    let content = sli("content");
    assert_eq!((content.requests, content.error_ratio, content.has_data()), (Some(0.0), None, false));
    assert!(!sli("study").has_data(), "one sample is no rate");
    // histogram_quantile over no observations is NaN: no data.
    assert!(!p95.contains_key("gospelib-search"), "{p95:?}");

    // The restart lies in this window; without it the rate would be negative or nearly halved.
    let long = Queries::fill(&config, "shop", Duration::from_mins(100));
    assert!(near(ask(&long.requests).await.get("gospelib-gateway").copied(), 10.0));
    let elsewhere = Queries::fill(&config, "elsewhere", Duration::from_mins(30));
    assert!(ask(&elsewhere.requests).await.is_empty());
    let stamped = prometheus.query("vector(3)", Some(at)).await.unwrap();
    assert_eq!((stamped[0].value.to_bits(), stamped[0].at), (3f64.to_bits(), at));
    assert!(prometheus.query("1 / 0", Some(at)).await.unwrap().is_empty());
    let wrong = prometheus.query("sum by (", Some(at)).await.unwrap_err();
    assert!(!wrong.is_transient() && format!("{wrong:?}").contains("parse error"), "{wrong:?}");
    let matrix = prometheus.query("http_requests_total[5m]", Some(at)).await.unwrap_err();
    assert!(!matrix.hints().is_empty(), "{matrix:?}");

    let nowhere = model::Reach {
        by: ReachBy::Direct,
        url: Some(format!("http://127.0.0.1:{}", free_port())),
        ..model::Reach::default()
    };
    let route = Route::new(&nowhere, "shop", "prometheus", None).unwrap();
    assert!(Prometheus::new(route).query("1", None).await.unwrap_err().is_transient());
}
