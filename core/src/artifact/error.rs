//! Why an artifact is refused: each message names the thing, the value, and whose move it is.

use crate::digest::Digest;

/// Why an artifact is not what it claims to be. Every variant is final: reading the same bytes again changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The release names another manifest than the one that was found.
    #[error(
        "manifest.json is not the one the release names: expected {expected}, found {found}; \
         set spec.model.digest to the artifact you mean, or publish the artifact again"
    )]
    ManifestDigest {
        /// What the release names.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// The manifest has the right digest and still makes no sense: its writer is at fault.
    #[error("manifest.json cannot be read; publish the artifact again with a trainer of this version")]
    ManifestSyntax {
        /// What the parser met.
        source: serde_json::Error,
    },
    /// The manifest is of a schema that this program does not know.
    #[error(
        "manifest.json has schema {found}, this program reads schema {known}; use a program of the same version as the trainer"
    )]
    Schema {
        /// The schema of the file.
        found: u32,
        /// The schema this program reads.
        known: u32,
    },
    /// A file is served or checked that the manifest does not vouch for.
    #[error("manifest.json does not list {name}; publish the artifact again, complete")]
    NotListed {
        /// Name of the file.
        name: String,
    },
    /// A file is longer or shorter than the manifest says: most often a copy that was cut off.
    #[error(
        "{name} has the wrong size: expected {expected} bytes, found {found}; copy or publish the artifact again"
    )]
    FileSize {
        /// Name of the file.
        name: String,
        /// Size in bytes by the manifest.
        expected: u64,
        /// Size in bytes of what was found.
        found: u64,
    },
    /// A file holds other bytes than the manifest says.
    #[error(
        "{name} is damaged or replaced: expected {expected}, found {found}; copy or publish the artifact again"
    )]
    FileDigest {
        /// Name of the file.
        name: String,
        /// Digest by the manifest.
        expected: Digest,
        /// Digest of what was found.
        found: Digest,
    },
    /// The file is no safetensors file at all.
    #[error("model.safetensors cannot be read; publish the artifact again")]
    Container {
        /// What the parser met.
        source: safetensors::SafeTensorError,
    },
    /// A tensor is missing.
    #[error(
        "model.safetensors has no tensor {tensor}; publish the artifact again with a trainer of this version"
    )]
    TensorMissing {
        /// Name of the tensor.
        tensor: &'static str,
    },
    /// A tensor is there that nobody reads; a newer format may depend on it, so it is not ignored.
    #[error(
        "model.safetensors has a tensor {tensor} that is not known here; use a program of the trainer's version"
    )]
    TensorUnknown {
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor has another element type or shape than the rest of the model demands.
    #[error("tensor {tensor} is {found}, expected {expected}; train and publish the model again")]
    Shape {
        /// Name of the tensor.
        tensor: &'static str,
        /// Element type and shape that would fit.
        expected: String,
        /// Element type and shape that were found.
        found: String,
    },
    /// A number is NaN or infinite: nothing can be ranked by it.
    #[error("tensor {tensor} holds {value} at element {element}; train again, the fit has diverged")]
    NotFinite {
        /// Name of the tensor.
        tensor: &'static str,
        /// Position, row-major.
        element: usize,
        /// The number.
        value: f32,
    },
    /// Ids or indices stand in the wrong order or twice.
    #[error(
        "tensor {tensor} does not rise at element {element}; sort it and drop duplicates before publishing"
    )]
    NotAscending {
        /// Name of the tensor.
        tensor: &'static str,
        /// Position of the first element that is not above its predecessor.
        element: usize,
    },
    /// A list names the same movie twice.
    #[error("tensor {tensor} names movie {movie} twice; drop duplicates before publishing")]
    Repeated {
        /// Name of the tensor.
        tensor: &'static str,
        /// Index of the movie.
        movie: u32,
    },
    /// An index points past the end of what it indexes.
    #[error(
        "tensor {tensor} holds {value} at element {element}, the limit is {limit}; train and publish again"
    )]
    OutOfRange {
        /// Name of the tensor.
        tensor: &'static str,
        /// Position.
        element: usize,
        /// What was found there.
        value: u64,
        /// The largest value allowed.
        limit: u64,
    },
    /// A movie id could not be sent in a comma-separated answer, or breaks the platform's rule for ids.
    #[error("movie {element} has the id {id:?}; an id has 1 to 256 characters of a-z 0-9 + _ . * -")]
    MovieId {
        /// Position.
        element: usize,
        /// The id, cut to 80 characters.
        id: String,
    },
    /// Somebody would be answered with nothing.
    #[error("tensor {tensor} is empty; a model needs at least one movie and a list for unknown users")]
    Empty {
        /// Name of the tensor.
        tensor: &'static str,
    },
}

impl ArtifactError {
    /// A stable word for metric labels and condition reasons.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ManifestDigest { .. } => "ManifestDigest",
            Self::ManifestSyntax { .. } => "ManifestSyntax",
            Self::Schema { .. } => "Schema",
            Self::NotListed { .. } => "NotListed",
            Self::FileSize { .. } => "FileSize",
            Self::FileDigest { .. } => "FileDigest",
            Self::Container { .. } => "Container",
            Self::TensorMissing { .. } | Self::TensorUnknown { .. } => "Tensor",
            Self::Shape { .. } => "Shape",
            Self::NotFinite { .. } => "NotFinite",
            Self::NotAscending { .. } | Self::Repeated { .. } => "Order",
            Self::OutOfRange { .. } => "OutOfRange",
            Self::MovieId { .. } => "MovieId",
            Self::Empty { .. } => "Empty",
        }
    }
}
