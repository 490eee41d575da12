//! Argo Rollouts as a contender: its program and its definitions, in the folder that `cargo xtask bench` names.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use super::crowd::Crowd;
use super::process::Process;

/// Starts the controller with the settings that it has by itself, but for its ports and a log of warnings alone.
pub(super) fn start(folder: &Path, kubeconfig: &Path) -> Result<Process> {
    Process::start(&folder.join("argo-rollouts"), |command| {
        command
            .args(["--metricsPort=0", "--healthzPort=0", "--loglevel=warn"])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            // The namespace of its Lease.
            .env("POD_NAMESPACE", "default")
    })
}

/// Installs its definitions.
pub(super) async fn install(folder: &Path, client: &Client) -> Result<()> {
    let folder = folder.join("crds");
    let mut installed = 0;
    for file in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = file?.path();
        // Beside the definitions stands the list of them.
        if !path.to_string_lossy().ends_with("-crd.yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let definition: CustomResourceDefinition =
            serde_norway::from_str(&text).with_context(|| format!("{} is no definition", path.display()))?;
        serin_testkit::install(client.clone(), definition).await?;
        installed += 1;
    }
    ensure!(installed > 0, "there is no definition in {}", folder.display());
    Ok(())
}

/// Rollouts of one pod and one step, without a router of traffic.
pub(super) struct Rollouts(Crowd<DynamicObject>);

impl Rollouts {
    /// So many of them, none made yet.
    pub(super) fn new(client: Client, count: usize) -> Self {
        let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
        let kind = ApiResource::from_gvk_with_plural(&kind, "rollouts");
        let everywhere = Api::all_with(client.clone(), &kind);
        let within = vec![Api::default_namespaced_with(client, &kind)];
        Self(Crowd::of(everywhere, within, count))
    }

    /// Creates all of them.
    pub(super) async fn create(&self) -> Result<()> {
        self.0.create(rollout).await
    }

    /// Waits until all of them are healthy.
    pub(super) async fn all_serve(&self) -> Result<()> {
        self.0
            .all(|rollout| rollout.data.pointer("/status/phase").and_then(Value::as_str) == Some("Healthy"))
            .await
    }
}

fn rollout(name: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [
                    {"name": "server", "image": "server:1", "ports": [{"name": "http", "containerPort": 8082}]},
                ]},
            },
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {"duration": "12h"}}]}},
        },
    })
}
