//! `/metrics`, `/healthz`, `/readyz` of the operator, and the records of its decisions.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::archive::{Archive, Record};
use crate::metrics::Metrics;

/// The routes, without a socket.
///
/// A replica that does not lead is ready too: it is ready to take over.
pub(crate) fn router(metrics: Arc<Metrics>, archive: Option<Arc<Archive>>) -> Router {
    let exposition = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(|| async { "ok" }))
        .route(
            "/metrics",
            get(move || async move { ([(CONTENT_TYPE, exposition)], metrics.text()) }),
        )
        .route("/records/{namespace}/{release}/{name}", get(record))
        .with_state(archive)
}

/// One record as JSON Lines.
async fn record(
    State(archive): State<Option<Arc<Archive>>>,
    Path((namespace, release, name)): Path<(String, String, String)>,
) -> Response {
    let Some(archive) = archive else {
        let words = "this operator keeps no records: start it with --records";
        return (StatusCode::NOT_FOUND, words).into_response();
    };
    let record = Record {
        namespace: &namespace,
        release: &release,
        name: &name,
    };
    match archive.read(record).await {
        Ok(text) if text.is_empty() => {
            let words = format!("there is no record {name} of {namespace}/{release}");
            (StatusCode::NOT_FOUND, words).into_response()
        }
        Ok(text) => ([(CONTENT_TYPE, "application/jsonl")], text).into_response(),
        Err(error) => {
            tracing::warn!(error = %error, "a record cannot be read");
            (StatusCode::BAD_GATEWAY, error.to_string()).into_response()
        }
    }
}
