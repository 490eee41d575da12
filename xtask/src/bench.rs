//! Benchmarks, each against a rival measured in the same run.

use anyhow::{Result, bail};

use crate::progress::Progress;
use crate::settings::Settings;

/// Runs the benchmark `name`.
pub(crate) fn run(name: &str, _settings: &Settings, _progress: &Progress) -> Result<()> {
    bail!("the benchmark {name} is not built yet")
}
