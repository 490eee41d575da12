//! The model artifact: what the trainer writes and the server verifies before it is ready.
//!
//! An artifact is one directory: `manifest.json`, `model.safetensors`, `report.json`. Its *digest* is the SHA-256
//! of the bytes of `manifest.json`; the manifest holds the digest and the size of every other file, so this one
//! digest fixes every byte that is served. The *version id* is the first 12 hexadecimal digits of the digest.

mod check;
mod encoding;
mod error;
#[cfg(test)]
pub(crate) mod fixtures;
mod manifest;

use std::collections::BTreeMap;

pub use error::ArtifactError;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// File name of the manifest inside an artifact.
pub const MANIFEST_FILE: &str = "manifest.json";
/// File name of the tensors inside an artifact.
pub const MODEL_FILE: &str = "model.safetensors";
/// File name of the evaluation report inside an artifact.
pub const REPORT_FILE: &str = "report.json";
/// The manifest schema this code writes, and the only one it reads.
pub const SCHEMA: u32 = 1;
/// The longest list for unknown users that an artifact may hold: ten answers' worth.
pub const POPULAR_MAX: usize = 200;

/// What an artifact is, what it was made of, and how it was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Version of this schema; 1.
    pub schema: u32,
    /// Every other file of the artifact by name.
    pub files: BTreeMap<String, File>,
    /// Name of the algorithm, for example `biased-als`.
    pub algorithm: String,
    /// Settings of the algorithm by name, the seed among them.
    pub hyperparameters: BTreeMap<String, f64>,
    /// Measured quality by name, as written to `spec.model.evidence`.
    pub evidence: BTreeMap<String, f64>,
    /// Digest of the previous version's manifest, if there was one.
    pub parent: Option<Digest>,
    /// The data the model was fitted to.
    pub data: Data,
    /// Version of the program that trained it.
    pub code: String,
}

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// Digest of the file's bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// The data behind a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Data {
    /// Number of ratings used.
    pub ratings: u64,
    /// Number of distinct users.
    pub users: u64,
    /// Number of distinct movies.
    pub movies: u64,
    /// Parquet files of the data set in the order they were read, with their digests.
    pub files: BTreeMap<String, Digest>,
    /// Kafka offsets `[start, end)` by `topic/partition`.
    pub offsets: BTreeMap<String, (i64, i64)>,
}

/// A rating model in memory: prediction = mean + user bias + movie bias + factors · factors.
///
/// Shapes: `user_factors` is users × rank and `movie_factors` is movies × rank, both row-major; biases have one
/// entry per row. Units: stars. Movies and users are sorted ascending, so equal inputs give equal bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Number of factors per user and movie.
    pub rank: usize,
    /// Global mean, in stars.
    pub mean: f32,
    /// User ids, ascending.
    pub users: Vec<u32>,
    /// One bias per user, in stars.
    pub user_biases: Vec<f32>,
    /// users × rank.
    pub user_factors: Vec<f32>,
    /// Movie ids, ascending.
    pub movies: Vec<String>,
    /// One bias per movie, in stars.
    pub movie_biases: Vec<f32>,
    /// movies × rank.
    pub movie_factors: Vec<f32>,
    /// Indices into `movies`, best first: the list for a user the model does not know. At most 200.
    pub popular: Vec<u32>,
    /// For each user, the indices into `movies` that the user has already rated, ascending; not recommended again.
    pub seen: Vec<Vec<u32>>,
}
