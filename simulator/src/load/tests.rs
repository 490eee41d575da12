//! A load against real sockets, where the server's own counts are the witness.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use parking_lot::Mutex;
use serde_json::Value;

use super::driver::{Live, Plan, Target, drive};
use super::schedule::{Arrivals, Ramp, Schedule};
use super::tally::Tally;
use super::{control, report::Run};
use crate::serve::serve;
use crate::stop::Stop;
use crate::testing::{Reply, answer, ask, clock, get, listener, serve_raw};

fn plan(url: &str, per_second: f64, duration: Option<Duration>) -> Plan {
    Plan {
        target: Target::new(&url.parse().unwrap()).unwrap(),
        schedule: Schedule::new(Ramp::steady(per_second), Arrivals::Constant, 1),
        duration,
        users: 1..=1000,
        patience: Duration::from_millis(400),
        seed: 1,
    }
}

fn user(path: &str) -> u64 {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

fn good(revision: &str) -> String {
    answer(
        200,
        &[
            ("serin-revision", revision),
            ("serin-model-digest", "sha256:d"),
            ("serin-model-version", "v1"),
        ],
        "alien+1979",
    )
}

/// Answers by the last digit of the user id; returns what it did and how.
fn misbehave(path: &str) -> (&'static str, Reply) {
    match user(path) % 10 {
        0 => ("status_503", Reply::Send(answer(503, &[], "no healthy upstream"))),
        1 => (
            "spoiled",
            Reply::Send(answer(
                503,
                &[("serin-fault", "error"), ("serin-revision", "b")],
                "",
            )),
        ),
        2 => (
            "json_body",
            Reply::Send(answer(200, &[("serin-revision", "b")], "[\"alien+1979\"]")),
        ),
        3 => ("status", Reply::Send(answer(404, &[], "not found"))),
        4 => ("timeout", Reply::Hang),
        5 => ("reset", Reply::Close),
        6 => (
            "truncated",
            Reply::SendAndClose("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nalien".to_owned()),
        ),
        7 => ("ok b", Reply::Send(good("b"))),
        _ => ("ok a", Reply::Send(good("a"))),
    }
}

fn count(map: &BTreeMap<String, u64>, key: &str) -> u64 {
    map.get(key).copied().unwrap_or_default()
}

#[tokio::test]
async fn every_request_is_counted_as_what_it_came_to() {
    let witness: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let seen = witness.clone();
    let address = serve_raw(move |path| {
        let (name, reply) = misbehave(path);
        *seen.lock().entry(name.to_owned()).or_default() += 1;
        reply
    })
    .await;
    let live = Live::start();
    drive(
        plan(&format!("http://{address}"), 400.0, Some(Duration::from_secs(1))),
        &live,
        &Stop::default(),
    )
    .await;

    let tally: Tally = live.with(|tally| tally.clone());
    let witness = witness.lock().clone();
    let counts = &tally.totals.counts;
    assert_eq!(tally.totals.sent, 400);
    assert_eq!(counts.finished(), 400);
    assert_eq!(witness.values().sum::<u64>(), 400, "{witness:?}");
    assert_eq!(counts.ok, count(&witness, "ok a") + count(&witness, "ok b"));
    assert_eq!(counts.spoiled, count(&witness, "spoiled"));
    for flaw in ["json_body", "status"] {
        assert_eq!(
            counts.failed_by.get(flaw).copied().unwrap_or_default(),
            count(&witness, flaw),
            "{flaw}"
        );
    }
    for kind in ["status_503", "timeout", "reset", "truncated"] {
        assert_eq!(
            count(&counts.lost_by, kind),
            count(&witness, kind),
            "{kind}: {:?}",
            tally.losses
        );
        assert!(count(&witness, kind) > 10, "{kind}");
    }
    let revision = |name: &str| &tally.totals.by_revision[name];
    assert_eq!(revision("a").counts.ok, count(&witness, "ok a"));
    assert_eq!(revision("a").version, "v1");
    assert_eq!(revision("b").counts.spoiled, count(&witness, "spoiled"));
    assert_eq!(tally.losses.len() as u64 + tally.unlisted_losses, counts.lost);
}

#[tokio::test]
async fn nobody_listening_is_lost_by_connect() {
    let (listener, address) = listener().await;
    drop(listener);
    let live = Live::start();
    drive(
        plan(
            &format!("http://{address}"),
            100.0,
            Some(Duration::from_millis(100)),
        ),
        &live,
        &Stop::default(),
    )
    .await;
    let counts = live.with(|tally| tally.totals.counts.clone());
    assert_eq!((counts.lost, count(&counts.lost_by, "connect")), (10, 10));
}

#[tokio::test]
async fn a_slow_server_slows_no_request_down_and_hides_no_waiting() {
    // A server that does one request at a time, 20 ms each, is asked every 10 ms.
    let turn = Arc::new(Mutex::new(()));
    let address = serve_raw(move |_| {
        let _mine = turn.lock();
        std::thread::sleep(Duration::from_millis(20));
        Reply::Send(good("a"))
    })
    .await;
    let mut plan = plan(
        &format!("http://{address}"),
        100.0,
        Some(Duration::from_millis(500)),
    );
    plan.patience = Duration::from_secs(10);
    let live = Live::start();
    drive(plan, &live, &Stop::default()).await;
    let (sent, latency) = live.with(|tally| (tally.totals.sent, tally.totals.counts.latency.clone()));
    assert_eq!((sent, latency.count()), (50, 50));
    // The last request waits for the 49 before it: 50 · 20 ms − 500 ms.
    assert!(latency.max_ms() > 450.0, "{}", latency.max_ms());
}

#[tokio::test]
async fn marks_stats_and_stop_work_over_http() {
    let address = serve_raw(|_| Reply::Send(good("a"))).await;
    let url = format!("http://{address}");
    let (live, stop) = (Live::start(), Stop::default());
    let run = Run {
        schema: 1,
        url: url.clone(),
        seed: 1,
        arrivals: "constant",
        started_at: clock().to_string(),
    };
    let (listener, at) = listener().await;
    tokio::spawn(serve(
        listener,
        control::router(run, live.clone(), stop.clone(), clock),
        Stop::default(),
    ));
    let driving = {
        let (live, stop) = (live.clone(), stop.clone());
        tokio::spawn(async move { drive(plan(&url, 200.0, None), &live, &stop).await })
    };

    let post = async |path: &str| ask(Method::POST, &format!("http://{at}{path}")).await.0;
    assert_eq!(post("/mark/canary").await, 200);
    assert_eq!(post("/mark/no%20spaces").await, 400);
    while live.with(|tally| tally.windows[0].totals.counts.ok) < 20 {
        tokio::task::yield_now().await;
    }
    let (_, _, body) = get(&format!("http://{at}/stats")).await;
    let so_far: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(so_far["finished"], false);
    assert_eq!(so_far["marks"][0]["name"], "canary");
    assert!(
        so_far["marks"][0]["totals"]["byRevision"]["a"]["latencyMs"]["p99"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    let (status, _, metrics) = get(&format!("http://{at}/metrics")).await;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    assert!(
        status == 200 && metrics.contains("load_requests_total{outcome=\"lost\"} 0"),
        "{metrics}"
    );
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(get(&format!("http://{at}{probe}")).await.0, 200);
    }

    assert_eq!(post("/stop").await, 200);
    driving.await.unwrap();
    live.with(|tally| assert_eq!(tally.totals.sent, tally.totals.counts.ok));
}
