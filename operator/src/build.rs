//! Builds the objects of a release. Pure, and cannot fail: what can be wrong was checked before.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use serde_json::{Value, json};
use serin_core::configuration::{Content, redirect, references};
use serin_core::crd::{ModelReleaseSpec, ModelSource, Reference};
use serin_core::revision::Revision;

use crate::release::{ASKED_AT, COPY_ANNOTATION, Identity, RELEASE_LABEL, REVISION_LABEL};

/// Port of the Services; the pods' port is looked up by name.
pub(crate) const SERVICE_PORT: i32 = 80;

/// The Deployment of a revision. Its pods read the revision's copies of their configuration.
///
/// Rolling updates never take a ready pod away, because the pods of a revision only ever change by hand.
pub(crate) fn deployment(
    id: &Identity,
    spec: &ModelReleaseSpec,
    model: &ModelSource,
    revision: &Revision,
    replicas: i32,
) -> Value {
    let mut labels = spec.serving.template.metadata.labels.clone();
    labels.extend(id.labels(revision));
    let mut pod = spec.serving.template.spec.clone();
    let versioned = references(&spec.serving);
    redirect(&mut pod, |reference| {
        let is_versioned = versioned.contains_key(reference);
        is_versioned.then(|| id.copy_name(revision, &reference.name))
    });
    for list in ["containers", "initContainers"] {
        for container in pod
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            add_environment(container, model, revision);
        }
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": id.revision_name(revision),
            "namespace": id.namespace,
            "labels": id.labels(revision),
            "annotations": { "serin.dev/version": model.version, "serin.dev/digest": model.digest },
            "ownerReferences": [id.owner],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "selector": { "matchLabels": { RELEASE_LABEL: id.name, REVISION_LABEL: revision } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": {
                "metadata": { "labels": labels, "annotations": spec.serving.template.metadata.annotations },
                "spec": pod,
            },
        },
    })
}

/// A revision's copy of a ConfigMap.
pub(crate) fn config_map(
    id: &Identity,
    revision: &Revision,
    of: &Reference,
    content: &Content,
    service: &Service,
) -> ConfigMap {
    let (mut text, mut bytes) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in content.values() {
        match std::str::from_utf8(value) {
            Ok(value) => drop(text.insert(key.to_owned(), value.to_owned())),
            Err(_) => drop(bytes.insert(key.to_owned(), ByteString(value.to_vec()))),
        }
    }
    ConfigMap {
        metadata: copied(id, revision, of, service),
        immutable: Some(true),
        data: Some(text),
        binary_data: Some(bytes),
    }
}

/// A revision's copy of a Secret.
pub(crate) fn secret(
    id: &Identity,
    revision: &Revision,
    of: &Reference,
    content: &Content,
    service: &Service,
) -> Secret {
    let values = content.values();
    Secret {
        metadata: copied(id, revision, of, service),
        immutable: Some(true),
        data: Some(
            values
                .map(|(key, value)| (key.to_owned(), ByteString(value.to_vec())))
                .collect(),
        ),
        ..Secret::default()
    }
}

/// A copy goes with the revision's Service: whoever makes it needs no right to delete Secrets.
fn copied(id: &Identity, revision: &Revision, of: &Reference, service: &Service) -> ObjectMeta {
    ObjectMeta {
        name: Some(id.copy_name(revision, &of.name)),
        namespace: Some(id.namespace.clone()),
        labels: Some(id.labels(revision)),
        annotations: Some([(COPY_ANNOTATION.to_owned(), of.name.clone())].into()),
        owner_references: service.owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// The Secret with the key of digests.
pub(crate) fn key(id: &Identity, name: &str, key: Vec<u8>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(id.key_name()),
            namespace: Some(id.namespace.clone()),
            owner_references: Some(vec![id.owner.clone()]),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some([(name.to_owned(), ByteString(key))].into()),
        ..Secret::default()
    }
}

/// What every container is told of its model; values written in the template stay.
fn add_environment(container: &mut Value, model: &ModelSource, revision: &Revision) {
    let Some(container) = container.as_object_mut() else {
        return;
    };
    let Some(list) = container.entry("env").or_insert_with(|| json!([])).as_array_mut() else {
        return;
    };
    for (name, value) in [
        ("SERIN_MODEL_URI", model.uri.as_str()),
        ("SERIN_MODEL_DIGEST", model.digest.as_str()),
        ("SERIN_MODEL_VERSION", model.version.as_str()),
        ("SERIN_REVISION", revision.as_str()),
    ] {
        if !list
            .iter()
            .any(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
        {
            list.push(json!({ "name": name, "value": value }));
        }
    }
}

/// The Service of a revision, to which the route sends traffic.
pub(crate) fn revision_service(id: &Identity, port: &str, revision: &Revision) -> Value {
    service(id, &id.revision_name(revision), port, Some(revision))
}

/// The stable-named Service: of the pods of one revision, or of all of them; and since when, where something follows it.
pub(crate) fn front_service(
    id: &Identity,
    port: &str,
    only: Option<&Revision>,
    asked_at: Option<Timestamp>,
) -> Value {
    let mut service = service(id, &id.name, port, only);
    let metadata = service.get_mut("metadata").and_then(Value::as_object_mut);
    if let (Some(metadata), Some(asked_at)) = (metadata, asked_at) {
        metadata.insert("annotations".into(), json!({ ASKED_AT: asked_at }));
    }
    service
}

/// Its labels are found again on its `EndpointSlices`, which so tell the endpoints of one revision from those of another.
fn service(id: &Identity, name: &str, port: &str, revision: Option<&Revision>) -> Value {
    let mut selector = json!({ RELEASE_LABEL: id.name });
    if let (Some(selector), Some(revision)) = (selector.as_object_mut(), revision) {
        selector.insert(REVISION_LABEL.into(), json!(revision));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": id.namespace,
            "labels": revision.map_or_else(|| id.common_labels(), |revision| id.labels(revision)),
            "ownerReferences": [id.owner],
        },
        "spec": {
            "selector": selector,
            "ports": [{ "name": "http", "port": SERVICE_PORT, "targetPort": port, "protocol": "TCP" }],
        },
    })
}
