//! The demo's story as a test, and what it leaves out: crashes, a failover, bad models, a metrics store that is away.

mod audit;
mod borrowed;
mod guest;
mod ingress;
mod judged;
mod leaders;
mod liar;
mod operator;
mod recorder;
mod scenes;
mod shifts;
mod testers;

use std::{process, thread};

use anyhow::{Context as _, Result, bail};
use console::style;
use parking_lot::Mutex;
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cluster;
use crate::demo;
use crate::progress::Progress;
use crate::settings::Settings;

/// Exit code of a process that signal 0 would have ended, as shells count.
const SIGNALLED: i32 = 128;

/// What is played after the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Crashes, bad models and outages.
    Scenes,
    /// Canaries of every kind. What a person would have seen of the story and of them is written to `docs/`.
    Judged,
    /// A release behind Ingresses, on the data plane of a real controller.
    Ingress,
    /// Leaders that are frozen or cut off, then many promotions and aborts in a row. What these cost is written to
    /// `docs/`.
    Shifts,
}

/// What was checked so far.
#[derive(Default)]
pub(crate) struct Checks {
    passed: usize,
    failed: Vec<String>,
}

impl Checks {
    /// Notes one check with what was seen, and says it.
    pub(crate) fn check(&mut self, progress: &Progress, what: &str, holds: bool, seen: &str) {
        if holds {
            self.passed = self.passed.saturating_add(1);
            progress.say(format!("  {} {what}: {seen}", style("✓").green()));
        } else {
            self.failed.push(format!("{what}: {seen}"));
            progress.say(format!("  {} {what}: {seen}", style("✗").red()));
        }
    }

    /// Notes whether a load was answered in full: nothing lost, nothing bad that nobody spoiled, nothing left open.
    pub(crate) fn all_answered(&mut self, progress: &Progress, what: &str, report: &Value) {
        let bad = unanswered(report);
        let seen = format!("{} sent, lost/failed/open {bad:?}", report["totals"]["sent"]);
        self.check(progress, what, bad == [0, 0, 0], &seen);
    }
}

/// Lost, failed and open requests of a load's final report.
pub(crate) fn unanswered(report: &Value) -> [u64; 3] {
    ["lost", "failed", "inFlight"].map(|name| report["totals"][name].as_u64().unwrap_or(u64::MAX))
}

/// Plays everything on a cluster of its own and removes it afterwards, whatever happened, a Ctrl-C included.
///
/// Errors: a check that failed, or a part that cannot be started; a leftover that cannot be removed.
pub(crate) fn run(settings: &Settings, progress: &Progress, what: What) -> Result<()> {
    remove_when_interrupted(settings, progress)?;
    remove(settings, progress)?;
    let played = play(settings, progress, what);
    let removed = remove(settings, progress);
    let checks = played?;
    removed?;
    progress.say(format!(
        "end to end: {} passed, {} failed",
        checks.passed,
        checks.failed.len()
    ));
    if checks.failed.is_empty() {
        return Ok(());
    }
    bail!("end to end: {}", checks.failed.join("; "))
}

/// The processes of a cluster are in no terminal's group: nobody else ends them.
fn remove_when_interrupted(settings: &Settings, progress: &Progress) -> Result<()> {
    let (settings, progress) = (settings.clone(), progress.clone());
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot wait for Ctrl-C")?;
    thread::spawn(move || {
        let Some(signal) = signals.forever().next() else {
            return;
        };
        progress.say("interrupted");
        if let Err(error) = remove(&settings, &progress) {
            progress.say(format!("error: {error:#}"));
        }
        process::exit(SIGNALLED.saturating_add(signal));
    });
    Ok(())
}

/// Removes the cluster. One at a time: an interrupted play ends, too, and removes what the signal's thread has begun to.
fn remove(settings: &Settings, progress: &Progress) -> Result<()> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    cluster::down(settings, progress)
}

fn play(settings: &Settings, progress: &Progress, what: What) -> Result<Checks> {
    let mut checks = Checks::default();
    let (cluster, scene) = demo::prepare(settings, progress)?;
    let recorder = recorder::Recorder::start(settings, &cluster)?;
    let facts = demo::play(&scene, progress)?;
    for (what, holds, seen) in facts.checks() {
        checks.check(progress, what, holds, &seen);
    }
    let recording = recorder.stop(&scene.kubectl)?;
    let rss = operator::rss_kib(&scene.kubectl)?;
    checks.check(
        progress,
        "the operator needs at most 30 MiB",
        rss <= 30 << 10,
        &format!("{:.1} MiB", rss as f64 / 1024.0),
    );
    match what {
        What::Scenes => scenes::play(&scene, &cluster, progress, &mut checks)?,
        What::Judged => {
            let out = settings.checkout().join("docs/benchmarks/judged.md");
            judged::play(&scene, &cluster, &out, progress, &mut checks)?;
            // Last: a page that names its commit is written by a clean checkout.
            recording.write(&settings.checkout().join("docs/tutorial"), &facts)?;
        }
        What::Ingress => ingress::play(&scene, settings, &cluster, progress, &mut checks)?,
        What::Shifts => {
            let out = settings.checkout().join("docs/benchmarks/shifts.md");
            leaders::play(&scene, &cluster, progress, &mut checks)?;
            shifts::play(&scene, &out, progress, &mut checks)?;
        }
    }
    Ok(checks)
}
