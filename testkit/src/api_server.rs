//! A real Kubernetes API server over a real etcd, with the definitions of serin and nothing else.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::BoxFuture;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, Config, ResourceExt as _};
use serin_core::crd::definition;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::server::{Server, free_port};

/// How long the API server may take to be ready: 5 s on two idle cores.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Between two looks at a server that starts.
const POLL: Duration = Duration::from_millis(100);

/// A real API server over a real etcd. Both end, and their files go, when it is dropped.
///
/// No controller runs unless it is asked for: no pod is ever started, nothing that is owned is collected.
pub struct ApiServer {
    kube: PathBuf,
    client: Client,
    config: serde_json::Value,
    port: u16,
    // Dropped in this order: the server before its store, both before their files.
    server: Server,
    store: Server,
    folder: TempDir,
}

impl ApiServer {
    /// Starts both on free ports and installs the definition of `ModelRelease`.
    ///
    /// `None`, said on standard error, where `SERIN_KUBE` and `SERIN_ETCD` do not name the two programs; `cargo ci`
    /// builds and names them.
    ///
    /// Errors: a program cannot be started or does not become ready; then with the end of its log.
    pub fn start() -> BoxFuture<'static, Result<Option<Self>>> {
        Box::pin(async move {
            let (Some(kube), Some(etcd)) = (program("SERIN_KUBE"), program("SERIN_ETCD")) else {
                eprintln!(
                    "skipped: SERIN_KUBE and SERIN_ETCD name no programs; `cargo ci` builds and names them"
                );
                return Ok(None);
            };
            Self::with(&kube, &etcd).await.map(Some)
        })
    }

    /// An administrator's client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// How a client of one's own finds the server, as an administrator.
    ///
    /// Errors: the server's certificate cannot be read.
    pub async fn config(&self) -> Result<Config> {
        config(&self.config).await
    }

    /// A file by which another process finds the server, as an administrator. It goes with the server.
    ///
    /// Errors: the file cannot be written.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        self.kubeconfig_through(self.port)
    }

    /// The port of this host on which it answers.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file by which another process finds the server through another port of this host.
    ///
    /// Errors: the file cannot be written.
    pub fn kubeconfig_through(&self, port: u16) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("kubeconfig-{port}"));
        let mut config = self.config.clone();
        if let Some(server) = config.pointer_mut("/clusters/0/cluster/server") {
            *server = address(port).into();
        }
        fs::write(&path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The processes of the server and of its store, for those who measure them.
    pub fn processes(&self) -> [u32; 2] {
        [self.server.process(), self.store.process()]
    }

    /// Runs the controller of autoscalers, which knows the kinds that are installed by now. It ends when it is dropped.
    ///
    /// Errors: it cannot be started.
    pub fn autoscale(&self) -> Result<Autoscaler> {
        let args = [
            "kube-controller-manager".into(),
            format!("--kubeconfig={}", self.kubeconfig()?.display()),
            "--controllers=horizontal-pod-autoscaler-controller".into(),
            format!("--horizontal-pod-autoscaler-sync-period={POLL:?}"),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
        ];
        let name = "kube-controller-manager";
        Server::start(name, &self.kube, args, self.folder.path()).map(Autoscaler)
    }

    async fn with(kube: &Path, etcd: &Path) -> Result<Self> {
        let folder = TempDir::new().context("cannot create a temporary directory")?;
        let (store_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let mut store = Server::start("etcd", etcd, store_flags(store_port, peer_port), folder.path())?;
        let token = token()?;
        prepare(folder.path(), &token)?;
        let config = kubeconfig(folder.path(), port, &token);
        let flags = server_flags(folder.path(), store_port, port);
        let mut server = Server::start("kube-apiserver", kube, flags, folder.path())?;

        let waited = timeout(READY_WITHIN, async {
            loop {
                if let Ok(client) = client(&config).await
                    && is_ready(&client).await
                {
                    break Ok(client);
                }
                for process in [&mut store, &mut server] {
                    if !process.is_running() {
                        bail!("a server ended at once: {}", process.tail());
                    }
                }
                sleep(POLL).await;
            }
        })
        .await;
        let Ok(client) = waited else {
            bail!(
                "the API server is not ready after {READY_WITHIN:?}: {}",
                server.tail()
            );
        };
        let client = client?;
        install(client.clone(), definition()).await?;
        Ok(Self {
            kube: kube.into(),
            client,
            config,
            port,
            server,
            store,
            folder,
        })
    }
}

/// The real controller of autoscalers.
pub struct Autoscaler(Server);

impl Autoscaler {
    /// The end of its log, for an error message.
    pub fn tail(&self) -> String {
        self.0.tail()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the programs are settings of the test run"
)]
fn program(variable: &str) -> Option<PathBuf> {
    std::env::var(variable).ok().map(PathBuf::from)
}

/// Installs a definition and waits until objects of its kind are accepted.
///
/// Errors: it is refused, or not established in time.
pub fn install(client: Client, definition: CustomResourceDefinition) -> BoxFuture<'static, Result<()>> {
    Box::pin(async move {
        let api: Api<CustomResourceDefinition> = Api::all(client);
        let name = definition.name_any();
        api.patch(&name, &PatchParams::apply("testkit"), &Patch::Apply(&definition))
            .await
            .with_context(|| format!("cannot install {name}"))?;
        let established = await_condition(api, &name, is_crd_established());
        timeout(READY_WITHIN, established)
            .await
            .with_context(|| format!("{name} is not established after {READY_WITHIN:?}"))?
            .with_context(|| format!("cannot watch {name}"))?;
        Ok(())
    })
}

/// Nothing is synced to disk: the store lives as long as a test.
fn store_flags(port: u16, peer_port: u16) -> Vec<String> {
    let peer = format!("http://127.0.0.1:{peer_port}");
    vec![
        "--data-dir=etcd".into(),
        format!("--listen-client-urls=http://127.0.0.1:{port}"),
        format!("--advertise-client-urls=http://127.0.0.1:{port}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn server_flags(folder: &Path, store_port: u16, port: u16) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    vec![
        "kube-apiserver".into(),
        format!("--etcd-servers=http://127.0.0.1:{store_port}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", path("certificates")),
        format!("--token-auth-file={}", path("tokens.csv")),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", path("accounts.key")),
        format!("--service-account-signing-key-file={}", path("accounts.key")),
        "--authorization-mode=RBAC".into(),
        // Accounts are made by a controller, and none runs.
        "--disable-admission-plugins=ServiceAccount".into(),
        "--v=0".into(),
    ]
}

/// Writes the file of users and the key that signs the tokens of service accounts.
fn prepare(folder: &Path, token: &str) -> Result<()> {
    fs::write(
        folder.join("tokens.csv"),
        format!("{token},admin,admin,system:masters\n"),
    )
    .with_context(|| format!("cannot write into {}", folder.display()))?;
    let made = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
        .arg(folder.join("accounts.key"))
        .output()
        .context("cannot start openssl")?;
    if made.status.success() {
        return Ok(());
    }
    bail!("openssl makes no key: {}", String::from_utf8_lossy(&made.stderr))
}

/// An administrator's password for the life of the server.
fn token() -> Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn address(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

/// The certificate is the one that the server makes for itself.
fn kubeconfig(folder: &Path, port: u16, token: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": address(port),
            "certificate-authority": folder.join("certificates/apiserver.crt"),
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "default"}}],
        "current-context": "test",
    })
}

async fn config(kubeconfig: &serde_json::Value) -> Result<Config> {
    let kubeconfig: Kubeconfig =
        serde_json::from_value(kubeconfig.clone()).context("our kubeconfig is malformed")?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .context("the server has made no certificate yet")
}

async fn client(kubeconfig: &serde_json::Value) -> Result<Client> {
    Client::try_from(config(kubeconfig).await?).context("cannot set up a client")
}

async fn is_ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else {
        return false;
    };
    client
        .request_text(request)
        .await
        .is_ok_and(|answer| answer == "ok")
}
