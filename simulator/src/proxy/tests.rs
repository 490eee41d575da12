//! The proxy between real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Settings, serve_on};
use crate::error::Result;
use crate::stop::Stop;
use crate::testing::{DEADLINE, Reply, answer, clock, get, listener, serve_raw};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

struct Running {
    url: String,
    stop: Stop,
    server: JoinHandle<Result<()>>,
}

async fn proxy(upstream: SocketAddr, flags: &[&str]) -> Running {
    let upstream = format!("http://{upstream}");
    let fixed = [
        "proxy",
        "--upstream",
        &upstream,
        "--model-digest",
        "sha256:d",
        "--model-version",
        "v3",
        "--revision",
        "b",
    ];
    let settings = Flags::parse_from(fixed.iter().chain(flags)).settings;
    let (listener, address) = listener().await;
    let stop = Stop::default();
    let server = {
        let stop = stop.clone();
        tokio::spawn(async move { serve_on(listener, &settings, clock, stop).await })
    };
    Running {
        url: format!("http://{address}"),
        stop,
        server,
    }
}

async fn server() -> SocketAddr {
    serve_raw(|path| match path {
        "/healthz" => Reply::Send(answer(200, &[], "fine")),
        "/readyz" => Reply::Send(answer(503, &[], "loading")),
        path => Reply::Send(answer(
            200,
            &[("serin-revision", "b"), ("keep-alive", "timeout=5")],
            path,
        )),
    })
    .await
}

#[tokio::test]
async fn without_faults_everything_passes_but_what_concerns_one_connection() {
    let proxy = proxy(server().await, &[]).await;
    let (status, headers, body) = get(&format!("{}/recommend/7?a=b", proxy.url)).await;
    assert_eq!((status, body.as_ref()), (200, b"/recommend/7?a=b".as_slice()));
    assert_eq!(headers["serin-revision"], "b");
    assert!(!headers.contains_key("keep-alive") && !headers.contains_key("serin-fault"));
    assert_eq!(get(&format!("{}/healthz", proxy.url)).await.2, "fine");
    assert_eq!(get(&format!("{}/readyz", proxy.url)).await.0, 503);
}

#[tokio::test]
async fn a_delayed_answer_is_good_and_measured_with_its_delay() {
    let proxy = proxy(server().await, &["--delay", "constant:120ms"]).await;
    let start = Instant::now();
    let (status, headers, _) = get(&format!("{}/recommend/7", proxy.url)).await;
    assert!(start.elapsed() >= Duration::from_millis(120));
    assert_eq!(
        (status, headers["serin-delay-ms"].as_bytes()),
        (200, b"120".as_slice())
    );
    assert!(!headers.contains_key("serin-fault"));

    let (_, _, metrics) = get(&format!("{}/metrics", proxy.url)).await;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    let labels =
        r#"http_request_method="GET",http_route="/recommend/{userid}",http_response_status_code="200""#;
    for (edge, count) in [("0.1", 0), ("10.0", 1)] {
        let line = format!("http_server_request_duration_seconds_bucket{{le=\"{edge}\",{labels}}} {count}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    assert!(
        metrics.contains(r#"model_info{version="v3",digest="sha256:d",revision="b"} 1"#),
        "{metrics}"
    );
    assert!(metrics.contains("process_start_time_seconds"), "{metrics}");
}

#[tokio::test]
async fn injected_errors_say_so_and_come_at_their_rate() {
    let proxy = proxy(server().await, &["--error-rate", "0.2", "--error-status", "500"]).await;
    let mut spoiled = 0;
    for user in 0..500 {
        let (status, headers, _) = get(&format!("{}/recommend/{user}", proxy.url)).await;
        match headers.get("serin-fault") {
            Some(kind) => {
                assert_eq!((status, kind.as_bytes()), (500, b"error".as_slice()));
                assert_eq!(headers["serin-revision"], "b");
                assert_eq!(headers["serin-model-digest"], "sha256:d");
                assert_eq!(headers["serin-model-version"], "v3");
                spoiled += 1;
            }
            None => assert_eq!(status, 200),
        }
    }
    // Four standard errors of 500 draws at 0.2.
    assert!((64..=136).contains(&spoiled), "{spoiled}");
}

#[tokio::test]
async fn a_hanging_request_hangs_and_a_silent_server_is_nobodys_fault_but_its_own() {
    let hanging = proxy(server().await, &["--hang-rate", "1", "--hang", "100ms"]).await;
    let (status, headers, _) = get(&format!("{}/recommend/7", hanging.url)).await;
    assert_eq!(
        (status, headers["serin-fault"].as_bytes()),
        (503, b"hang".as_slice())
    );

    let silent = proxy(serve_raw(|_| Reply::Close).await, &[]).await;
    let (status, headers, _) = get(&format!("{}/recommend/7", silent.url)).await;
    assert_eq!((status, headers.contains_key("serin-fault")), (502, false));
}

#[tokio::test]
async fn a_connection_that_the_server_closes_costs_no_request() {
    // Every second request on the server's side meets a closed connection.
    let turns = Arc::new(AtomicU32::new(0));
    let server = serve_raw(move |_| match turns.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => Reply::Close,
        _ => Reply::Send(answer(200, &[], "alien+1979")),
    })
    .await;
    let proxy = proxy(server, &[]).await;
    for user in 0..20 {
        assert_eq!(get(&format!("{}/recommend/{user}", proxy.url)).await.0, 200);
    }
}

#[tokio::test]
async fn draining_refuses_readiness_serves_on_and_finishes_what_is_in_flight() {
    let proxy = proxy(server().await, &["--drain", "300ms", "--delay", "constant:600ms"]).await;
    let slow = tokio::spawn({
        let url = format!("{}/recommend/7", proxy.url);
        async move { get(&url).await }
    });
    // The metric of the first delay shows that the slow request is in flight.
    let metrics = format!("{}/metrics", proxy.url);
    while !String::from_utf8_lossy(&get(&metrics).await.2).contains("proxy_faults_total{kind=\"delay\"} 1") {}
    proxy.stop.wish();
    while String::from_utf8_lossy(&get(&format!("{}/readyz", proxy.url)).await.2) != "draining\n" {}
    let late = get(&format!("{}/recommend/8", proxy.url)).await;
    assert_eq!(
        (late.0, late.1["connection"].as_bytes()),
        (200, b"close".as_slice())
    );
    assert_eq!(slow.await.unwrap().0, 200);
    timeout(DEADLINE, proxy.server)
        .await
        .expect("the proxy ends")
        .unwrap()
        .unwrap();
}
