//! Where the records of decisions are kept: one object per block in an object store, named by its number.
//!
//! Writing an entry again writes the same bytes under the same name, so that a crash between the record and the status
//! leaves the record as it would have been.

use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, PutPayload, RetryConfig,
};
use serin_core::record::Entry;
use url::Url;

/// A look waits no longer than this for the store; the look is repeated.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Digits of an entry's number: names sort as numbers do.
const DIGITS: usize = 8;

/// The records of all releases.
#[derive(Debug)]
pub struct Archive {
    store: Box<dyn ObjectStore>,
    root: Path,
}

/// Why the archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// See the message.
    #[error("--records \"{uri}\" is no store: write file:///path/ or s3://bucket/path/ ({why})")]
    Address {
        /// What was given.
        uri: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store did not do what was asked.
    #[error("the store of decision records failed")]
    Store(#[source] object_store::Error),
    /// An entry has no place in a text.
    #[error("an entry of the decision record cannot be written as JSON")]
    Entry(#[source] serde_json::Error),
}

/// Which record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// Namespace of the release.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) release: &'a str,
    /// The name of the record, as in `status.analysis.record`.
    pub(crate) name: &'a str,
}

impl Archive {
    /// Understands an address. Touches neither disk nor network. Credentials of S3 come from the environment.
    pub fn open(uri: &str) -> Result<Self, ArchiveError> {
        let wrong = |why: String| ArchiveError::Address {
            uri: uri.to_owned(),
            why,
        };
        let url = Url::parse(uri).map_err(|error| wrong(error.to_string()))?;
        let (scheme, root) = ObjectStoreScheme::parse(&url).map_err(|error| wrong(error.to_string()))?;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "whatever kind the library adds is not supported here"
        )]
        let store: Box<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => Box::new(LocalFileSystem::new()),
            ObjectStoreScheme::AmazonS3 => {
                let retry = RetryConfig {
                    max_retries: 2,
                    retry_timeout: TIMEOUT,
                    ..RetryConfig::default()
                };
                let store = AmazonS3Builder::from_env()
                    .with_url(uri)
                    .with_retry(retry)
                    .with_client_options(ClientOptions::new().with_timeout(TIMEOUT))
                    .build();
                Box::new(store.map_err(|error| wrong(error.to_string()))?)
            }
            other => return Err(wrong(format!("{other:?} is not supported"))),
        };
        Ok(Self { store, root })
    }

    /// An archive in a store of the caller's, from its root.
    pub fn over(store: Box<dyn ObjectStore>) -> Self {
        Self {
            store,
            root: Path::default(),
        }
    }

    /// Writes an entry under its number.
    pub(crate) async fn write(&self, record: Record<'_>, entry: &Entry) -> Result<(), ArchiveError> {
        let number = entry.number();
        let mut line = serde_json::to_vec(entry).map_err(ArchiveError::Entry)?;
        line.push(b'\n');
        let path = self.directory(record).join(format!("{number:0DIGITS$}.json"));
        let put = self.store.put(&path, PutPayload::from(line)).await;
        put.map(drop).map_err(ArchiveError::Store)
    }

    /// A whole record as JSON Lines; empty when there is none.
    pub(crate) async fn read(&self, record: Record<'_>) -> Result<String, ArchiveError> {
        let listed = self.store.list(Some(&self.directory(record)));
        let mut entries: Vec<Path> = listed
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(ArchiveError::Store)?;
        entries.sort();
        let mut text = String::new();
        for entry in &entries {
            let found = self.store.get(entry).await.map_err(ArchiveError::Store)?;
            let bytes = found.bytes().await.map_err(ArchiveError::Store)?;
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        Ok(text)
    }

    /// Parts are encoded one by one: none can lead out of the archive.
    fn directory(&self, record: Record<'_>) -> Path {
        let Record {
            namespace,
            release,
            name,
        } = record;
        self.root.clone().join(namespace).join(release).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_core::judge::{Beside, Block, Health, Late, Run, Settings};
    use serin_core::record::{Began, Looked};

    const RECORD: Record<'_> = Record {
        namespace: "demo",
        release: "recommender",
        name: "a1b2c3d4-1700000000",
    };

    fn entries() -> Vec<Entry> {
        let at = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let settings = Settings::default();
        let mut run = Run::new(settings.clone()).unwrap();
        let began = Entry::Began(Box::new(Began {
            canary: "v2".into(),
            revision: "a1b2c3d4".into(),
            digest: String::new(),
            stable: "v1".into(),
            at,
            settings,
            earlier: Vec::new(),
        }));
        let looks = (0..12).map(|number| {
            let start = at + jiff::SignedDuration::from_mins(number);
            let look = run.look(&Block::Gap, &Late::default(), &Beside::default(), Health::Fine);
            Entry::Looked(Box::new(Looked {
                start,
                end: start + jiff::SignedDuration::from_mins(1),
                block: Block::Gap,
                late: Late::default(),
                missing: None,
                witness: serin_core::counters::Witness::Pods,
                beside: Beside::default(),
                look,
            }))
        });
        std::iter::once(began).chain(looks).collect()
    }

    #[tokio::test]
    async fn a_record_is_read_in_order_however_often_its_entries_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&format!("file://{}/", folder.path().display())).unwrap();
        assert_eq!(archive.read(RECORD).await.unwrap(), "");
        for entry in entries().iter().chain(&entries()[3..9]) {
            archive.write(RECORD, entry).await.unwrap();
        }
        let text = archive.read(RECORD).await.unwrap();
        let record = serin_core::record::Record::parse(&text).unwrap();
        assert_eq!(record.looked.len(), 12);
        assert_eq!(record.looked.last().map(|looked| looked.look.block), Some(12));
    }

    #[tokio::test]
    async fn no_name_leads_out_of_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret.json"), "secret").unwrap();
        let inside = folder.path().join("records");
        std::fs::create_dir(&inside).unwrap();
        let archive = Archive::open(&format!("file://{}/", inside.display())).unwrap();
        let record = Record {
            namespace: "..",
            release: ".",
            name: "..",
        };
        assert_eq!(archive.read(record).await.unwrap(), "");
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        for uri in ["records", "ftp://host/records", "gs://bucket/records"] {
            let error = Archive::open(uri).unwrap_err().to_string();
            assert!(error.contains(uri), "{error}");
        }
    }
}
