//! What a release meets: the gateway, the metrics store, the broker, a shared volume. Pinned, small, idempotent.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cluster::{Cluster, Provider};
use crate::dataset;
use crate::images::{self, Image};
use crate::kubectl::Kubectl;
use crate::progress::Progress;
use crate::run::Run;
use crate::settings::Settings;
use crate::tools::{KUBE_VERSION, Tool, Tools};
use crate::wait::Look;

/// Namespace of the gateway's controller and proxies.
const GATEWAY_NAMESPACE: &str = "envoy-gateway-system";
/// Port of this host that leads to the gateway.
pub(crate) const HOST_PORT: u16 = 8082;
/// How long a part of the stack may take to become ready on a busy machine.
const DEADLINE: Duration = Duration::from_mins(3);
/// Directories of the shared volume that programs write to.
const WRITABLE: [&str; 2] = ["models", "data"];

/// Installs the stack into a cluster, or brings it up to date, and waits until all of it is ready.
pub(crate) fn install(settings: &Settings, progress: &Progress, cluster: &Cluster) -> Result<()> {
    let references = images::build_and_load(settings, progress, cluster, &Image::STACK)?;
    let tools = Tools::new(settings, progress);
    let (helm, chart) = (
        tools.program(Tool::Helm)?,
        tools.directory(Tool::EnvoyGateway)?.join("chart"),
    );
    let kubectl = cluster.kubectl();
    let stack = settings.checkout().join("charts/stack");
    let image = |image: Image| -> Result<&str> {
        let place = Image::STACK.iter().position(|candidate| *candidate == image);
        place
            .and_then(|place| references.get(place))
            .map(String::as_str)
            .context("an image of the stack was not built")
    };

    let ratings = dataset::ml_100k(settings, progress);
    let step = progress.step("fill the shared volume");
    for name in WRITABLE {
        cluster.share(name, None)?;
    }
    cluster.share("ml-100k", ratings.as_deref())?;
    step.done();

    let step = progress.step("install the gateway, Prometheus and Kafka");
    kubectl
        .run(["apply", "--server-side", "--filename"])
        .arg(stack.join("namespaces.yaml"))
        .output()?;
    step.detail("resource definitions");
    definitions(&kubectl, &chart)?;
    step.detail("Envoy Gateway");
    // A finished job cannot be changed, only replaced.
    kubectl.delete(&["--namespace", GATEWAY_NAMESPACE, "job/eg-gateway-helm-certgen"])?;
    kubectl.apply(&controller(
        &helm,
        &chart,
        &stack,
        image(Image::EnvoyGateway)?,
        image(Image::Envoy)?,
    )?)?;
    step.detail("Prometheus, Kafka, gateway");
    let host_port = match cluster.provider() {
        Provider::Local => HOST_PORT,
        Provider::Kind => 0,
    };
    let manifests = Run::new(&helm)
        .args(["template", "stack", "--kube-version", KUBE_VERSION])
        .arg(&stack)
        .arg("--set")
        .arg(format!("images.envoy={}", image(Image::Envoy)?))
        .arg("--set")
        .arg(format!("images.prometheus={}", image(Image::Prometheus)?))
        .arg("--set")
        .arg(format!("images.kafka={}", image(Image::Kafka)?))
        .arg("--set")
        .arg(format!("gateway.hostPort={host_port}"))
        .arg("--set")
        .arg(format!("volume.path={}", cluster.shared_directory().display()))
        .text()?;
    kubectl.apply(&manifests)?;
    step.done();
    wait_until_ready(&kubectl, progress)
}

/// Applies the definitions of Gateway API and of Envoy Gateway, and waits until the server knows them.
fn definitions(kubectl: &Kubectl, chart: &Path) -> Result<()> {
    let folder = chart.join("charts/crds/crds");
    kubectl
        .run([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--recursive",
            "--filename",
        ])
        .arg(&folder)
        .output()?;
    kubectl
        .run([
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "--recursive",
            "--filename",
        ])
        .arg(&folder)
        .output()
        .map(drop)
}

fn controller(helm: &Path, chart: &Path, stack: &Path, controller: &str, proxy: &str) -> Result<String> {
    Run::new(helm)
        .args(["template", "eg", "--kube-version", KUBE_VERSION])
        .arg(chart)
        .args(["--namespace", GATEWAY_NAMESPACE, "--values"])
        .arg(stack.join("envoy-gateway.yaml"))
        .arg("--set")
        .arg(format!("global.images.envoyGateway.image={controller}"))
        .arg("--set")
        .arg(format!("global.images.envoyProxy.image={proxy}"))
        .arg("--set")
        .arg(format!(
            "config.envoyGateway.provider.kubernetes.shutdownManager.image={controller}"
        ))
        .text()
}

fn wait_until_ready(kubectl: &Kubectl, progress: &Progress) -> Result<()> {
    let step = progress.step("wait for the gateway, Prometheus and Kafka");
    for (namespace, workload) in [
        (GATEWAY_NAMESPACE, "deployment/envoy-gateway"),
        ("monitoring", "deployment/prometheus"),
        ("kafka", "deployment/kafka"),
        (GATEWAY_NAMESPACE, "deployment/envoy-public"),
    ] {
        step.detail(workload);
        kubectl.rolled_out(namespace, workload, DEADLINE)?;
    }
    step.detail("gateway/public");
    kubectl.wait_for(
        "gateway/public in demo",
        &["--namespace", "demo", "gateway/public"],
        DEADLINE,
        is_programmed,
    )?;
    step.done();
    Ok(())
}

fn is_programmed(gateway: &Value) -> Look<()> {
    let conditions = gateway
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    match conditions
        .iter()
        .find(|condition| condition["type"] == "Programmed")
    {
        Some(condition) if condition["status"] == "True" => Look::Ready(()),
        Some(condition) => Look::NotYet(
            condition["message"]
                .as_str()
                .unwrap_or("not programmed")
                .to_owned(),
        ),
        None => Look::NotYet("no condition Programmed: does a controller run?".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_gateway_is_ready_when_it_is_programmed() {
        let gateway = |status| json!({"status": {"conditions": [{"type": "Programmed", "status": status, "message": "no address"}]}});
        assert!(matches!(is_programmed(&gateway("True")), Look::Ready(())));
        assert!(matches!(is_programmed(&gateway("False")), Look::NotYet(why) if why == "no address"));
        assert!(matches!(is_programmed(&json!({})), Look::NotYet(_)));
    }
}
