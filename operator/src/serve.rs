//! `/metrics`, `/healthz` and `/readyz` of the operator.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

use crate::metrics::Metrics;

/// The routes, without a socket.
///
/// A replica that does not lead is ready too: it is ready to take over.
pub(crate) fn router(metrics: Arc<Metrics>) -> Router {
    let exposition = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(|| async { "ok" }))
        .route(
            "/metrics",
            get(move || async move { ([(CONTENT_TYPE, exposition)], metrics.text()) }),
        )
}
