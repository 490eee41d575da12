//! kubectl, as an administrator of our cluster: apply, get, and wait with an explanation.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::run::Run;
use crate::wait::{self, Look};

/// Owner of the fields we apply.
const FIELD_MANAGER: &str = "serin-xtask";
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(250);
/// Lines of a container's log shown with a failure.
const LOG_LINES: &str = "--tail=15";

/// kubectl with a kubeconfig.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    kube: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// kubectl out of the multi-call binary `kube`.
    pub(crate) fn new(kube: &Path, kubeconfig: &Path) -> Self {
        Self {
            kube: kube.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// A kubectl command, not run yet.
    pub(crate) fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        Run::new(&self.kube)
            .arg("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args)
    }

    /// A kubectl command that goes on by itself: the caller starts and ends it.
    pub(crate) fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(&self.kube);
        command
            .arg("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args);
        command
    }

    /// Whether the API server answers that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.run(["get", "--raw", "/readyz", "--request-timeout=5s"])
            .succeeds()
    }

    /// Applies manifests (YAML or JSON, several documents) on the server, as the owner of their fields.
    pub(crate) fn apply(&self, manifests: &str) -> Result<()> {
        self.run([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            FIELD_MANAGER,
            "--filename",
            "-",
        ])
        .input(manifests)
        .output()
        .map(drop)
    }

    /// Merges a patch into an object (`kind/name`).
    pub(crate) fn merge(&self, namespace: &str, object: &str, patch: &Value) -> Result<()> {
        self.run([
            "patch",
            "--namespace",
            namespace,
            "--type=merge",
            object,
            "--patch",
        ])
        .arg(patch.to_string())
        .output()
        .map(drop)
    }

    /// Deletes what `args` name; nothing there is fine.
    pub(crate) fn delete(&self, args: &[&str]) -> Result<()> {
        self.run(["delete", "--ignore-not-found"])
            .args(args)
            .output()
            .map(drop)
    }

    /// `kubectl get … -o json`.
    pub(crate) fn get_json(&self, args: &[&str]) -> Result<Value> {
        let bytes = self.run(["get", "--output=json"]).args(args).output()?;
        serde_json::from_slice(&bytes).with_context(|| format!("kubectl get {}: no JSON", args.join(" ")))
    }

    /// Waits until `holds` says so about `kubectl get … -o json`. An object that does not exist yet is waited for.
    ///
    /// Errors: the deadline passes; the message has `what` and the last thing seen.
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        args: &[&str],
        deadline: Duration,
        mut holds: impl FnMut(&Value) -> Look<T>,
    ) -> Result<T> {
        wait::until(what, deadline, POLL, || {
            Ok(match self.get_json(args) {
                Ok(object) => holds(&object),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
    }

    /// Waits until a workload (`deployment/x`, `statefulset/x`) runs what its spec says.
    ///
    /// Errors: the deadline passes; the message has the state of its pods and the end of their logs.
    pub(crate) fn rolled_out(&self, namespace: &str, workload: &str, deadline: Duration) -> Result<()> {
        let what = format!("{workload} in {namespace}");
        self.wait_for(
            &what,
            &["--namespace", namespace, workload],
            deadline,
            is_rolled_out,
        )
        .with_context(|| self.explain(namespace, workload))
    }

    /// What a person would look at first when a workload does not become ready.
    pub(crate) fn explain(&self, namespace: &str, workload: &str) -> String {
        let pods = self
            .get_json(&["--namespace", namespace, "pods"])
            .map(|list| pod_states(&list))
            .unwrap_or_default();
        let log = self
            .run([
                "logs",
                "--namespace",
                namespace,
                workload,
                "--all-containers",
                LOG_LINES,
            ])
            .text()
            .unwrap_or_else(|error| error.to_string());
        format!("pods in {namespace}:\n{pods}\nlog of {workload}:\n{log}")
    }
}

fn is_rolled_out(object: &Value) -> Look<()> {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let wished = object
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let (updated, ready) = (number("/status/updatedReplicas"), number("/status/readyReplicas"));
    let is_seen = number("/status/observedGeneration") >= number("/metadata/generation");
    if is_seen && updated >= wished && ready >= wished {
        Look::Ready(())
    } else {
        Look::NotYet(format!("{ready} of {wished} ready, {updated} updated"))
    }
}

/// One line per pod: name, phase, and why each of its containers waits or ended.
fn pod_states(list: &Value) -> String {
    let pods = list
        .pointer("/items")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let lines: Vec<_> = pods
        .iter()
        .map(|pod| {
            let text = |pointer: &str| {
                pod.pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or("?")
                    .to_owned()
            };
            let reasons = container_states(pod).join("; ");
            format!("  {} {} {reasons}", text("/metadata/name"), text("/status/phase"))
        })
        .collect();
    lines.join("\n")
}

fn container_states(pod: &Value) -> Vec<String> {
    let of = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let containers = of("/status/initContainerStatuses")
        .into_iter()
        .chain(of("/status/containerStatuses"));
    let conditions = of("/status/conditions")
        .into_iter()
        .filter(|condition| condition["status"] == "False");
    containers
        .filter_map(|container| {
            let state = container.get("state")?;
            let stopped = state.get("waiting").or_else(|| state.get("terminated"))?;
            let text = |name: &str| {
                stopped
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            Some(format!(
                "{}: {} {}",
                container.get("name").and_then(Value::as_str).unwrap_or("?"),
                text("reason"),
                text("message")
            ))
        })
        .chain(conditions.filter_map(|condition| Some(condition.get("message")?.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_counts_only_when_its_newest_spec_runs() {
        let object = |observed, updated, ready| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 1},
                   "status": {"observedGeneration": observed, "updatedReplicas": updated, "readyReplicas": ready}})
        };
        assert!(matches!(is_rolled_out(&object(2, 1, 1)), Look::Ready(())));
        assert!(matches!(is_rolled_out(&object(1, 1, 1)), Look::NotYet(_)));
        assert!(matches!(is_rolled_out(&object(2, 0, 1)), Look::NotYet(_)));
    }

    #[test]
    fn a_waiting_container_says_why() {
        let list = json!({"items": [{"metadata": {"name": "x-1"}, "status": {"phase": "Pending", "containerStatuses": [
            {"name": "x", "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "not present"}}}]}}]});
        assert_eq!(
            pod_states(&list),
            "  x-1 Pending x: ErrImageNeverPull not present"
        );
    }
}
