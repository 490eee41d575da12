//! A server process that ends with its test.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

/// Lines of a log shown when a server does not come up.
const TAIL_LINES: usize = 15;

/// A server process, killed when dropped, and by the kernel when the test is killed.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `program` in `folder`, with its output in a log file there.
    ///
    /// Errors: the program cannot be started.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        args: impl IntoIterator<Item = String>,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out
            .try_clone()
            .with_context(|| format!("cannot write {}", log.display()))?;
        // A test that is killed drops nothing: the kernel ends the server then.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {name}: {}", program.display()))?;
        Ok(Self { name, child, log })
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its number among the processes of this host.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Its name and the end of its log, for an error message.
    pub(crate) fn tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(TAIL_LINES)..)
            .unwrap_or_default();
        format!("{}:\n{}", self.name, tail.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A TCP port of the loopback interface on which nobody listens now.
///
/// Errors: the host has no port left.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr().context("a listener has no address")?.port())
}
