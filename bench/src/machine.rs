//! What a figure was measured on.

use std::process::Command;

/// Commit and machine, for the head of a table.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    commit: String,
    cpu: String,
    cores: usize,
}

impl Machine {
    /// Looks around.
    pub(crate) fn here() -> Self {
        let commit = Command::new("git")
            .args(["describe", "--always", "--dirty", "--abbrev=10"])
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default();
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))
            .unwrap_or("unknown");
        Self {
            commit,
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!("Commit {}, {} cores of {}.", self.commit, self.cores, self.cpu)
    }
}
