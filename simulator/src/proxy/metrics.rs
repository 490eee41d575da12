//! The metrics of a release as the proxy sees them: what it injects counts.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::forward::Identity;
use crate::serve::{BUCKETS_SECONDS, registry};

/// The route that requests for recommendations are counted under.
pub const RECOMMEND_ROUTE: &str = "/recommend/{userid}";
/// The route of everything else, so that strangers cannot make labels.
const OTHER_ROUTE: &str = "other";
/// What a request counts as whose caller went away first; the convention of NGINX.
const CLIENT_CLOSED: u16 = 499;

#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the OpenTelemetry labels"
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    http_request_method: &'static str,
    http_route: &'static str,
    http_response_status_code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    version: String,
    digest: String,
    revision: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Injected {
    kind: &'static str,
}

/// What the proxy counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Request, Histogram, fn() -> Histogram>,
    injected: Family<Injected, Counter>,
    upstream_failures: Counter,
}

impl Metrics {
    /// Metrics of a proxy in front of the model `identity`.
    pub fn new(identity: &Identity, started: Timestamp) -> Self {
        let mut registry = registry(started);
        let requests: Family<Request, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS_SECONDS));
        registry.register(
            "http_server_request_duration_seconds",
            "Time from a request's head to its answer's head, injected delay included",
            requests.clone(),
        );
        let injected = Family::<Injected, Counter>::default();
        registry.register(
            "proxy_faults",
            "Requests that were spoiled or delayed, by kind",
            injected.clone(),
        );
        let upstream_failures = Counter::default();
        registry.register(
            "proxy_upstream_failures",
            "Requests that the server behind did not answer",
            upstream_failures.clone(),
        );
        let model = Family::<Model, Gauge<i64, AtomicI64>>::default();
        let Identity {
            version,
            digest,
            revision,
        } = identity.clone();
        model
            .get_or_create(&Model {
                version,
                digest,
                revision,
            })
            .set(1);
        registry.register("model_info", "The model behind, always 1", model);
        Self {
            registry: Arc::new(registry),
            requests,
            injected,
            upstream_failures,
        }
    }

    /// The registry, for `/metrics`.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// Counts one injected fault or delay.
    pub fn inject(&self, kind: &'static str) {
        self.injected.get_or_create(&Injected { kind }).inc();
    }

    /// Counts one request that the server behind did not answer.
    pub fn upstream_failed(&self) {
        self.upstream_failures.inc();
    }

    /// Starts the clock of one request. It counts even when its caller goes away.
    pub fn begin(&self, method: &str, path: &str) -> Timer {
        let method = match method {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            _ => "_OTHER",
        };
        let route = if path.starts_with("/recommend/") {
            RECOMMEND_ROUTE
        } else {
            OTHER_ROUTE
        };
        Timer {
            requests: self.requests.clone(),
            start: Instant::now(),
            method,
            route,
            status: CLIENT_CLOSED,
        }
    }
}

/// The running clock of one request; dropping it counts the request.
#[derive(Debug)]
pub struct Timer {
    requests: Family<Request, Histogram, fn() -> Histogram>,
    start: Instant,
    method: &'static str,
    route: &'static str,
    status: u16,
}

impl Timer {
    /// Ends the request with its status.
    pub fn end(mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let labels = Request {
            http_request_method: self.method,
            http_route: self.route,
            http_response_status_code: self.status,
        };
        self.requests
            .get_or_create(&labels)
            .observe(self.start.elapsed().as_secs_f64());
    }
}
