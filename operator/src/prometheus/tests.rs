//! What the operator makes of what a Prometheus answers.

use std::collections::HashMap;

use super::*;
use axum::Router;
use axum::extract::Query;
use axum::http::header::CONTENT_TYPE;
use axum::routing::any;
use serin_core::judge::Limit;

use crate::context::Turns;
use crate::metrics::Metrics;

/// Asked about these arms, at the moment up to which everything is counted.
fn question<'a>(canary: &'a Revision, stable: Option<&'a Revision>, metrics: &'a [Bound]) -> Question<'a> {
    Question {
        namespace: "demo",
        route: "recommender",
        is_own_route: true,
        has_testers: false,
        release: "recommender",
        canary,
        stable,
        mark: now(),
        before: SignedDuration::ZERO,
        quality: None,
        metrics,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

/// What the operator makes of a server that answers so.
async fn seen(status: StatusCode, body: &'static str) -> MetricsSeen {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let kind = if body.starts_with('{') {
        "application/json"
    } else {
        "text/html"
    };
    let router = Router::new().fallback(any(move || async move { (status, [(CONTENT_TYPE, kind)], body) }));
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    let (canary, stable) = (Revision::recorded("c"), Revision::recorded("s"));
    let question = question(&canary, Some(&stable), &[]);
    // The process's main installs it; a second installation is no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let turns = Turns::new(1, &Metrics::new(now()));
    let mut turn = Turn::taken(&turns).await;
    let seen = ask(&reqwest::Client::new(), &url, &question, now(), &mut turn).await;
    server.abort();
    seen
}

#[tokio::test]
async fn whatever_is_no_clean_answer_is_unavailable_and_says_why() {
    let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let partial = r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#;
    let refused = r#"{"status":"error","errorType":"execution","error":"query timed out"}"#;
    for (status, body, why) in [
        (
            StatusCode::OK,
            "<html>login</html>",
            "none of Prometheus' HTTP API",
        ),
        (StatusCode::OK, "", "none of Prometheus' HTTP API"),
        (StatusCode::OK, "{", "none of Prometheus' HTTP API"),
        (StatusCode::OK, "{}", "HTTP 200"),
        (StatusCode::OK, empty, "no series of the canary's pods"),
        (StatusCode::OK, vector, "no matrix"),
        (StatusCode::OK, partial, "the answer is partial"),
        (StatusCode::UNPROCESSABLE_ENTITY, refused, "query timed out"),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "no healthy upstream",
            "HTTP 503 Service Unavailable",
        ),
        (StatusCode::UNAUTHORIZED, "who are you?", "401 Unauthorized"),
        (StatusCode::INTERNAL_SERVER_ERROR, "", "HTTP 500"),
    ] {
        match seen(status, body).await {
            MetricsSeen::Unavailable(words) => assert!(words.contains(why), "{status} {body}: {words}"),
            MetricsSeen::NotAsked | MetricsSeen::Seen { .. } => panic!("{status} {body} was believed"),
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_in_the_same_words_whenever_it_is_asked() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let canary = Revision::recorded("c");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut told = Vec::new();
    for second in [1_700_000_000, 1_700_000_060] {
        let question = question(&canary, None, &[]);
        let at = Timestamp::from_second(second).unwrap();
        let turns = Turns::new(1, &Metrics::new(now()));
        let mut turn = Turn::taken(&turns).await;
        told.push(ask(&reqwest::Client::new(), &url, &question, at, &mut turn).await);
    }
    assert!(matches!(&told[0], MetricsSeen::Unavailable(words) if words.starts_with(&url)));
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let canary = Revision::recorded("c");
    let question = question(&canary, None, &[]);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let turns = Turns::new(1, &Metrics::new(now()));
    let mut turn = Turn::taken(&turns).await;
    // Another look that needs the only turn gets it while the server is silent.
    let other = async { drop(Turn::taken(&turns).await) };
    let http = reqwest::Client::new();
    let asked = ask(&http, &url, &question, now(), &mut turn);
    let (seen, other) = join(asked, tokio::time::timeout(TIMEOUT / 2, other)).await;
    assert!(other.is_ok(), "a silent server holds up another look");
    match seen {
        MetricsSeen::Unavailable(words) => {
            assert!(words.contains("no answer within 5 s"), "{words}");
        }
        MetricsSeen::NotAsked | MetricsSeen::Seen { .. } => panic!("silence was believed"),
    }
    drop(listener);
}

#[tokio::test]
async fn samples_are_read_with_their_times_and_words_that_are_no_numbers() {
    let body = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"__name__":"http_server_request_duration_seconds_bucket","le":"+Inf","pod":"p","revision":"c",
          "http_response_status_code":"200","http_route":"/r"},
         "values":[[1700000000.123,"7"],[1700000005.123,"NaN"],[1700000010.123,"+Inf"]]},
        {"metric":{"__name__":"up","pod":"p","revision":"c"},"values":[[1700000000.123,"1"]]}]}}"#;
    let MetricsSeen::Seen { canary, stable, .. } = seen(StatusCode::OK, body).await else {
        panic!("a clean answer is believed");
    };
    assert!(stable.is_empty());
    let infinite = Edge::new(f64::INFINITY).unwrap();
    assert_eq!(canary[0].counter, Counter::Bucket(infinite));
    assert_eq!((canary[0].status, canary[1].counter), (200, Counter::Scrape));
    assert_eq!(
        canary[0].labels,
        "http_response_status_code=200,http_route=/r,pod=p,revision=c"
    );
    let [first, nonsense, infinity] = &canary[0].samples[..] else {
        panic!("three samples");
    };
    assert_eq!(first.0.as_millisecond(), 1_700_000_000_123);
    assert!(
        nonsense.1.is_nan() && infinity.1.is_infinite(),
        "the counters drop them, not the reader"
    );
}

#[tokio::test]
async fn a_native_histogram_says_what_the_classic_one_would() {
    // Half powers of 2, as at schema 1; the second sample has grown by one request of 400 ms.
    let body = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"__name__":"http_server_request_duration_seconds","pod":"p","revision":"c",
          "http_response_status_code":"200"},
         "histograms":[
           [1700000000,{"count":"3","sum":"0.9","buckets":[[0,"0.1767766952966369","0.25","1"],[0,"0.25","0.35355339059327373","2"]]}],
           [1700000005,{"count":"4","sum":"1.3","buckets":[[0,"0.1767766952966369","0.25","1"],[0,"0.25","0.35355339059327373","2"],[0,"0.35355339059327373","0.5","1"]]}]]}]}}"#;
    let MetricsSeen::Seen { canary, .. } = seen(StatusCode::OK, body).await else {
        panic!("a clean answer is believed");
    };
    let values = |counter| -> Vec<f64> {
        let series = canary.iter().find(|series| series.counter == counter).unwrap();
        series.samples.iter().map(|(_, value)| *value).collect()
    };
    let bucket = |edge| Counter::Bucket(Edge::new(edge).unwrap());
    assert_eq!(values(Counter::Requests), [3.0, 4.0]);
    assert_eq!(values(Counter::LatencySum), [0.9, 1.3]);
    assert_eq!(values(bucket(0.125)), [0.0, 0.0]);
    assert_eq!(values(bucket(0.25)), [1.0, 1.0]);
    assert_eq!(values(bucket(0.5)), [3.0, 4.0]);
    assert_eq!(values(bucket(f64::INFINITY)), [3.0, 4.0]);

    let coarse = body
        .replace("0.35355339059327373", "0.5")
        .replace("0.1767766952966369", "0.125");
    let MetricsSeen::Seen { canary, .. } = seen(StatusCode::OK, coarse.leak()).await else {
        panic!("a coarse histogram is believed, too");
    };
    let has = |edge: f64| canary.iter().any(|series| series.counter == bucket(edge));
    assert!(
        has(0.25) && has(0.5) && !has((-1.5f64).exp2()),
        "an edge inside a bucket is left out"
    );
}

#[tokio::test]
async fn who_exports_both_kinds_of_histogram_is_counted_once() {
    let body = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"__name__":"http_server_request_duration_seconds","pod":"p","revision":"c"},
         "histograms":[[1700000000,{"count":"3","sum":"0.9"}]]},
        {"metric":{"__name__":"http_server_request_duration_seconds_count","pod":"p","revision":"c"},
         "values":[[1700000000,"3"]]}]}}"#;
    let MetricsSeen::Seen { canary, .. } = seen(StatusCode::OK, body).await else {
        panic!("a clean answer is believed");
    };
    let requests = canary.iter().filter(|series| series.counter == Counter::Requests);
    assert_eq!(requests.count(), 1);
}

/// A server that answers the team's own queries by their words.
async fn figures_of(metrics: &[Bound]) -> Vec<Figure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = |Query(asked): Query<HashMap<String, String>>| async move {
        let one = |value: &str| format!(r#"[{{"metric":{{}},"value":[1700000000,"{value}"]}}]"#);
        let (kind, result) = match asked["query"].as_str() {
            "memory{revision=\"c\",namespace=\"demo\"}" => ("vector", one("7")),
            "hits{revision=\"c\"}" => ("vector", one("0.8")),
            "hits{revision=\"s\"}" => ("vector", one("0.9")),
            "scalar(x{revision=\"c\"})" => ("scalar", r#"[1700000000,"3"]"#.to_owned()),
            "ratio{revision=\"c\"}" => ("vector", one("NaN")),
            "many{revision=\"c\"}" => ("vector", format!("{0},{0}", &one("1")[1..one("1").len() - 1])),
            _ => ("vector", String::new()),
        };
        let result = if result.starts_with('[') {
            result
        } else {
            format!("[{result}]")
        };
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    };
    let server = tokio::spawn(axum::serve(listener, Router::new().fallback(any(answer))).into_future());
    let (canary, stable) = (Revision::recorded("c"), Revision::recorded("s"));
    let question = question(&canary, Some(&stable), metrics);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let figures = figures(&reqwest::Client::new(), &url, &question).await;
    server.abort();
    figures
}

#[tokio::test]
async fn a_query_is_asked_of_each_arm_and_what_is_no_value_is_told() {
    let bound = |query: &str, limit| Bound {
        name: query.to_owned(),
        query: query.to_owned(),
        limit,
    };
    let metrics = [
        bound(
            "memory{revision=\"$revision\",namespace=\"$namespace\"}",
            Limit::AtMost(8.0),
        ),
        bound("hits{revision=\"$revision\"}", Limit::NotBelowStableBy(0.1)),
        bound("scalar(x{revision=\"$revision\"})", Limit::AtLeast(1.0)),
        bound("ratio{revision=\"$revision\"}", Limit::AtMost(1.0)),
        bound("many{revision=\"$revision\"}", Limit::AtMost(1.0)),
        bound("none{revision=\"$revision\"}", Limit::AtMost(1.0)),
    ];
    let figures = figures_of(&metrics).await;
    let values: Vec<_> = figures
        .iter()
        .map(|figure| (figure.canary, figure.stable))
        .collect();
    let known = [(Some(7.0), None), (Some(0.8), Some(0.9)), (Some(3.0), None)];
    assert_eq!(values[..3], known);
    let words: Vec<&str> = figures[3..]
        .iter()
        .filter_map(|figure| figure.missing.as_deref())
        .collect();
    assert_eq!(
        words,
        [
            "the query answers NaN",
            "the query answers 2 series: aggregate them to one",
            "the query answers nothing",
        ]
    );
}
