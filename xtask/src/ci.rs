//! Every check, as public CI runs them. Each runner prints its own summary.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::broker::Broker;
use crate::cluster::{self, Provider};
use crate::dataset;
use crate::e2e;
use crate::preflight;
use crate::progress::Progress;
use crate::run::Run;
use crate::settings::Settings;
use crate::tools::{Tool, Tools};

/// The checks in the order in which they fail fastest.
const CHECKS: [(&str, &[&str]); 3] = [
    ("format", &["fmt", "--all", "--check"]),
    (
        "lints as errors",
        &[
            "clippy",
            "--release",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ],
    ),
    (
        "unit, law and story tests, drift of generated files",
        // What is skipped takes minutes: `cargo xtask bench faults` runs it.
        &[
            "test",
            "--release",
            "--locked",
            "--workspace",
            "--",
            "--skip",
            "a_fault_at_any_call",
        ],
    ),
];

/// Runs every check. A demo that is still up is removed first.
///
/// Errors: the first check that fails, by name.
pub(crate) fn run(settings: &Settings, progress: &Progress) -> Result<()> {
    cluster::down(settings, progress)?;
    preflight::check(settings, progress, Some(Provider::detect()))?;
    let world = World::build(settings, progress)?;
    for (what, arguments) in CHECKS {
        progress.say(format!("── {what}: cargo {}", arguments.join(" ")));
        let cargo = Run::cargo()
            .args(arguments)
            .within(settings.checkout())
            .env("CARGO_TARGET_DIR", settings.cargo_target());
        world
            .told_to(cargo)
            .show()
            .with_context(|| format!("{what} failed"))?;
    }
    drop(world);
    progress.say("── end to end: cargo xtask e2e");
    e2e::run(settings, progress, e2e::What::Scenes)
}

/// What tests find by variables of their environment, and skip, saying so, where it is absent.
struct World {
    kube: PathBuf,
    etcd: PathBuf,
    broker: Broker,
    ratings: Option<PathBuf>,
}

impl World {
    fn build(settings: &Settings, progress: &Progress) -> Result<Self> {
        let tools = Tools::new(settings, progress);
        Ok(Self {
            kube: tools.program(Tool::Kube)?,
            etcd: tools.program(Tool::Etcd)?,
            broker: Broker::start(&tools.directory(Tool::Kafka)?.join("libs"), settings.checkout())?,
            ratings: dataset::ml_100k(settings, progress),
        })
    }

    fn told_to(&self, run: Run) -> Run {
        let run = run
            .env("SERIN_KUBE", &self.kube)
            .env("SERIN_ETCD", &self.etcd)
            .env("SERIN_KAFKA", self.broker.address().to_string());
        match &self.ratings {
            Some(ratings) => run.env("SERIN_ML100K", ratings),
            None => run,
        }
    }
}
