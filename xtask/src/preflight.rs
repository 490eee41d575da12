//! Everything that could be in the way, found before anything is changed, each with its remedy.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::cluster::{self, Provider};
use crate::ports;
use crate::progress::Progress;
use crate::run::{Run, is_installed};
use crate::settings::Settings;
use crate::tools::{Tool, Tools};

/// Space needed below cache and state: 4 GiB of built tools and images, 2 of the cluster, 2 to spare.
const DISK_MIN_BYTES: u64 = 8 << 30;
/// Memory needed beside what already runs: 3 GiB for everything the demo starts.
const MEMORY_MIN_KIB: u64 = 3 << 20;
/// The Go that the pinned sources ask for.
const GO_MIN: (u32, u32) = (1, 26);

/// A program, or a file, and the Debian package that brings it.
struct Need {
    /// What is looked for: a program in `PATH`, or a file if it begins with a slash.
    what: &'static str,
    /// What to install.
    package: &'static str,
}

/// What the local cluster itself runs on.
const CLUSTER_NEEDS: [Need; 8] = [
    Need {
        what: "containerd",
        package: "containerd",
    },
    Need {
        what: "runc",
        package: "runc",
    },
    Need {
        what: "/usr/lib/cni/bridge",
        package: "containernetworking-plugins",
    },
    Need {
        what: "iptables-save",
        package: "iptables",
    },
    Need {
        what: "conntrack",
        package: "conntrack",
    },
    Need {
        what: "socat",
        package: "socat",
    },
    Need {
        what: "openssl",
        package: "openssl",
    },
    Need {
        what: "ip",
        package: "iproute2",
    },
];

/// What images are built with.
const IMAGE_NEEDS: [Need; 3] = [
    Need {
        what: "buildah",
        package: "buildah",
    },
    Need {
        what: "mmdebstrap",
        package: "mmdebstrap",
    },
    Need {
        what: "cmake",
        package: "cmake",
    },
];

/// What tools are built with; Go is not among them, for Debian's is too old.
const BUILD_NEEDS: [Need; 5] = [
    Need {
        what: "gcc",
        package: "gcc libc6-dev",
    },
    Need {
        what: "python3",
        package: "python3",
    },
    Need {
        what: "pip",
        package: "python3-pip",
    },
    Need {
        what: "mvn",
        package: "maven",
    },
    Need {
        what: "mmdebstrap",
        package: "mmdebstrap",
    },
];

/// Checks the host, and installs Debian packages that are missing when that is all that is missing. Without a provider
/// of a cluster, for what builds alone need.
///
/// Errors: one message that lists every problem with its remedy. Nothing was changed then.
pub(crate) fn check(settings: &Settings, progress: &Progress, provider: Option<Provider>) -> Result<()> {
    let step = progress.step("look at this machine");
    let packages = missing_packages(settings, progress, provider)?;
    let mut problems = Vec::new();
    if provider == Some(Provider::Local) {
        problems.extend(rights());
        problems.extend(ports::conflicts(cluster::ports()));
    }
    problems.extend(memory());
    problems.extend(disk(&settings.cache()));
    problems.extend(disk(settings.state()));
    problems.extend(go(settings, progress)?);
    let can_install = is_root() && is_installed("apt-get");
    if !packages.is_empty() && !can_install {
        let list: Vec<_> = packages.iter().copied().collect();
        problems.push(format!(
            "missing packages: install them with `sudo apt-get install {}`",
            list.join(" ")
        ));
    }
    if !problems.is_empty() {
        problems.dedup();
        let mut message = String::from("this machine is not ready yet; nothing was changed:");
        for problem in &problems {
            write!(message, "\n  - {problem}")?;
        }
        bail!(message);
    }
    step.done();
    if packages.is_empty() {
        Ok(())
    } else {
        install(&packages, progress)
    }
}

fn missing_packages(
    settings: &Settings,
    progress: &Progress,
    provider: Option<Provider>,
) -> Result<BTreeSet<&'static str>> {
    let tools = Tools::new(settings, progress);
    let mut wanted: Vec<&Need> = IMAGE_NEEDS.iter().collect();
    match provider {
        Some(Provider::Local) => wanted.extend(&CLUSTER_NEEDS),
        Some(Provider::Kind) | None => {}
    }
    for tool in Tool::ALL {
        if tools.is_missing(tool)? {
            wanted.extend(
                BUILD_NEEDS
                    .iter()
                    .filter(|need| tool.needs().contains(&need.what)),
            );
        }
    }
    Ok(wanted
        .into_iter()
        .filter(|need| !is_present(need.what))
        .flat_map(|need| need.package.split(' '))
        .collect())
}

fn is_present(what: &str) -> bool {
    if what.starts_with('/') {
        Path::new(what).exists()
    } else {
        is_installed(what)
    }
}

/// Installs packages; services they bring are not started.
fn install(packages: &BTreeSet<&str>, progress: &Progress) -> Result<()> {
    let list: Vec<_> = packages.iter().copied().collect();
    let step = progress.step(format!("install Debian packages: {}", list.join(" ")));
    let install = || {
        Run::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // invoke-rc.d starts nothing in single-user mode: we run our own containerd, not the host's.
            .env("RUNLEVEL", "1")
    };
    if install().follow(&step).is_err() {
        Run::new("apt-get").arg("update").follow(&step)?;
        install().follow(&step)?;
    }
    step.done();
    Ok(())
}

fn rights() -> Option<String> {
    let remedy = "a cluster on this host needs root: run the command as root, or install Docker and kind";
    (!is_root()).then(|| remedy.to_owned())
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_user(&status) == Some(0)
}

fn effective_user(status: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn memory() -> Option<String> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    (available < MEMORY_MIN_KIB).then(|| {
        format!(
            "{} MiB of memory are available, {} MiB are needed: end other programs",
            available >> 10,
            MEMORY_MIN_KIB >> 10
        )
    })
}

fn disk(directory: &Path) -> Option<String> {
    let existing = directory.ancestors().find(|path| path.exists())?;
    let text = Run::new("df")
        .args(["--output=avail", "-B1"])
        .arg(existing)
        .text()
        .ok()?;
    let available: u64 = text.lines().last()?.trim().parse().ok()?;
    (available < DISK_MIN_BYTES).then(|| {
        format!(
            "{} has {} MiB of free space, {} MiB are needed: free some, or choose another disk with SERIN_CACHE and SERIN_STATE",
            existing.display(),
            available >> 20,
            DISK_MIN_BYTES >> 20,
        )
    })
}

fn go(settings: &Settings, progress: &Progress) -> Result<Option<String>> {
    let tools = Tools::new(settings, progress);
    let mut is_needed = false;
    for tool in Tool::ALL {
        is_needed |= tool.needs().contains(&"go") && tools.is_missing(tool)?;
    }
    if !is_needed {
        return Ok(None);
    }
    let (major, minor) = GO_MIN;
    let remedy = format!("install Go {major}.{minor} or newer and put it into PATH");
    let Ok(answer) = Run::new("go").arg("version").text() else {
        return Ok(Some(format!("no Go compiler: {remedy}")));
    };
    let is_recent = go_version(&answer).is_some_and(|version| version >= GO_MIN);
    Ok((!is_recent).then(|| format!("`go version` says \"{answer}\": {remedy}")))
}

/// The version out of `go version go1.26.8 linux/amd64`.
fn go_version(answer: &str) -> Option<(u32, u32)> {
    let mut numbers = answer
        .split_ascii_whitespace()
        .nth(2)?
        .strip_prefix("go")?
        .split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_read() {
        assert_eq!(go_version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(go_version("go version go1.27rc1 linux/arm64"), Some((1, 27)));
        assert_eq!(go_version("go: command not found"), None);
    }

    #[test]
    fn the_effective_user_is_the_second_number() {
        assert_eq!(effective_user("Name:\tx\nUid:\t1000\t0\t1000\t1000\n"), Some(0));
        assert_eq!(effective_user(""), None);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_its_parent() {
        assert!(disk(Path::new("/proc/does/not/exist")).is_some());
    }
}
