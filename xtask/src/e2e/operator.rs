//! The operator's process, seen from the host.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::demo::install::OPERATOR_NAMESPACE;
use crate::kubectl::Kubectl;
use crate::run::Run;

/// The pod that holds the Lease.
pub(crate) fn leader(kubectl: &Kubectl) -> Result<String> {
    let lease = kubectl.get_json(&["--namespace", OPERATOR_NAMESPACE, "lease/serin-operator"])?;
    Ok(lease
        .pointer("/spec/holderIdentity")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned())
}

/// The process of the leading operator: the one in the pod's cgroup that runs our program.
pub(crate) fn pid(kubectl: &Kubectl) -> Result<u32> {
    let pod = leader(kubectl)?;
    let object = kubectl.get_json(&["--namespace", OPERATOR_NAMESPACE, &format!("pod/{pod}")])?;
    let uid = object
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .context("a pod without uid")?;
    let names = [uid.to_owned(), uid.replace('-', "_")];
    for entry in fs::read_dir("/proc").context("cannot list /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while we look: then it is not the one.
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let arguments = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if names.iter().any(|name| cgroup.contains(name)) && arguments.starts_with("/serin") {
            return Ok(pid);
        }
    }
    anyhow::bail!("pod {pod} has no process /serin")
}

/// Resident memory of the leading operator in KiB.
pub(crate) fn rss_kib(kubectl: &Kubectl) -> Result<u64> {
    let path = format!("/proc/{}/status", pid(kubectl)?);
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .with_context(|| format!("{path} has no VmRSS"))
}

/// Kills the leading operator with no chance to say goodbye.
pub(crate) fn kill(kubectl: &Kubectl) -> Result<()> {
    Run::new("kill")
        .args(["-9", &pid(kubectl)?.to_string()])
        .output()
        .map(drop)
}
