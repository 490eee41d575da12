//! The operator as a process of its own, measured from outside.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

/// Ticks of the kernel's CPU clock per second: fixed for user space.
const TICKS: f64 = 100.0;

/// A running operator, killed when dropped.
pub(super) struct Operator {
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

impl Operator {
    /// Starts the operator that was built beside this program.
    pub(super) fn start(kubeconfig: &Path) -> Result<Self> {
        let here = std::env::current_exe().context("cannot find this program")?;
        let program = here.with_file_name("serin-operator");
        // A bench that is killed drops nothing: the kernel ends the operator then.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&program)
            .args(["--listen=127.0.0.1:0", "--namespace=default", "--log=warn"])
            .env("KUBECONFIG", kubeconfig)
            // As its chart sets it.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child })
    }

    /// What it has used so far.
    pub(super) fn usage(&self) -> Result<Usage> {
        let read = |name: &str| {
            let path = format!("/proc/{}/{name}", self.child.id());
            fs::read_to_string(&path).with_context(|| format!("the operator has ended: no {path}"))
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
        Ok(Usage {
            cpu_seconds: (ticks(14) + ticks(15)) / TICKS,
            rss_mib: mib("VmRSS:"),
            peak_rss_mib: mib("VmHWM:"),
        })
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Ended already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
