//! Keeps what a person would have watched: `kubectl get mrel -w` and the events.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;
use crate::demo::Facts;
use crate::demo::install::NAMESPACE;
use crate::kubectl::Kubectl;
use crate::settings::Settings;

const WATCH: [&str; 5] = ["get", "mrel", "--namespace", NAMESPACE, "--watch"];
const EVENTS: [&str; 5] = [
    "get",
    "events",
    "--namespace",
    NAMESPACE,
    "--sort-by=.metadata.creationTimestamp",
];

/// A running `kubectl get mrel --watch`.
pub(crate) struct Recorder {
    child: Child,
    path: PathBuf,
}

/// What was recorded.
pub(crate) struct Recording {
    watch: String,
    events: String,
}

impl Recorder {
    /// Starts to record.
    pub(crate) fn start(settings: &Settings, cluster: &Cluster) -> Result<Self> {
        let path = settings.state().join("watch.txt");
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let child = cluster
            .kubectl()
            .command(WATCH)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null())
            .spawn();
        Ok(Self {
            child: child.context("cannot start kubectl")?,
            path,
        })
    }

    /// Ends the recording.
    pub(crate) fn stop(self, kubectl: &Kubectl) -> Result<Recording> {
        let watch =
            fs::read_to_string(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        let events = kubectl
            .run(EVENTS)
            .args([
                "--field-selector=involvedObject.kind=ModelRelease",
                "--output=custom-columns=TIME:.firstTimestamp,TYPE:.type,REASON:.reason,MESSAGE:.message",
            ])
            .text()?;
        Ok(Recording { watch, events })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Ended already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Recording {
    /// Writes the recording as a page.
    pub(crate) fn write(&self, folder: &Path, facts: &Facts) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let summary = console::strip_ansi_codes(&facts.table()).into_owned();
        let page = format!(
            "# What the story looks like\n\n\
             Recorded by `cargo xtask e2e --record`; not written by hand.\n\n\
             ## `kubectl {}`\n\n```text\n{}\n```\n\n## `kubectl {}`\n\n```text\n{}\n```\n\n\
             ## Summary\n\n```text\n{}\n```\n",
            WATCH.join(" "),
            self.watch.trim_end(),
            EVENTS.join(" "),
            self.events.trim_end(),
            summary.trim_matches('\n'),
        );
        let path = folder.join("recording.md");
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
    }
}
