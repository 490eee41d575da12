//! Leadership, confirmed before each write.
//!
//! A leader that was frozen, or cut off, does not know that another has taken over: its next write would come beside
//! the other's. So every write is sent only as long as the Lease, as it was renewed last, cannot have been taken by
//! anybody: from the moment before the renewal was sent. Reads go on.
//!
//! What is not held back: a write that was sent in time and arrives late. Each is a wish that the state called for when
//! the term still ran; the status, by which a release moves on, is refused when another has written it since.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{Method, Request, Response};
use futures::future::{BoxFuture, FutureExt as _};
use kube::client::Body;
use parking_lot::Mutex;
use tower::{BoxError, Layer, Service};

/// Part of the Lease's duration that is left unused: for clocks that run unlike, and for a write on its way.
const RESERVE: u32 = 5;

/// Until when this replica may write.
#[derive(Clone)]
pub(crate) struct Tenure {
    length: Duration,
    until: Arc<Mutex<Option<Instant>>>,
    now: Monotonic,
}

/// A clock that nobody sets.
type Monotonic = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Why a write was not sent.
#[derive(Debug, thiserror::Error)]
#[error("this replica cannot be sure to lead any longer: nothing is written until the Lease is renewed")]
pub(crate) struct Lapsed;

impl Tenure {
    /// A term that has not begun, under a Lease of this duration.
    pub(crate) fn new(lease: Duration) -> Self {
        Self::by(Arc::new(Instant::now), lease)
    }

    fn by(now: Monotonic, lease: Duration) -> Self {
        Self {
            length: lease.saturating_sub(lease / RESERVE),
            until: Arc::default(),
            now,
        }
    }

    /// Ends the term: before the Lease is given back.
    pub(crate) fn end(&self) {
        *self.until.lock() = None;
    }

    fn renewed(&self, at: Instant) {
        *self.until.lock() = at.checked_add(self.length);
    }

    fn holds(&self) -> bool {
        let until = *self.until.lock();
        until.is_some_and(|until| (self.now)() < until)
    }

    /// For the client of the election: each of its writes that is accepted begins the term anew.
    pub(crate) fn renewing(&self) -> Guard {
        Guard {
            tenure: self.clone(),
            role: Role::Renews,
        }
    }

    /// For the client of everything else: it writes during the term.
    pub(crate) fn confirmed(&self) -> Guard {
        Guard {
            tenure: self.clone(),
            role: Role::Works,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Renews,
    Works,
}

/// A layer of a client of the API server.
#[derive(Clone)]
pub(crate) struct Guard {
    tenure: Tenure,
    role: Role,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            guard: self.clone(),
        }
    }
}

/// A client that heeds the term.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S, B> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Guard { tenure, role } = self.guard.clone();
        let is_write = request.method() != Method::GET;
        if role == Role::Works && is_write && !tenure.holds() {
            return async { Err(Lapsed.into()) }.boxed();
        }
        let sent_at = (tenure.now)();
        let sent = self.inner.call(request);
        async move {
            let answer = sent.await?;
            if role == Role::Renews && is_write && answer.status().is_success() {
                tenure.renewed(sent_at);
            }
            Ok(answer)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use tower::{ServiceExt as _, service_fn};

    const LEASE: Duration = Duration::from_secs(15);

    /// A term, and the hand that moves its clock.
    fn term() -> (Tenure, impl Fn(Duration)) {
        let clock = Arc::new(Mutex::new(Instant::now()));
        let hand = clock.clone();
        let tenure = Tenure::by(Arc::new(move || *clock.lock()), LEASE);
        (tenure, move |by| *hand.lock() += by)
    }

    /// What comes of a call over a client of this role, to a server that answers so when this has happened.
    async fn call(
        guard: &Guard,
        method: Method,
        status: StatusCode,
        meanwhile: impl Fn(),
    ) -> Result<StatusCode, String> {
        let server = service_fn(|_: Request<Body>| {
            meanwhile();
            let mut answer = Response::new(());
            *answer.status_mut() = status;
            std::future::ready(Ok::<_, BoxError>(answer))
        });
        let request = Request::builder()
            .method(method)
            .uri("/")
            .body(Body::empty())
            .unwrap();
        let answer = guard.layer(server).oneshot(request).await;
        answer
            .map(|answer| answer.status())
            .map_err(|error| error.to_string())
    }

    async fn write(tenure: &Tenure) -> Result<StatusCode, String> {
        call(&tenure.confirmed(), Method::PATCH, StatusCode::OK, || {}).await
    }

    async fn renew(tenure: &Tenure, status: StatusCode, meanwhile: impl Fn()) {
        call(&tenure.renewing(), Method::PATCH, status, meanwhile)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn nothing_is_written_before_the_term_and_after_it() {
        let (tenure, wait) = term();
        assert!(
            write(&tenure)
                .await
                .unwrap_err()
                .contains("cannot be sure to lead")
        );
        renew(&tenure, StatusCode::OK, || {}).await;
        assert!(write(&tenure).await.is_ok());
        // Frozen for as long as the Lease lasts: the other replica may have it now.
        wait(LEASE);
        assert!(write(&tenure).await.is_err());
        let read = call(&tenure.confirmed(), Method::GET, StatusCode::OK, || {}).await;
        assert!(read.is_ok(), "reads go on");
        renew(&tenure, StatusCode::OK, || {}).await;
        assert!(write(&tenure).await.is_ok());
        tenure.end();
        assert!(write(&tenure).await.is_err());
    }

    #[tokio::test]
    async fn a_renewal_counts_from_before_it_was_sent_and_only_when_it_was_accepted() {
        let (tenure, wait) = term();
        renew(&tenure, StatusCode::CONFLICT, || {}).await;
        assert!(write(&tenure).await.is_err(), "another holds the Lease");
        renew(&tenure, StatusCode::OK, || wait(LEASE)).await;
        assert!(
            write(&tenure).await.is_err(),
            "its answer came when the term was over"
        );
        let looked = call(&tenure.renewing(), Method::GET, StatusCode::OK, || {}).await;
        assert!(
            looked.is_ok() && write(&tenure).await.is_err(),
            "looking at the Lease renews nothing"
        );
    }
}
