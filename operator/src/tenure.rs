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
use futures::future::{BoxFuture, Either, FutureExt as _, poll_fn, ready};
use kube::client::Body;
use parking_lot::Mutex;
use tokio::time::sleep;
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

    pub(crate) fn by(now: Monotonic, lease: Duration) -> Self {
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

    /// What the clock of the term shows.
    pub(crate) fn now(&self) -> Instant {
        (self.now)()
    }

    /// Begins the term anew: the Lease was renewed by what was sent after this moment.
    pub(crate) fn renewed(&self, at: Instant) {
        *self.until.lock() = at.checked_add(self.length);
    }

    /// Whether it lasts.
    pub(crate) fn holds(&self) -> bool {
        self.left().is_some()
    }

    /// How long it lasts if it is not renewed; none when it is over.
    fn left(&self) -> Option<Duration> {
        let until = (*self.until.lock())?;
        let left = until.checked_duration_since(self.now())?;
        (!left.is_zero()).then_some(left)
    }

    /// Waits until it is over, however often it is renewed meanwhile.
    async fn until_over(&self) {
        while let Some(left) = self.left() {
            sleep(left).await;
        }
    }

    /// For every client but that of the election: it writes during the term.
    pub(crate) fn guard(&self) -> Guard {
        Guard(self.clone())
    }
}

/// A layer of a client of the API server.
#[derive(Clone)]
pub(crate) struct Guard(Tenure);

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            tenure: self.0.clone(),
        }
    }
}

/// A client that heeds the term.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    inner: S,
    tenure: Tenure,
}

impl<S, B> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<B>, BoxError>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() == Method::GET {
            return Either::Left(self.inner.call(request));
        }
        if !self.tenure.holds() {
            return Either::Right(ready(Err(Lapsed.into())).boxed());
        }
        // It may wait for a connection, and must not be sent when it has one at last. The clock is asked each time: a process
        // that was frozen may hear of its connection before it hears that the term is over.
        let (tenure, over) = (self.tenure.clone(), self.tenure.clone());
        let mut over = Box::pin(async move { over.until_over().await });
        let mut sent = Box::pin(self.inner.call(request));
        let sent = poll_fn(move |cx| {
            if over.as_mut().poll(cx).is_ready() || !tenure.holds() {
                return Poll::Ready(Err(Lapsed.into()));
            }
            sent.as_mut().poll(cx)
        });
        Either::Right(sent.boxed())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    /// Whether a call over a guarded client is sent.
    async fn call(tenure: &Tenure, method: Method) -> Result<(), String> {
        let server = service_fn(|_: Request<Body>| ready(Ok::<_, BoxError>(Response::new(()))));
        let request = Request::builder()
            .method(method)
            .uri("/")
            .body(Body::empty())
            .unwrap();
        let answer = tenure.guard().layer(server).oneshot(request).await;
        answer.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn nothing_is_written_before_the_term_and_after_it() {
        let clock = Arc::new(Mutex::new(Instant::now()));
        let hand = clock.clone();
        let tenure = Tenure::by(Arc::new(move || *clock.lock()), LEASE);
        let refused = call(&tenure, Method::PATCH).await.unwrap_err();
        assert!(refused.contains("cannot be sure to lead"), "{refused}");
        tenure.renewed(tenure.now());
        assert!(call(&tenure, Method::PATCH).await.is_ok());
        // Frozen for as long as the Lease lasts: another replica may have it now.
        *hand.lock() += LEASE;
        assert!(call(&tenure, Method::PATCH).await.is_err());
        assert!(call(&tenure, Method::GET).await.is_ok(), "reads go on");
        tenure.renewed(tenure.now());
        assert!(call(&tenure, Method::PATCH).await.is_ok());
        tenure.end();
        assert!(call(&tenure, Method::PATCH).await.is_err());
    }

    #[tokio::test]
    async fn a_write_that_waits_for_a_connection_is_not_sent_after_the_term() {
        // The clock stands where the hand leaves it, however often it is asked.
        const SHORT: Duration = Duration::from_millis(5);
        let clock = Arc::new(Mutex::new(Instant::now()));
        let hand = clock.clone();
        let tenure = Tenure::by(Arc::new(move || *clock.lock()), SHORT);
        let write = |connected: oneshot::Receiver<()>| {
            let connected = Mutex::new(Some(connected));
            let server = service_fn(move |_: Request<Body>| {
                let connected = connected.lock().take();
                async move {
                    connected.expect("one call").await?;
                    Ok::<_, BoxError>(Response::new(()))
                }
            });
            let request = Request::builder().method(Method::PUT).uri("/");
            let request = request.body(Body::empty()).unwrap();
            Box::pin(tenure.guard().layer(server).oneshot(request))
        };
        tenure.renewed(tenure.now());
        let (connect, connected) = oneshot::channel();
        let mut late = write(connected);
        assert!(late.as_mut().now_or_never().is_none());
        *hand.lock() += SHORT;
        connect.send(()).unwrap();
        assert!(late.await.is_err());

        // Renewed meanwhile, it goes on.
        tenure.renewed(tenure.now());
        let (connect, connected) = oneshot::channel();
        let mut in_time = write(connected);
        assert!(in_time.as_mut().now_or_never().is_none());
        *hand.lock() += SHORT / 2;
        tenure.renewed(tenure.now());
        *hand.lock() += SHORT / 2;
        connect.send(()).unwrap();
        assert!(in_time.await.is_ok());
    }
}
