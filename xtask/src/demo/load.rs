//! The load of simulated viewers, as a process of this host that asks through the gateway.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::http;
use crate::wait::{self, Look};

/// Where the driver takes orders.
const CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9381);
/// Requests a second.
pub(crate) const RATE: &str = "250";

/// A running load. Dropped, it is killed.
pub(crate) struct Load {
    child: Child,
}

impl Load {
    /// Starts to ask, and waits until the driver takes orders.
    pub(crate) fn start(simulator: &Path, url: &str) -> Result<Self> {
        let child = Command::new(simulator)
            .args([
                "--log",
                "warn",
                "load",
                "--url",
                url,
                "--rate",
                RATE,
                "--timeout",
                "5s",
            ])
            .args(["--arrivals", "poisson", "--report", "json", "--control"])
            .arg(CONTROL.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", simulator.display()))?;
        let load = Self { child };
        wait::until(
            "the load driver",
            Duration::from_secs(10),
            Duration::from_millis(50),
            || {
                Ok(match ask("GET", "/healthz") {
                    Ok(_) => Look::Ready(()),
                    Err(error) => Look::NotYet(format!("{error:#}")),
                })
            },
        )?;
        Ok(load)
    }

    /// Begins a new chapter of the counts.
    #[expect(clippy::unused_self, reason = "only a running load can be asked")]
    pub(crate) fn mark(&self, name: &str) -> Result<()> {
        ask("POST", &format!("/mark/{name}")).map(drop)
    }

    /// The counts so far, as the module `load::report` of the simulator describes them.
    #[expect(clippy::unused_self, reason = "only a running load can be asked")]
    pub(crate) fn stats(&self) -> Result<Value> {
        serde_json::from_str(&ask("GET", "/stats")?).context("the load driver's counts are no JSON")
    }

    /// Sends nothing more, waits until every request has ended, and answers the final counts.
    pub(crate) fn stop(mut self) -> Result<Value> {
        ask("POST", "/stop")?;
        let mut text = String::new();
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_string(&mut text)
                .context("the load driver broke off")?;
        }
        serde_json::from_str(&text).context("the load driver's report is no JSON")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Ended already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// One request to the driver on this host.
fn ask(method: &str, path: &str) -> Result<String> {
    let answer = http::ask(CONTROL, method, path, &[]).context("the load driver cannot be asked")?;
    Ok(answer.body)
}
