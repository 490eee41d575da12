//! The world of one release: a namespace of a real API server, pods and a gateway that follow when they are told to,
//! traffic, and a clock that moves by turns.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use kube::core::DeserializeGuard;
use kube::runtime::reflector;
use kube::{Client, ResourceExt as _};
use object_store::memory::InMemory;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use serin_core::crd::{ModelRelease, ModelReleaseStatus, REQUEST_ANNOTATION};
use serin_core::plan::Stage;
use serin_operator::{Archive, Context, Metrics, reconcile};
use serin_testkit::{ApiServer, Served};
use tokio::task::AbortHandle;

use crate::faults::calls::{Calls, Fate, Shelf, Tripwire};

pub(crate) const NAME: &str = "recommender";
/// Seconds of a turn, of a block and between two scrapes.
pub(crate) const TURN: i64 = 5;
/// When a world begins, in seconds of the epoch.
pub(crate) const START: i64 = 1_800_000_000;
/// Requests a second.
const RATE: i64 = 200;
/// Turns within which anything happens that is waited for.
pub(crate) const SOON: usize = 40;
/// Looks that one turn may need to get over one fault.
const PATIENCE: usize = 4;

/// Routes of each kind, as in `spec.route`.
pub(crate) const GATEWAY: &str = r#"{"gateway": {"parentRefs": [{"name": "public"}], "path": "/recommend"}}"#;
pub(crate) const TESTERS: &str = r#"{"gateway": {
    "parentRefs": [{"name": "public"}], "path": "/recommend", "testers": {"header": "x-canary", "value": "always"}
}}"#;
pub(crate) const INGRESS: &str =
    r#"{"ingress": {"className": "nginx", "host": "films.example", "path": "/recommend"}}"#;
pub(crate) const PODS: &str = r#"{"none": {}}"#;

/// What somebody does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// Asks for a version. Its name begins with how it behaves: healthy, failing, slow or broken.
    Want(&'static str),
    /// Asks for another version at once, whatever is under way.
    Supersede(&'static str),
    /// Asks to abort what is on trial.
    Abort,
    /// Asks to try again what was rolled back.
    Retry,
    /// Lets a ConfigMap that the pods read hold this.
    Configure(&'static str),
    /// Deletes the release.
    Delete,
}

/// What the operator's Prometheus knows.
struct Traffic {
    now: i64,
    /// What each revision had served at each scrape.
    served: BTreeMap<String, Vec<(i64, Served)>>,
    calls: Arc<Calls>,
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    route: &'static str,
    /// Version whose pods are not ready, however it is called.
    pub(crate) down: Option<&'static str>,
    traffic: Arc<Mutex<Traffic>>,
    records: Arc<InMemory>,
    context: Arc<Context>,
    ours: Client,
    prometheus: AbortHandle,
    pub(crate) calls: Arc<Calls>,
    /// Looks that ended with an error, in words.
    pub(crate) failures: Vec<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.prometheus.abort();
    }
}

/// A server that knows the Gateway API; none where there is no program for it.
pub(crate) async fn server() -> Option<ApiServer> {
    let server = ApiServer::start().await.unwrap()?;
    serin_testkit::install(server.client(), serin_testkit::routes())
        .await
        .unwrap();
    Some(server)
}

impl World {
    /// A world in which every call arrives and is answered.
    pub(crate) async fn undisturbed(server: &ApiServer, namespace: &str, route: &'static str) -> Self {
        Self::new(server, namespace.into(), route, Calls::new(None)).await
    }

    /// A namespace with a release that asks for nothing yet.
    pub(crate) async fn new(
        server: &ApiServer,
        namespace: String,
        route: &'static str,
        calls: Arc<Calls>,
    ) -> Self {
        let client = server.client();
        let wanted: Namespace = from(json!({"metadata": {"name": namespace}}));
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &wanted)
            .await
            .unwrap();
        let traffic = Traffic {
            now: START,
            served: BTreeMap::new(),
            calls: calls.clone(),
        };
        let traffic = Arc::new(Mutex::new(traffic));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .fallback(any(answer))
            .with_state(traffic.clone());
        let prometheus = tokio::spawn(axum::serve(listener, router).into_future()).abort_handle();
        let ours = ClientBuilder::try_from(server.config().await.unwrap()).unwrap();
        let ours = ours.with_layer(&Tripwire(calls.clone())).build();
        let records = Arc::<InMemory>::default();
        let release: ModelRelease = from(release(&url, route));
        let api: Api<ModelRelease> = Api::namespaced(client.clone(), &namespace);
        api.create(&PostParams::default(), &release).await.unwrap();
        let context = context(&ours, &traffic, &records, &calls);
        Self {
            client,
            namespace,
            route,
            down: None,
            traffic,
            records,
            context,
            ours,
            prometheus,
            calls,
            failures: Vec::new(),
        }
    }

    pub(crate) fn api(&self) -> Api<ModelRelease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The objects of a kind beside the release.
    pub(crate) fn all<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The same of a kind that has no type here.
    pub(crate) fn all_of(&self, kind: &kube::api::ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, kind)
    }

    /// Somebody changes the release.
    pub(crate) async fn edit(&self, change: Value) {
        self.api()
            .patch(NAME, &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap();
    }

    /// An operator of another time has written this status.
    pub(crate) async fn tell(&self, change: Value) {
        self.api()
            .patch_status(NAME, &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap();
    }

    /// Lets a ConfigMap hold one value.
    pub(crate) async fn holds(&self, name: &str, value: &str) {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"top": value},
        });
        let params = PatchParams::apply("test").force();
        let api = self.all::<ConfigMap>();
        api.patch(name, &params, &Patch::Apply(object)).await.unwrap();
    }

    /// The release as a watch would show it now.
    pub(crate) async fn shown(&self) -> DeserializeGuard<ModelRelease> {
        let api: Api<DeserializeGuard<ModelRelease>> = Api::namespaced(self.client.clone(), &self.namespace);
        api.get(NAME).await.unwrap()
    }

    /// One look of the operator at the release as it was shown.
    pub(crate) async fn look_at(&self, shown: &DeserializeGuard<ModelRelease>) {
        let shown = DeserializeGuard(shown.0.clone());
        reconcile(Arc::new(shown), self.context.clone()).await.unwrap();
    }

    pub(crate) async fn does(&self, deed: Deed) {
        let status = self.status().await;
        let wish = match deed {
            Deed::Want(version) => json!({"spec": {"model": model(version)}}),
            Deed::Supersede(version) => {
                json!({"spec": {"model": model(version), "rollout": {"onNewVersion": "Supersede"}}})
            }
            Deed::Abort => {
                let canary = status.canary.expect("an abort is of a canary");
                json!({"metadata": {"annotations": {REQUEST_ANNOTATION: format!("abort/{}", canary.arm.revision)}}})
            }
            Deed::Retry => {
                let retry = serin_core::status::state(&status)
                    .retry()
                    .expect("a retry is of a rollback");
                json!({"metadata": {"annotations": {REQUEST_ANNOTATION: retry.to_string()}}})
            }
            Deed::Configure(value) => {
                self.holds("limits", value).await;
                let reads = json!([{"configMapRef": {"name": "limits"}}]);
                let mut containers = containers();
                containers[0]["envFrom"] = reads;
                json!({"spec": {"serving": {"template": {"spec": {"containers": containers}}}}})
            }
            Deed::Delete => {
                self.api().delete(NAME, &DeleteParams::default()).await.unwrap();
                return;
            }
        };
        self.edit(wish).await;
    }

    /// The operator looks until it has written something down or has nothing to do; then the world follows.
    pub(crate) async fn turn(&mut self) {
        for look in 0.. {
            assert!(
                look < PATIENCE,
                "one fault kept {look} looks from ending: {:?}",
                self.failures
            );
            let api: Api<DeserializeGuard<ModelRelease>> =
                Api::namespaced(self.client.clone(), &self.namespace);
            let Some(release) = api.get_opt(NAME).await.unwrap() else {
                break;
            };
            let before = release.resource_version();
            let looked = tokio::select! {
                looked = reconcile(Arc::new(release), self.context.clone()) => Some(looked),
                () = self.calls.killed.notified() => None,
            };
            match looked {
                Some(Ok(_)) => break,
                Some(Err(error)) => self.failures.push(error.to_string()),
                // What comes after a kill knows what is written down, and nothing else.
                None => self.context = context(&self.ours, &self.traffic, &self.records, &self.calls),
            }
            let after = api
                .get_opt(NAME)
                .await
                .unwrap()
                .and_then(|release| release.resource_version());
            if after != before {
                break;
            }
        }
        self.follow().await;
    }

    /// Turns of which no look ends with an error; what is written then.
    pub(crate) async fn turns(&mut self, number: usize) -> ModelReleaseStatus {
        for _ in 0..number {
            Box::pin(self.turn()).await;
        }
        assert!(self.failures.is_empty(), "{:?}", self.failures);
        self.status().await
    }

    pub(crate) async fn status(&self) -> ModelReleaseStatus {
        self.api().get(NAME).await.unwrap().status.unwrap_or_default()
    }

    /// Turns until something is so.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        is_so: impl Fn(&ModelReleaseStatus) -> bool,
    ) -> ModelReleaseStatus {
        for _ in 0..SOON {
            self.turn().await;
            let status = self.status().await;
            if is_so(&status) {
                return status;
            }
        }
        panic!("{what}: not within {SOON} turns: {:#?}", self.status().await);
    }

    pub(crate) async fn until_soaking(&mut self, step: usize) -> ModelReleaseStatus {
        self.until("it soaks", |status| {
            let canary = status.canary.as_ref();
            canary.is_some_and(|canary| canary.stage == Stage::Soaking && canary.step == step)
        })
        .await
    }

    /// Pods start, the gateway accepts, and requests are answered until the next turn.
    async fn follow(&self) {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut behaviour = HashMap::new();
        for deployment in deployments.list(&ListParams::default()).await.unwrap() {
            let version = deployment
                .annotations()
                .get("serin.dev/version")
                .cloned()
                .unwrap_or_default();
            let are_ready = !version.starts_with("broken") && self.down != Some(&*version);
            serin_testkit::run_pods(&self.client, &deployment, are_ready)
                .await
                .unwrap();
            let replicas = deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(1);
            if are_ready && replicas > 0 {
                let revision = deployment
                    .labels()
                    .get("serin.dev/revision")
                    .cloned()
                    .unwrap_or_default();
                behaviour.insert(revision, version);
            }
        }
        let shares = self.shares().await;
        let mut traffic = self.traffic.lock();
        traffic.now += TURN;
        let now = traffic.now;
        for (revision, version) in behaviour {
            let share = shares.get(&revision).copied().unwrap_or(0);
            let requests = (RATE * TURN * share) as f64 / 100.0;
            let failures = if version.starts_with("failing") {
                requests / 4.0
            } else {
                0.0
            };
            let scrapes = traffic.served.entry(revision).or_default();
            let before = scrapes.last().map(|(_, served)| *served).unwrap_or_default();
            let served = Served {
                successes: before.successes + requests - failures,
                failures: before.failures + failures,
                latency_seconds: if version.starts_with("slow") { 0.65 } else { 0.02 },
            };
            scrapes.push((now, served));
        }
    }

    /// Percent of the requests that go to each revision, over whatever stands; what carries it follows on the way.
    pub(crate) async fn shares(&self) -> HashMap<String, i64> {
        if [GATEWAY, TESTERS].contains(&self.route) {
            return self.by_gateway().await;
        }
        let services = self.front().await;
        let stable = services.iter().find(|service| service.name_any() == NAME);
        let selector = stable.and_then(|service| service.spec.as_ref()?.selector.clone());
        let Some(selector) = selector else {
            return HashMap::new();
        };
        let selected = selector.get("serin.dev/revision").cloned();
        if self.route == INGRESS {
            return self.by_ingress(selected).await;
        }
        match selected {
            Some(selected) => HashMap::from([(selected, 100)]),
            None => self.by_pods().await,
        }
    }

    async fn by_gateway(&self) -> HashMap<String, i64> {
        let kind = serin_testkit::http_route();
        let routes: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let route = routes.get_opt(NAME).await.unwrap();
        if let Some(route) = &route {
            serin_testkit::accept(&self.client, route).await.unwrap();
        }
        let backends = route
            .as_ref()
            .and_then(|route| route.data.pointer("/spec/rules/0/backendRefs"));
        let backends = backends.and_then(Value::as_array).cloned().unwrap_or_default();
        let share = |backend: &Value| {
            let revision = revision_of(backend["name"].as_str()?)?;
            Some((revision, backend["weight"].as_i64()?))
        };
        backends.iter().filter_map(share).collect()
    }

    /// What a canary Ingress leaves the stable-named Service, and what it sends itself.
    async fn by_ingress(&self, selected: Option<String>) -> HashMap<String, i64> {
        let ingresses: Api<Ingress> = Api::namespaced(self.client.clone(), &self.namespace);
        if ingresses.get_opt(NAME).await.unwrap().is_none() {
            return HashMap::new();
        }
        let canary = ingresses.get_opt(&format!("{NAME}-canary")).await.unwrap();
        let canary = canary.map(|canary| json!(canary)).unwrap_or_default();
        let weight = &canary["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"];
        let weight: i64 = weight.as_str().map_or(0, |weight| weight.parse().unwrap());
        let mut shares: HashMap<_, _> = selected
            .map(|selected| (selected, 100 - weight))
            .into_iter()
            .collect();
        let service = &canary["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"];
        if let Some(revision) = service.as_str().and_then(revision_of) {
            *shares.entry(revision).or_default() += weight;
        }
        shares
    }

    async fn by_pods(&self) -> HashMap<String, i64> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let ready = |deployment: &Deployment| {
            let ready = deployment
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas);
            Some((
                deployment.labels().get("serin.dev/revision")?.clone(),
                i64::from(ready.unwrap_or(0)),
            ))
        };
        let all = deployments.list(&ListParams::default()).await.unwrap();
        let pods: HashMap<_, _> = all.iter().filter_map(ready).collect();
        let all: i64 = pods.values().sum();
        pods.into_iter()
            .map(|(revision, pods)| (revision, (100 * pods).checked_div(all).unwrap_or(0)))
            .collect()
    }

    /// Lets the ready pods stand behind their Services; answers these.
    async fn front(&self) -> Vec<Service> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let deployments = deployments.list(&ListParams::default()).await.unwrap().items;
        let services = services.list(&ListParams::default()).await.unwrap().items;
        for service in &services {
            serin_testkit::front(&self.client, service, &deployments)
                .await
                .unwrap();
        }
        services
    }

    /// Everything that somebody could see now, but for what the API server makes up itself.
    pub(crate) async fn seen(&self) -> Value {
        let all = ListParams::default();
        let release = self.api().get_opt(NAME).await.unwrap();
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), &self.namespace);
        let services = Api::<Service>::namespaced(self.client.clone(), &self.namespace);
        let config_maps = self.all::<ConfigMap>();
        let ingresses = Api::<Ingress>::namespaced(self.client.clone(), &self.namespace);
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let kind = serin_testkit::http_route();
        let routes = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let mut told: Vec<Value> = events
            .list(&all)
            .await
            .unwrap()
            .into_iter()
            .filter(|event| event.involved_object.kind.as_deref() == Some("ModelRelease"))
            .map(|event| telling(&event))
            .collect();
        told.sort_by_key(ToString::to_string);
        let mut records = BTreeMap::new();
        let listed: Vec<_> = self.records.list(None).try_collect().await.unwrap();
        for object in listed {
            let bytes = self
                .records
                .get(&object.location)
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            let name = object.location.to_string().replacen(&self.namespace, "", 1);
            records.insert(name, String::from_utf8(bytes.to_vec()).unwrap());
        }
        json!({
            "release": release.map(|release| json!({
                "finalizers": release.finalizers(), "annotations": release.annotations(), "status": release.status,
            })),
            "deployments": by_name(&deployments.list(&all).await.unwrap(), |deployment| json!({
                "labels": deployment.labels(), "replicas": deployment.spec.as_ref().and_then(|spec| spec.replicas),
            })),
            "services": by_name(&services.list(&all).await.unwrap(), |service| {
                json!(service.spec.as_ref().and_then(|spec| spec.selector.clone()))
            }),
            "config_maps": by_name(&config_maps.list(&all).await.unwrap(), |config_map| json!(config_map.data)),
            "ingresses": by_name(&ingresses.list(&all).await.unwrap(), |ingress| json!({
                "annotations": ingress.annotations(), "spec": ingress.spec,
            })),
            "routes": by_name(&routes.list(&all).await.unwrap(), |route| route.data["spec"].clone()),
            "events": told,
            "records": records,
        })
    }
}

/// The revision that a Service is of.
fn revision_of(service: &str) -> Option<String> {
    service.strip_prefix(&format!("{NAME}-")).map(ToOwned::to_owned)
}

fn by_name<K: kube::Resource + Clone>(
    objects: &kube::core::ObjectList<K>,
    view: impl Fn(&K) -> Value,
) -> BTreeMap<String, Value> {
    objects
        .iter()
        .map(|object| (object.name_any(), view(object)))
        .collect()
}

fn telling(event: &Event) -> Value {
    json!([
        event.type_,
        event.reason,
        event.message,
        event.count,
        event.first_timestamp
    ])
}

/// An operator that has just been started.
fn context(
    client: &Client,
    traffic: &Arc<Mutex<Traffic>>,
    records: &Arc<InMemory>,
    calls: &Arc<Calls>,
) -> Arc<Context> {
    let traffic = traffic.clone();
    let now = move || Timestamp::from_second(traffic.lock().now).unwrap();
    let metrics = Metrics::new(now());
    let shelf = Shelf {
        inner: records.clone(),
        calls: calls.clone(),
    };
    let archive = Arc::new(Archive::over(Box::new(shelf)));
    Arc::new(Context::new(
        client.clone(),
        reqwest::Client::new(),
        Arc::new(now),
        Arc::new(metrics),
        Some(archive),
        reflector::store().0,
    ))
}

async fn answer(
    State(traffic): State<Arc<Mutex<Traffic>>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let query = asked.get("query").cloned().unwrap_or_default();
    let calls = traffic.lock().calls.clone();
    match calls.next(format!("QUERY {}", query.chars().take(40).collect::<String>())) {
        Some(Fate::Kill) => calls.die().await,
        Some(Fate::Break | Fate::Lie) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        None => {
            let traffic = traffic.lock();
            let served = |revision: &str, at: i64| {
                let scrapes = traffic.served.get(revision)?;
                let found = scrapes.binary_search_by_key(&at, |(at, _)| *at).ok()?;
                scrapes.get(found).map(|(_, served)| *served)
            };
            serin_testkit::answer(&query, traffic.now, TURN, &served).into_response()
        }
    }
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn model(version: &str) -> Value {
    let digest = version
        .bytes()
        .fold(7_u64, |digest, byte| digest * 31 + u64::from(byte));
    json!({
        "version": version, "uri": format!("file:///models/{version}/"), "digest": format!("sha256:{digest:064x}"),
        "evidence": {"rmse": 0.9},
    })
}

fn containers() -> Value {
    json!([{"name": "server", "image": "server:1", "ports": [{"name": "http", "containerPort": 8082}]}])
}

fn release(prometheus: &str, route: &str) -> Value {
    let route: Value = serde_json::from_str(route).unwrap();
    json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ModelRelease", "metadata": {"name": NAME},
        "spec": {
            "serving": {"replicas": 2, "template": {"spec": {"containers": containers()}}},
            "rollout": {
                "canaryReplicas": 1, "progressDeadline": "20s",
                "steps": [{"weight": 20, "soak": "15s"}, {"weight": 50, "soak": "15s"}],
            },
            "route": route,
            "analysis": {
                "prometheus": {"url": prometheus}, "interval": "5s", "warmUp": "0s", "minSoak": "10s",
                "minRequests": 100, "deadline": "2m",
            },
            "gates": [{"name": "rmse", "require": "evidence.rmse < 1.0"}],
        },
    })
}
