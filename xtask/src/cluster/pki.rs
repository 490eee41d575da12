//! Keys and certificates of the cluster, and the kubeconfig of each of its users.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::NODE_IP;
use crate::run::Run;

/// Lifetime of every certificate, in days: the cluster is for development and lives hours.
const VALID_DAYS: &str = "365";
/// Address of the API server's own Service: the first of the range.
const SERVICE_IP: &str = "10.96.0.1";

/// Who gets a certificate: file name, subject, names and addresses.
struct Party {
    file: &'static str,
    subject: &'static str,
    names: String,
}

/// Writes keys and certificates into `pki/` and `<user>.kubeconfig` beside it.
pub(super) fn write(state: &Path) -> Result<()> {
    let pki = state.join("pki");
    fs::create_dir_all(&pki).with_context(|| format!("cannot create {}", pki.display()))?;
    authority(&pki)?;
    for party in parties() {
        certificate(&pki, &party)?;
    }
    signing_key(&pki)?;
    for user in ["admin", "controller-manager", "scheduler", "kubelet", "proxy"] {
        kubeconfig(state, user)?;
    }
    Ok(())
}

fn parties() -> [Party; 6] {
    let client = |file, subject| Party {
        file,
        subject,
        names: format!("DNS:{file}"),
    };
    [
        Party {
            file: "apiserver",
            subject: "/CN=kube-apiserver",
            names: format!(
                "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
                 DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:{SERVICE_IP},IP:{NODE_IP}"
            ),
        },
        Party {
            file: "kubelet",
            subject: "/O=system:nodes/CN=system:node:serin",
            names: format!("DNS:serin,IP:{NODE_IP}"),
        },
        client("admin", "/O=system:masters/CN=admin"),
        client("controller-manager", "/CN=system:kube-controller-manager"),
        client("scheduler", "/CN=system:kube-scheduler"),
        client("proxy", "/CN=system:kube-proxy"),
    ]
}

fn openssl(pki: &Path, args: &[&str]) -> Result<()> {
    Run::new("openssl").args(args).within(pki).output().map(drop)
}

fn authority(pki: &Path) -> Result<()> {
    openssl(
        pki,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-days",
            VALID_DAYS,
            "-subj",
            "/CN=serin",
        ],
    )
}

fn certificate(pki: &Path, party: &Party) -> Result<()> {
    let file = |end: &str| format!("{}.{end}", party.file);
    let extensions = format!(
        "subjectAltName={}\nextendedKeyUsage=serverAuth,clientAuth\n",
        party.names
    );
    fs::write(pki.join(file("ext")), extensions)
        .with_context(|| format!("cannot write into {}", pki.display()))?;
    openssl(
        pki,
        &[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            &file("key"),
            "-out",
            &file("csr"),
            "-subj",
            party.subject,
        ],
    )?;
    openssl(
        pki,
        &[
            "x509",
            "-req",
            "-in",
            &file("csr"),
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            VALID_DAYS,
            "-out",
            &file("crt"),
            "-extfile",
            &file("ext"),
        ],
    )
}

/// The key pair that signs the tokens of service accounts.
fn signing_key(pki: &Path) -> Result<()> {
    openssl(
        pki,
        &[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            "sa.key",
        ],
    )?;
    openssl(pki, &["ec", "-in", "sa.key", "-pubout", "-out", "sa.pub"])
}

/// Keys stay in their files, readable by root only: the kubeconfig names them.
fn kubeconfig(state: &Path, user: &str) -> Result<()> {
    let pki = state.join("pki");
    let path = |file: String| pki.join(file).display().to_string();
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "serin", "cluster": {
            "server": format!("https://{NODE_IP}:6443"),
            "certificate-authority": path("ca.crt".into()),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": path(format!("{user}.crt")),
            "client-key": path(format!("{user}.key")),
        }}],
        "contexts": [{"name": "serin", "context": {"cluster": "serin", "user": user}}],
        "current-context": "serin",
    });
    let file = state.join(format!("{user}.kubeconfig"));
    fs::write(&file, format!("{config:#}\n")).with_context(|| format!("cannot write {}", file.display()))
}
