//! The chapters of the story, in order.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use console::style;
use serde_json::{Value, json};

use super::facts::Facts;
use super::install::{NAMESPACE, OPERATOR_NAMESPACE, RELEASE, Scene};
use super::load::{Load, RATE};
use super::release::{Release, pod_uids};
use crate::progress::{Progress, Step};
use crate::run::last_lines;
use crate::stack::HOST_PORT;
use crate::wait::{self, Look};

const POLL: Duration = Duration::from_millis(500);
/// Longest time for one job: reading the stream and fitting take seconds.
const JOB_DEADLINE: Duration = Duration::from_mins(4);
/// Longest time for one trial: pods, a soak of 45 s, letting go.
const TRIAL_DEADLINE: Duration = Duration::from_mins(5);

/// Plays all chapters.
///
/// Errors: a chapter that does not end as it must within its deadline, with what was seen last.
pub(crate) fn play(scene: &Scene, progress: &Progress) -> Result<Facts> {
    let mut facts = Facts::default();

    chapter(progress, "1  A first model, from the stream");
    stream(scene, progress, 1, "0..85")?;
    let first = train(scene, progress, 1)?;
    until(scene, progress, &format!("{first} serves"), |release| {
        release.stable() == first && release.canary().is_empty()
    })?;
    facts.versions.push((first.clone(), "trained, serving".into()));

    chapter(
        progress,
        &format!("2  A better model, under {RATE} requests a second"),
    );
    let load = Load::start(&scene.simulator, &format!("http://127.0.0.1:{HOST_PORT}"))?;
    stream(scene, progress, 2, "85..100")?;
    let second = train(scene, progress, 2)?;
    let release = until(
        scene,
        progress,
        &format!("{second} gets 20 % of the traffic"),
        Release::is_soaking,
    )?;
    load.mark("soak")?;
    let revision = release.text("/status/canary/revision").to_owned();
    let pods = pod_uids(&scene.kubectl, &revision)?;
    until(scene, progress, &format!("{second} soaks"), |release| {
        !release.is_soaking()
    })?;
    facts.split = split(&load.stats()?, &revision);
    load.mark("promotion")?;
    until(scene, progress, &format!("{second} is promoted"), |release| {
        release.stable() == second && release.canary().is_empty()
    })?;
    facts.pods_kept = (
        pods.len(),
        pod_uids(&scene.kubectl, &revision)?.intersection(&pods).count(),
    );
    facts
        .versions
        .push((second.clone(), "promoted after its soak".into()));

    let healthy = Release::look(&scene.kubectl)?;
    scene.healthy.replace(Some(healthy.0.clone()));
    for (number, name, fault) in [
        (3, "slow", "--delay=normal:650ms:20ms"),
        (4, "failing", "--error-rate=0.05"),
    ] {
        chapter(progress, &format!("{number}  A {name} version"));
        let version = format!("{second}-{name}");
        load.mark(name)?;
        patch(
            scene,
            &spoiled(&healthy, &version, &[fault], &scene.simulator_image)?,
        )?;
        let release = until(scene, progress, &format!("{version} is withdrawn"), |release| {
            release.withdrawal(&version).is_some()
        })?;
        if release.stable() != second {
            bail!(
                "{} serves after the withdrawal of {version}, not {second}",
                release.stable()
            );
        }
        let why = release.withdrawal(&version).unwrap_or_default();
        facts.versions.push((version, format!("withdrawn, {why}")));
    }

    let step = progress.step("wait for the last answers");
    let report = load.stop()?;
    step.done();
    let count = |name: &str| report["totals"][name].as_u64().unwrap_or(0);
    facts.sent = count("sent");
    facts.lost = count("lost").saturating_add(count("inFlight"));
    facts.failed = count("failed");
    facts.spoiled = count("spoiled");
    Ok(facts)
}

fn chapter(progress: &Progress, title: &str) {
    progress.say(format!("\n{}", style(title).bold().cyan()));
}

/// Merges a patch into the release.
pub(crate) fn patch(scene: &Scene, patch: &Value) -> Result<()> {
    scene.kubectl.merge(NAMESPACE, &format!("mrel/{RELEASE}"), patch)
}

/// Waits for a state of the release; shows every state on the way.
pub(crate) fn until(
    scene: &Scene,
    progress: &Progress,
    what: &str,
    mut holds: impl FnMut(&Release) -> bool,
) -> Result<Release> {
    let step = progress.step(what);
    let mut last = String::new();
    let found = wait::until(what, TRIAL_DEADLINE, POLL, || {
        let release = Release::look(&scene.kubectl)?;
        let line = release.line();
        if line != last {
            step.news(&release.short(), &line);
            last.clone_from(&line);
        }
        Ok(if holds(&release) {
            Look::Ready(release)
        } else {
            Look::NotYet(line)
        })
    })
    .with_context(|| {
        scene
            .kubectl
            .explain(OPERATOR_NAMESPACE, "deployment/serin-operator")
    })?;
    step.done();
    Ok(found)
}

/// Writes a part of the ratings to the stream.
fn stream(scene: &Scene, progress: &Progress, number: u8, portion: &str) -> Result<()> {
    let step = progress.step(format!(
        "viewers leave {portion} % of their ratings in the stream"
    ));
    let name = format!("history-{number}");
    let mut args = vec![
        "--log=warn".to_owned(),
        "history".to_owned(),
        "--brokers=kafka.kafka:9092".to_owned(),
        format!("--topic={}", scene.topic),
        format!("--portion={portion}"),
    ];
    if scene.has_ratings {
        args.push("--ml-100k=/ml-100k".to_owned());
    }
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "enableServiceLinks": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "history", "image": scene.simulator_image, "imagePullPolicy": "IfNotPresent", "args": args,
                "securityContext": confined(),
                "volumeMounts": [{"name": "shared", "mountPath": "/ml-100k", "subPath": "ml-100k", "readOnly": true}],
            }],
            "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "serin-shared"}}],
        }}},
    });
    scene.kubectl.delete(&["--namespace", NAMESPACE, "job", &name])?;
    scene.kubectl.apply(&job.to_string())?;
    finished(scene, &name, &step)?;
    step.done();
    Ok(())
}

/// Runs the trainer once; answers the version it published.
fn train(scene: &Scene, progress: &Progress, number: u8) -> Result<String> {
    let step = progress.step("the trainer reads the stream, fits, evaluates and publishes");
    let name = format!("train-{number}");
    let before = Release::look(&scene.kubectl)?.wanted().to_owned();
    scene.kubectl.delete(&["--namespace", NAMESPACE, "job", &name])?;
    scene
        .kubectl
        .run([
            "create",
            "job",
            "--namespace",
            NAMESPACE,
            &name,
            "--from=cronjob/serin-trainer",
        ])
        .output()?;
    let log = finished(scene, &name, &step)?;
    step.done();
    let release = Release::look(&scene.kubectl)?;
    let version = release.wanted().to_owned();
    if version.is_empty() || version == before {
        bail!("the trainer ended well and published nothing new:\n{log}");
    }
    progress.say(format!("    {version}: {}", release.evidence()));
    Ok(version)
}

/// Waits for a job; answers the end of its log.
fn finished(scene: &Scene, name: &str, step: &Step) -> Result<String> {
    let log = || {
        scene
            .kubectl
            .run([
                "logs",
                "--namespace",
                NAMESPACE,
                &format!("job/{name}"),
                "--tail=20",
            ])
            .text()
            .unwrap_or_default()
    };
    wait::until(&format!("job {name}"), JOB_DEADLINE, POLL, || {
        let job = scene
            .kubectl
            .get_json(&["--namespace", NAMESPACE, &format!("job/{name}")])?;
        let count = |pointer| job.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        if count("/status/failed") > 0 {
            bail!("job {name} failed:\n{}", last_lines(&log()));
        }
        if count("/status/succeeded") > 0 {
            return Ok(Look::Ready(()));
        }
        let last = log();
        step.detail(last.lines().last().unwrap_or_default());
        Ok(Look::NotYet(last))
    })?;
    Ok(log())
}

/// The patch that releases `version`: the healthy model and its pods under another name.
pub(crate) fn unspoiled(healthy: &Release, version: &str) -> Value {
    let mut model = healthy.0["spec"]["model"].clone();
    model["version"] = json!(version);
    json!({"spec": {
        "model": model,
        "serving": {"template": healthy.0["spec"]["serving"]["template"]},
    }})
}

/// The patch that releases `version`: the model as it is, behind a proxy that spoils its answers.
pub(crate) fn spoiled(healthy: &Release, version: &str, faults: &[&str], image: &str) -> Result<Value> {
    let mut server = healthy
        .0
        .pointer("/spec/serving/template/spec/containers/0")
        .cloned()
        .context("the release has no container")?;
    let probe = json!({"httpGet": {"path": "/readyz", "port": "model"}, "periodSeconds": 1});
    server["ports"] = json!([{"name": "model", "containerPort": 8083}]);
    server["env"] = json!([{"name": "SERIN_LISTEN", "value": "0.0.0.0:8083"}]);
    server["readinessProbe"] = probe;
    if let Some(server) = server.as_object_mut() {
        server.remove("livenessProbe");
    }
    let arguments = [
        &["--log=warn", "proxy", "--upstream=http://127.0.0.1:8083"],
        faults,
    ]
    .concat();
    let proxy = json!({
        "name": "faults", "image": image, "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "ports": [{"name": "http", "containerPort": 8082}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
        "securityContext": confined(),
    });
    Ok(json!({"spec": {
        "model": {"version": version},
        "serving": {"template": {"spec": {"containers": [server, proxy]}}},
    }}))
}

fn confined() -> Value {
    json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
}

/// All answers of the last chapter that named a revision, and those of `revision`.
pub(crate) fn split(report: &Value, revision: &str) -> (u64, u64) {
    let revisions = report["marks"]
        .as_array()
        .and_then(|marks| marks.last())
        .and_then(|mark| mark["totals"]["byRevision"].as_object());
    let requests = |value: &Value| value["requests"].as_u64().unwrap_or(0);
    revisions.map_or((0, 0), |revisions| {
        (
            revisions.values().map(requests).sum(),
            revisions.get(revision).map_or(0, requests),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_that_of_the_last_chapter() {
        let report = json!({"marks": [
            {"totals": {"byRevision": {"a": {"requests": 500}}}},
            {"totals": {"byRevision": {"a": {"requests": 80}, "b": {"requests": 20}}}},
        ]});
        assert_eq!(split(&report, "b"), (100, 20));
        assert_eq!(split(&json!({}), "b"), (0, 0));
    }

    #[test]
    fn a_spoiled_version_keeps_the_server_behind_the_proxy() {
        let healthy = Release(json!({"spec": {"serving": {"template": {"spec": {"containers": [
            {"name": "server", "image": "server:1", "livenessProbe": {}}]}}}}}));
        let patch = spoiled(&healthy, "v3", &["--error-rate=0.05"], "simulator:1").unwrap();
        let containers = &patch["spec"]["serving"]["template"]["spec"]["containers"];
        assert_eq!(containers[0]["image"], "server:1");
        assert_eq!(containers[0]["ports"][0]["name"], "model");
        assert_eq!(containers[1]["ports"][0]["name"], "http");
        assert_eq!(patch["spec"]["model"]["version"], "v3");
    }
}
