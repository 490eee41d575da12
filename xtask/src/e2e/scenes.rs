//! What goes wrong around a release, each on the live cluster and under load.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Checks, audit, borrowed, operator, testers};
use crate::cluster::Cluster;
use crate::demo::install::{NAMESPACE, OPERATOR_NAMESPACE, Scene};
use crate::demo::load::Load;
use crate::demo::release::Release;
use crate::demo::story::{patch, unspoiled, until};
use crate::progress::Progress;
use crate::stack::HOST_PORT;
use crate::wait::{self, Look};

/// Soak of the scene in which the operator is killed: long enough for three restarts with the kubelet's pauses.
const LONG_SOAK: Duration = Duration::from_secs(90);
/// One look of the release's analysis, and the poll of this test.
const LOOK: Duration = Duration::from_secs(8);
/// When the operator is killed, from the start of the soak.
const KILLS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(25),
    Duration::from_secs(50),
];
const TAKEOVER_MAX: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_mins(1);

/// Plays all scenes under one load.
pub(super) fn play(scene: &Scene, cluster: &Cluster, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let load = Load::start(&scene.simulator, &format!("http://127.0.0.1:{HOST_PORT}"))?;
    killed(scene, progress, checks)?;
    failover(scene, progress, checks)?;
    bad_models(scene, cluster, progress, checks)?;
    outage(scene, progress, checks)?;
    let report = load.stop()?;
    checks.all_answered(progress, "no request lost over all of it", &report);
    borrowed::play(scene, progress, checks)?;
    idle(cluster, progress, checks)
}

/// The healthy model under a new name, with a patch of its own.
pub(super) fn release(
    scene: &Scene,
    version: &str,
    soak: Duration,
    deadline: &str,
    model: &Value,
) -> Result<()> {
    let mut change = unspoiled(&scene.pattern()?, version);
    for (name, value) in model.as_object().into_iter().flatten() {
        change["spec"]["model"][name] = value.clone();
    }
    let soak = format!("{}s", soak.as_secs());
    change["spec"]["rollout"] =
        json!({"steps": [{"weight": 20, "soak": soak}], "progressDeadline": deadline});
    // No sooner by evidence either: these scenes are about the length of a soak.
    change["spec"]["analysis"] = json!({"minSoak": soak});
    patch(scene, &change)
}

fn killed(scene: &Scene, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let version = "killed-operator";
    release(scene, version, LONG_SOAK, "60s", &json!({}))?;
    let canary = until(
        scene,
        progress,
        "a soak during which the operator is killed",
        |release| release.is_observed(version),
    )?;
    let revision = canary.text("/status/canary/revision").to_owned();
    let began = Instant::now();
    let left = LONG_SOAK.saturating_sub(observed(&canary)?);
    for after in KILLS {
        thread::sleep(after.saturating_sub(began.elapsed()));
        operator::kill(&scene.kubectl)?;
    }
    testers::knock(scene, &revision, progress, checks)?;
    until(scene, progress, "the soak ends all the same", |release| {
        !release.is_soaking()
    })?;
    let took = began.elapsed();
    checks.check(
        progress,
        "three kills of the operator do not move the end of the soak",
        took + LOOK >= left && took <= left + LOOK,
        &format!(
            "{:.1} s for a soak of {} s",
            took.as_secs_f64(),
            LONG_SOAK.as_secs()
        ),
    );
    until(scene, progress, "the promotion", |release| {
        release.stable() == version && release.canary().is_empty()
    })?;
    let doubled = doubled(scene, &revision, version)?;
    checks.check(
        progress,
        "no step is doubled",
        doubled.is_empty(),
        &format!("{doubled:?} told twice"),
    );
    Ok(())
}

/// How far the soak is; below a minute it is written in whole seconds.
fn observed(release: &Release) -> Result<Duration> {
    let text = release.text("/status/soak/observed");
    let seconds = text.strip_suffix('s').and_then(|digits| digits.parse().ok());
    seconds
        .map(Duration::from_secs)
        .with_context(|| format!("the soak is at \"{text}\""))
}

/// Events about a revision of a version that were told more than once.
pub(super) fn doubled(scene: &Scene, revision: &str, version: &str) -> Result<Vec<String>> {
    let list = scene.kubectl.get_json(&["--namespace", NAMESPACE, "events"])?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for event in list["items"].as_array().into_iter().flatten() {
        let message = event["message"].as_str().unwrap_or_default();
        let is_ours = event["involvedObject"]["kind"] == "ModelRelease";
        if is_ours && (message.contains(revision) || message.contains(version)) {
            let key = format!("{} {message}", event["reason"].as_str().unwrap_or_default());
            let count = counts.entry(key).or_default();
            *count = count.saturating_add(event["count"].as_u64().unwrap_or(1));
        }
    }
    if counts.is_empty() {
        bail!("no event tells of {revision}");
    }
    Ok(counts
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(key, _)| key)
        .collect())
}

/// Lets so many replicas of the operator be ready.
pub(super) fn scale(scene: &Scene, replicas: u8) -> Result<()> {
    let deployment = "deployment/serin-operator";
    let replicas = format!("--replicas={replicas}");
    scene
        .kubectl
        .run(["scale", "--namespace", OPERATOR_NAMESPACE, deployment, &replicas])
        .output()?;
    scene
        .kubectl
        .rolled_out(OPERATOR_NAMESPACE, deployment, Duration::from_mins(1))
}

fn failover(scene: &Scene, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let step = progress.step("a second replica, and the leader's end");
    let kubectl = &scene.kubectl;
    scale(scene, 2)?;
    let old = operator::leader(kubectl)?;
    let began = Instant::now();
    // Killed first: a pod that is only deleted gives the lead back.
    operator::kill(kubectl)?;
    kubectl
        .run([
            "delete",
            "--namespace",
            OPERATOR_NAMESPACE,
            "pod",
            &old,
            "--grace-period=0",
            "--force",
        ])
        .output()?;
    wait::until(
        "another leader",
        Duration::from_mins(1),
        Duration::from_millis(200),
        || {
            let leader = operator::leader(kubectl)?;
            Ok(if leader.is_empty() || leader == old {
                Look::NotYet(leader)
            } else {
                Look::Ready(())
            })
        },
    )?;
    let took = began.elapsed();
    scale(scene, 1)?;
    step.done();
    checks.check(
        progress,
        "another replica leads within 20 s",
        took <= TAKEOVER_MAX,
        &format!("{:.1} s", took.as_secs_f64()),
    );
    Ok(())
}

fn bad_models(scene: &Scene, cluster: &Cluster, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let stable = Release::look(&scene.kubectl)?.stable().to_owned();
    let healthy = scene.pattern()?;
    let uri = healthy.text("/spec/model/uri");
    let id = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let models = cluster.shared_directory().join("models");
    cluster.share("models/truncated", Some(&models.join(id)))?;
    let largest = fs::read_dir(models.join("truncated"))
        .context("cannot list the copied artifact")?
        .flatten()
        .max_by_key(|entry| entry.metadata().map_or(0, |meta| meta.len()))
        .context("the artifact is empty")?;
    fs::OpenOptions::new()
        .write(true)
        .open(largest.path())
        .and_then(|file| file.set_len(100))
        .context("cannot truncate the copied artifact")?;
    for (version, model) in [
        (
            "wrong-digest",
            json!({"digest": format!("sha256:{}", "0".repeat(64))}),
        ),
        ("truncated", json!({"uri": "file:///models/truncated/"})),
    ] {
        release(scene, version, Duration::from_secs(45), "20s", &model)?;
        let release = until(
            scene,
            progress,
            &format!("{version} never becomes ready and is withdrawn"),
            |release| release.withdrawal(version).is_some(),
        )?;
        let why = release.withdrawal(version).unwrap_or_default();
        checks.check(
            progress,
            &format!("a model that is {version} is withdrawn, stable untouched"),
            release.stable() == stable && why.starts_with("NotReady"),
            &why,
        );
    }
    Ok(())
}

fn outage(scene: &Scene, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let version = "no-metrics";
    let scale = |replicas: &str| {
        scene
            .kubectl
            .run([
                "scale",
                "--namespace",
                "monitoring",
                "deployment/prometheus",
                replicas,
            ])
            .output()
            .map(drop)
    };
    release(scene, version, Duration::from_secs(30), "60s", &json!({}))?;
    until(
        scene,
        progress,
        "a soak during which Prometheus goes away",
        |release| release.is_observed(version),
    )?;
    scale("--replicas=0")?;
    let held = until(scene, progress, "the outage is said", |release| {
        release.text("/status/display/reason").starts_with("no metrics") || !release.is_soaking()
    })?;
    checks.check(
        progress,
        "without Prometheus the release holds and says so",
        held.is_soaking() && held.canary() == version,
        held.text("/status/display/reason"),
    );
    scale("--replicas=1")?;
    let release = until(
        scene,
        progress,
        "Prometheus is back, the soak goes on",
        |release| release.canary().is_empty(),
    )?;
    checks.check(
        progress,
        "after the outage the version is promoted",
        release.stable() == version,
        release.stable(),
    );
    Ok(())
}

fn idle(cluster: &Cluster, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let Some(log) = cluster.audit_log() else {
        progress.say("  the idle operator's writes are not counted: this cluster keeps no audit log");
        return Ok(());
    };
    let step = progress.step("an idle minute");
    let before = audit::writes(&log)?;
    thread::sleep(IDLE);
    let after = audit::writes(&log)?;
    step.done();
    checks.check(
        progress,
        "an idle operator writes nothing but its Lease",
        after.others == before.others,
        &format!(
            "{} writes, {} renewals of the Lease",
            after.others.saturating_sub(before.others),
            after.leases.saturating_sub(before.leases)
        ),
    );
    Ok(())
}
