//! Requests and answers, without a socket.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serin_core::crd::TESTER_HEADER;
use serin_core::digest::Digest;

use super::fixtures;
use crate::router::router;
use crate::service::Service;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn send(service: &Arc<Service>, request: Request<Body>) -> Answer {
    let response = TowerToHyperService::new(router(Arc::clone(service)))
        .call(request)
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer {
        status: head.status,
        headers: head.headers,
        body,
    }
}

async fn get(service: &Arc<Service>, path: &str) -> Answer {
    send(service, Request::get(path).body(Body::empty()).unwrap()).await
}

fn ready() -> Arc<Service> {
    let service = fixtures::service(Digest::of(b"manifest"));
    service.ready(fixtures::model());
    service
}

#[tokio::test]
async fn a_known_user_gets_20_unseen_movies_as_plain_text() {
    let answer = get(&ready(), "/recommend/7").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let ids: Vec<_> = answer.body.split(',').collect();
    assert_eq!(ids.len(), 20);
    // m+099 has a bias of -0.99 and the full prior of 2; m+000 has been seen.
    assert_eq!(ids[..3], ["m+099", "m+098", "m+001"]);
    assert!(
        !answer.body.contains("m+000") && !answer.body.contains(char::is_whitespace),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn an_unknown_user_gets_the_popular_list() {
    let answer = get(&ready(), "/recommend/8").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (StatusCode::OK, "m+099,m+098,m+000")
    );
}

#[tokio::test]
async fn every_answer_says_what_it_came_from() {
    let service = ready();
    for path in ["/recommend/7", "/recommend/x", "/healthz", "/nothing"] {
        let answer = get(&service, path).await;
        assert_eq!(
            answer.header("serin-model-digest"),
            Digest::of(b"manifest").to_string(),
            "{path}"
        );
        assert_eq!(answer.header("serin-model-version"), "v1", "{path}");
        assert_eq!(answer.header("serin-revision"), "0a1b2c3d", "{path}");
        assert_eq!(answer.header("serin-request-id").len(), 36, "{path}");
        assert_eq!(answer.header("connection"), "", "{path}");
    }
    let named = Request::get("/recommend/7")
        .header("serin-request-id", "abc-1")
        .body(Body::empty())
        .unwrap();
    assert_eq!(send(&service, named).await.header("serin-request-id"), "abc-1");
}

#[tokio::test]
async fn wrong_requests_are_refused_in_plain_words() {
    let service = ready();
    let long = format!("/recommend/{}", "9".repeat(4_000));
    for (path, status) in [
        ("/recommend/0", 400),
        ("/recommend/1000001", 400),
        ("/recommend/abc", 400),
        ("/recommend/7.0", 400),
        ("/recommend/-7", 400),
        ("/recommend/%37", 400),
        ("/recommend/7%00", 400),
        ("/recommend/%ff", 400),
        ("/recommend/..%2f..%2fetc%2fpasswd", 400),
        (&long, 400),
        ("/recommend/", 404),
        ("/recommend", 404),
        ("/recommend/7/", 404),
        ("/recommend/7/8", 404),
        ("/", 404),
    ] {
        let answer = get(&service, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!((1..60).contains(&answer.body.len()), "{path}: {}", answer.body);
    }
    let post = Request::post("/recommend/7").body(Body::from("x")).unwrap();
    let answer = send(&service, post).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (405, "use GET\n"));
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn readiness_tells_why_it_is_missing() {
    let service = fixtures::service(Digest::of(b"manifest"));
    service.wait("the store is away".to_owned());
    for path in ["/readyz", "/recommend/7"] {
        let answer = get(&service, path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_str()),
            (503, "not ready: the store is away\n"),
            "{path}"
        );
    }
    assert_eq!(get(&service, "/healthz").await.status, StatusCode::OK);
    service.refuse("expected sha256:a, found sha256:b".to_owned());
    assert_eq!(
        get(&service, "/readyz").await.body,
        "not ready: expected sha256:a, found sha256:b\n"
    );
    service.ready(fixtures::model());
    assert_eq!(get(&service, "/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_draining_server_answers_and_sends_clients_elsewhere() {
    let service = ready();
    service.drain();
    let answer = get(&service, "/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("draining"), "{}", answer.body);
    let answer = get(&service, "/recommend/7").await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (StatusCode::OK, "close")
    );
}

#[tokio::test]
async fn what_testers_ask_for_is_counted_apart() {
    let service = ready();
    for mark in ["true", "yes"] {
        let request = Request::get("/recommend/7").header(TESTER_HEADER, mark);
        let answer = send(&service, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let counted = get(&service, "/metrics").await.body;
    let sum = |name: &str, is_tester: bool| -> u64 {
        let lines = counted.lines().filter(|line| line.starts_with(name));
        let lines = lines.filter(|line| line.contains(r#"serin_tester="true""#) == is_tester);
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        counts.sum()
    };
    for name in [
        "http_server_request_duration_seconds_count",
        "serin_recommendations_total",
    ] {
        assert_eq!([sum(name, true), sum(name, false)], [1, 1], "{name}");
    }
}

#[tokio::test]
async fn requests_are_counted_and_probes_are_not() {
    let service = ready();
    for path in [
        "/recommend/7",
        "/recommend/8",
        "/recommend/x",
        "/.env",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        get(&service, path).await;
    }
    let odd = Request::builder()
        .method(Method::from_bytes(b"BREW").unwrap())
        .uri("/recommend/7");
    send(&service, odd.body(Body::empty()).unwrap()).await;

    let answer = get(&service, "/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let count = "http_server_request_duration_seconds_count";
    let mut counts: Vec<_> = answer
        .body
        .lines()
        .filter(|line| line.starts_with(count))
        .collect();
    counts.sort_unstable();
    let wished = [("GET", "/recommend/{userid}", 200, 2), ("GET", "/recommend/{userid}", 400, 1), ("GET", "none", 404, 1), ("_OTHER", "/recommend/{userid}", 405, 1)]
        .map(|(method, route, status, n)| {
            format!(r#"{count}{{http_request_method="{method}",http_route="{route}",http_response_status_code="{status}"}} {n}"#)
        });
    assert_eq!(counts, wished);
    let digest = Digest::of(b"manifest");
    for line in [
        format!(r#"model_info{{version="v1",digest="{digest}",revision="0a1b2c3d"}} 1"#),
        r#"serin_recommendations_total{audience="known"} 1"#.to_owned(),
        r#"serin_recommendations_total{audience="unknown"} 1"#.to_owned(),
        "process_start_time_seconds 1700000000.0".to_owned(),
    ] {
        assert!(
            answer.body.lines().any(|found| found == line),
            "no {line} in\n{}",
            answer.body
        );
    }
    let edges: Vec<_> = answer
        .body
        .lines()
        .filter(|line| line.contains("_bucket") && line.contains(r#"status_code="400""#))
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(
        edges.join(" "),
        "0.005 0.01 0.025 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5 0.55 0.6 0.7 0.8 1.0 1.5 2.5 5.0 10.0 +Inf"
    );
}
