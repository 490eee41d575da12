//! Benchmarks, each against rivals measured in the same run.

use anyhow::{Result, bail};

use crate::e2e;
use crate::progress::Progress;
use crate::run::Run;
use crate::settings::Settings;
use crate::tools::{Tool, Tools};

/// Runs the benchmark `name`: a table in `docs/benchmarks/`, and the raw figures beside it.
pub(crate) fn run(name: &str, settings: &Settings, progress: &Progress) -> Result<()> {
    match name {
        "judge" => simulate(name, settings, progress)?.show(),
        "operator" => {
            let rival = Tools::new(settings, progress).directory(Tool::ArgoRollouts)?;
            with_api_server(simulate(name, settings, progress)?, settings, progress)?
                .env("SERIN_ARGO_ROLLOUTS", rival)
                .show()
        }
        "churn" => with_api_server(simulate(name, settings, progress)?, settings, progress)?.show(),
        "shifts" => e2e::run(settings, progress, e2e::What::Shifts),
        "faults" => {
            let tests = Run::cargo()
                .args([
                    "test",
                    "--release",
                    "--locked",
                    "--workspace",
                    "--test",
                    "api_server",
                    "--",
                    "--nocapture",
                    "faults::",
                ])
                .env("CARGO_TARGET_DIR", settings.cargo_target())
                .within(settings.checkout());
            with_api_server(tests, settings, progress)?.show()
        }
        _ => {
            bail!("the benchmark {name} is not built yet; there are: judge, operator, churn, shifts, faults")
        }
    }
}

/// The program of the simulated benchmarks.
fn simulate(name: &str, settings: &Settings, progress: &Progress) -> Result<Run> {
    let target = settings.cargo_target();
    let step = progress.step("compile serin");
    Run::cargo()
        .args(["build", "--release", "--workspace"])
        .env("CARGO_TARGET_DIR", &target)
        .within(settings.checkout())
        .follow(&step)?;
    step.done();
    Ok(Run::new(target.join("release").join("serin-bench"))
        .arg(name)
        .within(settings.checkout()))
}

/// Tells a program where a real API server is.
fn with_api_server(run: Run, settings: &Settings, progress: &Progress) -> Result<Run> {
    let tools = Tools::new(settings, progress);
    Ok(run
        .env("SERIN_KUBE", tools.program(Tool::Kube)?)
        .env("SERIN_ETCD", tools.program(Tool::Etcd)?))
}
