//! Calls of the API server, counted where they are sent: a layer of its clients.

use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Method, Request, Response, Uri};
use futures::future::{BoxFuture, FutureExt as _};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::EDGES;

/// Resources that the operator may ask for, by its role.
const RESOURCES: [&str; 11] = [
    "configmaps",
    "deployments",
    "endpointslices",
    "events",
    "httproutes",
    "ingresses",
    "leases",
    "modelreleases",
    "pods",
    "secrets",
    "services",
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    verb: &'static str,
    resource: &'static str,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerbLabel {
    verb: &'static str,
}

/// Calls of the API server.
#[derive(Clone, Debug)]
pub struct Calls {
    requests: Family<CallLabels, Counter>,
    durations: Family<VerbLabel, Histogram, fn() -> Histogram>,
}

impl Default for Calls {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(EDGES);
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
        }
    }
}

impl Calls {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "serin_api_requests",
            "Requests to the API server, by what they asked for and the status code of the answer",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "serin_api_request_duration",
            "Time from a request to the head of its answer; of a watch that is its beginning",
            Unit::Seconds,
            self.durations.clone(),
        );
    }

    /// Counts a request that was answered with this status code, or by none.
    pub fn count(&self, method: &Method, uri: &Uri, code: Option<u16>, took: Duration) {
        let (verb, resource) = asked(method, uri);
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        let labels = CallLabels { verb, resource, code };
        self.requests.get_or_create(&labels).inc();
        let durations = self.durations.get_or_create(&VerbLabel { verb });
        durations.observe(took.as_secs_f64());
    }
}

/// Verb and resource, in the words of RBAC.
fn asked(method: &Method, uri: &Uri) -> (&'static str, &'static str) {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let below_version = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => &[],
    };
    let asked = match below_version {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let resource = match asked {
        ["modelreleases", _, "status"] => "modelreleases/status",
        [resource, ..] => RESOURCES
            .into_iter()
            .find(|known| known == resource)
            .unwrap_or("other"),
        [] => "other",
    };
    let is_watch = uri
        .query()
        .is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    let verb = match (method.as_str(), asked.len()) {
        ("GET", _) if is_watch => "watch",
        ("GET", 0 | 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        _ => "other",
    };
    (verb, resource)
}

impl<S> Layer<S> for Calls {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting {
            inner,
            calls: self.clone(),
        }
    }
}

/// A client whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counting<S> {
    inner: S,
    calls: Calls,
}

impl<S, B, R> Service<Request<B>> for Counting<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let calls = self.calls.clone();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let sent_at = Instant::now();
        let sent = self.inner.call(request);
        async move {
            let answer = sent.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            calls.count(&method, &uri, code, sent_at.elapsed());
            answer
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use tower::{BoxError, ServiceExt as _, service_fn};

    #[test]
    fn calls_are_named_as_roles_name_them() {
        let group = "/apis/serin.dev/v1alpha1";
        for (method, path, words) in [
            (
                "GET",
                format!("{group}/modelreleases?limit=50"),
                ("list", "modelreleases"),
            ),
            (
                "GET",
                format!("{group}/modelreleases?watch=true&timeoutSeconds=290"),
                ("watch", "modelreleases"),
            ),
            (
                "GET",
                format!("{group}/namespaces/demo/modelreleases/recommender"),
                ("get", "modelreleases"),
            ),
            (
                "PATCH",
                format!("{group}/namespaces/demo/modelreleases/recommender/status?force=true"),
                ("patch", "modelreleases/status"),
            ),
            (
                "POST",
                "/api/v1/namespaces/demo/events".into(),
                ("create", "events"),
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/demo/deployments/recommender-1a2b".into(),
                ("delete", "deployments"),
            ),
            (
                "GET",
                "/apis/apps/v1/namespaces/demo/deployments?labelSelector=a".into(),
                ("list", "deployments"),
            ),
            ("GET", "/api/v1/namespaces/pods".into(), ("get", "other")),
            ("GET", "/version".into(), ("list", "other")),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(asked(&method, &path.parse().unwrap()), words, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn every_call_is_counted_with_its_answer_or_without() {
        let (mut registry, calls) = (Registry::default(), Calls::default());
        calls.register(&mut registry);
        let server = service_fn(|request: Request<()>| async move {
            if request.method() == Method::DELETE {
                return Err(BoxError::from("the connection is gone"));
            }
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::CONFLICT;
            Ok(answer)
        });
        for (method, is_answered) in [
            (Method::PATCH, true),
            (Method::DELETE, false),
            (Method::PATCH, true),
        ] {
            let request = Request::builder()
                .method(method)
                .uri("/api/v1/namespaces/demo/services/search");
            let answer = calls.layer(server).oneshot(request.body(()).unwrap()).await;
            assert_eq!(answer.is_ok(), is_answered);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "serin_api_requests_total{verb=\"patch\",resource=\"services\",code=\"409\"} 2\n",
            "serin_api_requests_total{verb=\"delete\",resource=\"services\",code=\"none\"} 1\n",
            "serin_api_request_duration_seconds_count{verb=\"patch\"} 2\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
