//! The story: a recommender is trained, released, improved, and two bad versions are withdrawn.

mod facts;
pub(crate) mod install;
pub(crate) mod load;
pub(crate) mod release;
pub(crate) mod story;

use std::time::Instant;

use anyhow::Result;

use crate::cluster::{self, Cluster};
use crate::progress::{Progress, seconds};
use crate::settings::Settings;
use crate::stack;

pub(crate) use facts::Facts;
pub(crate) use story::play;

/// Tells the story and leaves everything running.
///
/// Errors: a part that cannot be built or started, or a fact of the story that is not as it must be.
pub(crate) fn run(settings: &Settings, progress: &Progress) -> Result<()> {
    let began = Instant::now();
    let (_, scene) = prepare(settings, progress)?;
    let facts = play(&scene, progress)?;
    progress.say(facts.table());
    progress.say(format!("  took         {}", seconds(began.elapsed())));
    progress.say(format!(
        "  look around  kubectl --kubeconfig {} -n demo get mrel -o wide",
        settings.state().join("admin.kubeconfig").display()
    ));
    progress.say("  clean up     cargo demo down");
    facts.judge()
}

/// Builds, starts and installs what is missing.
pub(crate) fn prepare(settings: &Settings, progress: &Progress) -> Result<(Cluster, install::Scene)> {
    let cluster = cluster::up(settings, progress)?;
    stack::install(settings, progress, &cluster)?;
    let scene = install::install(settings, progress, &cluster)?;
    Ok((cluster, scene))
}
