//! The cluster as processes of this host.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Error, Result};

use super::components::{self, Component, Places};
use super::process::Process;
use super::record::Record;
use super::{Cluster, NODE_IP, Provider, attach, iptables, pki, sweep};
use crate::images::{Image, Images};
use crate::kubectl::Kubectl;
use crate::preflight;
use crate::progress::{Progress, Step};
use crate::run::{Run, last_lines};
use crate::settings::Settings;
use crate::tools::{Tool, Tools};
use crate::wait::{self, Look};

/// How long a component may take to answer: ten times what it takes on two busy cores.
const START_DEADLINE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);
/// Largest log of a component that is kept: days of work, for components are told to be terse.
const LOG_MAX_BYTES: u64 = 32 << 20;
/// Link that carries the node's address. A bridge, for not every kernel has dummy links.
pub(super) const NODE_LINK: &str = "serin0";
/// The pods' bridge; the CNI plugin creates it.
pub(super) const POD_LINK: &str = "serinbr0";
/// User of all pods that write to the shared directory.
const POD_USER: &str = "65532:65532";
/// Kernel settings the cluster changes, or its components do; restored afterwards.
const SYSCTLS: [&str; 6] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
];
/// Directories that components create outside the state directory, whatever they are told.
const FOREIGN: [&str; 6] = [
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/log/containers",
    "/run/containerd",
    "/run/flannel",
];

/// Brings the cluster up from nothing, after removing what a crash may have left.
pub(super) fn up(settings: &Settings, progress: &Progress) -> Result<Cluster> {
    if sweep::is_anything_ours(settings.state()) {
        progress.say("  a cluster that is not whole was found: it is removed first");
        down(settings, progress)?;
    }
    preflight::check(settings, progress, Some(Provider::Local))?;
    let tools = Tools::new(settings, progress);
    let (kube, etcd) = (tools.program(Tool::Kube)?, tools.program(Tool::Etcd)?);
    let images = Images::new(settings, progress);
    let (pause, coredns) = (images.build(Image::Pause)?, images.build(Image::CoreDns)?);

    let step = progress.step("start Kubernetes");
    let state = settings.state();
    let places = Places {
        state,
        kube: &kube,
        etcd: &etcd,
    };
    let mut starter = Starter {
        state,
        record: prepare(state, &kube)?,
        step: &step,
    };
    let cluster = attach(settings, &starter.record);
    let kubectl = cluster.kubectl();

    starter.start(&components::etcd(&places))?;
    starter.start(&components::apiserver(&places))?;
    configure(state, &pause.reference)?;
    starter.start(&components::containerd(&places))?;
    wait_for_containerd(state)?;
    load(state, &pause.archive)?;
    load(state, &coredns.archive)?;

    wait_for_apiserver(state, &kubectl)?;
    starter.start(&components::controller_manager(&places))?;
    starter.start(&components::scheduler(&places))?;
    starter.start(&components::kubelet(&places))?;
    starter.start(&components::proxy(&places))?;
    kubectl.apply(&include_str!("files/coredns.yaml").replace("@IMAGE@", &coredns.reference))?;
    step.detail("waiting for the node and its name service");
    kubectl
        .rolled_out("kube-system", "deployment/coredns", START_DEADLINE)
        .map_err(|error| blame(state, "kubelet", error))?;
    step.done();
    Ok(cluster)
}

/// Removes every trace of the cluster, and says what could not be removed.
pub(super) fn down(settings: &Settings, progress: &Progress) -> Result<()> {
    let state = settings.state();
    if !sweep::is_anything_ours(state) {
        return Ok(());
    }
    let step = progress.step("remove the cluster");
    sweep::sweep(state, Record::read(state)?.as_ref())?;
    step.done();
    Ok(())
}

/// Empties logs that grew too large. Components append, so they go on at the new end.
pub(super) fn bound_logs(state: &Path) -> Result<()> {
    for entry in fs::read_dir(state.join("log")).into_iter().flatten().flatten() {
        if entry.metadata().is_ok_and(|meta| meta.len() > LOG_MAX_BYTES) {
            let path = entry.path();
            OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&path)
                .with_context(|| format!("cannot empty {}", path.display()))?;
        }
    }
    Ok(())
}

/// Names of the images containerd has.
pub(super) fn images(state: &Path) -> Result<Vec<String>> {
    Ok(ctr(state)
        .args(["images", "ls", "-q"])
        .text()?
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Imports an archive into containerd.
pub(super) fn load(state: &Path, archive: &Path) -> Result<()> {
    ctr(state)
        .args(["images", "import"])
        .arg(archive)
        .output()
        .map(drop)
}

/// Makes `directory`, filled from `source`, writable by the pods' user.
pub(super) fn share(directory: &Path, source: Option<&Path>) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    if let Some(source) = source {
        Run::new("cp")
            .arg("-r")
            .arg(source.join("."))
            .arg(directory)
            .output()?;
    }
    Run::new("chown")
        .args(["-R", POD_USER])
        .arg(directory)
        .output()
        .map(drop)
}

/// Starts components and remembers each before the next begins.
struct Starter<'a> {
    state: &'a Path,
    record: Record,
    step: &'a Step,
}

impl Starter<'_> {
    fn start(&mut self, component: &Component) -> Result<()> {
        self.step.detail(component.name);
        let log = log(self.state, component.name);
        let process = Process::spawn(
            component.name,
            &component.program,
            &component.args,
            self.state,
            &log,
        )?;
        self.record.processes.push(process);
        self.record.write(self.state)
    }
}

/// Writes the record first, then makes the directories, keys and link that it allows to be removed again.
fn prepare(state: &Path, kube: &Path) -> Result<Record> {
    for name in ["log", "cni", "kubelet", "shared"] {
        let path = state.join(name);
        fs::create_dir_all(&path).with_context(|| {
            format!(
                "cannot create {}: choose another directory with SERIN_STATE",
                path.display()
            )
        })?;
    }
    let mut record = Record::new(Provider::Local, kube.to_owned())?;
    record.created = FOREIGN
        .iter()
        .map(PathBuf::from)
        .filter(|path| !path.exists())
        .collect();
    record.sysctls = sweep::sysctls(&SYSCTLS);
    record.write(state)?;
    fs::set_permissions(state, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot open {} to pods", state.display()))?;
    fs::write(state.join("audit.yaml"), include_str!("files/audit.yaml"))
        .with_context(|| format!("cannot write into {}", state.display()))?;
    pki::write(state)?;
    network()?;
    Ok(record)
}

fn network() -> Result<()> {
    let ip = |args: &[&str]| Run::new("ip").args(args).output().map(drop);
    ip(&["link", "add", NODE_LINK, "type", "bridge"])?;
    ip(&["addr", "add", &format!("{NODE_IP}/32"), "dev", NODE_LINK])?;
    ip(&["link", "set", NODE_LINK, "up"])?;
    // A bridge's packets pass iptables only with this module; where it is built in, there is nothing to load.
    Run::new("modprobe").arg("br_netfilter").succeeds();
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch on IPv4 forwarding")?;
    // Absent without the module; then a pod reaches itself through a Service by the kernel's own means.
    drop(fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1"));
    iptables::allow_pods_out()
}

/// Writes the files of containerd and kubelet.
fn configure(state: &Path, pause: &str) -> Result<()> {
    let place = state.display().to_string();
    let files = [
        ("containerd.toml", include_str!("files/containerd.toml")),
        ("cni/10-serin.conflist", include_str!("files/cni.conflist")),
        ("kubelet.yaml", include_str!("files/kubelet.yaml")),
        ("resolv.conf", "nameserver 10.96.0.10\n"),
    ];
    for (name, template) in files {
        let path = state.join(name);
        fs::write(
            &path,
            template.replace("@STATE@", &place).replace("@PAUSE@", pause),
        )
        .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn wait_for_containerd(state: &Path) -> Result<()> {
    wait::until("containerd", START_DEADLINE, POLL, || {
        Ok(if ctr(state).arg("version").succeeds() {
            Look::Ready(())
        } else {
            Look::NotYet("no answer".into())
        })
    })
    .map_err(|error| blame(state, "containerd", error))
}

fn wait_for_apiserver(state: &Path, kubectl: &Kubectl) -> Result<()> {
    wait::until("the API server", START_DEADLINE, POLL, || {
        Ok(match kubectl.run(["get", "--raw", "/readyz"]).text() {
            Ok(_) => Look::Ready(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .map_err(|error| blame(state, "kube-apiserver", error))
}

fn ctr(state: &Path) -> Run {
    Run::new("ctr")
        .arg("--address")
        .arg(state.join("containerd.sock"))
        .args(["--namespace", "k8s.io"])
}

fn log(state: &Path, component: &str) -> PathBuf {
    state.join("log").join(format!("{component}.log"))
}

/// Adds the end of a component's log to an error that is probably its fault.
fn blame(state: &Path, component: &str, error: Error) -> Error {
    let log = log(state, component);
    let text = fs::read_to_string(&log).unwrap_or_default();
    error.context(format!("{} ends with:\n{}", log.display(), last_lines(&text)))
}
