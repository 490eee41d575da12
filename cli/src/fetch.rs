//! Gets the record of a decision: from a file, or from the operator that keeps it.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use http::Request;
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use serin_core::crd::ModelRelease;
use serin_core::record::Record;

/// Name of the Lease whose holder leads.
const LEASE: &str = "serin-operator";
/// Port of the operator's pages.
const PORT: u16 = 8080;

/// The record in a file of JSON Lines; `-` is standard input.
///
/// Errors: the file cannot be read, or is no record.
pub(crate) fn from_file(path: &Path) -> Result<Record> {
    Record::parse(&text(path)?).with_context(|| format!("{} is no decision record", path.display()))
}

/// The text in a file; `-` is standard input.
pub(crate) fn text(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        return read.context("cannot read standard input").map(|_| text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The last record of a release, by way of the API server from the operator that leads.
///
/// Errors: no trial was judged, no operator leads, or it keeps no records.
pub(crate) async fn from_operator(
    client: &Client,
    release: &ModelRelease,
    operator_namespace: &str,
) -> Result<Record> {
    let name = release.name_any();
    let record = release
        .status
        .as_ref()
        .and_then(|status| status.analysis.as_ref()?.record.clone())
        .with_context(|| format!("no trial of {name} has been judged yet"))?;
    let lease: Value = client
        .request(get(&format!(
            "/apis/coordination.k8s.io/v1/namespaces/{operator_namespace}/leases/{LEASE}"
        ))?)
        .await
        .with_context(|| {
            format!("no operator leads in namespace {operator_namespace}: --operator-namespace names another")
        })?;
    let leader = lease
        .pointer("/spec/holderIdentity")
        .and_then(Value::as_str)
        .filter(|leader| !leader.is_empty())
        .context("no operator leads at the moment: ask again")?;
    let namespace = release.namespace().unwrap_or_default();
    let text = client
        .request_text(get(&format!(
            "/api/v1/namespaces/{operator_namespace}/pods/{leader}:{PORT}/proxy/records/{namespace}/{name}/{record}"
        ))?)
        .await
        .with_context(|| format!("the operator {leader} has no record {record} of {name}"))?;
    Record::parse(&text).context("the operator's answer is no decision record")
}

fn get(path: &str) -> Result<Request<Vec<u8>>> {
    Request::get(path)
        .body(Vec::new())
        .with_context(|| format!("{path} is no address"))
}
