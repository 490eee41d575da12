//! Proposing a model: server-side apply of `spec.model` of one `ModelRelease`, and of nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde::Serialize;
use serin_core::digest::Digest;

/// The owner of `spec.model` in the eyes of the API server.
pub const FIELD_MANAGER: &str = "serin-trainer";
const API_VERSION: &str = "serin.dev/v1alpha1";
const KIND: &str = "ModelRelease";

/// Which release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Why a text names no release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" names no release: write namespace/name")]
pub struct NotARelease(String);

impl FromStr for ReleaseName {
    type Err = NotARelease;

    fn from_str(text: &str) -> Result<Self, NotARelease> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            Some(_) | None => Err(NotARelease(text.to_owned())),
        }
    }
}

impl fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The block `spec.model`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proposal {
    /// Name of the version, for people.
    pub version: String,
    /// Directory of the artifact, as the server will reach it.
    pub uri: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// What was measured, by name.
    pub evidence: BTreeMap<String, f64>,
}

/// What came of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// The release now names the model.
    Applied,
    /// The release named this digest already; nothing was written.
    Unchanged,
}

/// Why a release does not name the model. The artifact is written all the same.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// No credentials, or a damaged configuration.
    #[error("no Kubernetes to talk to: run in a pod with a service account, or set KUBECONFIG")]
    Configuration(#[source] Box<kube::Error>),
    /// The release is not there, and the trainer never makes one: it could not know how to serve it.
    #[error("ModelRelease {release} does not exist: create it, or check --release")]
    Missing {
        /// Its name.
        release: ReleaseName,
    },
    /// The API server refused, or did not answer.
    #[error(
        "cannot {action} ModelRelease {release}: check the API server and the rights of the service account"
    )]
    Api {
        /// `read` or `apply spec.model of`.
        action: &'static str,
        /// Its name.
        release: ReleaseName,
        /// What the API server says.
        source: Box<kube::Error>,
    },
}

/// Applies the proposal, unless the release names the same digest already.
///
/// Other fields are left to their owners. Ownership of `spec.model` is taken by force: it is the one block that
/// belongs to the trainer, and the first version usually came from a person.
///
/// # Errors
/// [`ReleaseError`].
pub async fn propose(release: &ReleaseName, proposal: &Proposal) -> Result<Proposed, ReleaseError> {
    let client = Client::try_default()
        .await
        .map_err(|error| ReleaseError::Configuration(Box::new(error)))?;
    propose_through(client, release, proposal).await
}

/// As [`propose`], through a given client.
///
/// # Errors
/// [`ReleaseError`].
pub async fn propose_through(
    client: Client,
    release: &ReleaseName,
    proposal: &Proposal,
) -> Result<Proposed, ReleaseError> {
    let kind = GroupVersionKind {
        group: "serin.dev".into(),
        version: "v1alpha1".into(),
        kind: KIND.into(),
    };
    let resource = ApiResource::from_gvk_with_plural(&kind, "modelreleases");
    let api: Api<DynamicObject> = Api::namespaced_with(client, &release.namespace, &resource);
    let failed = |action| {
        let release = release.clone();
        move |error| ReleaseError::Api {
            action,
            release,
            source: Box::new(error),
        }
    };
    let live = api.get_opt(&release.name).await.map_err(failed("read"))?;
    let live = live.ok_or_else(|| ReleaseError::Missing {
        release: release.clone(),
    })?;
    let named = live
        .data
        .pointer("/spec/model/digest")
        .and_then(|digest| digest.as_str());
    if named == Some(proposal.digest.to_string().as_str()) {
        return Ok(Proposed::Unchanged);
    }
    let patch = Patch::Apply(patch(release, proposal));
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&release.name, &parameters, &patch)
        .await
        .map_err(failed("apply spec.model of"))?;
    Ok(Proposed::Applied)
}

/// The applied object: identity and `spec.model`, nothing else.
fn patch(release: &ReleaseName, proposal: &Proposal) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": { "name": release.name, "namespace": release.namespace },
        "spec": { "model": proposal },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_namespace_and_name() {
        let release: ReleaseName = "demo/recommender".parse().unwrap();
        assert_eq!(release.to_string(), "demo/recommender");
        for text in ["", "recommender", "/recommender", "demo/", "a/b/c"] {
            let error = text.parse::<ReleaseName>().unwrap_err().to_string();
            assert!(error.contains("write namespace/name"), "{error}");
        }
    }

    #[test]
    fn only_the_model_block_is_applied() {
        let release = "demo/recommender".parse().unwrap();
        let digest = Digest::of(b"");
        let evidence = BTreeMap::from([("rmse".to_owned(), 0.9)]);
        let proposal = Proposal {
            version: "v".to_owned(),
            uri: "file:///m/1/".to_owned(),
            digest,
            evidence,
        };
        let patch = patch(&release, &proposal);
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&patch["spec"]), ["model"]);
        assert_eq!(patch["spec"]["model"]["digest"], digest.to_string());
        let mut model = keys(&patch["spec"]["model"]);
        model.sort();
        assert_eq!(model, ["digest", "evidence", "uri", "version"]);
    }
}
