//! The HTTP surface: thin handlers over a [`Service`], testable without a socket.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use serin_core::scoring::recommend;
use tracing::debug;

use crate::admit::user_id;
use crate::metrics::Sender;
use crate::refusal::Refusal;
use crate::request_id::REQUEST_ID;
use crate::service::{Phase, Service};

/// The platform takes up to 20 movies.
const ANSWER_MAX: usize = 20;
/// The one counted route; all other paths are counted together, for clients could invent any number of them.
const ROUTE: &str = "/recommend/{userid}";
const NO_ROUTE: &str = "none";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything this process answers.
pub fn router(service: Arc<Service>) -> Router {
    let counted = Router::new()
        .route(ROUTE, get(recommendation))
        .method_not_allowed_fallback(async || Refusal::Method)
        .fallback(async || Refusal::Path)
        .layer(from_fn_with_state(Arc::clone(&service), count));
    let uncounted = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics));
    counted
        .merge(uncounted)
        .layer(from_fn_with_state(Arc::clone(&service), stamp))
        .with_state(service)
}

async fn recommendation(
    State(service): State<Arc<Service>>,
    uri: Uri,
    sender: Sender,
) -> Result<String, Refusal> {
    let segment = uri.path().strip_prefix("/recommend/").unwrap_or_default();
    let user = user_id(segment).ok_or(Refusal::UserId)?;
    let model = match service.phase() {
        Phase::Ready(model) => model,
        Phase::Loading { because } | Phase::Refused { because } => return Err(Refusal::NotReady { because }),
    };
    let answer = recommend(&model, user, ANSWER_MAX);
    service.metrics.answered(answer.audience, sender);
    Ok(answer.movies.join(","))
}

async fn readiness(State(service): State<Arc<Service>>) -> Result<&'static str, Refusal> {
    if service.is_draining() {
        return Err(Refusal::Draining);
    }
    match service.phase() {
        Phase::Ready(_) => Ok("ok\n"),
        Phase::Loading { because } | Phase::Refused { because } => Err(Refusal::NotReady { because }),
    }
}

async fn metrics(
    State(service): State<Arc<Service>>,
) -> Result<([(HeaderName, &'static str); 1], String), Refusal> {
    let text = service.metrics.text().map_err(|_| Refusal::Metrics)?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text))
}

/// Measures one request.
async fn count(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let sender = Sender::of(request.headers());
    let route = if request.extensions().get::<MatchedPath>().is_some() {
        ROUTE
    } else {
        NO_ROUTE
    };
    let response = next.run(request).await;
    service
        .metrics
        .request(&method, route, response.status(), sender, start.elapsed());
    response
}

/// Writes on every answer what it came from. During a drain it also sends the client elsewhere: a connection that
/// is closed by agreement cannot lose the request that would have come next.
async fn stamp(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let name = service.request_ids.name(request.headers());
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    debug!(request_id = ?name, path = uri.path(), status = response.status().as_u16(), "answered");
    let headers = response.headers_mut();
    service.identity.stamp(headers);
    headers.insert(REQUEST_ID, name);
    if service.is_draining() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
