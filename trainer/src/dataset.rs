//! The data set: what was read from the stream, in Parquet files that are their own record of progress.
//!
//! A file covers the offsets `[start, end)` of one partition and carries them in its name. Offsets are never kept
//! anywhere else that matters: a run starts where the files end, and a crash before a file is written repeats its
//! records, while a crash after it repeats nothing. Overlapping files, which only two runs at once can cause, are
//! seen at reading, and every offset counts once.

use std::collections::BTreeMap;
use std::fmt;

use serin_core::digest::Digest;
use serin_core::movielog::{Event, Malformed};

use crate::columns::{self, ColumnError, Row};
use crate::quarantine::{self, Rejected};
use crate::store::{Store, StoreError};

/// Folder of the events.
const EVENTS: &str = "events";
/// Folder of the lines that are no events.
const QUARANTINE: &str = "quarantine";

/// Offsets `[start, end)` of one partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// First offset.
    pub start: i64,
    /// One past the last offset.
    pub end: i64,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{:05}-{:020}-{:020}",
            self.topic, self.partition, self.start, self.end
        )
    }
}

impl Span {
    /// Reads back what `Display` writes; a topic may hold `-` itself.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(4, '-');
        let end = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        let partition = parts.next()?.parse().ok()?;
        let topic = parts.next()?.to_owned();
        (0 <= start && start < end).then_some(Self {
            topic,
            partition,
            start,
            end,
        })
    }
}

/// An event with its place in the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Offset in the partition.
    pub offset: i64,
    /// The record's own timestamp in milliseconds since 1970 UTC, where the broker has one.
    pub recorded_ms: Option<i64>,
    /// The event.
    pub event: Event,
    /// What had to be repaired to read it.
    pub repaired: Option<Malformed>,
}

/// Why the data set could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The store failed.
    #[error("the data set cannot be reached")]
    Store(#[source] StoreError),
    /// A file is damaged, or another program's.
    #[error(
        "{name} in the data set at {uri} cannot be used: move it away, and the run reads its offsets again"
    )]
    File {
        /// Name of the file.
        name: String,
        /// The data set.
        uri: url::Url,
        /// What is wrong with it.
        source: ColumnError,
    },
}

/// The files of one data set.
#[derive(Clone, Debug)]
pub struct Dataset {
    store: Store,
}

impl Dataset {
    /// The data set in `store`; an empty one needs no preparation.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Every span of `topic`, ascending by partition and start. Files with other names are passed over.
    ///
    /// # Errors
    /// [`DatasetError::Store`].
    pub async fn spans(&self, topic: &str) -> Result<Vec<Span>, DatasetError> {
        let names = self.store.list(EVENTS).await.map_err(DatasetError::Store)?;
        let mut spans: Vec<_> = names
            .iter()
            .filter_map(|name| Span::parse(name.strip_suffix(".parquet")?))
            .filter(|span| span.topic == topic)
            .collect();
        spans.sort();
        Ok(spans)
    }

    /// Adds what was read of one span. When this returns, both files are durable and the offsets may be committed.
    ///
    /// The quarantine goes first: the events file is what marks the span as read.
    ///
    /// # Errors
    /// [`DatasetError`]; the span then counts as not read.
    pub async fn append(
        &self,
        span: &Span,
        records: &[Record],
        rejected: &[Rejected],
    ) -> Result<(), DatasetError> {
        if !rejected.is_empty() {
            let name = format!("{QUARANTINE}/{span}.jsonl");
            let lines = quarantine::to_json_lines(span, rejected);
            self.store
                .write(&name, lines)
                .await
                .map_err(DatasetError::Store)?;
        }
        let name = events_file(span);
        let bytes = columns::encode(records).map_err(|source| self.file_error(&name, source))?;
        self.store.write(&name, bytes).await.map_err(DatasetError::Store)
    }

    /// The events of one span in order of offset, and the digest of their file.
    ///
    /// # Errors
    /// [`DatasetError`].
    pub async fn read(&self, span: &Span) -> Result<(Digest, Vec<Row>), DatasetError> {
        let name = events_file(span);
        let bytes = self.store.read(&name).await.map_err(DatasetError::Store)?;
        let digest = Digest::of(&bytes);
        let rows = columns::decode(bytes).map_err(|source| self.file_error(&name, source))?;
        Ok((digest, rows))
    }

    fn file_error(&self, name: &str, source: ColumnError) -> DatasetError {
        DatasetError::File {
            name: name.to_owned(),
            uri: self.store.uri().clone(),
            source,
        }
    }
}

/// Name of the file below the data set.
pub fn events_file(span: &Span) -> String {
    format!("{EVENTS}/{span}.parquet")
}

/// Where each partition's files end: the first offset that is not stored yet.
pub fn ends(spans: &[Span]) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for span in spans {
        let end = ends.entry(span.partition).or_insert(span.end);
        *end = span.end.max(*end);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_survives_the_way_through_its_file_name() {
        for topic in ["movielog1", "a-b.c_d", "1-2"] {
            let span = Span {
                topic: topic.to_owned(),
                partition: 3,
                start: 0,
                end: 1_000,
            };
            assert_eq!(Span::parse(&span.to_string()), Some(span));
        }
    }

    #[test]
    fn other_names_are_no_spans() {
        for name in ["", "x", "t-0-5-5", "t-0-9-5", "t-0--1-5", "t-a-0-5", "0-1-2"] {
            assert_eq!(Span::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_sort_by_partition_and_offset() {
        let span = |partition, start| Span {
            topic: "t".to_owned(),
            partition,
            start,
            end: start + 1,
        };
        let sorted = [span(0, 9), span(0, 10), span(2, 0), span(10, 0)];
        assert!(sorted.iter().map(Span::to_string).is_sorted() && sorted.is_sorted());
        assert_eq!(ends(&sorted), BTreeMap::from([(0, 11), (2, 1), (10, 1)]));
    }
}
