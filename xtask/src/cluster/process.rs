//! Background processes that outlive this one: started in a session of their own, known by pid and start time.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::run::Run;

/// How often a dying process is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long a killed process may take to disappear: the kernel may be writing its memory out.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// A process we started. The start time tells it from a later process that got the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Name of the component.
    pub(crate) name: String,
    /// Process id.
    pub(crate) pid: u32,
    /// Start time in clock ticks since boot.
    pub(crate) started_ticks: u64,
}

impl Process {
    /// Starts `program` in a session of its own, with both outputs in a log file.
    pub(crate) fn spawn(
        name: &str,
        program: &Path,
        args: &[String],
        directory: &Path,
        log: &Path,
    ) -> Result<Self> {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let err = out
            .try_clone()
            .with_context(|| format!("cannot open {}", log.display()))?;
        // `setsid` replaces itself, so the pid stays; a Ctrl-C in our terminal does not reach the component.
        let child = Command::new("setsid")
            .arg(program)
            .args(args)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id();
        let stat = Stat::read(pid).with_context(|| format!("{name} ended at once: see {}", log.display()))?;
        Ok(Self {
            name: name.to_owned(),
            pid,
            started_ticks: stat.started_ticks,
        })
    }

    /// Whether exactly this process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.started_ticks == self.started_ticks && !stat.is_dead())
    }

    /// Asks the process to end, forces it after `grace`, and returns when it is gone.
    pub(crate) fn stop(&self, grace: Duration) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        signal("TERM", [self.pid])?;
        if self.is_gone_within(grace) {
            return Ok(());
        }
        signal("KILL", [self.pid])?;
        if !self.is_gone_within(AFTER_KILL) {
            bail!(
                "{} (pid {}) does not end: look at it with `ps -o stat,wchan -p {}`",
                self.name,
                self.pid,
                self.pid
            );
        }
        Ok(())
    }

    fn is_gone_within(&self, limit: Duration) -> bool {
        let began = Instant::now();
        while self.is_alive() {
            if began.elapsed() >= limit {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }
}

/// Kills processes at once and returns when they are gone.
pub(crate) fn kill(pids: &BTreeSet<u32>) -> Result<()> {
    let known: Vec<_> = pids
        .iter()
        .filter_map(|&pid| {
            let started_ticks = Stat::read(pid).filter(|stat| !stat.is_dead())?.started_ticks;
            Some(Process {
                name: "a process of the cluster".into(),
                pid,
                started_ticks,
            })
        })
        .collect();
    if known.is_empty() {
        return Ok(());
    }
    signal("KILL", known.iter().map(|process| process.pid))?;
    match known.iter().find(|process| !process.is_gone_within(AFTER_KILL)) {
        Some(stuck) => bail!("process {} does not end after a kill", stuck.pid),
        None => Ok(()),
    }
}

fn signal(name: &str, pids: impl IntoIterator<Item = u32>) -> Result<()> {
    let pids = pids.into_iter().map(|pid| pid.to_string());
    // One of several may be gone already: that is what was wanted, so the status of `kill` says nothing.
    Run::new("sh")
        .args(["-c", "kill -s \"$0\" \"$@\" 2>/dev/null || true", name])
        .args(pids)
        .output()
        .map(drop)
}

/// Pids of all processes, from `/proc`.
pub(crate) fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The arguments of a process, its program first. Empty for a process that is gone.
pub(crate) fn arguments(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0)
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .filter(|arg| !arg.is_empty())
        .collect()
}

/// Direct children of any of `parents`.
pub(crate) fn children(parents: &BTreeSet<u32>) -> BTreeSet<u32> {
    pids()
        .into_iter()
        .filter(|&pid| Stat::read(pid).is_some_and(|stat| parents.contains(&stat.parent)))
        .collect()
}

/// The id of this boot: start times of an earlier boot mean nothing.
pub(crate) fn boot_id() -> Result<String> {
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    Ok(fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .trim()
        .to_owned())
}

/// The few fields of `/proc/<pid>/stat` we use.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    started_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields follow the program's name, which is in parentheses and may itself hold spaces and parentheses.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // The start time is field 22 of the line; state and parent were fields 3 and 4.
        let started_ticks = fields.nth(17)?.parse().ok()?;
        Some(Self {
            state,
            parent,
            started_ticks,
        })
    }

    /// A zombie holds no port and no file: it only waits for its parent to look.
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                state: 'S',
                parent: 7,
                started_ticks: 987_654
            })
        );
        assert_eq!(Stat::parse("42 (short) S 7"), None);
    }

    #[test]
    fn a_process_is_started_known_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let process =
            Process::spawn("sleeper", Path::new("sleep"), &["60".into()], folder.path(), &log).unwrap();
        assert!(process.is_alive());
        let other = Process {
            started_ticks: process.started_ticks + 1,
            ..process.clone()
        };
        assert!(!other.is_alive());
        process.stop(Duration::from_secs(5)).unwrap();
        assert!(!process.is_alive());
    }
}
