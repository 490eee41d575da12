//! A Kafka broker on this host, for the tests that need one.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::cluster::Process;
use crate::run::{Run, is_installed};
use crate::wait::{self, Look};

/// How long the broker may take to answer: 6 s on two idle cores.
const READY_WITHIN: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(100);
/// How long it may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// A broker of one node. It ends, and its files go, when it is dropped.
pub(crate) struct Broker {
    address: SocketAddr,
    process: Process,
    _folder: TempDir,
}

impl Broker {
    /// Starts the broker whose jars are in `libs`, with the settings of the chart but for its addresses.
    ///
    /// Errors: there is no Java, or the broker does not answer in time.
    pub(crate) fn start(libs: &Path, checkout: &Path) -> Result<Self> {
        if !is_installed("java") {
            bail!(
                "the broker of the tests needs Java: install it with `apt-get install default-jre-headless`"
            );
        }
        let folder = TempDir::new().context("cannot create a temporary directory")?;
        let (address, controller) = (free_address()?, free_address()?);
        let chart = checkout.join("charts/stack/files/server.properties");
        let settings =
            fs::read_to_string(&chart).with_context(|| format!("cannot read {}", chart.display()))?;
        let data = folder.path().join("data");
        let own = format!(
            "{settings}\ncontroller.quorum.voters=1@{controller}\n\
             listeners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
             advertised.listeners=PLAINTEXT://{address}\nlog.dirs={}\n",
            data.display()
        );
        let properties = folder.path().join("server.properties");
        fs::write(&properties, own).with_context(|| format!("cannot write {}", properties.display()))?;
        let java = |class: &str| {
            vec![
                "-Xmx256m".to_owned(),
                "-XX:+UseSerialGC".into(),
                "-XX:TieredStopAtLevel=1".into(),
                "-cp".into(),
                format!("{}/*", libs.display()),
                class.into(),
            ]
        };
        Run::new("java")
            .args(java("kafka.tools.StorageTool"))
            .args(["format", "--cluster-id", "c2VyaW4tZGVtby1rYWZrYQ", "--config"])
            .arg(&properties)
            .output()?;
        let log = folder.path().join("kafka.log");
        // A Ctrl-C drops nothing: the kernel ends the broker with us.
        let mut arguments: Vec<String> = ["--pdeathsig", "KILL", "--", "java"].map(str::to_owned).into();
        arguments.extend(java("kafka.Kafka"));
        arguments.push(properties.display().to_string());
        let process = Process::spawn("kafka", Path::new("setpriv"), &arguments, folder.path(), &log)?;
        let broker = Self {
            address,
            process,
            _folder: folder,
        };
        wait::until("the broker to answer", READY_WITHIN, POLL, || {
            if !broker.process.is_alive() {
                bail!(
                    "the broker ended at once:\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
            }
            Ok(match TcpStream::connect(broker.address) {
                Ok(_) => Look::Ready(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })?;
        Ok(broker)
    }

    /// Where clients reach it.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Forced after the grace; what could still fail has no remedy here.
        let _ = self.process.stop(GRACE);
    }
}

/// An address of the loopback interface on which nobody listens now.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    listener.local_addr().context("a listener has no address")
}
