//! What answers behind the Kubernetes API: logs, proxies, forwards.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::services::call;
use super::{direct, forward, router};
use crate::rehearsal::controllers::object::name;
use crate::rehearsal::controllers::tests::Stage;

async fn ask(stage: &Stage, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = call(router(stage.world.clone()), request).await;
    let status = response.status();
    (status, String::from_utf8(to_bytes(response.into_body(), 1 << 24).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn logs_are_tailed_and_bounded() {
    let stage = Stage::new("{staging_errors: gateway}");
    let pod = stage.pods("staging", "gateway")[0].clone();
    let path = format!("/api/v1/namespaces/gospelib-staging/pods/{}/log", name(&pod));
    let (status, tail) = ask(&stage, &format!("{path}?tailLines=3&timestamps=true")).await;
    assert_eq!((status, tail.lines().count()), (StatusCode::OK, 3));
    assert!(tail.starts_with("2025-03-04T08:5"), "{tail}");
    let (_, all) = ask(&stage, &path).await;
    assert!(all.ends_with(&tail.lines().last().unwrap()[31..]) || all.contains(&tail.lines().last().unwrap()[31..]));
    let (_, recent) = ask(&stage, &format!("{path}?sinceSeconds=300")).await;
    assert_eq!(recent.lines().count(), 15);
    let errors = all.lines().filter(|line| line.contains("\"ERROR\"")).count();
    let lines = all.lines().count();
    assert!(errors > lines / 20 && errors < lines / 6, "{errors} of {lines}");
    let (status, _) = ask(&stage, &format!("{path}?previous=true")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = ask(&stage, "/api/v1/namespaces/gospelib-staging/pods/nobody/log").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_crashed_container_leaves_its_stack() {
    let mut stage = Stage::new("{pod: {service: gateway, kind: crash-loop}}");
    stage.release();
    stage.pass(300);
    let broken = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap() > 0;
    let pod = stage.pods("production", "gateway").into_iter().find(|pod| broken(pod)).unwrap();
    let path = format!("/api/v1/namespaces/gospelib-production/pods/{}/log?previous=true", name(&pod));
    let (status, text) = ask(&stage, &path).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("panic: runtime error") && text.contains("goroutine 1 [running]"), "{text}");
}

#[tokio::test]
async fn services_answer_through_every_door() {
    let stage = Stage::new("{staging_unhealthy: search}");
    let space = "/api/v1/namespaces/gospelib-staging";
    for door in ["gospelib-search:80", "http:gospelib-search:http", "gospelib-search"] {
        let (status, body) = ask(&stage, &format!("{space}/services/{door}/proxy/ready")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_ne!(body["checks"]["redis"], "ok", "{body}");
    }
    let pod = stage.pods("staging", "gateway")[0].clone();
    let (status, body) = ask(&stage, &format!("{space}/pods/{}:8080/proxy/health", name(&pod))).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["pod"]), (StatusCode::OK, &json!(name(&pod))));
    assert_eq!(body["digest"], stage.world.past.candidate.images["gateway"].to_string());
    let (status, _) = ask(&stage, &format!("{space}/services/gospelib-auth:8081/proxy/health")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let prometheus = "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/-/ready";
    assert_eq!(ask(&stage, prometheus).await.0, StatusCode::OK);

    for (path, wanted) in [
        ("/svc/gospelib-production/gospelib-auth/80/ready", StatusCode::OK),
        ("/host/api.gospelib.com/health", StatusCode::OK),
        ("/host/gospelib.com/", StatusCode::OK),
        ("/host/elsewhere.example/", StatusCode::BAD_GATEWAY),
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(call(direct(stage.world.clone()), request).await.status(), wanted, "{path}");
    }
}

#[tokio::test]
async fn a_forwarded_connection_speaks_http() {
    let stage = Stage::new("{}");
    let pod = stage.pods("production", "auth")[0].clone();
    assert!(forward::connect(&stage.world, &pod, 9999).is_none());
    let mut connection = forward::connect(&stage.world, &pod, 8080).unwrap();
    let request = b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"service\":\"auth\""), "{answer}");
}
