//! Artifacts and services built in code.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serin_core::artifact::{Data, File, MANIFEST_FILE, MODEL_FILE, Manifest, Model, REPORT_FILE, SCHEMA};
use serin_core::digest::Digest;
use tempfile::TempDir;

use crate::identity::Identity;
use crate::service::Service;

/// A hundred movies without factors, best first `m+000`; user 7 has seen the best one, all others are unknown.
pub(super) fn model() -> Model {
    Model {
        rank: 0,
        mean: 3.5,
        users: vec![7],
        user_biases: vec![0.0],
        user_factors: vec![],
        movies: (0..100).map(|movie| format!("m+{movie:03}")).collect(),
        movie_biases: (0_u8..100).map(|movie| -f32::from(movie) / 100.0).collect(),
        movie_factors: vec![],
        popular: vec![99, 98, 0],
        seen: vec![vec![0]],
    }
}

/// A published artifact in a directory of its own.
pub(super) struct Artifact {
    directory: TempDir,
    pub(super) digest: Digest,
}

impl Artifact {
    /// Publishes [`model`] with a report beside it.
    pub(super) fn publish() -> Self {
        let files = BTreeMap::from([
            (MODEL_FILE.to_owned(), model().to_safetensors()),
            (REPORT_FILE.to_owned(), b"{\"rmse\":0.9}".to_vec()),
        ]);
        Self::publish_files(&files)
    }

    /// Publishes any files under a manifest that vouches for them.
    pub(super) fn publish_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let listed = |(name, bytes): (&String, &Vec<u8>)| {
            (
                name.clone(),
                File {
                    digest: Digest::of(bytes),
                    size: bytes.len() as u64,
                },
            )
        };
        let manifest = Manifest {
            schema: SCHEMA,
            files: files.iter().map(listed).collect(),
            algorithm: "biased-als".to_owned(),
            hyperparameters: BTreeMap::new(),
            evidence: BTreeMap::from([("rmse".to_owned(), 0.9)]),
            parent: None,
            data: Data::default(),
            code: "0.1.0".to_owned(),
        };
        let bytes = manifest.to_canonical_json();
        let artifact = Self {
            directory: TempDir::new().unwrap(),
            digest: Digest::of(&bytes),
        };
        artifact.write(MANIFEST_FILE, &bytes);
        for (name, bytes) in files {
            artifact.write(name, bytes);
        }
        artifact
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn uri(&self) -> String {
        format!("file://{}/", self.directory.path().display())
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }
}

/// A service that has no model yet, and whose model must have `digest`.
pub(super) fn service(digest: Digest) -> Arc<Service> {
    let identity = Identity {
        digest,
        version: "v1".parse().unwrap(),
        revision: "0a1b2c3d".parse().unwrap(),
    };
    Arc::new(Service::new(
        identity,
        UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    ))
}
