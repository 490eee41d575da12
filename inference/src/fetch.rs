//! Reads an artifact's files from a store and believes nothing before its digest agrees.

use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, RetryConfig};
use serin_core::artifact::{ArtifactError, MANIFEST_FILE, MODEL_FILE, Manifest, Model};
use serin_core::digest::Digest;
use url::Url;

use crate::load::LoadError;

/// A manifest lists a handful of files and a Kafka offset per partition; 1 MiB is a thousand times that.
const MANIFEST_MAX_BYTES: u64 = 1 << 20;
/// A store in the same cluster answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest file at 2 MB/s; longer is a hang.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// The directory of one artifact.
#[derive(Debug)]
pub struct Source {
    uri: String,
    store: Box<dyn ObjectStore>,
    directory: Path,
    max_file_bytes: u64,
}

impl Source {
    /// Understands an address. Does not touch the network.
    ///
    /// `credentials` are the `AWS_…` variables of the process; other stores need none.
    ///
    /// # Errors
    /// The address is no URL, or of a kind that is not supported.
    pub fn open(uri: &str, credentials: &[(String, String)], max_file_bytes: u64) -> Result<Self, LoadError> {
        let wrong = |because: String| LoadError::Address {
            uri: uri.to_owned(),
            because,
        };
        let url = Url::parse(uri).map_err(|error| wrong(error.to_string()))?;
        let (scheme, directory) = ObjectStoreScheme::parse(&url).map_err(|error| wrong(error.to_string()))?;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "whatever kind the library adds is not supported here"
        )]
        let store = match scheme {
            ObjectStoreScheme::Local => Ok(Box::new(LocalFileSystem::new()) as Box<dyn ObjectStore>),
            ObjectStoreScheme::AmazonS3 => s3(&url, credentials),
            ObjectStoreScheme::Http => http(&url),
            other => return Err(wrong(format!("{other:?} is not supported"))),
        };
        let store = store.map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            uri: uri.to_owned(),
            store,
            directory,
            max_file_bytes,
        })
    }

    /// Reads, verifies and decodes the artifact whose manifest has `digest`.
    ///
    /// Guarantee: the model returned is fixed by `digest`, byte for byte; so is every other file of the artifact,
    /// for a directory with one damaged file is not the one that was judged.
    ///
    /// # Errors
    /// See [`LoadError`]; [`LoadError::is_final`] says whether asking again may help.
    pub async fn model(&self, digest: Digest) -> Result<Model, LoadError> {
        let bytes = self.read(MANIFEST_FILE, MANIFEST_MAX_BYTES).await?;
        let manifest = Manifest::parse(&bytes, &digest).map_err(|source| LoadError::Refused { source })?;
        if !manifest.files.contains_key(MODEL_FILE) {
            let source = ArtifactError::NotListed {
                name: MODEL_FILE.to_owned(),
            };
            return Err(LoadError::Refused { source });
        }
        let mut model = None;
        for name in manifest.files.keys() {
            let bytes = self.read(name, self.max_file_bytes).await?;
            let decoded = verify(manifest.clone(), name.clone(), bytes).await?;
            model = model.or(decoded);
        }
        let missing = || LoadError::Refused {
            source: ArtifactError::NotListed {
                name: MODEL_FILE.to_owned(),
            },
        };
        model.ok_or_else(missing)
    }

    async fn read(&self, name: &str, max_bytes: u64) -> Result<Bytes, LoadError> {
        let failed = |source| {
            let (file, uri) = (name.to_owned(), self.uri.clone());
            if matches!(source, object_store::Error::NotFound { .. }) {
                LoadError::Missing { file, uri }
            } else {
                LoadError::Fetch { file, uri, source }
            }
        };
        let found = self
            .store
            .get(&self.directory.clone().join(name))
            .await
            .map_err(failed)?;
        if found.meta.size > max_bytes {
            return Err(LoadError::TooLarge {
                file: name.to_owned(),
                bytes: found.meta.size,
                max_bytes,
            });
        }
        found.bytes().await.map_err(failed)
    }
}

/// Digests and decodes away from the threads that answer probes.
async fn verify(manifest: Manifest, name: String, bytes: Bytes) -> Result<Option<Model>, LoadError> {
    let work = move || {
        manifest.check_file(&name, &bytes)?;
        (name == MODEL_FILE)
            .then(|| Model::from_safetensors(&bytes))
            .transpose()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(model) => model.map_err(|source| LoadError::Refused { source }),
        Err(source) => Err(LoadError::Interrupted { source }),
    }
}

fn s3(url: &Url, credentials: &[(String, String)]) -> object_store::Result<Box<dyn ObjectStore>> {
    let options = client().with_allow_http(true);
    let mut builder = AmazonS3Builder::new()
        .with_url(url.as_str())
        .with_client_options(options)
        .with_retry(no_retry());
    for (name, value) in credentials {
        if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Box::new(builder.build()?))
}

fn http(url: &Url) -> object_store::Result<Box<dyn ObjectStore>> {
    let host = &url[..url::Position::BeforePath];
    let builder = HttpBuilder::new()
        .with_url(host)
        .with_client_options(client().with_allow_http(true));
    Ok(Box::new(builder.with_retry(no_retry()).build()?))
}

fn client() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(REQUEST_TIMEOUT)
}

/// The loader repeats whole attempts and says so; a silent repetition below would hide the reason for minutes.
fn no_retry() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}
