//! Every check, as public CI runs them. Each runner prints its own summary.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::dataset;
use crate::e2e;
use crate::progress::Progress;
use crate::settings::Settings;

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
        &["test", "--release", "--locked", "--workspace"],
    ),
];

/// Runs every check.
///
/// Errors: the first check that fails, by name.
pub(crate) fn run(settings: &Settings, progress: &Progress) -> Result<()> {
    let ratings = dataset::ml_100k(settings, progress);
    for (what, arguments) in CHECKS {
        progress.say(format!("── {what}: cargo {}", arguments.join(" ")));
        let mut cargo = Command::new("cargo");
        cargo
            .args(arguments)
            .current_dir(settings.checkout())
            .stdin(Stdio::null());
        cargo.env("CARGO_TARGET_DIR", settings.cargo_target());
        if let Some(ratings) = &ratings {
            cargo.env("SERIN_ML100K", ratings);
        }
        let status = cargo
            .status()
            .with_context(|| format!("cannot start cargo for {what}"))?;
        if !status.success() {
            bail!(
                "{what} failed: `cargo {}` ended with {status}",
                arguments.join(" ")
            );
        }
    }
    progress.say("── end to end: cargo xtask e2e");
    e2e::run(settings, progress, false)
}
