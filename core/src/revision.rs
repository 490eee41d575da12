//! Revisions: the identity of everything that shapes the pods of a version.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::crd::{ModelReleaseSpec, Reference};
use crate::digest::Digest;

/// Version of the hash below. Raising it would start a canary of every release, so it only changes with the meaning.
const HASH_VERSION: u32 = 1;

/// Eight hexadecimal digits over model, port, pod template and configuration.
///
/// Canonical: object keys are sorted and absent fields are left out, so the order in which a map was written and
/// an upgrade of the operator never make a new revision. `core/tests/golden/revisions.yaml` pins it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// A revision read back from a label or a status.
    pub fn recorded(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The revision that somebody wrote, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_one.then(|| Self(text.to_owned()))
    }

    fn of(hashed: &Value) -> Self {
        let hex = Digest::of(hashed.to_string().as_bytes()).hex();
        Self(hex.chars().take(8).collect())
    }

    /// The text of labels, names and headers.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A model version together with the revision that serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Name, for people.
    pub name: String,
    /// Digest of the artifact.
    pub digest: String,
    /// Identity of its pods.
    pub revision: Revision,
}

/// What a `spec` asks for: a version, once it is known what its references lead to.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The version without any configuration.
    bare: Version,
    /// Without absent fields. `serde_json` keeps objects sorted by key, so it has one text only.
    hashed: Value,
}

impl Asked {
    /// What `spec` asks for, if a model has been named.
    pub fn of(spec: &ModelReleaseSpec) -> Option<Self> {
        let model = spec.model.as_ref()?;
        let hashed = json!({
            "hashVersion": HASH_VERSION,
            "model": { "version": model.version, "uri": model.uri, "digest": model.digest },
            "port": spec.serving.port,
            "template": spec.serving.template,
        });
        let hashed = without_nulls(hashed);
        let bare = Version {
            name: model.version.clone(),
            digest: model.digest.clone(),
            revision: Revision::of(&hashed),
        };
        Some(Self { bare, hashed })
    }

    /// The version without any configuration, with the revision that it had before configuration was part of it.
    pub(crate) fn bare(&self) -> &Version {
        &self.bare
    }

    /// The version with this configuration.
    pub fn version(&self, configuration: &BTreeMap<Reference, Digest>) -> Version {
        if configuration.is_empty() {
            return self.bare.clone();
        }
        let mut hashed = self.hashed.clone();
        if let Some(fields) = hashed.as_object_mut() {
            let digests = configuration
                .iter()
                .map(|(reference, digest)| (reference.to_string(), Value::from(digest.to_string())));
            fields.insert("configuration".to_owned(), digests.collect());
        }
        Version {
            revision: Revision::of(&hashed),
            ..self.bare.clone()
        }
    }
}

/// Drops absent fields.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, without_nulls(v)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}
