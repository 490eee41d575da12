//! A release whose traffic comes by a rule of somebody else's route: its weights are all that is written there.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Checks;
use super::guest::Guest;
use crate::demo::install::{NAMESPACE, Scene};
use crate::demo::load::Load;
use crate::kubectl::Kubectl;
use crate::progress::Progress;
use crate::stack::HOST_PORT;
use crate::wait::Look;

const RELEASE: &str = "films";
const ROUTE: &str = "shop";
const DEADLINE: Duration = Duration::from_mins(2);

/// Plays a promotion, a meddling hand and a deletion, under a load of its own.
pub(super) fn play(scene: &Scene, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let kubectl = &scene.kubectl;
    let step = progress.step("a release behind a rule of somebody else's route");
    kubectl.apply(&route().to_string())?;
    let spec = json!({
        "rollout": {"steps": [{"weight": 20, "soak": "1h"}], "progressDeadline": "60s"},
        "analysis": with_long_soak(scene)?,
        "route": {"gateway": {"existing": {"name": ROUTE, "rule": "1"}}},
    });
    let guest = Guest::new(scene, RELEASE, "borrowed-1", spec)?;
    guest.until_serving("borrowed-1")?;
    let load = Load::start(&scene.simulator, &format!("http://127.0.0.1:{HOST_PORT}/films"))?;

    guest.want("borrowed-2")?;
    let soaking = guest.until("the canary to soak", |release| {
        release.canary() == "borrowed-2" && release.is_soaking()
    })?;
    meddle(kubectl)?;
    let put_back = kubectl.wait_for("the weights to be put back", &route_path(), DEADLINE, |route| {
        let weights = weights(route);
        let mut sorted = weights.clone();
        sorted.sort_unstable();
        if sorted == [20, 80] {
            Look::Ready(weights)
        } else {
            Look::NotYet(format!("{weights:?}"))
        }
    })?;
    guest.request("promote", soaking.text("/status/canary/revision"))?;
    guest.until_serving("borrowed-2")?;
    let report = load.stop()?;
    let before = route();
    let after = kubectl.get_json(&route_path())?;
    let told = guest.events("RouteRestored")?;
    guest.delete()?;
    let left = kubectl.get_json(&route_path())?;
    kubectl.delete(&["--namespace", NAMESPACE, &format!("httproute/{ROUTE}")])?;
    step.done();

    checks.all_answered(
        progress,
        "a rule of somebody else's route carries a release, and loses nothing",
        &report,
    );
    checks.check(
        progress,
        "weights edited by hand are put back, with an event",
        told == 1,
        &format!("{put_back:?}, {told} event"),
    );
    let kept = |route: &Value, pointer: &str| route.pointer(pointer).cloned().unwrap_or_default();
    let foreign = [
        "/spec/rules/0/matches/0/path",
        "/spec/rules/1/filters/0/urlRewrite/path",
        "/metadata/labels",
    ];
    let is_kept = |route: &Value| {
        foreign
            .iter()
            .all(|pointer| kept(&before, pointer) == kept(route, pointer))
    };
    checks.check(
        progress,
        "everything else of that route is as it was, and a deletion leaves only an empty rule",
        is_kept(&after) && is_kept(&left) && weights(&left).is_empty(),
        &format!(
            "{} rules, weights {:?}",
            left["spec"]["rules"].as_array().map_or(0, Vec::len),
            weights(&left)
        ),
    );
    Ok(())
}

fn route_path() -> [&'static str; 4] {
    ["--namespace", NAMESPACE, "httproute", ROUTE]
}

fn weights(route: &Value) -> Vec<i64> {
    let backends = route
        .pointer("/spec/rules/1/backendRefs")
        .and_then(Value::as_array);
    backends
        .into_iter()
        .flatten()
        .filter_map(|backend| backend["weight"].as_i64())
        .collect()
}

/// A route of somebody else, with a rule of theirs and one for the release.
fn route() -> Value {
    let path = |value: &str| json!([{"path": {"type": "PathPrefix", "value": value}}]);
    let rewrite = json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}});
    let redirect =
        json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/films"}, "statusCode": 302});
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": ROUTE, "namespace": NAMESPACE, "labels": {"team": "shop"}},
        "spec": {"parentRefs": [{"name": "public"}], "rules": [
            {"matches": path("/cart"), "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]},
            {"matches": path("/films"), "filters": [{"type": "URLRewrite", "urlRewrite": rewrite}]},
        ]},
    })
}

/// The analysis of the example, with a soak that only a request ends.
fn with_long_soak(scene: &Scene) -> Result<Value> {
    let mut analysis = scene.pattern()?.0["spec"]["analysis"].clone();
    analysis["minSoak"] = json!("1h");
    Ok(analysis)
}

/// Somebody gives both arms the same weight.
fn meddle(kubectl: &Kubectl) -> Result<()> {
    let route = kubectl.get_json(&route_path())?;
    let mut backends = route
        .pointer("/spec/rules/1/backendRefs")
        .cloned()
        .context("the rule has no backends")?;
    for backend in backends.as_array_mut().into_iter().flatten() {
        backend["weight"] = json!(50);
    }
    let change = json!([{"op": "replace", "path": "/spec/rules/1/backendRefs", "value": backends}]);
    kubectl
        .run([
            "patch",
            "--namespace",
            NAMESPACE,
            "--type=json",
            &format!("httproute/{ROUTE}"),
            "--patch",
        ])
        .arg(change.to_string())
        .output()
        .map(drop)
}
