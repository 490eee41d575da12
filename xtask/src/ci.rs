//! Every check, as public CI runs them. Each runner prints its own summary.

use anyhow::{Context as _, Result};

use crate::dataset;
use crate::e2e;
use crate::progress::Progress;
use crate::run::Run;
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
        let mut cargo = Run::cargo()
            .args(arguments)
            .within(settings.checkout())
            .env("CARGO_TARGET_DIR", settings.cargo_target());
        if let Some(ratings) = &ratings {
            cargo = cargo.env("SERIN_ML100K", ratings);
        }
        cargo.show().with_context(|| format!("{what} failed"))?;
    }
    progress.say("── end to end: cargo xtask e2e");
    e2e::run(settings, progress, false)
}
