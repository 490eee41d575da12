//! What a pod is: the words that every answer and every metric of it carries.

use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serin_core::digest::Digest;

/// Header with the digest of the manifest that is served.
pub const MODEL_DIGEST: HeaderName = HeaderName::from_static("serin-model-digest");
/// Header with the model's version.
pub const MODEL_VERSION: HeaderName = HeaderName::from_static("serin-model-version");
/// Header with the revision of the release.
pub const REVISION: HeaderName = HeaderName::from_static("serin-revision");

/// A short word that fits a header and a metric label: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(HeaderValue);

/// Why a text is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no label: write 1 to 128 visible ASCII characters, without spaces")]
pub struct NotALabel(String);

impl FromStr for Label {
    type Err = NotALabel;

    fn from_str(text: &str) -> Result<Self, NotALabel> {
        let wrong = || NotALabel(text.chars().take(40).collect());
        if !(1..=128).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong());
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// What a pod is: fixed by the release before it starts.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Digest of the manifest; the only one this pod will ever serve.
    pub digest: Digest,
    /// Version of the model.
    pub version: Label,
    /// Revision of the release.
    pub revision: Label,
}

impl Identity {
    /// Writes the three words onto an answer.
    pub fn stamp(&self, headers: &mut HeaderMap) {
        if let Ok(digest) = HeaderValue::from_str(&self.digest.to_string()) {
            headers.insert(MODEL_DIGEST, digest);
        }
        headers.insert(MODEL_VERSION, self.version.0.clone());
        headers.insert(REVISION, self.revision.0.clone());
    }
}
