//! A hundred promotions and a hundred aborts in a row, under load: what is lost, which pods survive, and how soon an
//! aborted canary gives its last answer, by the stage in which the abort met it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Deserializer, Value, json};

use super::{Checks, unanswered};
use crate::demo::install::{NAMESPACE, RELEASE, Scene};
use crate::demo::load::{Load, RATE};
use crate::demo::release::{Release, pod_uids};
use crate::demo::story::{patch, unspoiled};
use crate::kubectl::Kubectl;
use crate::progress::Progress;
use crate::run::measured_on;
use crate::stack::HOST_PORT;

/// Promotions, and as many aborts.
const ROUNDS: usize = 100;
/// Versions that an abort may miss before it meets one.
const TRIES: usize = 10;
/// Longest time until the release is where it is waited for.
const DEADLINE: Duration = Duration::from_mins(2);
/// Where aborts are meant to meet the canary, in turn.
const STAGES: [&str; 5] = ["Preparing", "Shifting", "Soaking", "Growing", "Promoting"];

/// The release, as a watch shows it: sooner than any poll.
struct Watch {
    child: Child,
    shown: Receiver<Release>,
}

impl Watch {
    fn start(kubectl: &Kubectl) -> Result<Self> {
        let mut child = kubectl
            .command([
                "get",
                "--namespace",
                NAMESPACE,
                "mrel",
                RELEASE,
                "--watch",
                "--output=json",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start kubectl")?;
        let out = child.stdout.take().context("kubectl has no output")?;
        let (sender, shown) = channel();
        thread::spawn(move || {
            let mut out = BufReader::new(out);
            // The end of the stream is the end of the watch.
            while out.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
                let mut objects = Deserializer::from_reader(&mut out).into_iter::<Value>();
                while let Some(Ok(object)) = objects.next() {
                    if sender.send(Release(object)).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self { child, shown })
    }

    fn until(&self, what: &str, mut holds: impl FnMut(&Release) -> bool) -> Result<Release> {
        let began = Instant::now();
        let mut last = String::new();
        loop {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let Ok(release) = self.shown.recv_timeout(left) else {
                bail!("{what}: not within {} s; last seen: {last}", DEADLINE.as_secs());
            };
            if holds(&release) {
                return Ok(release);
            }
            last = release.line();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Ended already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An abort: the mark it was sent under, the canary, and what the operator said.
struct Abort {
    mark: String,
    revision: String,
    stage: String,
}

/// Plays all rounds, writes the table to `out`.
pub(super) fn play(scene: &Scene, out: &Path, progress: &Progress, checks: &mut Checks) -> Result<()> {
    let healthy = scene.pattern()?;
    let watch = Watch::start(&scene.kubectl)?;
    let load = Load::start(&scene.simulator, &format!("http://127.0.0.1:{HOST_PORT}"))?;
    let (mut kept, mut aborts) = (0, Vec::new());
    let step = progress.step(format!("{ROUNDS} promotions and {ROUNDS} aborts"));
    for (round, stage) in (0..ROUNDS).zip(STAGES.iter().cycle()) {
        step.news(
            &format!("round {round}"),
            &format!("round {round}, abort while {stage}"),
        );
        if promote(scene, &healthy, &watch, round)? {
            kept += 1;
        }
        aborts.push(abort(scene, &healthy, &watch, &load, round, stage)?);
    }
    step.done();
    let report = load.stop()?;
    let table = Table::of(&report, &aborts);
    checks.all_answered(
        progress,
        &format!("{ROUNDS} promotions and {ROUNDS} aborts lose no request"),
        &report,
    );
    checks.check(
        progress,
        "the canary's pods survive every promotion",
        kept == ROUNDS,
        &format!("{kept} of {ROUNDS}"),
    );
    checks.check(
        progress,
        "99 % of aborts take effect within 1 s",
        table.quantile(0.99) <= 1.0,
        &format!("{:.2} s", table.quantile(0.99)),
    );
    let sent = report["totals"]["sent"].as_u64().unwrap_or(0);
    let text = table.page(&measured_on()?, sent, unanswered(&report), kept);
    fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))
}

/// The healthy model under a new name; its soak is longer than anybody waits.
fn release(scene: &Scene, healthy: &Release, version: &str) -> Result<()> {
    let mut change = unspoiled(healthy, version);
    change["spec"]["rollout"] = json!({"steps": [{"weight": 20, "soak": "1h"}], "progressDeadline": "60s"});
    change["spec"]["analysis"] = json!({"minSoak": "1h"});
    patch(scene, &change)
}

fn ask(scene: &Scene, request: &str) -> Result<()> {
    patch(
        scene,
        &json!({"metadata": {"annotations": {"serin.dev/request": request}}}),
    )
}

/// Whether every pod of the canary is a pod of stable afterwards.
fn promote(scene: &Scene, healthy: &Release, watch: &Watch, round: usize) -> Result<bool> {
    let version = format!("good-{round}");
    release(scene, healthy, &version)?;
    let canary = watch.until("the canary soaks", |release| {
        release.canary() == version && release.is_soaking()
    })?;
    let revision = canary.text("/status/canary/revision").to_owned();
    let before = pod_uids(&scene.kubectl, &revision)?;
    ask(scene, &format!("promote/{revision}"))?;
    watch.until("the promotion", |release| {
        release.stable() == version && release.canary().is_empty()
    })?;
    let after: BTreeSet<String> = pod_uids(&scene.kubectl, &revision)?;
    Ok(!before.is_empty() && before.is_subset(&after))
}

/// One abort that met its canary. Promoting is soon over: an abort that comes after it is ignored, as
/// it must be, and another version is tried.
fn abort(
    scene: &Scene,
    healthy: &Release,
    watch: &Watch,
    load: &Load,
    round: usize,
    stage: &str,
) -> Result<Abort> {
    for attempt in 0..TRIES {
        let version = format!("aborted-{round}-{attempt}");
        release(scene, healthy, &version)?;
        let is_at = |release: &Release, stage: &str| {
            release.canary() == version && release.text("/status/canary/stage") == stage
        };
        if ["Growing", "Promoting"].contains(&stage) {
            let soaking = watch.until("the canary soaks", |release| is_at(release, "Soaking"))?;
            let revision = soaking.text("/status/canary/revision");
            ask(scene, &format!("promote/{revision}"))?;
        }
        let met = watch.until(&format!("the canary is {stage}"), |release| is_at(release, stage))?;
        let revision = met.text("/status/canary/revision").to_owned();
        let mark = format!("abort-{round}-{attempt}");
        load.mark(&mark)?;
        let request = format!("abort/{revision}");
        ask(scene, &request)?;
        let ended = watch.until("the end of the trial", |release| {
            release.text("/status/request/asked") == request && release.canary().is_empty()
        })?;
        // A stage may be over before the abort arrives: it counts where the operator met it.
        let answer = ended.text("/status/request/answer");
        if let Some((_, stage)) = answer.split_once(" out of ") {
            let stage = stage.to_owned();
            return Ok(Abort {
                mark,
                revision,
                stage,
            });
        }
    }
    bail!("{TRIES} aborts of round {round} came after the promotion")
}

/// Seconds from the abort to the canary's last answer, by stage.
struct Table(BTreeMap<String, Vec<f64>>);

impl Table {
    fn of(report: &Value, aborts: &[Abort]) -> Self {
        let mut by_stage: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for abort in aborts {
            let marks = report["marks"].as_array().map(Vec::as_slice).unwrap_or_default();
            let window = marks.iter().find(|mark| mark["name"] == abort.mark.as_str());
            let seconds = window.map_or(f64::INFINITY, |window| {
                let start = window["startSeconds"].as_f64().unwrap_or(f64::NEG_INFINITY);
                let last = window["totals"]["byRevision"][&abort.revision]["lastSeconds"].as_f64();
                // A canary that was asked nothing after the abort had given its last answer before.
                last.map_or(0.0, |last| (last - start).max(0.0))
            });
            by_stage.entry(abort.stage.clone()).or_default().push(seconds);
        }
        by_stage
            .values_mut()
            .for_each(|seconds| seconds.sort_by(f64::total_cmp));
        Self(by_stage)
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut all: Vec<f64> = self.0.values().flatten().copied().collect();
        all.sort_by(f64::total_cmp);
        quantile(&all, share)
    }

    fn page(&self, measured_on: &str, sent: u64, lost: [u64; 3], kept: usize) -> String {
        let [lost, failed, open] = lost;
        let mut text = format!(
            "# Shifts under load\n\nGenerated by `cargo xtask bench shifts`: {ROUNDS} promotions and {ROUNDS} aborts in \
             turn, on a real Kubernetes behind Envoy, at {RATE} requests a second; {measured_on}.\n\n\
             | requests | lost | failed | without an end | promotions in which every pod of the canary survived |\n\
             |---|---|---|---|---|\n| {sent} | {lost} | {failed} | {open} | {kept} of {ROUNDS} |\n\n\
             ## Aborts\n\nSeconds from writing the request to the last answer of the canary, the client's own time \
             included; 0 where it was asked nothing any more. A stage counts as the operator met it: most \
             aborts meant for Shifting, which is soon over, met Soaking.\n\n\
             | stage | aborts | median | largest |\n|---|---|---|---|\n"
        );
        for (stage, seconds) in &self.0 {
            let largest = seconds.last().copied().unwrap_or_default();
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "| {stage} | {} | {:.2} | {largest:.2} |",
                seconds.len(),
                quantile(seconds, 0.5)
            );
        }
        let _ = writeln!(
            text,
            "\nOver all of them, 99 % are over within {:.2} s.",
            self.quantile(0.99)
        );
        text
    }
}

/// The smallest value that is not below this share of the sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil().max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank of at least 1 and at most the length"
    )]
    let index = rank as usize - 1;
    sorted.get(index).or(sorted.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_takes_until_the_last_answer_of_its_canary() {
        let report = json!({"marks": [
            {"name": "abort-0", "startSeconds": 10.0, "totals": {"byRevision": {"b": {"lastSeconds": 10.4}}}},
            {"name": "abort-1", "startSeconds": 20.0, "totals": {"byRevision": {"a": {"lastSeconds": 29.0}}}},
        ]});
        let abort = |mark: &str, stage: &str| Abort {
            mark: mark.into(),
            revision: "b".into(),
            stage: stage.into(),
        };
        let table = Table::of(
            &report,
            &[abort("abort-0", "Soaking"), abort("abort-1", "Preparing")],
        );
        assert!((table.quantile(0.99) - 0.4).abs() < 1e-9);
        assert!(table.quantile(0.5) < 1e-9, "asked nothing after it");
        let lost = Table::of(&report, &[abort("abort-2", "Soaking")]);
        assert!(
            lost.quantile(0.5).is_infinite(),
            "an abort without its mark is no proof"
        );
    }
}
