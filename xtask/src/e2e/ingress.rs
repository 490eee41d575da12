//! A release behind Ingresses, on the data plane of a controller that honours the canary annotations of ingress-nginx.
//!
//! The controller is Traefik. ingress-nginx itself is retired, and needs an nginx of its own make.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Checks;
use super::guest::Guest;
use crate::cluster::Cluster;
use crate::demo::install::{NAMESPACE, Scene};
use crate::demo::load::Load;
use crate::demo::story::split;
use crate::images::{self, Image};
use crate::kubectl::Kubectl;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::wait::Look;

/// The controller with all that it needs; `IMAGE` stands for its image, `NODE_PORT` for [`PORT`].
const CONTROLLER: &str = include_str!("ingress.yaml");
/// Port of this host that leads to the controller.
const PORT: u16 = 8083;
const RELEASE: &str = "shelf";
const CANARY_WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
const DEADLINE: Duration = Duration::from_mins(2);

/// Plays a judged promotion with a meddling hand, an abort and a deletion, under a load of its own.
pub(super) fn play(
    scene: &Scene,
    settings: &Settings,
    cluster: &Cluster,
    progress: &Progress,
    checks: &mut Checks,
) -> Result<()> {
    let kubectl = &scene.kubectl;
    let image = images::build_and_load(settings, progress, cluster, &[Image::Traefik])?;
    let image = image.first().context("the image of Traefik was not built")?;
    let step = progress.step("install Traefik");
    kubectl.apply(
        &CONTROLLER
            .replace("IMAGE", image)
            .replace("NODE_PORT", &PORT.to_string()),
    )?;
    kubectl.rolled_out("ingress", "deployment/traefik", DEADLINE)?;
    step.done();

    let step = progress.step("a release behind Ingresses");
    let route = json!({"ingress": {"className": "nginx", "host": "localhost"}});
    let guest = Guest::new(scene, RELEASE, "shelf-1", json!({"route": route}))?;
    guest.until_serving("shelf-1")?;
    let load = Load::start(&scene.simulator, &format!("http://localhost:{PORT}"))?;
    guest.want("shelf-2")?;
    let soaking = guest.until("the canary to soak", |release| {
        release.canary() == "shelf-2" && release.is_soaking()
    })?;
    load.mark("soaking")?;
    // Counted before the soak ends, for all goes to the canary then.
    guest.until("half a minute of the soak", |release| {
        release.text("/status/display/soak").starts_with("30s")
    })?;
    let (all, canary) = split(&load.stats()?, soaking.text("/status/canary/revision"));
    load.mark("promoting")?;
    guest.until_serving("shelf-2")?;

    guest.want("shelf-3")?;
    let doomed = guest.until("the next canary to soak", |release| {
        release.canary() == "shelf-3" && release.is_soaking()
    })?;
    meddle(kubectl)?;
    kubectl.wait_for(
        "the weight to be put back",
        &["--namespace", NAMESPACE, "ingress", "shelf-canary"],
        DEADLINE,
        |ingress| match weight(ingress) {
            "20" => Look::Ready(()),
            other => Look::NotYet(format!("canary-weight {other}")),
        },
    )?;
    guest.request("abort", doomed.text("/status/canary/revision"))?;
    guest.until_serving("shelf-2")?;
    let report = load.stop()?;
    let restored = guest.events("RouteRestored")?;
    guest.delete()?;
    let left = kubectl.get_json(&["--namespace", NAMESPACE, "ingress"])?;
    step.done();

    checks.all_answered(
        progress,
        "Ingresses carry a promotion and an abort, and lose nothing",
        &report,
    );
    let share = 100.0 * canary as f64 / all.max(1) as f64;
    checks.check(
        progress,
        "requests split as the annotation says",
        (share - 20.0).abs() <= 2.0,
        &format!("{share:.1} % of {all}"),
    );
    checks.check(
        progress,
        "a weight edited by hand is put back, with an event",
        restored == 1,
        &format!("{restored} event"),
    );
    let left = left["items"].as_array().map_or(usize::MAX, Vec::len);
    checks.check(
        progress,
        "a deletion leaves no Ingress",
        left == 0,
        &format!("{left} left"),
    );
    Ok(())
}

/// Somebody gives the canary nearly everything.
fn meddle(kubectl: &Kubectl) -> Result<()> {
    let edit = json!({"metadata": {"annotations": {CANARY_WEIGHT: "90"}}});
    kubectl.merge(NAMESPACE, "ingress/shelf-canary", &edit)
}

fn weight(ingress: &Value) -> &str {
    let annotations = &ingress["metadata"]["annotations"];
    annotations[CANARY_WEIGHT].as_str().unwrap_or_default()
}
