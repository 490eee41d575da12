//! A real Kubernetes for development: kind where Docker and kind are there, our own single node elsewhere.

mod cgroups;
mod components;
mod iptables;
mod kind;
mod local;
mod pki;
mod process;
mod record;
mod sweep;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::kubectl::Kubectl;
use crate::progress::Progress;
use crate::run;
use crate::settings::Settings;
use crate::tools::{Tool, Tools};
pub(crate) use process::Process;
use record::Record;

/// Address of the node, on a link of its own: the host's addresses change, this one does not.
const NODE_IP: &str = "10.90.0.1";
/// Name of the node.
const NODE_NAME: &str = "serin";

/// What runs the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provider {
    /// Our own processes on this host.
    Local,
    /// A container of kind.
    Kind,
}

impl Provider {
    /// kind where it and a working Docker are installed.
    pub(crate) fn detect() -> Self {
        let kind = run::is_installed("kind") && run::Run::new("docker").arg("info").succeeds();
        if kind { Self::Kind } else { Self::Local }
    }
}

/// A running cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    provider: Provider,
    state: PathBuf,
    kube: PathBuf,
}

impl Cluster {
    /// What runs it.
    pub(crate) const fn provider(&self) -> Provider {
        self.provider
    }

    /// The kubeconfig of an administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }

    /// kubectl, as an administrator.
    pub(crate) fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.kube, &self.kubeconfig())
    }

    /// The directory of the node that pods share as a volume.
    pub(crate) fn shared_directory(&self) -> PathBuf {
        match self.provider {
            Provider::Local => self.state.join("shared"),
            Provider::Kind => PathBuf::from(kind::SHARED),
        }
    }

    /// Where pods reach a program of this host; unknown on kind, whose node is a container.
    pub(crate) fn host_address(&self) -> Option<String> {
        (self.provider == Provider::Local).then(|| NODE_IP.to_owned())
    }

    /// The API server's record of writes; kind keeps none.
    pub(crate) fn audit_log(&self) -> Option<PathBuf> {
        (self.provider == Provider::Local).then(|| self.state.join("audit.log"))
    }

    /// Names of the images the node has.
    pub(crate) fn images(&self) -> Result<Vec<String>> {
        match self.provider {
            Provider::Local => local::images(&self.state),
            Provider::Kind => kind::images(),
        }
    }

    /// Gives the node an image out of an archive.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        match self.provider {
            Provider::Local => local::load(&self.state, archive),
            Provider::Kind => kind::load(archive),
        }
    }

    /// Copies a directory of this host into the shared directory, under `name`, writable by the pods' user.
    pub(crate) fn share(&self, name: &str, source: Option<&Path>) -> Result<()> {
        match self.provider {
            Provider::Local => local::share(&self.shared_directory().join(name), source),
            Provider::Kind => kind::share(name, source),
        }
    }
}

/// Brings the cluster up, or finds it up.
///
/// Errors: something it needs is missing (all of it is listed, nothing was changed), or a component does not start.
pub(crate) fn up(settings: &Settings, progress: &Progress) -> Result<Cluster> {
    match running(settings)? {
        Some(cluster) => {
            local::bound_logs(settings.state())?;
            Ok(cluster)
        }
        None => match Provider::detect() {
            Provider::Local => local::up(settings, progress),
            Provider::Kind => kind::up(settings, progress),
        },
    }
}

/// The cluster that is up, if one is.
pub(crate) fn running(settings: &Settings) -> Result<Option<Cluster>> {
    let Some(record) = Record::read(settings.state())? else {
        return Ok(None);
    };
    let is_up = match record.provider {
        Provider::Local => record.is_whole()?,
        Provider::Kind => kind::is_up()?,
    };
    let cluster = attach(settings, &record);
    Ok((is_up && cluster.kube.is_file() && cluster.kubectl().is_ready()).then_some(cluster))
}

/// Removes every trace of the cluster, running, crashed or left by an earlier boot. Nothing there is fine.
///
/// Errors: something could not be removed; each leftover is named.
pub(crate) fn down(settings: &Settings, progress: &Progress) -> Result<()> {
    let record = Record::read(settings.state())?;
    match record.as_ref().map(|record| record.provider) {
        Some(Provider::Kind) => kind::down(settings, progress),
        Some(Provider::Local) | None => local::down(settings, progress),
    }
}

/// What `cluster status` tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// Whether the cluster answers.
    pub(crate) up: bool,
    /// What runs it; absent when there is no cluster.
    pub(crate) provider: Option<Provider>,
    /// The kubeconfig of an administrator.
    pub(crate) kubeconfig: PathBuf,
    /// The API server's record of writes, where there is one.
    pub(crate) audit_log: Option<PathBuf>,
    /// Each process with its pid and whether it is alive.
    pub(crate) components: Vec<Component>,
}

/// One process of the cluster.
#[derive(Debug, Serialize)]
pub(crate) struct Component {
    /// Its name.
    pub(crate) name: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// Whether it runs.
    pub(crate) alive: bool,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = match self.provider {
            Some(Provider::Local) => "processes of this host",
            Some(Provider::Kind) => "a container of kind",
            None => return writeln!(f, "no cluster: start one with `cargo xtask cluster up`"),
        };
        writeln!(
            f,
            "cluster     {}, {provider}",
            if self.up { "up" } else { "not up" }
        )?;
        writeln!(f, "kubeconfig  {}", self.kubeconfig.display())?;
        if let Some(log) = &self.audit_log {
            writeln!(f, "audit log   {}", log.display())?;
        }
        for component in &self.components {
            let state = if component.alive { "running" } else { "dead" };
            writeln!(f, "  {:24} {:>7}  {state}", component.name, component.pid)?;
        }
        Ok(())
    }
}

/// Looks at the cluster.
pub(crate) fn status(settings: &Settings) -> Result<Status> {
    let record = Record::read(settings.state())?;
    let components = record
        .iter()
        .flat_map(|record| &record.processes)
        .map(|process| Component {
            name: process.name.clone(),
            pid: process.pid,
            alive: process.is_alive(),
        });
    let cluster = running(settings)?;
    Ok(Status {
        up: cluster.is_some(),
        audit_log: cluster.as_ref().and_then(Cluster::audit_log),
        provider: record.as_ref().map(|record| record.provider),
        kubeconfig: settings.state().join("admin.kubeconfig"),
        components: components.collect(),
    })
}

fn attach(settings: &Settings, record: &Record) -> Cluster {
    Cluster {
        provider: record.provider,
        state: settings.state().to_owned(),
        kube: record.kube.clone(),
    }
}

/// TCP ports of this host that the local cluster needs, with what each is for.
pub(crate) fn ports() -> &'static [(u16, &'static str)] {
    &components::PORTS
}

/// The multi-call binary, built if need be.
fn kube(settings: &Settings, progress: &Progress) -> Result<PathBuf> {
    Tools::new(settings, progress).program(Tool::Kube)
}
