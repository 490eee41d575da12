//! Benchmarks, each against rivals measured in the same run.

use anyhow::{Result, bail};

use crate::progress::Progress;
use crate::run::Run;
use crate::settings::Settings;

/// Runs the benchmark `name`: a table in `docs/benchmarks/`, and the raw figures beside it.
pub(crate) fn run(name: &str, settings: &Settings, progress: &Progress) -> Result<()> {
    if name != "judge" {
        bail!("the benchmark {name} is not built yet; there is: judge");
    }
    let target = settings.cargo_target();
    let step = progress.step("compile serin");
    Run::cargo()
        .args(["build", "--release", "--workspace"])
        .env("CARGO_TARGET_DIR", &target)
        .within(settings.checkout())
        .follow(&step)?;
    step.done();
    Run::new(target.join("release").join("serin-bench"))
        .arg(name)
        .within(settings.checkout())
        .show()
}
