//! Benchmarks, each against rivals measured in the same run.

use anyhow::{Result, bail};

use crate::progress::Progress;
use crate::run::Run;
use crate::settings::Settings;
use crate::tools::{Tool, Tools};

/// Runs the benchmark `name`: a table in `docs/benchmarks/`, and the raw figures beside it.
pub(crate) fn run(name: &str, settings: &Settings, progress: &Progress) -> Result<()> {
    if !["judge", "operator"].contains(&name) {
        bail!("the benchmark {name} is not built yet; there are: judge, operator");
    }
    let target = settings.cargo_target();
    let step = progress.step("compile serin");
    Run::cargo()
        .args(["build", "--release", "--workspace"])
        .env("CARGO_TARGET_DIR", &target)
        .within(settings.checkout())
        .follow(&step)?;
    step.done();
    let bench = Run::new(target.join("release").join("serin-bench"))
        .arg(name)
        .within(settings.checkout());
    let tools = Tools::new(settings, progress);
    match name {
        "operator" => bench
            .env("SERIN_KUBE", tools.program(Tool::Kube)?)
            .env("SERIN_ETCD", tools.program(Tool::Etcd)?)
            .show(),
        _ => bench.show(),
    }
}
