//! The user and movie APIs over HTTP, with their rate limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::records;
use crate::population::Population;

/// Most ids in one request.
const MOST_IDS: usize = 200;
/// Users of the platform.
const USERS: u64 = 1_000_000;

/// A bucket of tokens: `per_second` on average, twice that at once.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    tokens: f64,
    seen: Duration,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            tokens: 2.0 * per_second,
            seen: Duration::ZERO,
        }
    }

    /// Takes a token at `now`, counted from any fixed moment; false when there is none.
    pub fn take(&mut self, now: Duration) -> bool {
        let gained = now.saturating_sub(self.seen).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(2.0 * self.per_second);
        self.seen = self.seen.max(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

#[derive(Debug, Clone)]
struct Limit {
    bucket: Arc<Mutex<Bucket>>,
    start: Instant,
}

#[derive(Debug, Clone)]
struct Api {
    population: Arc<Population>,
    seed: u64,
}

/// `/user/<ids>` and `/movie/<ids>`: one id gives an object; several, separated by commas, an array of those found.
pub fn router(population: Arc<Population>, seed: u64, per_second: f64) -> Router {
    let limit = Limit {
        bucket: Arc::new(Mutex::new(Bucket::new(per_second))),
        start: Instant::now(),
    };
    Router::new()
        .route("/user/{ids}", get(users))
        .route("/movie/{ids}", get(movies))
        .layer(from_fn_with_state(limit, limited))
        .with_state(Api { population, seed })
}

async fn limited(State(limit): State<Limit>, request: Request, next: Next) -> Response {
    let granted = {
        let mut bucket = limit.bucket.lock();
        bucket.take(limit.start.elapsed())
    };
    if granted {
        next.run(request).await
    } else {
        refuse(StatusCode::TOO_MANY_REQUESTS, "rate limit exceeded")
    }
}

async fn users(State(api): State<Api>, Path(ids): Path<String>) -> Response {
    answer(&ids, "user not found", |id| {
        let id = id.parse().ok().filter(|id| (1..=USERS).contains(id))?;
        Some(records::user(id, &api.population.person(id)))
    })
}

async fn movies(State(api): State<Api>, Path(ids): Path<String>) -> Response {
    answer(&ids, "movie not found", |id| {
        let movie = api.population.movies.get(api.population.find(id)?)?;
        records::movie(movie, api.seed)
    })
}

fn answer(ids: &str, missing: &'static str, find: impl Fn(&str) -> Option<Value>) -> Response {
    let ids: Vec<&str> = ids.split(',').collect();
    match ids.as_slice() {
        [id] => find(id).map_or_else(
            || refuse(StatusCode::NOT_FOUND, missing),
            |record| Json(record).into_response(),
        ),
        ids if ids.len() > MOST_IDS => refuse(StatusCode::BAD_REQUEST, "at most 200 ids in one request"),
        ids => Json(ids.iter().filter_map(|id| find(id)).collect::<Vec<Value>>()).into_response(),
    }
}

fn refuse(status: StatusCode, message: &'static str) -> Response {
    (status, Json(json!({"message": message}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_grants_its_rate_and_a_burst() {
        let mut bucket = Bucket::new(10.0);
        let granted =
            |bucket: &mut Bucket, at| (0..100).filter(|_| bucket.take(Duration::from_secs(at))).count();
        assert_eq!(granted(&mut bucket, 0), 20);
        assert_eq!(granted(&mut bucket, 1), 10);
        assert_eq!(granted(&mut bucket, 0), 0);
        assert_eq!(granted(&mut bucket, 60), 20);
    }
}
