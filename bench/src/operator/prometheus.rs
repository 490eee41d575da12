//! A Prometheus that knows every pod: it answers the operator's queries with the samples of healthy arms.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::any;
use serin_testkit::Served;

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
    let query = parameters.get("query").map(String::as_str).unwrap_or_default();
    let answer = serin_testkit::answer(query, now(), SCRAPE, &|_, at| {
        Some(Served {
            successes: (at.rem_euclid(10_000_000) * RATE) as f64,
            failures: 0.0,
            latency_seconds: LATENCY,
        })
    });
    seen.open.fetch_sub(1, Ordering::Relaxed);
    ([(CONTENT_TYPE, "application/json")], answer)
}

#[expect(clippy::disallowed_methods, reason = "samples of a live system are of now")]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
