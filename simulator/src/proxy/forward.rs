//! The reverse proxy itself: spoils or forwards one request at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tokio::time::sleep;
use url::Url;

use super::faults::{End, Faults};
use super::metrics::Metrics;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::serve::{Ready, metrics};

/// Headers that concern one connection only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Attempts for a request without a body: one may meet a connection that the server is just closing.
const ATTEMPTS: u32 = 3;

/// What the answers of a release say about themselves.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Digest of the model's manifest.
    pub digest: String,
    /// Version of the model.
    pub version: String,
    /// Revision of the release.
    pub revision: String,
}

/// The server behind.
#[derive(Debug, Clone)]
pub struct Upstream {
    authority: Authority,
    client: Client<HttpConnector, Body>,
}

impl Upstream {
    /// The server at `url`.
    ///
    /// # Errors
    /// `Url`, unless it is `http://host[:port]` and no more.
    pub fn new(url: &Url) -> Result<Self> {
        let wrong = |problem| Error::Url {
            url: url.to_string(),
            problem,
        };
        if url.scheme() != "http" || url.path() != "/" || url.query().is_some() {
            return Err(wrong("a proxy needs http, host and port, and no path"));
        }
        let authority = url
            .authority()
            .parse()
            .map_err(|_| wrong("host or port is missing"))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(1)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { authority, client })
    }

    /// Forwards a request and takes what concerns single connections out of both directions.
    async fn forward(&self, request: Request) -> Result<Response, hyper_util::client::legacy::Error> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        let mut uri = axum::http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        head.uri = Uri::from_parts(uri).unwrap_or_default();
        head.version = Version::HTTP_11;
        strip(&mut head.headers);

        let bare = matches!(head.method, Method::GET | Method::HEAD)
            && !head.headers.contains_key(header::CONTENT_LENGTH);
        if bare {
            for _ in 1..ATTEMPTS {
                let attempt = Request::from_parts(head.clone(), Body::empty());
                if let Ok(response) = self.client.request(attempt).await {
                    return Ok(clean(response));
                }
            }
            return self
                .client
                .request(Request::from_parts(head, Body::empty()))
                .await
                .map(clean);
        }
        self.client
            .request(Request::from_parts(head, body))
            .await
            .map(clean)
    }
}

/// A fault proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The server behind.
    pub upstream: Upstream,
    /// What goes wrong how often.
    pub faults: Faults,
    /// Where chance comes from.
    pub chance: Arc<Mutex<(u64, Random)>>,
    /// Status of injected errors.
    pub error_status: StatusCode,
    /// How long a hanging request hangs.
    pub hang: Duration,
    /// What injected errors say about themselves.
    pub identity: Identity,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether traffic is welcome; false while draining.
    pub ready: Ready,
}

/// The proxy as a service: its own `/metrics`, probes passed on, everything else subject to faults.
pub fn router(proxy: Proxy) -> Router {
    let registry = proxy.metrics.registry();
    Router::new()
        .route("/metrics", get(metrics).with_state(registry))
        .route("/healthz", get(pass))
        .route("/readyz", get(readyz))
        .fallback(answer)
        .with_state(proxy)
}

async fn readyz(State(proxy): State<Proxy>, request: Request) -> Response {
    if proxy.ready.get() {
        pass(State(proxy), request).await
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    }
}

async fn pass(State(proxy): State<Proxy>, request: Request) -> Response {
    proxy
        .upstream
        .forward(request)
        .await
        .unwrap_or_else(|error| unreachable_upstream(&error))
}

async fn answer(State(proxy): State<Proxy>, request: Request) -> Response {
    let timer = proxy
        .metrics
        .begin(request.method().as_str(), request.uri().path());
    let mut response = spoil_or_forward(&proxy, request).await;
    if !proxy.ready.get() {
        // While draining, callers open their next connection elsewhere.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    timer.end(response.status().as_u16());
    response
}

async fn spoil_or_forward(proxy: &Proxy, request: Request) -> Response {
    let fate = {
        let mut chance = proxy.chance.lock();
        let (number, random) = &mut *chance;
        let fate = proxy.faults.fate(*number, random);
        *number = number.saturating_add(1);
        fate
    };
    if !fate.delay.is_zero() {
        proxy.metrics.inject("delay");
        sleep(fate.delay).await;
    }
    let mut response = match fate.end {
        End::Forward => proxy.upstream.forward(request).await.unwrap_or_else(|error| {
            proxy.metrics.upstream_failed();
            unreachable_upstream(&error)
        }),
        End::Error => proxy.injected("error"),
        End::Hang => {
            sleep(proxy.hang).await;
            proxy.injected("hang")
        }
    };
    if !fate.delay.is_zero() {
        let ms = u64::try_from(fate.delay.as_millis()).unwrap_or(u64::MAX);
        response
            .headers_mut()
            .insert(HeaderName::from_static("serin-delay-ms"), HeaderValue::from(ms));
    }
    response
}

impl Proxy {
    /// An answer that is bad on purpose, and says so.
    fn injected(&self, kind: &'static str) -> Response {
        self.metrics.inject(kind);
        let mut response = (self.error_status, "injected by the fault proxy\n").into_response();
        let Identity {
            digest,
            version,
            revision,
        } = &self.identity;
        let headers = response.headers_mut();
        for (name, value) in [
            ("serin-model-digest", digest.as_str()),
            ("serin-model-version", version),
            ("serin-revision", revision),
            ("serin-fault", kind),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// What callers get when the server behind is silent. It carries no `serin-fault`: nobody wanted this.
fn unreachable_upstream(error: &hyper_util::client::legacy::Error) -> Response {
    tracing::warn!(%error, "the server behind did not answer");
    (
        StatusCode::BAD_GATEWAY,
        "the server behind the proxy did not answer\n",
    )
        .into_response()
}

fn clean(response: Response<hyper::body::Incoming>) -> Response {
    let mut response = response.map(Body::new);
    strip(response.headers_mut());
    response
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}
