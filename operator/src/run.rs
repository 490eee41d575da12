//! The life of the process: serve, wait for the lead, watch, let go.

use std::sync::Arc;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Controller;
use kube::runtime::watcher;
use kube_lease_manager::LeaseManagerBuilder;
use serin_core::crd::ModelRelease;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::access;
use crate::archive::Archive;
use crate::args::Args;
use crate::context::{Clock, Context};
use crate::metrics::Metrics;
use crate::reconcile::{pause, reconcile};
use crate::release::{RELEASE_LABEL, http_route};
use crate::serve::router;

/// Name of the Lease by which replicas elect a leader.
const LEASE: &str = "serin-operator";

/// Runs until `stop` turns true or the lead is lost.
///
/// Errors: what keeps the process from working at all; a lost lead is one, so that nothing of the old term survives.
pub async fn run(args: Args, clock: Clock, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
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
    let serving = axum::serve(listener, router(metrics.clone(), archive.clone()))
        .with_graceful_shutdown(stopped(stop.clone()));
    let serving = tokio::spawn(serving.into_future());

    let client = Client::try_default()
        .await
        .context("cannot find the API server: give a kubeconfig or run in a pod")?;
    let http = access::builder().build().context("cannot set up HTTP")?;
    let ctx = Arc::new(Context::new(client, http, clock, metrics, archive));
    let led = lead(&args, ctx, stop).await;
    serving
        .await
        .context("the server of /metrics ended badly")?
        .context("cannot serve /metrics")?;
    led
}

/// Waits for the lead, works while it lasts, and gives it back.
async fn lead(args: &Args, ctx: Arc<Context>, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let manager = LeaseManagerBuilder::new(ctx.client.clone(), LEASE)
        .with_namespace(&args.namespace)
        .with_identity(&args.identity)
        .with_duration(args.lease_seconds)
        .with_grace((args.lease_seconds / 2).max(1))
        .build()
        .await
        .context("cannot use the Lease")?;
    let (mut leading, term) = manager.watch().await;
    tracing::info!(identity = args.identity, "waiting for the lead");
    tokio::select! {
        () = stopped(stop.clone()) => {}
        waited = async { leading.wait_for(|leads| *leads).await.map(|_| ()) } => {
            waited.context("the election ended")?;
            ctx.metrics.leading(true);
            tracing::info!(identity = args.identity, "leading");
            tokio::select! {
                () = control(args, ctx.clone(), stop.clone()) => {}
                lost = async { leading.wait_for(|leads| !*leads).await.map(|_| ()) } => {
                    lost.context("the election ended")?;
                    anyhow::bail!("the lead was lost; another replica carries on");
                }
            }
        }
    }
    ctx.metrics.leading(false);
    drop(leading);
    let manager = term
        .await
        .context("the election ended badly")?
        .context("cannot end the term")?;
    manager.release().await.context("cannot give the lead back")?;
    Ok(())
}

/// Watches releases and what they own until `stop`.
async fn control(args: &Args, ctx: Arc<Context>, stop: watch::Receiver<bool>) {
    let client = ctx.client.clone();
    let owned = watcher::Config::default().labels(RELEASE_LABEL);
    let (releases, deployments, routes): (
        Api<DeserializeGuard<ModelRelease>>,
        Api<Deployment>,
        Api<DynamicObject>,
    ) = match &args.watch_namespace {
        Some(namespace) => (
            Api::namespaced(client.clone(), namespace),
            Api::namespaced(client.clone(), namespace),
            Api::namespaced_with(client, namespace, &http_route()),
        ),
        None => (
            Api::all(client.clone()),
            Api::all(client.clone()),
            Api::all_with(client, &http_route()),
        ),
    };
    Controller::new(releases, watcher::Config::default())
        .owns(deployments, owned.clone())
        .owns_with(routes, http_route(), owned)
        .graceful_shutdown_on(stopped(stop))
        .run(reconcile, |release, error, ctx| pause(&release, error, &ctx), ctx)
        .for_each(|done| async move {
            if let Err(error) = done {
                tracing::debug!(%error, "the watch goes on");
            }
        })
        .await;
}

/// Waits until `stop` turns true or its sender is gone.
async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}
