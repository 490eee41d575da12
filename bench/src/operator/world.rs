//! What surrounds the operator: somebody who creates releases, and stand-ins for kubelet and gateway that make every
//! pod ready and accept every route.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use serin_core::crd::ModelRelease;

use crate::summary::whole;

/// Calls under way at once.
const CONCURRENCY: usize = 32;
const FIRST: &str = "v1";
const SECOND: &str = "v2";

/// The surroundings of the operator.
pub(super) struct World {
    client: Client,
    prometheus: String,
}

/// Calls of the API server by verb and kind, watches left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Calls(BTreeMap<String, u64>);

impl Calls {
    /// Those since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let grown = self.0.iter().filter_map(|(name, count)| {
            let grown = count - earlier.0.get(name).copied().unwrap_or(0);
            (grown > 0).then(|| (name.clone(), grown))
        });
        Self(grown.collect())
    }

    /// In words: "none", or counts by kind of call.
    pub(super) fn words(&self) -> String {
        if self.0.is_empty() {
            return "none".into();
        }
        let each = self.0.iter().map(|(name, count)| format!("{count} {name}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl World {
    /// Installs the kind of routes, and starts kubelet and gateway.
    pub(super) async fn start(client: Client, prometheus: String) -> Result<Self> {
        serin_testkit::install(client.clone(), serin_testkit::routes()).await?;
        tokio::spawn(kubelet(client.clone()));
        tokio::spawn(gateway(client.clone()));
        Ok(Self { client, prometheus })
    }

    fn releases(&self) -> Api<ModelRelease> {
        Api::default_namespaced(self.client.clone())
    }

    /// Creates so many releases, as fast as the API server takes them.
    pub(super) async fn create(&self, count: usize) -> Result<()> {
        stream::iter(0..count)
            .map(|number| async move {
                let release: ModelRelease = serde_json::from_value(release(number, &self.prometheus))
                    .context("the release of the bench is malformed")?;
                let created = self.releases().create(&PostParams::default(), &release).await;
                created.map(drop).context("cannot create a release")
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Asks every release for its second version.
    pub(super) async fn improve(&self, count: usize) -> Result<()> {
        stream::iter(0..count)
            .map(|number| async move {
                let patch = json!({"spec": {"model": {"version": SECOND}}});
                let params = PatchParams::default();
                let patched = self
                    .releases()
                    .patch(&name(number), &params, &Patch::Merge(patch))
                    .await;
                patched.map(drop).context("cannot change a release")
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Waits until so many releases serve their first version.
    pub(super) async fn all_serve(&self, count: usize) -> Result<()> {
        self.all(count, |release| {
            let stable = release.status.as_ref().and_then(|status| status.stable.as_ref());
            stable.is_some_and(|stable| stable.version == FIRST)
        })
        .await
    }

    /// Waits until so many canaries have been looked at twice.
    pub(super) async fn all_judged(&self, count: usize) -> Result<()> {
        self.all(count, |release| {
            let analysis = release
                .status
                .as_ref()
                .and_then(|status| status.analysis.as_ref());
            analysis.is_some_and(|analysis| analysis.looks >= 2)
        })
        .await
    }

    async fn all(&self, count: usize, holds: impl Fn(&ModelRelease) -> bool) -> Result<()> {
        let mut found = BTreeSet::new();
        let mut changes =
            std::pin::pin!(watcher(self.releases(), watcher::Config::default()).applied_objects());
        while let Some(release) = changes.next().await {
            let release = release.context("cannot watch the releases")?;
            if holds(&release) {
                found.insert(release.name_any());
            }
            if found.len() >= count {
                break;
            }
        }
        Ok(())
    }

    /// Calls that the API server has answered about releases and what they own.
    pub(super) async fn calls(&self) -> Result<Calls> {
        let request = http::Request::get("/metrics")
            .body(Vec::new())
            .context("our request is malformed")?;
        let text = self
            .client
            .request_text(request)
            .await
            .context("the API server tells no metrics")?;
        let mut calls = Calls::default();
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("apiserver_request_total{"))
        {
            let Some((labels, count)) = line.split_once("} ") else {
                continue;
            };
            let label = |name: &str| -> Option<&str> {
                let (_, rest) = labels.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value)
            };
            let (Some(verb), Some(resource)) = (label("verb"), label("resource")) else {
                continue;
            };
            let ours = [
                "modelreleases",
                "deployments",
                "httproutes",
                "services",
                "events",
                "pods",
            ];
            if ours.contains(&resource) && verb != "WATCH" {
                let count: f64 = count.parse().unwrap_or(0.0);
                let sum = calls.0.entry(format!("{verb} {resource}")).or_default();
                *sum = sum.saturating_add(whole(count));
            }
        }
        Ok(calls)
    }
}

fn name(number: usize) -> String {
    format!("release-{number:05}")
}

fn release(number: usize, prometheus: &str) -> Value {
    json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ModelRelease",
        "metadata": {"name": name(number), "namespace": "default"},
        "spec": {
            "model": {
                "version": FIRST, "uri": "file:///models/1/",
                "digest": format!("sha256:{}", "0".repeat(64)),
                "evidence": {"rmse": 0.9},
            },
            "serving": {"replicas": 1, "template": {"spec": {"containers": [
                {"name": "server", "image": "server:1", "ports": [{"name": "http", "containerPort": 8082}]},
            ]}}},
            "rollout": {"steps": [{"weight": 20, "soak": "12h"}]},
            "route": {"gateway": {"parentRefs": [{"name": "public"}], "path": "/recommend"}},
            "analysis": {"prometheus": {"url": prometheus}, "interval": "1m", "warmUp": "0s", "minSoak": "12h"},
            "gates": [{"name": "rmse", "require": "evidence.rmse < 1.0"}],
        },
    })
}

/// Makes every pod ready that is asked for.
async fn kubelet(client: Client) {
    let all: Api<Deployment> = Api::all(client.clone());
    watcher(all, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .filter_map(|deployment| ready(deployment.ok()))
        .for_each_concurrent(CONCURRENCY, |deployment| {
            let client = client.clone();
            // The watch brings what could not be written once more.
            async move { drop(serin_testkit::run_pods(&client, &deployment, true).await) }
        })
        .await;
}

/// Accepts every route.
async fn gateway(client: Client) {
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &serin_testkit::http_route());
    watcher(all, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .filter_map(|route| ready(route.ok()))
        .for_each_concurrent(CONCURRENCY, |route| {
            let client = client.clone();
            async move { drop(serin_testkit::accept(&client, &route).await) }
        })
        .await;
}
