//! Revisions against a file that pins them.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serin_core::configuration::Content;
use serin_core::crd::{ModelReleaseSpec, Reference, ReferenceKind};
use serin_core::digest::Digest;
use serin_core::revision::Asked;

/// Revisions that have been computed once and for all.
const GOLDEN: &str = include_str!("golden/revisions.yaml");

#[derive(Deserialize)]
struct Case {
    name: String,
    revision: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    configuration: BTreeMap<String, BTreeMap<String, String>>,
    manifests: Vec<ModelReleaseSpec>,
}

impl Case {
    fn configuration(&self) -> BTreeMap<Reference, Digest> {
        let digest = |(of, values): (&String, &BTreeMap<String, String>)| {
            let (kind, name) = of.split_once('/').unwrap();
            let (kind, key) = match kind {
                "ConfigMap" => (ReferenceKind::ConfigMap, ""),
                _ => (ReferenceKind::Secret, self.key.as_str()),
            };
            let name = name.to_owned();
            let values = values
                .iter()
                .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
            (
                Reference { kind, name },
                Content::of(values).digest(key.as_bytes()),
            )
        };
        self.configuration.iter().map(digest).collect()
    }
}

#[test]
fn revisions_are_those_of_the_golden_file() {
    let cases: Vec<Case> = serde_norway::from_str(GOLDEN).unwrap();
    for case in &cases {
        let configuration = case.configuration();
        for (number, spec) in case.manifests.iter().enumerate() {
            let version = Asked::of(spec).unwrap().version(&configuration);
            assert_eq!(
                version.revision.as_str(),
                case.revision,
                "{}, manifest {number}",
                case.name
            );
        }
    }
    let revisions: BTreeSet<&String> = cases.iter().map(|case| &case.revision).collect();
    assert_eq!(revisions.len(), cases.len(), "no two cases mean the same");
}

#[test]
fn what_is_written_and_read_back_has_the_same_revision() {
    let cases: Vec<Case> = serde_norway::from_str(GOLDEN).unwrap();
    for case in &cases {
        for spec in &case.manifests {
            let again: ModelReleaseSpec =
                serde_json::from_value(serde_json::to_value(spec).unwrap()).unwrap();
            let version = Asked::of(&again).unwrap().version(&case.configuration());
            assert_eq!(version.revision.as_str(), case.revision, "{}", case.name);
        }
    }
}
