//! Counts the calls that the operator makes, to the API server, to Prometheus and to the archive, and lets one of them
//! meet its fate.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tower::{BoxError, Layer, Service};

/// What may happen at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The operator is killed before the call is sent: that is also after the call before it was answered.
    Kill,
    /// The call does not arrive.
    Break,
    /// The call is carried out, and answered with an error.
    Lie,
}

/// The calls of one run.
#[derive(Debug)]
pub(crate) struct Calls {
    made: AtomicUsize,
    names: Mutex<Vec<String>>,
    fault: Option<(usize, Fate)>,
    /// Told when the operator is to be killed.
    pub(crate) killed: Notify,
}

impl Calls {
    /// Calls of which the one with this number, from 1, meets its fate.
    pub(crate) fn new(fault: Option<(usize, Fate)>) -> Arc<Self> {
        Arc::new(Self {
            made: AtomicUsize::new(0),
            names: Mutex::default(),
            fault,
            killed: Notify::new(),
        })
    }

    /// Counts a call; answers its fate, if it has one.
    pub(crate) fn next(&self, name: String) -> Option<Fate> {
        let number = self.made.fetch_add(1, Ordering::SeqCst) + 1;
        self.names.lock().push(name);
        self.fault.filter(|(at, _)| *at == number).map(|(_, fate)| fate)
    }

    /// The end of the operator: nothing that would come after this call happens.
    pub(crate) async fn die<T>(&self) -> T {
        self.killed.notify_one();
        pending().await
    }

    /// The calls so far, in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.lock().clone()
    }
}

/// Calls of the API server.
#[derive(Clone)]
pub(crate) struct Tripwire(pub(crate) Arc<Calls>);

impl<S> Layer<S> for Tripwire {
    type Service = Tripped<S>;

    fn layer(&self, inner: S) -> Tripped<S> {
        Tripped {
            inner,
            calls: self.0.clone(),
        }
    }
}

pub(crate) struct Tripped<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S, B> Service<Request<Body>> for Tripped<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fate = self
            .calls
            .next(format!("{} {}", request.method(), request.uri().path()));
        let calls = self.calls.clone();
        // Nothing is sent before this is awaited.
        let sent = self.inner.call(request);
        async move {
            match fate {
                None => sent.await,
                Some(Fate::Kill) => calls.die().await,
                Some(Fate::Break) => Err("the connection is broken".into()),
                Some(Fate::Lie) => {
                    let mut answer = sent.await?;
                    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    Ok(answer)
                }
            }
        }
        .boxed()
    }
}

/// Calls of the archive: only what it writes while a release is judged.
#[derive(Debug)]
pub(crate) struct Shelf<S> {
    pub(crate) inner: S,
    pub(crate) calls: Arc<Calls>,
}

impl<S> fmt::Display for Shelf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shelf that may break")
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic {
        store: "shelf",
        source: "it is broken".into(),
    }
}

#[async_trait::async_trait]
impl<S: ObjectStore> ObjectStore for Shelf<S> {
    async fn put_opts(
        &self,
        at: &Path,
        what: PutPayload,
        how: PutOptions,
    ) -> object_store::Result<PutResult> {
        match self.calls.next(format!("PUT {at}")) {
            None => self.inner.put_opts(at, what, how).await,
            Some(Fate::Kill) => self.calls.die().await,
            Some(Fate::Break) => Err(broken()),
            Some(Fate::Lie) => {
                self.inner.put_opts(at, what, how).await?;
                Err(broken())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, how).await
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(at, how).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, below: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(below)
    }

    async fn list_with_delimiter(&self, below: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(below).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, how).await
    }
}
