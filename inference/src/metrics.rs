//! What Prometheus reads. Names and buckets are the contract with the operator; a golden file holds them.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serin_core::crd::{TESTER_HEADER, TESTER_LABEL};
use serin_core::scoring::Audience;

use crate::identity::Identity;

/// Upper edges in seconds: dense around the 500 ms rule, for a mean is judged there.
const BUCKETS: [f64; 22] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 1.0, 1.5,
    2.5, 5.0, 10.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    http_request_method: &'static str,
    http_route: &'static str,
    http_response_status_code: u16,
    #[prometheus(flatten)]
    sender: Sender,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    version: String,
    digest: String,
    revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AudienceLabel {
    audience: &'static str,
    #[prometheus(flatten)]
    sender: Sender,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Who sent a request. What testers ask for is counted apart, for no canary is judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// One of those by whom a canary is judged.
    Anybody,
    /// One who came through the testers' door.
    Tester,
}

impl Sender {
    /// The sender of a request with these headers.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(TESTER_HEADER) {
            Some(mark) if mark == "true" => Self::Tester,
            Some(_) | None => Self::Anybody,
        }
    }
}

/// A handler is told the sender without a copy of the headers.
impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl EncodeLabelSet for Sender {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let labels: &[(&str, &str)] = match self {
            Self::Anybody => &[],
            Self::Tester => &[(TESTER_LABEL, "true")],
        };
        labels.encode(encoder)
    }
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    model: Family<ModelLabels, Gauge>,
    answers: Family<AudienceLabel, Counter>,
    load_failures: Family<ReasonLabel, Counter>,
}

impl Metrics {
    /// `started` is when the process began, by the wall clock.
    pub fn new(started: SystemTime) -> Self {
        let mut registry = Registry::default();
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let requests = Family::new_with_constructor(histogram);
        registry.register(
            "http_server_request_duration_seconds",
            "Time from a request's head to its answer; probes and metrics are not counted",
            Family::clone(&requests),
        );
        let model = Family::default();
        registry.register(
            "model_info",
            "The verified model that is served; always 1",
            Family::clone(&model),
        );
        let answers = Family::default();
        registry.register(
            "serin_recommendations",
            "Answers by whether the model knew the user",
            Family::clone(&answers),
        );
        let load_failures = Family::default();
        registry.register(
            "serin_model_load_failures",
            "Attempts to load the model that failed, by reason",
            Family::clone(&load_failures),
        );
        let start: Gauge<f64, AtomicU64> = Gauge::default();
        start.set(
            started
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64(),
        );
        registry.register(
            "process_start_time_seconds",
            "Start of the process, since the Unix epoch",
            start,
        );
        Self {
            registry,
            requests,
            model,
            answers,
            load_failures,
        }
    }

    /// Counts one request.
    pub fn request(
        &self,
        method: &Method,
        route: &'static str,
        status: StatusCode,
        sender: Sender,
        took: Duration,
    ) {
        let labels = RequestLabels {
            http_request_method: method_label(method),
            http_route: route,
            http_response_status_code: status.as_u16(),
            sender,
        };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts one answer.
    pub fn answered(&self, audience: Audience, sender: Sender) {
        self.answers
            .get_or_create(&AudienceLabel {
                audience: audience.as_str(),
                sender,
            })
            .inc();
    }

    /// Says which model is served from now on.
    pub fn serving(&self, identity: &Identity) {
        let labels = ModelLabels {
            version: identity.version.to_string(),
            digest: identity.digest.to_string(),
            revision: identity.revision.to_string(),
        };
        self.model.get_or_create(&labels).set(1);
    }

    /// Counts one failed attempt to load the model.
    pub fn load_failed(&self, reason: &'static str) {
        self.load_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// All metrics as `OpenMetrics` text.
    ///
    /// # Errors
    /// Never in practice: writing to a `String` cannot fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(8 << 10);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A closed set, as OpenTelemetry demands: a client must not be able to invent time series.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [(Method, &str); 9] = [
        (Method::GET, "GET"),
        (Method::HEAD, "HEAD"),
        (Method::POST, "POST"),
        (Method::PUT, "PUT"),
        (Method::DELETE, "DELETE"),
        (Method::OPTIONS, "OPTIONS"),
        (Method::PATCH, "PATCH"),
        (Method::TRACE, "TRACE"),
        (Method::CONNECT, "CONNECT"),
    ];
    KNOWN
        .iter()
        .find(|(known, _)| known == method)
        .map_or("_OTHER", |(_, label)| label)
}
