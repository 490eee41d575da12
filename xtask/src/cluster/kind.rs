//! The cluster as a container of kind: a thin layer over its command line.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::record::Record;
use super::{Cluster, Provider, attach};
use crate::cache::remove;
use crate::progress::Progress;
use crate::run::Run;
use crate::settings::Settings;

/// Name of the cluster, as in `kind-config.yaml`.
const NAME: &str = "serin";
/// The node's container.
const NODE: &str = "serin-control-plane";
/// The shared directory inside the node.
pub(super) const SHARED: &str = "/var/lib/serin-shared";

/// Creates the cluster and waits until it is ready.
pub(super) fn up(settings: &Settings, progress: &Progress) -> Result<Cluster> {
    let kube = super::kube(settings, progress)?;
    fs::create_dir_all(settings.state()).with_context(|| {
        format!(
            "cannot create {}: choose another directory with SERIN_STATE",
            settings.state().display()
        )
    })?;
    let record = Record::new(Provider::Kind, kube)?;
    record.write(settings.state())?;
    let cluster = attach(settings, &record);
    let step = progress.step("start a cluster with kind");
    let kubeconfig = cluster.kubeconfig();
    if is_up()? {
        Run::new("kind")
            .args(["export", "kubeconfig", "--name", NAME, "--kubeconfig"])
            .arg(&kubeconfig)
            .follow(&step)?;
    } else {
        Run::new("kind")
            .args(["create", "cluster", "--wait", "120s", "--config"])
            .arg(settings.checkout().join("kind-config.yaml"))
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .follow(&step)?;
    }
    step.done();
    Ok(cluster)
}

/// Whether the cluster exists.
pub(super) fn is_up() -> Result<bool> {
    Ok(Run::new("kind")
        .args(["get", "clusters"])
        .text()?
        .lines()
        .any(|line| line == NAME))
}

/// Deletes the cluster.
pub(super) fn down(settings: &Settings, progress: &Progress) -> Result<()> {
    let step = progress.step("delete the cluster of kind");
    Run::new("kind")
        .args(["delete", "cluster", "--name", NAME])
        .follow(&step)?;
    remove(settings.state())?;
    step.done();
    Ok(())
}

/// Names of the images the node has.
pub(super) fn images() -> Result<Vec<String>> {
    let list = Run::new("docker")
        .args(["exec", NODE, "ctr", "-n", "k8s.io", "images", "ls", "-q"])
        .text()?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// Loads an archive into the node.
pub(super) fn load(archive: &Path) -> Result<()> {
    Run::new("kind")
        .args(["load", "image-archive", "--name", NAME])
        .arg(archive)
        .output()
        .map(drop)
}

/// Copies a directory into the shared directory of the node.
pub(super) fn share(name: &str, source: Option<&Path>) -> Result<()> {
    let target = format!("{SHARED}/{name}");
    Run::new("docker")
        .args(["exec", NODE, "mkdir", "-p", &target])
        .output()?;
    if let Some(source) = source {
        let from = format!("{}/.", source.display());
        Run::new("docker")
            .args(["cp", &from, &format!("{NODE}:{target}")])
            .output()?;
    }
    Run::new("docker")
        .args(["exec", NODE, "chown", "-R", "65532:65532", &target])
        .output()
        .map(drop)
}
