//! Removes every trace of the local cluster, whatever state it was left in, and checks that nothing is left.
//!
//! Works without a living process and without a record: after a crash, a kill or a reboot. Only things that carry
//! our names are touched, and shared names (`KUBE-…` rules, `kubepods` groups) only where a cluster of ours was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::local::{NODE_LINK, POD_LINK};
use super::process;
use super::record::Record;
use super::{cgroups, iptables};
use crate::cache::remove;
use crate::run::Run;

/// How long a component may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// The kernel removes a dead namespace's links a moment later.
const SETTLE: Duration = Duration::from_millis(100);
/// Looks at leftovers before giving up: 5 s in all.
const SETTLE_LOOKS: usize = 50;

/// Whether this host carries anything of our cluster.
pub(super) fn is_anything_ours(state: &Path) -> bool {
    state.exists() || link_exists(NODE_LINK) || link_exists(POD_LINK)
}

/// Removes everything, then looks.
///
/// Errors: leftovers, each by name. The state directory goes last, so that another attempt knows as much.
pub(super) fn sweep(state: &Path, record: Option<&Record>) -> Result<()> {
    // Managers first, in reverse order: nothing may restart what is taken away.
    for name in [
        "kube-proxy",
        "kubelet",
        "kube-scheduler",
        "kube-controller-manager",
    ] {
        stop(record, name)?;
    }
    let shims = shims(state);
    let mut doomed = process::children(&shims);
    doomed.extend(&shims);
    doomed.extend(cgroups::members());
    process::kill(&doomed)?;
    for name in ["containerd", "kube-apiserver", "etcd"] {
        stop(record, name)?;
    }
    unmount(state);
    for link in [POD_LINK, NODE_LINK] {
        if link_exists(link) {
            Run::new("ip").args(["link", "delete", link]).output()?;
        }
    }
    iptables::remove_ours()?;
    cgroups::remove();
    remove_foreign(state, record)?;
    restore(record);
    expect_nothing(state)?;
    remove(state)
}

fn stop(record: Option<&Record>, name: &str) -> Result<()> {
    let processes = record
        .map(|record| record.processes.as_slice())
        .unwrap_or_default();
    processes
        .iter()
        .filter(|process| process.name == name)
        .try_for_each(|process| process.stop(GRACE))
}

/// The processes between our containerd and its containers: they name its socket among their arguments.
fn shims(state: &Path) -> BTreeSet<u32> {
    let socket = state.join("containerd.sock").display().to_string();
    let is_shim = |pid: &u32| {
        let arguments = process::arguments(*pid);
        arguments
            .first()
            .is_some_and(|program| program.contains("containerd-shim"))
            && arguments.contains(&socket)
    };
    process::pids().into_iter().filter(is_shim).collect()
}

fn unmount(state: &Path) {
    // Deepest first. A mount that stays is found by the check at the end.
    for mount in mounts(state).into_iter().rev() {
        Run::new("umount").arg("--lazy").arg(mount).succeeds();
    }
}

/// Mount points at or below `directory`, parents before children.
fn mounts(directory: &Path) -> BTreeSet<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(mount_point)
        .filter(|path| path.starts_with(directory))
        .collect()
}

/// The fifth field of a line of `mountinfo`; blanks in it are written as octal numbers.
fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(4)?;
    Some(PathBuf::from(
        field
            .replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\134", "\\"),
    ))
}

/// Removes what components leave outside the state directory.
fn remove_foreign(state: &Path, record: Option<&Record>) -> Result<()> {
    for path in record.map(|record| record.created.as_slice()).unwrap_or_default() {
        remove(path)?;
    }
    // Where these existed before us, only our entries go.
    for (directory, is_ours) in [
        (
            "/var/log/containers",
            (|path: &Path, state: &Path| fs::read_link(path).is_ok_and(|to| to.starts_with(state))) as Rule,
        ),
        ("/var/lib/cni/results", |path, _| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("serin-"))
        }),
    ] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if is_ours(&entry.path(), state) {
                remove(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// Whether a path outside the state directory is ours.
type Rule = fn(&Path, &Path) -> bool;

/// Values of kernel settings, by path below `/proc/sys`; settings this kernel does not have are left out.
pub(super) fn sysctls(names: &[&str]) -> BTreeMap<String, String> {
    let read = |name: &&str| {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        Some(((*name).to_owned(), value.trim().to_owned()))
    };
    names.iter().filter_map(read).collect()
}

/// Puts kernel settings back, unless a reboot did.
fn restore(record: Option<&Record>) {
    let Some(record) = record.filter(|record| record.is_of_this_boot().unwrap_or(false)) else {
        return;
    };
    for (name, value) in &record.sysctls {
        // A setting that went away with its module needs no value.
        drop(fs::write(Path::new("/proc/sys").join(name), value));
    }
}

fn expect_nothing(state: &Path) -> Result<()> {
    let mut left = Vec::new();
    for _ in 0..SETTLE_LOOKS {
        left = leftovers(state)?;
        if left.is_empty() {
            return Ok(());
        }
        thread::sleep(SETTLE);
    }
    bail!(
        "the cluster is down, but this is left:\n  - {}",
        left.join("\n  - ")
    )
}

fn leftovers(state: &Path) -> Result<Vec<String>> {
    let mut left: Vec<_> = mounts(state)
        .iter()
        .map(|path| format!("mount {}", path.display()))
        .collect();
    left.extend(shims(state).iter().map(|pid| format!("process {pid}")));
    left.extend(cgroups::members().iter().map(|pid| format!("process {pid}")));
    left.extend(
        cgroups::directories()
            .iter()
            .map(|path| format!("control group {}", path.display())),
    );
    left.extend(
        [POD_LINK, NODE_LINK]
            .iter()
            .filter(|link| link_exists(link))
            .map(|link| format!("link {link}")),
    );
    left.extend(
        iptables::ours()?
            .iter()
            .map(|chain| format!("iptables chain {chain}")),
    );
    Ok(left)
}

fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read() {
        let line = "36 35 98:0 / /var/lib/a\\040b rw,noatime shared:1 - ext4 /dev/vda rw";
        assert_eq!(mount_point(line), Some("/var/lib/a b".into()));
    }

    #[test]
    fn a_directory_that_was_never_used_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(mounts(folder.path()).is_empty());
        assert!(shims(folder.path()).is_empty());
    }
}
