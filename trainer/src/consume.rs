//! Reading the topic up to where it ended when the run began, into the data set.
//!
//! Partitions are assigned by hand and start where the data set ends, so no group rebalances and nothing depends on
//! committed offsets. Offsets are committed all the same, after their records are durable, for lag monitors to see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use jiff::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serin_core::movielog::Grammar;
use tokio::time::Instant;

use crate::columns::Row;
use crate::dataset::{self, Dataset, Record, Span};
use crate::partition::Partition;
use crate::quarantine::Rejected;
use crate::recent::Recent;
use crate::tally::Tally;
use crate::topic;

mod error;

pub use error::ConsumeError;

/// How long the last word from the brokers may be ago when time is up, for it to count as a backlog and no outage.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the last commit may take; it serves monitors only.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the stream is.
#[derive(Clone, Debug)]
pub struct Source {
    /// Bootstrap brokers, `host:port` separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Consumer group under which progress is shown.
    pub group: String,
}

/// When to stop, and how much to hold in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// When to stop even if the topic's end is not reached.
    pub deadline: Instant,
    /// Records per file, and at most per partition in memory.
    pub batch_records: usize,
}

/// What a run has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Lines by kind.
    pub tally: Tally,
    /// Records before the end at the start of the run that the time limit left unread.
    pub behind: u64,
    /// Records that the topic's retention removed before they were ever read.
    pub missed: u64,
}

/// Reads until every partition has reached the end it had at the start, or until the deadline.
///
/// A bad line never stops it. A broker that goes away is waited for until the deadline.
///
/// # Errors
/// [`ConsumeError`]. On every one of them the offsets committed are at most those stored.
pub async fn consume(
    source: &Source,
    grammar: &Grammar,
    dataset: &Dataset,
    limits: Limits,
    progress: &ProgressBar,
) -> Result<Consumed, ConsumeError> {
    let spans = dataset
        .spans(&source.topic)
        .await
        .map_err(ConsumeError::Dataset)?;
    let consumer = Arc::new(connect(source)?);
    let marks = topic::watermarks(&consumer, source, limits.deadline).await?;
    let (partitions, missed) = starts(source, &marks, &dataset::ends(&spans))?;
    assign(&consumer, source, &partitions)?;

    let recent = remember(dataset, &spans).await?;
    let mut reader = Reader {
        source,
        grammar,
        dataset,
        consumer,
        limits,
        partitions,
        recent,
        tally: Tally::default(),
    };
    progress.set_length(reader.behind());
    let heard = reader.read(progress).await?;
    reader.flush_all().await?;
    reader.commit_finally().await;
    let (behind, silent) = (reader.behind(), heard.elapsed());
    if behind > 0 && silent > SILENCE {
        let Source { brokers, topic, .. } = source.clone();
        return Err(ConsumeError::Lost {
            brokers,
            topic,
            silent_s: silent.as_secs(),
            behind,
        });
    }
    Ok(Consumed {
        tally: reader.tally,
        behind,
        missed,
    })
}

fn connect(source: &Source) -> Result<StreamConsumer, ConsumeError> {
    ClientConfig::new()
        .set("bootstrap.servers", &source.brokers)
        .set("group.id", &source.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("reconnect.backoff.max.ms", "5000")
        .create()
        .map_err(|error| ConsumeError::Settings {
            brokers: source.brokers.clone(),
            source: error,
        })
}

/// Where each partition starts, and how many records are gone for good.
fn starts(
    source: &Source,
    marks: &BTreeMap<i32, (i64, i64)>,
    stored: &BTreeMap<i32, i64>,
) -> Result<(BTreeMap<i32, Partition>, u64), ConsumeError> {
    let mut partitions = BTreeMap::new();
    let mut missed = 0;
    for (&partition, &(low, high)) in marks {
        let next = match stored.get(&partition) {
            None => low,
            Some(&stored) if stored > high => {
                let topic = source.topic.clone();
                return Err(ConsumeError::Rewound {
                    topic,
                    partition,
                    high,
                    stored,
                });
            }
            Some(&stored) => {
                missed += u64::try_from(low - stored).unwrap_or(0);
                stored.max(low)
            }
        };
        partitions.insert(partition, Partition::new(next, high));
    }
    if missed > 0 {
        tracing::warn!(
            missed,
            topic = source.topic,
            "retention removed records before they were read"
        );
    }
    Ok((partitions, missed))
}

fn assign(
    consumer: &StreamConsumer,
    source: &Source,
    partitions: &BTreeMap<i32, Partition>,
) -> Result<(), ConsumeError> {
    let fatal = |error| ConsumeError::Fatal {
        topic: source.topic.clone(),
        source: error,
    };
    let mut list = TopicPartitionList::new();
    for (&id, partition) in partitions.iter().filter(|(_, partition)| !partition.is_done()) {
        list.add_partition_offset(&source.topic, id, Offset::Offset(partition.next()))
            .map_err(fatal)?;
    }
    consumer.assign(&list).map_err(fatal)
}

/// The events of each partition's newest file, so that a duplicate across two runs is noticed.
async fn remember(dataset: &Dataset, spans: &[Span]) -> Result<Recent, ConsumeError> {
    let newest: BTreeMap<i32, &Span> = spans.iter().map(|span| (span.partition, span)).collect();
    let mut recent = Recent::default();
    for span in newest.into_values() {
        let (_, rows) = dataset.read(span).await.map_err(ConsumeError::Dataset)?;
        for row in &rows {
            recent.is_new(row);
        }
    }
    Ok(recent)
}

/// A consumer with what it has read and not stored yet.
struct Reader<'a> {
    source: &'a Source,
    grammar: &'a Grammar,
    dataset: &'a Dataset,
    consumer: Arc<StreamConsumer>,
    limits: Limits,
    partitions: BTreeMap<i32, Partition>,
    recent: Recent,
    tally: Tally,
}

impl Reader<'_> {
    /// Reads to the end or the deadline; returns when the brokers were last heard.
    async fn read(&mut self, progress: &ProgressBar) -> Result<Instant, ConsumeError> {
        let consumer = self.consumer.clone();
        let mut heard = Instant::now();
        while self.behind() > 0 {
            let Ok(message) = tokio::time::timeout_at(self.limits.deadline, consumer.recv()).await else {
                break;
            };
            match message {
                Ok(message) => {
                    heard = Instant::now();
                    let partition = message.partition();
                    self.take(&message);
                    progress.inc(1);
                    if self
                        .partitions
                        .get(&partition)
                        .is_some_and(|p| p.held() >= self.limits.batch_records)
                    {
                        self.flush(partition).await?;
                    }
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    heard = Instant::now();
                    self.partitions
                        .entry(partition)
                        .and_modify(Partition::reached_end);
                }
                Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                    return Err(ConsumeError::Fatal {
                        topic: self.source.topic.clone(),
                        source: error,
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the brokers do not answer; trying again until the time limit");
                }
            }
            if Instant::now() >= self.limits.deadline {
                break;
            }
        }
        Ok(heard)
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let offset = message.offset();
        let Some(partition) = self.partitions.get_mut(&message.partition()) else {
            return;
        };
        if !partition.advance(offset) {
            return;
        }
        let line = message.payload().unwrap_or_default();
        let recorded_ms = message.timestamp().to_millis();
        let recorded = recorded_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let parsed = self.grammar.parse(line, recorded);
        self.tally.count(&parsed);
        match parsed {
            Ok(parsed) => {
                let record = Record {
                    offset,
                    recorded_ms,
                    event: parsed.event,
                    repaired: parsed.repaired,
                };
                if self.recent.is_new(&Row::of(&record)) {
                    partition.keep(record);
                } else {
                    self.tally.duplicates += 1;
                }
            }
            Err(class) => partition.reject(Rejected::new(offset, class, line)),
        }
    }

    /// Stores what a partition holds, then commits. In this order: what is committed is stored.
    async fn flush(&mut self, id: i32) -> Result<(), ConsumeError> {
        let Some(partition) = self.partitions.get_mut(&id) else {
            return Ok(());
        };
        let Some(batch) = partition.batch(&self.source.topic, id) else {
            return Ok(());
        };
        self.dataset
            .append(&batch.span, batch.records, batch.rejected)
            .await
            .map_err(ConsumeError::Dataset)?;
        partition.stored();
        let committed = self
            .offsets([id])
            .and_then(|list| self.consumer.commit(&list, CommitMode::Async));
        if let Err(error) = committed {
            tracing::warn!(%error, "cannot commit offsets; the data set knows them");
        }
        Ok(())
    }

    async fn flush_all(&mut self) -> Result<(), ConsumeError> {
        for id in self.partitions.keys().copied().collect::<Vec<_>>() {
            self.flush(id).await?;
        }
        Ok(())
    }

    /// Waits a little for the last commit: without it a lag monitor would alarm over nothing.
    async fn commit_finally(&self) {
        let commit = self.offsets(self.partitions.keys().copied()).map(|list| {
            let consumer = self.consumer.clone();
            tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync))
        });
        let Ok(commit) = commit else { return };
        match tokio::time::timeout(COMMIT_TIMEOUT, commit).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "cannot commit offsets; the data set knows them"),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("no answer to the last commit; the data set knows the offsets");
            }
        }
    }

    fn offsets(&self, ids: impl IntoIterator<Item = i32>) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for id in ids {
            if let Some(partition) = self.partitions.get(&id) {
                list.add_partition_offset(&self.source.topic, id, Offset::Offset(partition.stored_until()))?;
            }
        }
        Ok(list)
    }

    fn behind(&self) -> u64 {
        self.partitions.values().map(Partition::behind).sum()
    }
}
