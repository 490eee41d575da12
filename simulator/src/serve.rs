//! What every long-lived process here serves: `/healthz`, `/readyz`, `/metrics`, and a listener that ends gently.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::error::{Error, Result};
use crate::stop::Stop;

/// A source of the present. Only `main` has the real one.
pub type Clock = fn() -> Timestamp;

/// Bucket edges of every request histogram, in seconds: dense around the 500 ms that releases are judged by.
pub const BUCKETS_SECONDS: [f64; 22] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 1.0, 1.5,
    2.5, 5.0, 10.0,
];

/// Whether a process is ready for traffic; shared between its parts.
#[derive(Debug, Clone, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Says whether traffic is welcome from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether traffic is welcome.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A registry that already knows when the process started.
pub fn registry(started: Timestamp) -> Registry {
    let mut registry = Registry::default();
    let start = Gauge::<f64, AtomicU64>::default();
    start.set(started.as_millisecond() as f64 / 1000.0);
    registry.register(
        "process_start_time_seconds",
        "Unix time at which this process started",
        start,
    );
    registry
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn probes(ready: Ready, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(ready))
        .route("/metrics", get(metrics).with_state(registry))
}

async fn readyz(State(ready): State<Ready>) -> impl IntoResponse {
    if ready.get() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// The registry as `OpenMetrics` text.
pub async fn metrics(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            let kind = [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )];
            (StatusCode::OK, kind, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Takes the port, so that a busy one is an error before anything else happens.
///
/// # Errors
/// `Listen`, when the address is taken or not ours.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })
}

/// Serves until `stop`, then finishes the requests in flight and returns.
///
/// # Errors
/// `Serve`, when the listener breaks.
pub async fn serve(listener: TcpListener, router: Router, stop: Stop) -> Result<()> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = listener.local_addr().unwrap_or(unknown);
    // Small answers must not wait for the acknowledgement of earlier ones.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.wished().await })
        .await
        .map_err(|source| Error::Serve { address, source })
}
