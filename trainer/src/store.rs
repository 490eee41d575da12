//! One directory of an object store: `file:///…`, `s3://bucket/…`, `http(s)://…`.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use url::Url;

/// Why a store could not be used. Each message completes "the run stopped: …".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The author of the command line can fix this.
    #[error(
        "cannot use {uri} as a store: write file:///directory/, s3://bucket/prefix/ or https://host/prefix/"
    )]
    Uri {
        /// What was given.
        uri: String,
        /// What the store library says.
        source: object_store::Error,
    },
    /// Nothing was written, or it was written whole: a put is atomic.
    #[error("cannot write {name} to {uri}: check that the place exists, is writable and has room")]
    Write {
        /// Name below the directory.
        name: String,
        /// The directory.
        uri: Url,
        /// What the store says.
        source: object_store::Error,
    },
    /// Reading failed.
    #[error("cannot read {name} from {uri}: check that the place exists and is readable")]
    Read {
        /// Name below the directory.
        name: String,
        /// The directory.
        uri: Url,
        /// What the store says.
        source: object_store::Error,
    },
}

/// A directory in an object store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    root: Path,
    uri: Url,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.uri)
    }
}

impl Store {
    /// Opens the directory; nothing is read or written yet.
    ///
    /// `options` are credentials and endpoints by name, such as `AWS_ACCESS_KEY_ID`; names that the store does not
    /// know are passed over. Files on a local disk are flushed to the device before a write returns.
    ///
    /// # Errors
    /// [`StoreError::Uri`].
    pub fn open(uri: &Url, options: &[(String, String)]) -> Result<Self, StoreError> {
        let options = options
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        let (inner, root) = object_store::parse_url_opts(uri, options).map_err(|source| StoreError::Uri {
            uri: uri.to_string(),
            source,
        })?;
        let inner: Arc<dyn ObjectStore> = match uri.scheme() {
            "file" => Arc::new(LocalFileSystem::new().with_fsync(true)),
            _ => Arc::from(inner),
        };
        Ok(Self {
            inner,
            root,
            uri: uri.clone(),
        })
    }

    /// The directory.
    pub fn uri(&self) -> &Url {
        &self.uri
    }

    /// Writes a file whole, replacing one of the same name. When this returns, the bytes are durable.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub async fn write(&self, name: &str, bytes: impl Into<PutPayload>) -> Result<(), StoreError> {
        self.inner
            .put(&self.path(name), bytes.into())
            .await
            .map(drop)
            .map_err(|source| StoreError::Write {
                name: name.to_owned(),
                uri: self.uri.clone(),
                source,
            })
    }

    /// Reads a file whole.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub async fn read(&self, name: &str) -> Result<Bytes, StoreError> {
        let failed = |source| StoreError::Read {
            name: name.to_owned(),
            uri: self.uri.clone(),
            source,
        };
        self.inner
            .get(&self.path(name))
            .await
            .map_err(failed)?
            .bytes()
            .await
            .map_err(failed)
    }

    /// Names of the files directly in `folder`, ascending, without the folder. An absent folder is empty.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let failed = |source| StoreError::Read {
            name: folder.to_owned(),
            uri: self.uri.clone(),
            source,
        };
        let found: Vec<_> = self
            .inner
            .list(Some(&self.path(folder)))
            .try_collect()
            .await
            .map_err(failed)?;
        let mut names: Vec<String> = found
            .into_iter()
            .filter_map(|object| object.location.filename().map(str::to_owned))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn path(&self, name: &str) -> Path {
        name.split('/')
            .filter(|part| !part.is_empty())
            .fold(self.root.clone(), object_store::path::Path::join)
    }
}
