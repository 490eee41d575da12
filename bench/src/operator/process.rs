//! A controller as a process of its own, and what processes use, measured from outside.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Ticks of the kernel's CPU clock per second: fixed for user space.
const TICKS: f64 = 100.0;

/// A running program, killed when dropped.
pub(super) struct Process {
    child: Child,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// CPU time of all its threads.
    pub(super) cpu_seconds: f64,
    /// Resident memory now.
    pub(super) rss_mib: f64,
    /// Resident memory at its largest.
    pub(super) peak_rss_mib: f64,
}

impl Process {
    /// Starts `program` as `set` asks for.
    pub(super) fn start(program: &Path, set: impl FnOnce(&mut Command) -> &mut Command) -> Result<Self> {
        // A bench that is killed drops nothing: the kernel ends the program then.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        let child = set(&mut command)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child })
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn end(mut self) -> Result<()> {
        let number = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &number]).status();
        let asked = asked.context("cannot run kill")?;
        ensure!(asked.success(), "process {number} cannot be asked to end");
        let ended = self.child.wait().context("cannot wait for a process")?;
        ensure!(ended.success(), "process {number} ended badly: {ended}");
        Ok(())
    }

    /// What it has used so far.
    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Usage {
    /// What the process with this number has used so far.
    pub(super) fn of(process: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{process}/{name}");
            fs::read_to_string(&path).with_context(|| format!("the process has ended: no {path}"))
        };
        let stat = read("stat")?;
        // The name in brackets may hold spaces; after it come the fields from the third on.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let ticks = |field: usize| -> f64 {
            let text = fields.get(field.saturating_sub(3));
            text.and_then(|text| text.parse().ok()).unwrap_or(0.0)
        };
        let status = read("status")?;
        let mib = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
            kib.unwrap_or(f64::NAN) / 1024.0
        };
        Ok(Self {
            cpu_seconds: (ticks(14) + ticks(15)) / TICKS,
            rss_mib: mib("VmRSS:"),
            peak_rss_mib: mib("VmHWM:"),
        })
    }
}
