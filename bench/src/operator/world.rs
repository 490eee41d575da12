//! What surrounds a contender: stand-ins for kubelet and gateway that make every pod ready and accept every route.

use std::fmt::Debug;
use std::future::ready;

use anyhow::Result;
use futures::FutureExt as _;
use futures::stream::StreamExt as _;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{Api, DynamicObject};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

/// Calls under way at once.
pub(super) const CONCURRENCY: usize = 32;

/// The stand-ins; they end when this is dropped.
pub(super) struct World {
    _stand_ins: JoinSet<()>,
}

impl World {
    /// Installs the kind of routes, and starts kubelet and gateway.
    pub(super) async fn start(client: Client) -> Result<Self> {
        serin_testkit::install(client.clone(), serin_testkit::routes()).await?;
        let mut stand_ins = JoinSet::new();
        stand_ins.spawn(deployments(client.clone()));
        stand_ins.spawn(replica_sets(client.clone()));
        stand_ins.spawn(gateway(client));
        Ok(Self {
            _stand_ins: stand_ins,
        })
    }
}

/// Makes every pod ready that a Deployment asks for. No controller makes a `ReplicaSet` of it.
async fn deployments(client: Client) {
    each(Api::all(client.clone()), |deployment: Deployment| {
        let client = client.clone();
        async move { serin_testkit::run_pods(&client, &deployment, true).await }
    })
    .await;
}

/// Makes every pod ready that somebody else's `ReplicaSet` asks for.
async fn replica_sets(client: Client) {
    each(Api::all(client.clone()), |set: ReplicaSet| {
        let client = client.clone();
        async move { serin_testkit::run_replicas(&client, &set).await }
    })
    .await;
}

/// Accepts every route.
async fn gateway(client: Client) {
    let all = Api::all_with(client.clone(), &serin_testkit::http_route());
    each(all, |route: DynamicObject| {
        let client = client.clone();
        async move { serin_testkit::accept(&client, &route).await }
    })
    .await;
}

/// Follows each object as it changes. The watch brings what could not be written once more.
async fn each<K, F>(all: Api<K>, follow: impl Fn(K) -> F)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    F: Future<Output = kube::Result<()>>,
{
    watcher(all, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .filter_map(|object| ready(object.ok()))
        .for_each_concurrent(CONCURRENCY, |object| follow(object).map(drop))
        .await;
}
