//! The control groups the kubelet makes, in either version of the hierarchy.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// The kubelet's group of all pods.
const PODS: &str = "kubepods";

/// Processes in any pod.
pub(super) fn members() -> BTreeSet<u32> {
    let read = |directory: &PathBuf| fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let lists: Vec<_> = directories().iter().map(read).collect();
    lists
        .iter()
        .flat_map(|list| list.lines())
        .filter_map(|line| line.parse().ok())
        .collect()
}

/// Every group of pods, parents before children.
pub(super) fn directories() -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Version 2 has one tree; version 1 has one below each controller.
    let mut roots = vec![PathBuf::from(ROOT)];
    roots.extend(subdirectories(Path::new(ROOT)));
    for root in roots {
        collect(&root.join(PODS), &mut found);
    }
    found
}

/// Removes the groups. One that is still busy stays, and the check for leftovers reports it.
pub(super) fn remove() {
    for directory in directories().iter().rev() {
        drop(fs::remove_dir(directory));
    }
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    if directory.is_dir() {
        found.push(directory.to_owned());
        for child in subdirectories(directory) {
            collect(&child, found);
        }
    }
}

/// Links are left out: version 1 has `cpu` beside `cpu,cpuacct`.
fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
