//! A Prometheus that knows every pod: it answers the operator's queries with the samples of healthy arms.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::any;
use serin_core::judge::Settings;

/// Seconds between two scrapes, of a default Prometheus with the usual setting.
const SCRAPE: i64 = 15;
/// Requests a second of each revision.
const RATE: i64 = 4;
/// Latency of each request, in seconds.
const LATENCY: f64 = 0.2;

/// A server on a free port, until this process ends.
pub(super) struct Prometheus {
    url: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    queries: AtomicU64,
    open: AtomicU64,
    most: AtomicU64,
}

impl Prometheus {
    /// Starts to answer.
    pub(super) async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .context("no free port")?;
        let address = listener.local_addr().context("a listener without an address")?;
        let seen = Arc::<Seen>::default();
        let router = Router::new().fallback(any(answer)).with_state(seen.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        Ok(Self {
            url: format!("http://{address}"),
            seen,
        })
    }

    /// What releases are told to ask.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// Queries so far.
    pub(super) fn queries(&self) -> u64 {
        self.seen.queries.load(Ordering::Relaxed)
    }

    /// Queries that were open at once, at most.
    pub(super) fn most_at_once(&self) -> u64 {
        self.seen.most.load(Ordering::Relaxed)
    }
}

async fn answer(
    State(seen): State<Arc<Seen>>,
    Query(parameters): Query<HashMap<String, String>>,
) -> impl IntoResponse {
    seen.queries.fetch_add(1, Ordering::Relaxed);
    let open = seen.open.fetch_add(1, Ordering::Relaxed) + 1;
    seen.most.fetch_max(open, Ordering::Relaxed);
    let result = parameters
        .get("query")
        .map(|query| result(query, now()))
        .unwrap_or_default();
    seen.open.fetch_sub(1, Ordering::Relaxed);
    (
        [(CONTENT_TYPE, "application/json")],
        format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{result}]}}}}"),
    )
}

#[expect(clippy::disallowed_methods, reason = "samples of a live system are of now")]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The series that a query of pods asks for; nothing for one of gateways, whose word then does not count.
fn result(query: &str, now: i64) -> String {
    let between = |start: &str, end: &str| -> Option<&str> {
        query.split_once(start)?.1.split_once(end).map(|(text, _)| text)
    };
    let (Some(revisions), Some(window)) = (between("revision=~\"", "\""), between("}[", "s]")) else {
        return String::new();
    };
    let window: i64 = window.parse().unwrap_or(60);
    let first = (now - window) / SCRAPE + 1;
    let scrapes: Vec<i64> = (first..=now / SCRAPE).map(|number| number * SCRAPE).collect();
    let mut text = String::new();
    for revision in revisions.split('|') {
        series(&mut text, revision, "up", "", &scrapes, &|_| 1.0);
        series(
            &mut text,
            revision,
            "process_start_time_seconds",
            "",
            &scrapes,
            &|_| 1.0,
        );
        let served = |at: i64| (at.rem_euclid(10_000_000) * RATE) as f64;
        let status = "\"http_response_status_code\":\"200\",";
        let name = "http_server_request_duration_seconds";
        series(
            &mut text,
            revision,
            &format!("{name}_count"),
            status,
            &scrapes,
            &served,
        );
        let seconds = |at: i64| served(at) * LATENCY;
        series(
            &mut text,
            revision,
            &format!("{name}_sum"),
            status,
            &scrapes,
            &seconds,
        );
        let edges = Settings::default().layout.edges().to_vec();
        for edge in edges.into_iter().chain([f64::INFINITY]) {
            let le = if edge.is_finite() {
                edge.to_string()
            } else {
                "+Inf".into()
            };
            let labels = format!("{status}\"le\":\"{le}\",");
            let below = |at: i64| if LATENCY <= edge { served(at) } else { 0.0 };
            series(
                &mut text,
                revision,
                &format!("{name}_bucket"),
                &labels,
                &scrapes,
                &below,
            );
        }
    }
    text.pop();
    text
}

fn series(
    text: &mut String,
    revision: &str,
    name: &str,
    labels: &str,
    scrapes: &[i64],
    value: &dyn Fn(i64) -> f64,
) {
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "{{\"metric\":{{\"__name__\":\"{name}\",{labels}\"namespace\":\"default\",\"pod\":\"{revision}-0\",\
         \"instance\":\"{revision}\",\"revision\":\"{revision}\"}},\"values\":["
    );
    for (number, at) in scrapes.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let _ = write!(text, "{comma}[{at},\"{}\"]", value(*at));
    }
    text.push_str("]},");
}
