//! Names, labels and annotations of a release and of what it owns.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use kube::api::{ApiResource, GroupVersionKind, PatchParams};
pub(crate) use serin_core::crd::RELEASE_LABEL;
use serin_core::revision::Revision;

/// Owner of our fields in server-side apply.
pub(crate) const FIELD_MANAGER: &str = "serin-operator";
/// Label that names the revision of an object.
pub(crate) const REVISION_LABEL: &str = "serin.dev/revision";
/// Annotation that names what a copy was made of.
pub(crate) const COPY_ANNOTATION: &str = "serin.dev/copy-of";
/// Annotation that says since when an object is asked for as it is, by the operator's clock.
pub(crate) const ASKED_AT: &str = "serin.dev/asked-at";
/// Finalizer that takes the traffic away before the pods.
pub(crate) const FINALIZER: &str = "serin.dev/traffic-first";

/// A patch of fields that the operator does not own by itself, in its name.
pub(crate) fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    }
}

/// Where a release lives and what its objects are called.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) owner: OwnerReference,
}

impl Identity {
    /// The identity of a stored release, be it one that cannot be read; none for one that was never stored.
    pub(crate) fn of(release: &impl kube::Resource<DynamicType = ()>) -> Option<Self> {
        Some(Self {
            name: release.name_any(),
            namespace: release.namespace()?,
            owner: release.controller_owner_ref(&())?,
        })
    }

    /// That of a release `recommender`.
    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        let owner = OwnerReference {
            uid: "uid".into(),
            ..OwnerReference::default()
        };
        Self {
            name: "recommender".into(),
            namespace: "demo".into(),
            owner,
        }
    }

    /// Namespace and name, by which the operator remembers it.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Name of a revision's Deployment and Service.
    pub(crate) fn revision_name(&self, revision: &Revision) -> String {
        format!("{}-{revision}", self.name)
    }

    /// Name of a revision's copy of what is called so.
    pub(crate) fn copy_name(&self, revision: &Revision, of: &str) -> String {
        format!("{}-{of}", self.revision_name(revision))
    }

    /// Name of the Secret with the key of digests.
    pub(crate) fn key_name(&self) -> String {
        format!("{}-configuration-key", self.name)
    }

    /// Selects everything a release owns.
    pub(crate) fn selector(&self) -> String {
        format!("{RELEASE_LABEL}={}", self.name)
    }

    /// Labels of a revision's objects.
    pub(crate) fn labels(&self, revision: &Revision) -> BTreeMap<String, String> {
        let mut labels = self.common_labels();
        labels.insert(REVISION_LABEL.to_owned(), revision.to_string());
        labels
    }

    /// Labels of the objects of all revisions.
    pub(crate) fn common_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (RELEASE_LABEL.to_owned(), self.name.clone()),
            (
                "app.kubernetes.io/managed-by".to_owned(),
                FIELD_MANAGER.to_owned(),
            ),
        ])
    }

    /// The revision that a Service is of.
    pub(crate) fn revision_of(&self, service: &str) -> Option<Revision> {
        Revision::parse(service.strip_prefix(&self.name)?.strip_prefix('-')?)
    }
}

/// The kind `HTTPRoute`, whose types no maintained crate has for this client.
pub(crate) fn http_route() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"),
        "httproutes",
    )
}
