//! `serin` as a contender.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use serde_json::{Value, json};
use serin_core::crd::{ModelRelease, RELEASE_LABEL};
use serin_core::revision::Asked;

use super::crowd::Crowd;
use super::process::Process;

/// The version that releases are created with.
pub(super) const FIRST: &str = "v1";
/// Another one.
pub(super) const SECOND: &str = "v2";

/// Starts the operator that was built beside this program.
pub(super) fn start(kubeconfig: &Path) -> Result<Process> {
    let here = std::env::current_exe().context("cannot find this program")?;
    Process::start(&here.with_file_name("serin-operator"), |command| {
        command
            .args(["--listen=127.0.0.1:0", "--namespace=default", "--log=warn"])
            .env("KUBECONFIG", kubeconfig)
            // As its chart sets it.
            .env("_RJEM_MALLOC_CONF", "narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0")
    })
}

/// Releases that are judged by a Prometheus.
pub(super) struct Releases {
    crowd: Crowd<ModelRelease>,
    services: Crowd<Service>,
    prometheus: String,
}

impl Releases {
    /// So many of them, spread over these namespaces; none made yet.
    pub(super) fn new(client: &Client, namespaces: &[&str], count: usize, prometheus: String) -> Self {
        Self {
            crowd: Crowd::new(client, namespaces, count),
            services: Crowd::new(client, namespaces, count),
            prometheus,
        }
    }

    /// Makes the Services of all of them beforehand, which the operator makes its own as it finds them: without
    /// addresses.
    ///
    /// Kubernetes 1.34 gives out addresses one after the other, and counts all that are taken for each: 65 ms each over
    /// the first 5,500, and more with each.
    pub(super) async fn make_services(&self) -> Result<()> {
        let example: ModelRelease = serde_json::from_value(release("example", FIRST, &self.prometheus))
            .context("the release of the bench is malformed")?;
        let asked = Asked::of(&example.spec).context("the release of the bench asks for no model")?;
        let revision = asked.version(&BTreeMap::new()).revision;
        self.services.create(|name| service(name, name)).await?;
        self.services
            .create(|name| service(&format!("{name}-{revision}"), name))
            .await
    }

    /// Creates all of them.
    pub(super) async fn create(&self) -> Result<()> {
        self.crowd
            .create(|name| release(name, FIRST, &self.prometheus))
            .await
    }

    /// Waits until all of them serve their first version.
    pub(super) async fn all_serve(&self) -> Result<()> {
        self.crowd
            .all(|release| {
                let stable = release.status.as_ref().and_then(|status| status.stable.as_ref());
                stable.is_some_and(|stable| stable.version == FIRST)
            })
            .await
    }

    /// Asks every release for its second version.
    pub(super) async fn improve(&self) -> Result<()> {
        self.crowd.change(&wish(SECOND)).await
    }

    /// Asks one release for a version.
    pub(super) async fn ask(&self, release: usize, version: &str) -> Result<()> {
        self.crowd.change_one(release, &wish(version)).await
    }

    /// Waits until one release tries a version.
    pub(super) async fn tries(&self, release: usize, version: &str) -> Result<()> {
        self.crowd
            .one(release, |release| {
                let status = release.status.as_ref();
                let canary = status.and_then(|status| status.canary.as_ref());
                canary.is_some_and(|canary| canary.arm.version == version)
            })
            .await
    }

    /// Waits until no release tries a version.
    pub(super) async fn none_tries(&self) -> Result<()> {
        self.crowd
            .all(|release| {
                let status = release.status.as_ref();
                status.is_some_and(|status| status.canary.is_none())
            })
            .await
    }

    /// Waits until all canaries have been looked at twice.
    pub(super) async fn all_judged(&self) -> Result<()> {
        self.crowd
            .all(|release| {
                let status = release.status.as_ref();
                let analysis = status.and_then(|status| status.analysis.as_ref());
                analysis.is_some_and(|analysis| analysis.looks >= 2)
            })
            .await
    }
}

/// A change of the version that is asked for.
fn wish(version: &str) -> Value {
    json!({"spec": {"model": {"version": version}}})
}

/// A Service without an address of its own. One that selects nothing would be for addresses of both families.
fn service(name: &str, release: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {RELEASE_LABEL: release}},
        "spec": {"clusterIP": "None", "selector": {RELEASE_LABEL: release}},
    })
}

/// The manifest of a release.
pub(super) fn release(name: &str, version: &str, prometheus: &str) -> Value {
    json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ModelRelease",
        "metadata": {"name": name},
        "spec": {
            "model": {
                "version": version, "uri": "file:///models/1/",
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
