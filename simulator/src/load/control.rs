//! The small HTTP interface by which a script steers and reads a run.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::driver::Live;
use super::report::{Report, Run};
use super::tally::MOST_WINDOWS;
use crate::serve::{Clock, Ready, probes, registry};
use crate::stop::Stop;

/// Longest name of a mark.
const LONGEST_NAME: usize = 64;

/// What the handlers share.
#[derive(Debug, Clone)]
struct Control {
    run: Run,
    live: Live,
    stop: Stop,
}

/// `POST /mark/<name>`, `GET /stats`, `POST /stop`, and the probes.
pub fn router(run: Run, live: Live, stop: Stop, clock: Clock) -> Router {
    let mut registry = registry(clock());
    registry.register_collector(Box::new(Requests(live.clone())));
    let ready = Ready::default();
    ready.set(true);
    Router::new()
        .route("/mark/{name}", post(mark))
        .route("/stats", get(stats))
        .route("/stop", post(wish_to_stop))
        .with_state(Control { run, live, stop })
        .merge(probes(ready, Arc::new(registry)))
}

async fn mark(State(control): State<Control>, Path(name): Path<String>) -> impl IntoResponse {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() > LONGEST_NAME || !name.bytes().all(plain) {
        let problem = format!("a mark has at most {LONGEST_NAME} letters, digits, - _ or .");
        return (StatusCode::BAD_REQUEST, problem);
    }
    let at = control.live.elapsed();
    if control.live.with(|tally| tally.mark(&name, at)) {
        (StatusCode::OK, format!("{:.3}", at.as_secs_f64()))
    } else {
        (
            StatusCode::CONFLICT,
            format!("there are {MOST_WINDOWS} marks already: start another run"),
        )
    }
}

async fn stats(State(control): State<Control>) -> impl IntoResponse {
    let elapsed = control.live.elapsed();
    let tally = control.live.with(|tally| tally.clone());
    Json(Report::new(control.run, &tally, elapsed, false))
}

async fn wish_to_stop(State(control): State<Control>) -> &'static str {
    control.stop.wish();
    "stopping\n"
}

/// Shows the counts of the run as metrics, read when asked.
#[derive(Debug)]
struct Requests(Live);

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (sent, counts) = self
            .0
            .with(|tally| (tally.totals.sent, tally.totals.counts.clone()));
        let outcomes = [
            ("ok", counts.ok),
            ("failed", counts.failed),
            ("spoiled", counts.spoiled),
            ("lost", counts.lost),
        ];
        let metric = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor(
            "load_requests",
            "Requests that ended, by outcome",
            None,
            metric.metric_type(),
        )?;
        for (outcome, count) in outcomes {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        let in_flight = ConstGauge::new(sent.saturating_sub(counts.finished()));
        let gauge = encoder.encode_descriptor(
            "load_requests_in_flight",
            "Requests sent that have not ended",
            None,
            in_flight.metric_type(),
        )?;
        in_flight.encode(gauge)
    }
}
