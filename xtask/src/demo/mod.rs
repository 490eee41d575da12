//! The story: a recommender is trained, released, improved, and two bad versions are withdrawn.

use anyhow::{Result, bail};

use crate::progress::Progress;
use crate::settings::Settings;

/// Tells the story and leaves everything running.
pub(crate) fn run(_settings: &Settings, _progress: &Progress) -> Result<()> {
    bail!("the demo is not built yet")
}
