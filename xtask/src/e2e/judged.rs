//! Canaries of every kind on the live stack: the verdict, and how long it took.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Checks;
use super::liar::{Liar, Lie};
use crate::cluster::Cluster;
use crate::demo::install::Scene;
use crate::demo::load::{Load, RATE};
use crate::demo::release::Release;
use crate::demo::story::{patch, spoiled, unspoiled, until};
use crate::progress::Progress;
use crate::run::measured_on;
use crate::stack::HOST_PORT;

/// A canary, and what must become of it.
struct Case {
    name: &'static str,
    what: &'static str,
    /// Flags of the fault proxy before it; none for the server alone.
    faults: &'static [&'static str],
    /// Reason of the withdrawal; none for a promotion.
    reason: Option<&'static str>,
}

const CASES: [Case; 8] = [
    Case {
        name: "equal",
        what: "as good as stable",
        faults: &[],
        reason: None,
    },
    Case {
        name: "slow",
        what: "mean 650 ms",
        faults: &["--delay=normal:650ms:20ms"],
        reason: Some("TooSlow"),
    },
    Case {
        name: "slow-tail",
        what: "5 % of requests + 800 ms, the mean far below its limit",
        faults: &["--delay=constant:800ms", "--delay-share=0.05"],
        reason: Some("TooSlow"),
    },
    Case {
        name: "errors",
        what: "2 % errors",
        faults: &["--error-rate=0.02"],
        reason: Some("TooManyErrors"),
    },
    Case {
        name: "burst",
        what: "20 failures in a row, then none",
        faults: &["--error-rate=1", "--faults-after=400", "--faults-among=20"],
        reason: None,
    },
    Case {
        name: "hangs",
        what: "5 % of requests hang for 3 s, then fail",
        faults: &["--hang-rate=0.05", "--hang=3s"],
        reason: Some("TooManyErrors"),
    },
    Case {
        name: "dead",
        what: "every request fails",
        faults: &["--error-rate=1"],
        reason: Some("TooManyErrors"),
    },
    Case {
        name: "crash-loop",
        what: "the proxy before the server ends at once, again and again",
        faults: &["--no-such-flag"],
        reason: Some("NotReady"),
    },
];

/// What became of a canary.
struct Ended {
    verdict: String,
    looks: u64,
    seconds: f64,
}

/// Plays every case after the other under one load, and writes the table to `out`.
pub(super) fn play(
    scene: &Scene,
    cluster: &Cluster,
    out: &Path,
    progress: &Progress,
    checks: &mut Checks,
) -> Result<()> {
    let load = Load::start(&scene.simulator, &format!("http://127.0.0.1:{HOST_PORT}"))?;
    let healthy = scene.pattern()?;
    let mut rows = Vec::new();
    for case in &CASES {
        let ended = judged(case, scene, &healthy, progress)?;
        let expected = case.reason.unwrap_or("promoted");
        checks.check(
            progress,
            &format!("a canary with {}: {expected}", case.what),
            ended.verdict.starts_with(expected),
            &format!(
                "{} after {:.0} s, {} looks",
                ended.verdict, ended.seconds, ended.looks
            ),
        );
        rows.push((case, ended));
    }
    let held = lied_to(scene, cluster, &healthy, progress, checks)?;
    drop(load.stop()?);
    write(out, &rows, &held)
}

/// What the release said under each lie.
type Held = Vec<(&'static str, String)>;

/// One healthy canary whose soak meets every kind of bad answer of Prometheus: it holds under each, with its weight,
/// and is promoted in the end.
fn lied_to(
    scene: &Scene,
    cluster: &Cluster,
    healthy: &Release,
    progress: &Progress,
    checks: &mut Checks,
) -> Result<Held> {
    let Some(host) = cluster.host_address() else {
        progress
            .say("  Prometheus' bad answers are not played: pods of this cluster cannot reach this program");
        return Ok(Held::new());
    };
    let service = scene
        .kubectl
        .get_json(&["--namespace", "monitoring", "service/prometheus"])?;
    let address = service["spec"]["clusterIP"].as_str().unwrap_or_default();
    let prometheus = format!("{address}:9090");
    let liar = Liar::start(
        &host,
        prometheus
            .parse()
            .with_context(|| format!("{prometheus} is no address of Prometheus"))?,
    )?;
    let real = healthy.text("/spec/analysis/prometheus/url").to_owned();
    let name = "lied-to";
    let mut change = asked(unspoiled(healthy, name));
    change["spec"]["analysis"]["prometheus"] = json!({"url": liar.url()});
    // Long enough for all of them: no sooner by evidence either.
    change["spec"]["rollout"]["steps"] = json!([{"weight": 20, "soak": "150s"}]);
    change["spec"]["analysis"]["minSoak"] = json!("150s");
    patch(scene, &change)?;
    let mut held = Held::new();
    for lie in Lie::ALL {
        until(scene, progress, "the soak goes on", |release| {
            release.canary() == name && release.is_soaking() && is_counting(release)
        })?;
        liar.tell(lie);
        let words = lie.words();
        let release = until(
            scene,
            progress,
            &format!("Prometheus answers {words}: the release holds"),
            |release| !is_counting(release),
        )?;
        liar.tell(Lie::None);
        let why = release.text("/status/display/reason").replace(&liar.url(), &real);
        checks.check(
            progress,
            &format!("when Prometheus answers {words} the release holds and says so"),
            release.canary() == name && release.is_soaking() && why.starts_with("no metrics"),
            &why,
        );
        held.push((words, why));
    }
    let release = until(scene, progress, "the truth again, and a verdict", |release| {
        release.canary().is_empty()
    })?;
    checks.check(
        progress,
        "after all of them the healthy version is promoted",
        release.stable() == name,
        release.stable(),
    );
    patch(
        scene,
        &json!({"spec": {"analysis": {"prometheus": {"url": real}}}}),
    )?;
    Ok(held)
}

/// Whether the soak's clock runs.
fn is_counting(release: &Release) -> bool {
    release.text("/status/display/reason").starts_with("observed")
        && !release.text("/status/display/soak").starts_with("0s")
}

/// Completes a patch: how these canaries are judged.
fn asked(mut change: Value) -> Value {
    change["spec"]["rollout"] = json!({"steps": [{"weight": 20, "soak": "60s"}], "progressDeadline": "30s"});
    change["spec"]["analysis"] =
        json!({"minSoak": "30s", "minCoverage": "25%", "latency": {"tail": {"slowerThan": "500ms"}}});
    change
}

fn judged(case: &Case, scene: &Scene, healthy: &Release, progress: &Progress) -> Result<Ended> {
    let name = case.name;
    let change = asked(if case.faults.is_empty() {
        unspoiled(healthy, name)
    } else {
        spoiled(healthy, name, case.faults, &scene.simulator_image)?
    });
    patch(scene, &change)?;
    until(scene, progress, &format!("{name} starts"), |release| {
        release.canary() == name
    })?;
    let began = Instant::now();
    let mut soaking = None;
    let release = until(scene, progress, &format!("{name} is judged"), |release| {
        if release.is_soaking() && soaking.is_none() {
            soaking = Some(Instant::now());
        }
        release.canary().is_empty()
    })?;
    let verdict = match release.withdrawal(name) {
        Some(why) => why,
        None if release.stable() == name => "promoted".into(),
        None => release.line(),
    };
    let looks = release
        .0
        .pointer("/status/analysis/looks")
        .and_then(Value::as_u64);
    Ok(Ended {
        verdict,
        looks: looks.unwrap_or(0),
        seconds: soaking.unwrap_or(began).elapsed().as_secs_f64(),
    })
}

fn write(out: &Path, rows: &[(&Case, Ended)], held: &Held) -> Result<()> {
    let measured_on = measured_on()?;
    let mut text = format!(
        "# Judged on the live stack\n\nGenerated by `cargo xtask e2e --record`: canaries on a real Kubernetes behind \
         Envoy, at {RATE} requests a second, a fifth of them to the canary, in blocks of 5 s; the least soak is 30 s; \
         {measured_on}. \
         Times are from the first traffic until nothing of the trial is left, pods included.\n\n\
         | canary | verdict | looks | seconds |\n|---|---|---|---|\n"
    );
    for (case, ended) in rows {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} |",
            case.what, ended.verdict, ended.looks, ended.seconds
        );
    }
    if !held.is_empty() {
        text.push_str(
            "\n## A Prometheus that cannot be believed\n\nOne healthy canary, whose Prometheus answers in each of \
             these ways during its soak. The weight stays, the clock stands, and with the truth back it is promoted.\n\n\
             | answer | what the release says |\n|---|---|\n",
        );
        for (answer, why) in held {
            let _ = writeln!(text, "| {answer} | {why} |");
        }
    }
    fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))
}
