//! Every answer that is not a recommendation, and its status code.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Why a request is not answered with what it asked for. Short, for it may be sent a million times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The user id is not one.
    UserId,
    /// There is nothing at this path.
    Path,
    /// The path is read with GET only.
    Method,
    /// No model yet, or none ever.
    NotReady {
        /// Why.
        because: String,
    },
    /// The process is about to end; only the readiness probe is told.
    Draining,
    /// The metrics could not be written.
    Metrics,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::UserId => (
                StatusCode::BAD_REQUEST,
                "a user id is a number from 1 to 1000000\n".to_owned(),
            ),
            Self::Path => (StatusCode::NOT_FOUND, "ask for /recommend/{userid}\n".to_owned()),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned()),
            Self::NotReady { because } => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {because}\n"))
            }
            Self::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: draining, the process ends soon\n".to_owned(),
            ),
            Self::Metrics => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics could not be written\n".to_owned(),
            ),
        };
        (status, text).into_response()
    }
}
