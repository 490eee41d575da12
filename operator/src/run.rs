//! The life of the process: serve, wait for the lead, watch, let go.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DynamicObject};
use kube::client::ClientBuilder;
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, reflector, watcher};
use kube::{Client, Config, Resource, ResourceExt};
use serin_core::crd::{Arm, ModelRelease, Reference, ReferenceKind, RouteKind};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::timeout::TimeoutLayer;
use tower::util::option_layer;

use crate::access;
use crate::archive::Archive;
use crate::args::Args;
use crate::context::{Clock, Context, Owned};
use crate::election::{self, Election};
use crate::metrics::Metrics;
use crate::observe::workload;
use crate::owned::Index;
use crate::reconcile::{pause, reconcile};
use crate::release::{RELEASE_LABEL, REVISION_LABEL, http_route};
use crate::route::endpoints::Slice;
use crate::route::gateway::{self, Route};
use crate::route::{Selected, ingress};
use crate::serve::router;
use crate::tenure::{Guard, Tenure};

/// Looks that have begun at once. Each holds the release as it was shown then: of thousands that are due together, as after
/// a start, there would be two copies each. Far more than [work](crate::context) at once, for those that wait for a
/// Prometheus that hangs must not hold up the others.
const BEGUN: u16 = 256;
/// How long the API server may take to begin an answer, and may then leave it without another word. It gives up calls
/// itself after a minute; what takes longer than this is rather on a connection that the network has lost.
const SILENCE: Duration = Duration::from_secs(20);
/// How long a watch lasts, in seconds, before it is begun anew: `kube` finds out 5 s later that it is dead.
const WATCH: u32 = 40;
/// How long nothing may come on the connection of a watch: so long that its own end comes first.
const WATCH_SILENCE: Duration = Duration::from_secs(60);
/// How long clients of `/metrics` are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Runs until `stop` turns true or the lead is lost.
///
/// Errors: what keeps the process from working at all; a lost lead is one, so that nothing of the old term survives.
pub fn run(args: Args, clock: Clock, stop: watch::Receiver<bool>) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let metrics = Arc::new(Metrics::new(clock()));
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("cannot listen on {}", args.listen))?;
        let archive = args
            .records
            .as_deref()
            .map(Archive::open)
            .transpose()?
            .map(Arc::new);
        let (working, worked) = watch::channel(false);
        let serving = axum::serve(listener, router(metrics.clone(), archive.clone()))
            .with_graceful_shutdown(stopped(worked));
        let serving = tokio::spawn(serving.into_future());

        let config = Config::infer()
            .await
            .context("cannot find the API server: give a kubeconfig or run in a pod")?;
        let lease = args.lease();
        let tenure = Tenure::new(lease);
        let guard = || Some(tenure.guard());
        let electing = client(&config, [election::patience(lease); 2], &metrics, None)?;
        let watching = client(&config, [SILENCE, WATCH_SILENCE], &metrics, guard())?;
        let client = client(&config, [SILENCE; 2], &metrics, guard())?;
        let http = access::builder().build().context("cannot set up HTTP")?;
        let (releases, shown) = reflector::store();
        let ctx = Arc::new(Context::new(client, http, clock, metrics, archive, releases));
        let election = Election::stand(&args, electing, tenure.clone(), ctx.clock.clone());
        let work = control(&args, &watching, ctx.clone(), shown, stop.clone());
        let led = lead(&args, election, &tenure, work, &ctx.metrics, stop).await;
        // Whatever ended: a process that is of no use any more answers no probe.
        drop(working);
        // A client that says nothing more must not keep it.
        if let Ok(served) = timeout(FAREWELL, serving).await {
            served
                .context("the server of /metrics ended badly")?
                .context("cannot serve /metrics")?;
        }
        led
    })
}

/// A client whose calls are counted; what a guard holds back is not sent, and not counted.
///
/// The first limit is that of the time until an answer begins, the second that of the silence on its connection then.
/// Without them a call on a connection of which the network knows nothing any more would wait for ever.
fn client(
    config: &Config,
    [answer, silence]: [Duration; 2],
    metrics: &Metrics,
    guard: Option<Guard>,
) -> anyhow::Result<Client> {
    let mut config = config.clone();
    config.connect_timeout = Some(CONNECT.min(answer));
    config.read_timeout = Some(silence);
    config.write_timeout = Some(silence);
    // The time counts from the request, not from when its connection was used last.
    config.reset_reader_on_write = true;
    let builder = ClientBuilder::try_from(config).context("the kubeconfig cannot be used")?;
    Ok(builder
        .with_layer(&TimeoutLayer::new(answer))
        .with_layer(metrics.calls())
        .with_layer(&option_layer(guard))
        .build())
}

/// Waits for the lead, works while it lasts, and gives it back.
async fn lead(
    args: &Args,
    mut election: Election,
    tenure: &Tenure,
    work: impl Future<Output = ()>,
    metrics: &Metrics,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    tracing::info!(identity = args.identity, "waiting for the lead");
    let led = tokio::select! {
        () = stopped(stop.clone()) => Ok(()),
        won = election.until(true) => {
            won?;
            metrics.leading(true);
            tracing::info!(identity = args.identity, "leading");
            tokio::select! {
                () = work => Ok(()),
                lost = election.until(false) => {
                    lost.and_then(|()| anyhow::bail!("the lead was lost; another replica carries on"))
                }
            }
        }
    };
    metrics.leading(false);
    tenure.end();
    led?;
    election.resign().await
}

/// Watches releases and what they own until `stop`.
async fn control(
    args: &Args,
    client: &Client,
    ctx: Arc<Context>,
    shown: Writer<DeserializeGuard<ModelRelease>>,
    stop: watch::Receiver<bool>,
) {
    let seen = ctx.clone();
    let releases = watcher(api(args, client), pages())
        .inspect(move |said| forget_deleted(said, &seen))
        .default_backoff()
        .modify(slim)
        .reflect(shown)
        .applied_objects()
        .predicate_filter(
            |release: &_| Some(what_matters(release)),
            PredicateConfig::default(),
        );
    let owned = || pages().labels(RELEASE_LABEL);

    let seen = ctx.clone();
    let workloads = watcher(api::<Deployment>(args, client), owned())
        .inspect(move |said| seen.owned.workloads.take(said, workload))
        .default_backoff()
        .touched_objects();
    let seen = ctx.clone();
    let services = watcher(api::<Service>(args, client), owned())
        .inspect(move |said| {
            let services = &seen.owned.services;
            services.take(said, |service| Some(Selected::of(service)));
        })
        .default_backoff()
        .touched_objects();
    let seen = ctx.clone();
    // All of them: a release may have its traffic from a rule of somebody else's.
    let routes = watcher(routes_api(args, client), pages())
        .inspect(move |said| {
            seen.owned
                .routes
                .take_by_name(said, |route| Some(Route::of(route)));
        })
        .default_backoff()
        .touched_objects();
    let config_maps = versions::<ConfigMap, _>(args, client, &ctx, pages(), |owned| &owned.config_maps);
    // Most Secrets of a cluster are the history of Helm, which no pod reads.
    let read = pages().fields("type!=helm.sh/release.v1");
    let secrets = if args.read_secrets {
        versions::<Secret, _>(args, client, &ctx, read, |owned| &owned.secrets).boxed()
    } else {
        stream::pending().boxed()
    };
    let (reads_config_map, reads_secret) = (ctx.clone(), ctx.clone());
    let seen = ctx.clone();
    // All of them, too: two that meet on one rule are not what either says.
    let ingresses = watcher(api::<Ingress>(args, client), pages())
        .inspect(move |said| {
            let view = |ingress: &Ingress| Some(ingress::Ingress::of(ingress));
            seen.owned.ingresses.take_by_name(said, view);
        })
        .default_backoff()
        .touched_objects();
    let seen = ctx.clone();
    // They bear the labels of their Service, and are owned by it.
    let slices = watcher(api::<EndpointSlice>(args, client), owned())
        .inspect(move |said| seen.owned.slices.take(said, Slice::of))
        .default_backoff()
        .touched_objects();
    let [known, met, fronted] = [(); 3].map(|()| ctx.releases.clone());

    Controller::for_stream(releases, ctx.releases.clone())
        .with_config(controller::Config::default().concurrency(BEGUN))
        .owns_stream(workloads)
        .owns_stream(services)
        .watches_stream_with(routes, move |route| carried_by(&known, &route), http_route())
        .watches_stream(config_maps, move |object| {
            reading(&reads_config_map, ReferenceKind::ConfigMap, &object)
        })
        .watches_stream(secrets, move |object| {
            reading(&reads_secret, ReferenceKind::Secret, &object)
        })
        .watches_stream(ingresses, move |ingress| concerned_by(&met, &ingress))
        .watches_stream(slices, move |slice| fronted_by(&fronted, &slice))
        .graceful_shutdown_on(stopped(stop))
        .run(reconcile, |release, error, ctx| pause(&release, error, &ctx), ctx)
        .for_each(|done| async move {
            if let Err(error) = done {
                tracing::debug!(%error, "the watch goes on");
            }
        })
        .await;
}

/// Watches the versions of all objects of a kind, and nothing else of them. All of them: a label of ours is on none.
fn versions<K, F>(
    args: &Args,
    client: &Client,
    ctx: &Arc<Context>,
    config: watcher::Config,
    index: F,
) -> impl Stream<Item = watcher::Result<PartialObjectMeta<K>>> + Send + use<K, F>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Send + 'static,
    F: Fn(&Owned) -> &Index<String> + Send + 'static,
{
    let seen = ctx.clone();
    watcher(api::<PartialObjectMeta<K>>(args, client), config)
        .inspect(move |said| index(&seen.owned).take_by_name(said, version))
        .default_backoff()
        .touched_objects()
}

/// The version of an object, unless it is a revision's copy.
fn version<K: ResourceExt>(object: &K) -> Option<String> {
    let is_copy = object.labels().contains_key(REVISION_LABEL);
    object.resource_version().filter(|_| !is_copy)
}

/// The releases whose template refers to an object.
fn reading<K: ResourceExt>(
    ctx: &Context,
    kind: ReferenceKind,
    object: &K,
) -> Vec<ObjectRef<DeserializeGuard<ModelRelease>>> {
    let namespace = object.namespace().unwrap_or_default();
    let reference = Reference {
        kind,
        name: object.name_any(),
    };
    let names = ctx.known.referring(&namespace, &reference).into_iter();
    names
        .map(|name| ObjectRef::new(&name).within(&namespace))
        .collect()
}

/// Most releases take their leave; one whose finalizer somebody else removed is only seen to be gone.
fn forget_deleted(said: &watcher::Result<watcher::Event<DeserializeGuard<ModelRelease>>>, ctx: &Context) {
    if let Ok(watcher::Event::Delete(release)) = said {
        ctx.has_gone(&release.namespace().unwrap_or_default(), &release.name_any());
    }
}

/// The releases whose traffic a route carries, or would if it were theirs.
fn carried_by(
    known: &Store<DeserializeGuard<ModelRelease>>,
    route: &DynamicObject,
) -> Vec<ObjectRef<DeserializeGuard<ModelRelease>>> {
    let namespace = route.namespace().unwrap_or_default();
    let name = route.name_any();
    // All but a few are of this kind: no need to ask every release.
    if route.labels().get(RELEASE_LABEL) == Some(&name) {
        return vec![ObjectRef::new(&name).within(&namespace)];
    }
    those(known, |release| match release.spec.route.kind() {
        RouteKind::Gateway(carrier) => {
            let own = release.meta().name.as_deref().unwrap_or_default();
            release.meta().namespace.as_ref() == Some(&namespace) && gateway::name(own, carrier) == name
        }
        RouteKind::Ingress(_) | RouteKind::Pods => false,
    })
}

/// The releases that an Ingress may carry or meet.
fn concerned_by(
    known: &Store<DeserializeGuard<ModelRelease>>,
    ingress: &Ingress,
) -> Vec<ObjectRef<DeserializeGuard<ModelRelease>>> {
    let ingress = ingress::Ingress::of(ingress);
    those(known, |release| match release.spec.route.kind() {
        RouteKind::Gateway(_) | RouteKind::Pods => false,
        RouteKind::Ingress(route) => ingress.concerns(
            release.meta().namespace.as_deref().unwrap_or_default(),
            &route.host,
        ),
    })
}

/// The release behind whose Services these endpoints are, where that is part of its route.
fn fronted_by(
    known: &Store<DeserializeGuard<ModelRelease>>,
    slice: &EndpointSlice,
) -> Vec<ObjectRef<DeserializeGuard<ModelRelease>>> {
    let Some(name) = slice.labels().get(RELEASE_LABEL) else {
        return Vec::new();
    };
    let release = ObjectRef::new(name).within(&slice.namespace().unwrap_or_default());
    let found = known.get(&release);
    let found = found.as_ref().and_then(|found| found.0.as_ref().ok());
    let is_part = found.is_some_and(|found| match found.spec.route.kind() {
        RouteKind::Gateway(_) => false,
        RouteKind::Ingress(_) | RouteKind::Pods => true,
    });
    Vec::from_iter(is_part.then_some(release))
}

/// The known releases of which something is true.
fn those(
    known: &Store<DeserializeGuard<ModelRelease>>,
    is_one: impl Fn(&ModelRelease) -> bool,
) -> Vec<ObjectRef<DeserializeGuard<ModelRelease>>> {
    let all = known.state().into_iter();
    let those = all.filter(|release| release.0.as_ref().is_ok_and(&is_one));
    those
        .map(|release| ObjectRef::from_obj(release.as_ref()))
        .collect()
}

/// The objects of a kind in the watched namespace, or in all.
fn api<K>(args: &Args, client: &Client) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match &args.watch_namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn routes_api(args: &Args, client: &Client) -> Api<DynamicObject> {
    match &args.watch_namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &http_route()),
        None => Api::all_with(client.clone(), &http_route()),
    }
}

/// Small pages: what a list is parsed from is gone at once, but the memory of the largest one stays.
fn pages() -> watcher::Config {
    watcher::Config::default().page_size(50).timeout(WATCH)
}

/// Drops what nobody reads and what is as large as the rest: who wrote which field, the manifest once more, and the room
/// that lists were given to grow into.
fn slim(release: &mut DeserializeGuard<ModelRelease>) {
    const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let meta = release.meta_mut();
    meta.managed_fields = None;
    meta.annotations = meta.annotations.take().and_then(|mut annotations| {
        annotations.remove(LAST_APPLIED);
        (!annotations.is_empty()).then_some(annotations)
    });
    let Ok(release) = &mut release.0 else { return };
    release.spec.rollout.steps.shrink_to_fit();
    if let Some(status) = &mut release.status {
        status.conditions.shrink_to_fit();
        status.history.shrink_to_fit();
    }
}

/// A look is due when somebody else changed the release, or it has come to another stage. What every look writes down
/// itself, the clock and the evidence, asks for none.
fn what_matters(release: &DeserializeGuard<ModelRelease>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let meta = release.meta();
    (meta.generation, &meta.annotations, &meta.finalizers).hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    let status = release
        .0
        .as_ref()
        .ok()
        .and_then(|release| release.status.as_ref());
    if let Some(status) = status {
        let canary = status.canary.as_ref();
        let trial = canary.map(|canary| (&canary.arm.revision, canary.stage, canary.step));
        trial.hash(&mut hasher);
        let serves = |arm: &Arm| (arm.revision.clone(), arm.version.clone());
        status.stable.as_ref().map(serves).hash(&mut hasher);
        status.history.first().map(|past| past.at).hash(&mut hasher);
    }
    hasher.finish()
}

/// Waits until `stop` turns true or its sender is gone.
async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}
