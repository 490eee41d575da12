//! Asking the brokers for the partitions of a topic and their ends, patiently.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use tokio::time::Instant;

use crate::consume::{ConsumeError, Source};

/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause between two tries; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// First and one-past-last offset by partition. Asks again, ever more slowly, until the deadline.
///
/// # Errors
/// [`ConsumeError::Unreachable`] or [`ConsumeError::NoTopic`] at the deadline: the last answer decides.
pub(crate) async fn watermarks(
    consumer: &Arc<StreamConsumer>,
    source: &Source,
    deadline: Instant,
) -> Result<BTreeMap<i32, (i64, i64)>, ConsumeError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let (asked, topic) = (consumer.clone(), source.topic.clone());
        let answer = tokio::task::spawn_blocking(move || ask(&asked, &topic)).await;
        let brokers = || source.brokers.clone();
        let error = match answer {
            Ok(Ok(marks)) if !marks.is_empty() => return Ok(marks),
            Ok(Ok(_)) => ConsumeError::NoTopic {
                brokers: brokers(),
                topic: source.topic.clone(),
            },
            Ok(Err(source)) => ConsumeError::Unreachable {
                brokers: brokers(),
                source,
            },
            Err(_) => ConsumeError::Unreachable {
                brokers: brokers(),
                source: KafkaError::Canceled,
            },
        };
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        tracing::warn!(%error, retry_s = pause.as_secs_f64(), "trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One try; empty when the brokers do not know the topic.
fn ask(consumer: &StreamConsumer, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_TIMEOUT)?;
    let mut marks = BTreeMap::new();
    for partition in metadata
        .topics()
        .iter()
        .filter(|t| t.name() == topic)
        .flat_map(rdkafka::metadata::MetadataTopic::partitions)
    {
        let ends = consumer.fetch_watermarks(topic, partition.id(), ANSWER_TIMEOUT)?;
        marks.insert(partition.id(), ends);
    }
    Ok(marks)
}
