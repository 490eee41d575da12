//! Configuration: what the ConfigMaps and Secrets hold that a pod template refers to. It is part of a version.
//!
//! A reference is what the containers read: variables of the environment, one by one or all of an object, and volumes,
//! projected ones too. Credentials that only the node uses, to pull an image or to mount a volume, are none.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::crd::{Reference, ReferenceKind, Serving};
use crate::digest::Digest;

/// What the references of a template lead to, as seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// All of it is there: the digest of what each holds.
    Known(BTreeMap<Reference, Digest>),
    /// What is not there or may not be read, in words, with the remedy.
    Incomplete(Vec<String>),
}

impl Default for Configuration {
    fn default() -> Self {
        Self::Known(BTreeMap::new())
    }
}

/// Whether pods start without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// They wait for it.
    Required,
    /// Where it is missing it counts as empty.
    Optional,
}

/// What one ConfigMap or Secret holds. Its values are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Content(BTreeMap<String, Vec<u8>>);

impl Content {
    /// The content with these values by key.
    pub fn of(values: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        Self(values.into_iter().collect())
    }

    /// Keys and values, in the order of the keys.
    pub fn values(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// Digest of what is held, whatever the order in which it was written.
    ///
    /// Whoever does not know `key` learns nothing from it: without one, a short secret could be found by trying. Every
    /// part is preceded by its length, so that no two contents read the same.
    pub fn digest(&self, key: &[u8]) -> Digest {
        let mut text = Vec::new();
        let parts = self.0.iter().flat_map(|(key, value)| [key.as_bytes(), value]);
        for part in std::iter::once(key).chain(parts) {
            text.extend((part.len() as u64).to_be_bytes());
            text.extend(part);
        }
        Digest::of(&text)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What the template of `serving` refers to, and is not said to be `unversioned`.
pub fn references(serving: &Serving) -> BTreeMap<Reference, Need> {
    let mut found = all(&serving.template.spec);
    found.retain(|reference, _| !serving.unversioned.contains(reference));
    found
}

/// Everything that a pod spec refers to. What is required once is required.
pub(crate) fn all(pod: &Value) -> BTreeMap<Reference, Need> {
    let mut found = BTreeMap::new();
    visit(&mut pod.clone(), &mut |kind, name, need| {
        let reference = Reference {
            kind,
            name: name.clone(),
        };
        let known = found.entry(reference).or_insert(need);
        if need == Need::Required {
            *known = need;
        }
    });
    found
}

/// Lets a pod spec refer to what `rename` names, where it names something.
pub fn redirect(pod: &mut Value, rename: impl Fn(&Reference) -> Option<String>) {
    visit(pod, &mut |kind, name, _| {
        let reference = Reference {
            kind,
            name: name.clone(),
        };
        if let Some(other) = rename(&reference) {
            *name = other;
        }
    });
}

/// Shows every reference of a pod spec: its kind, the field that names it, and whether it is needed.
fn visit(pod: &mut Value, show: &mut impl FnMut(ReferenceKind, &mut String, Need)) {
    use ReferenceKind::{ConfigMap, Secret};
    for containers in ["containers", "initContainers"] {
        for container in list(pod, containers) {
            for variable in list(container, "env") {
                source(variable, "/valueFrom/configMapKeyRef", "name", ConfigMap, show);
                source(variable, "/valueFrom/secretKeyRef", "name", Secret, show);
            }
            for variables in list(container, "envFrom") {
                source(variables, "/configMapRef", "name", ConfigMap, show);
                source(variables, "/secretRef", "name", Secret, show);
            }
        }
    }
    for volume in list(pod, "volumes") {
        source(volume, "/configMap", "name", ConfigMap, show);
        source(volume, "/secret", "secretName", Secret, show);
        let projected = volume.get_mut("projected").into_iter();
        for part in projected.flat_map(|projected| list(projected, "sources")) {
            source(part, "/configMap", "name", ConfigMap, show);
            source(part, "/secret", "name", Secret, show);
        }
    }
}

fn list<'a>(of: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    let found = of.get_mut(field).and_then(Value::as_array_mut);
    found.into_iter().flatten()
}

fn source(
    of: &mut Value,
    at: &str,
    field: &str,
    kind: ReferenceKind,
    show: &mut impl FnMut(ReferenceKind, &mut String, Need),
) {
    let Some(source) = of.pointer_mut(at) else { return };
    let need = match source.get("optional") {
        Some(Value::Bool(true)) => Need::Optional,
        _ => Need::Required,
    };
    if let Some(Value::String(name)) = source.get_mut(field) {
        show(kind, name, need);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn serving(pod: &Value, unversioned: &Value) -> Serving {
        serde_json::from_value(json!({"template": {"spec": pod}, "unversioned": unversioned})).unwrap()
    }

    /// A pod spec with every place that can refer to something, and those that look like it.
    fn pod() -> Value {
        json!({
            "imagePullSecrets": [{"name": "registry"}],
            "initContainers": [{"name": "first", "envFrom": [{"secretRef": {"name": "init"}}]}],
            "containers": [{
                "name": "server",
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "limits", "key": "a"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "token", "key": "b", "optional": true}}},
                    {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "D", "value": "limits"},
                ],
                "envFrom": [{"configMapRef": {"name": "flags", "optional": true}}, {"secretRef": {"name": "token"}}],
            }],
            "volumes": [
                {"name": "one", "configMap": {"name": "files"}},
                {"name": "two", "secret": {"secretName": "keys"}},
                {"name": "three", "projected": {"sources": [
                    {"configMap": {"name": "more", "optional": true}}, {"secret": {"name": "ca"}},
                    {"serviceAccountToken": {"path": "token"}},
                ]}},
                {"name": "four", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "mount"}}},
            ],
        })
    }

    fn told(found: &BTreeMap<Reference, Need>) -> Vec<String> {
        found
            .iter()
            .map(|(reference, need)| format!("{reference} {need:?}"))
            .collect()
    }

    #[test]
    fn what_containers_read_is_found_wherever_it_is_named_and_credentials_of_the_node_are_not() {
        assert_eq!(
            told(&references(&serving(&pod(), &json!([])))),
            [
                "ConfigMap/files Required",
                "ConfigMap/flags Optional",
                "ConfigMap/limits Required",
                "ConfigMap/more Optional",
                "Secret/ca Required",
                "Secret/init Required",
                "Secret/keys Required",
                // Optional for one variable, and required for all of them.
                "Secret/token Required",
            ]
        );
    }

    #[test]
    fn one_that_is_unversioned_is_no_reference_and_its_namesake_is() {
        let unversioned =
            json!([{"kind": "ConfigMap", "name": "limits"}, {"kind": "Secret", "name": "files"}]);
        let found = told(&references(&serving(&pod(), &unversioned)));
        assert!(found.contains(&"ConfigMap/files Required".to_owned()));
        assert!(!found.iter().any(|told| told.contains("limits")), "{found:?}");
    }

    #[test]
    fn a_redirected_pod_spec_differs_in_the_names_alone() {
        let rename =
            |reference: &Reference| (reference.name != "flags").then(|| format!("r-{}", reference.name));
        let mut redirected = pod();
        redirect(&mut redirected, rename);
        let names = told(&all(&redirected)).join(", ");
        assert_eq!(
            names,
            "ConfigMap/flags Optional, ConfigMap/r-files Required, ConfigMap/r-limits Required, \
             ConfigMap/r-more Optional, Secret/r-ca Required, Secret/r-init Required, Secret/r-keys Required, \
             Secret/r-token Required"
        );
        let back = |reference: &Reference| reference.name.strip_prefix("r-").map(str::to_owned);
        redirect(&mut redirected, back);
        assert_eq!(redirected, pod());
    }

    #[test]
    fn what_is_no_pod_spec_refers_to_nothing() {
        for pod in [
            json!(null),
            json!({"containers": "none", "volumes": [7]}),
            json!([]),
        ] {
            assert_eq!(all(&pod), BTreeMap::new(), "{pod}");
        }
    }

    #[test]
    fn a_digest_depends_on_keys_values_and_the_key_alone() {
        let content = |values: &[(&str, &str)]| {
            Content::of(
                values
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())),
            )
        };
        let one = content(&[("a", "1"), ("b", "2")]);
        assert_eq!(one.digest(b""), content(&[("b", "2"), ("a", "1")]).digest(b""));
        let others = [
            content(&[("a", "1")]),
            content(&[("a", "1b2")]),
            content(&[("a", "1"), ("b2", "")]),
            content(&[("a", "2"), ("b", "1")]),
            content(&[]),
        ];
        for other in others {
            assert_ne!(one.digest(b""), other.digest(b""), "{other:?}");
        }
        assert_ne!(one.digest(b"key"), one.digest(b"another"));
        assert_ne!(content(&[]).digest(b"ab"), content(&[("a", "b")]).digest(b""));
    }

    #[test]
    fn no_value_is_ever_shown() {
        let content = Content::of([("password".to_owned(), b"hunter2".to_vec())]);
        assert_eq!(format!("{content:?}"), "{\"password\"}");
    }
}
