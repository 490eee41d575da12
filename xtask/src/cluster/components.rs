//! The processes of the local cluster and their arguments.

use std::path::{Path, PathBuf};

use super::{NODE_IP, NODE_NAME};

/// Range of node ports. It holds 8082, so that one Service can answer at the address users know.
const NODE_PORTS: &str = "8000-32767";

/// TCP ports the components listen on, with what each is for.
pub(super) const PORTS: [(u16, &str); 10] = [
    (2379, "etcd"),
    (2380, "etcd's peers"),
    (6443, "the API server"),
    (8082, "the gateway"),
    (10249, "kube-proxy's metrics"),
    (10250, "the kubelet"),
    (10256, "kube-proxy's health"),
    (10257, "the controller manager"),
    (10259, "the scheduler"),
    (30082, "the gateway's NodePort"),
];

/// One process to be started.
pub(super) struct Component {
    /// Its name.
    pub(super) name: &'static str,
    /// Its program.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<String>,
}

/// Places the components need.
pub(super) struct Places<'a> {
    /// The state directory; components run in it.
    pub(super) state: &'a Path,
    /// The multi-call Kubernetes binary.
    pub(super) kube: &'a Path,
    /// The etcd binary.
    pub(super) etcd: &'a Path,
}

impl Places<'_> {
    fn path(&self, name: &str) -> String {
        self.state.join(name).display().to_string()
    }

    fn kube(&self, name: &'static str, flags: Vec<String>) -> Component {
        let mut args = vec![name.to_owned()];
        args.extend(flags);
        Component {
            name,
            program: self.kube.to_owned(),
            args,
        }
    }
}

/// The store. Nothing is synced to disk: a crash of the machine may lose the cluster, and it may.
pub(super) fn etcd(at: &Places) -> Component {
    let flags = [
        format!("--data-dir={}", at.path("etcd")),
        "--listen-client-urls=http://127.0.0.1:2379".into(),
        "--advertise-client-urls=http://127.0.0.1:2379".into(),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ];
    Component {
        name: "etcd",
        program: at.etcd.to_owned(),
        args: flags.into(),
    }
}

/// The API server, with a bounded record of who wrote what.
pub(super) fn apiserver(at: &Places) -> Component {
    at.kube(
        "kube-apiserver",
        vec![
            "--etcd-servers=http://127.0.0.1:2379".into(),
            "--secure-port=6443".into(),
            format!("--bind-address={NODE_IP}"),
            format!("--advertise-address={NODE_IP}"),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            format!("--service-node-port-range={NODE_PORTS}"),
            format!("--client-ca-file={}", at.path("pki/ca.crt")),
            format!("--tls-cert-file={}", at.path("pki/apiserver.crt")),
            format!("--tls-private-key-file={}", at.path("pki/apiserver.key")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", at.path("pki/sa.pub")),
            format!("--service-account-signing-key-file={}", at.path("pki/sa.key")),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--allow-privileged=true".into(),
            format!("--kubelet-client-certificate={}", at.path("pki/admin.crt")),
            format!("--kubelet-client-key={}", at.path("pki/admin.key")),
            // No name service knows the node: logs and exec dial its address.
            "--kubelet-preferred-address-types=InternalIP".into(),
            format!("--audit-policy-file={}", at.path("audit.yaml")),
            format!("--audit-log-path={}", at.path("audit.log")),
            "--audit-log-maxsize=64".into(),
            "--audit-log-maxbackup=2".into(),
            "--v=0".into(),
        ],
    )
}

/// The controller manager: no leader election, for there is one.
pub(super) fn controller_manager(at: &Places) -> Component {
    at.kube(
        "kube-controller-manager",
        vec![
            format!("--kubeconfig={}", at.path("controller-manager.kubeconfig")),
            "--bind-address=127.0.0.1".into(),
            "--leader-elect=false".into(),
            "--use-service-account-credentials".into(),
            format!("--service-account-private-key-file={}", at.path("pki/sa.key")),
            format!("--root-ca-file={}", at.path("pki/ca.crt")),
            format!("--cluster-signing-cert-file={}", at.path("pki/ca.crt")),
            format!("--cluster-signing-key-file={}", at.path("pki/ca.key")),
            "--allocate-node-cidrs=false".into(),
            "--v=0".into(),
        ],
    )
}

/// The scheduler.
pub(super) fn scheduler(at: &Places) -> Component {
    at.kube(
        "kube-scheduler",
        vec![
            format!("--kubeconfig={}", at.path("scheduler.kubeconfig")),
            "--bind-address=127.0.0.1".into(),
            "--leader-elect=false".into(),
            "--v=0".into(),
        ],
    )
}

/// The container runtime.
pub(super) fn containerd(at: &Places) -> Component {
    let args = vec![
        "--config".into(),
        at.path("containerd.toml"),
        "--log-level".into(),
        "warn".into(),
    ];
    Component {
        name: "containerd",
        program: "containerd".into(),
        args,
    }
}

/// The node's agent.
pub(super) fn kubelet(at: &Places) -> Component {
    at.kube(
        "kubelet",
        vec![
            format!("--kubeconfig={}", at.path("kubelet.kubeconfig")),
            format!("--config={}", at.path("kubelet.yaml")),
            format!("--root-dir={}", at.path("kubelet")),
            format!("--hostname-override={NODE_NAME}"),
            format!("--node-ip={NODE_IP}"),
            "--v=0".into(),
        ],
    )
}

/// Services. The connection tracker's limits are the host's business and stay as they are.
pub(super) fn proxy(at: &Places) -> Component {
    at.kube(
        "kube-proxy",
        vec![
            format!("--kubeconfig={}", at.path("proxy.kubeconfig")),
            format!("--hostname-override={NODE_NAME}"),
            "--proxy-mode=iptables".into(),
            "--cluster-cidr=10.244.0.0/16".into(),
            "--nodeport-addresses=127.0.0.0/8,10.90.0.1/32".into(),
            "--healthz-bind-address=127.0.0.1:10256".into(),
            "--metrics-bind-address=127.0.0.1:10249".into(),
            "--conntrack-max-per-core=0".into(),
            "--conntrack-tcp-timeout-established=0s".into(),
            "--conntrack-tcp-timeout-close-wait=0s".into(),
            "--iptables-min-sync-period=100ms".into(),
            "--v=0".into(),
        ],
    )
}
