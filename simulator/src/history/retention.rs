//! A topic that keeps the past.
//!
//! Records carry the time of their event. A broker rolls a segment a week and deletes those older than its retention,
//! a week by default: of a backlog of seven months it keeps the last few per cent, a few minutes after they were
//! written and without a word. So the topic is told to keep everything before anything is written.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::sleep;

use crate::error::{Error, Result};
use crate::kafka::Settings;

/// What becomes of lines whose event time is long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Retention {
    /// The topic is created with, or set to, `retention.ms=-1`.
    KeepAll,
    /// The topic stays as it is; the broker may delete what was just written.
    AsIs,
}

/// Longest wait for one answer of a broker.
const ANSWER: Duration = Duration::from_secs(5);

/// Makes the topic, or changes it, so that it keeps everything. Waits for a broker as long as `patience`.
///
/// # Errors
/// `Broker`, when none answers; `Retention`, when it refuses.
pub async fn keep_all(settings: &Settings, patience: Duration) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .create()
        .map_err(|source| Error::Producer {
            brokers: settings.brokers.clone(),
            source: Box::new(source),
        })?;
    let start = Instant::now();
    loop {
        let source = match create(&admin, &settings.topic).await {
            Ok(()) => return Ok(()),
            Err(KafkaError::AdminOp(RDKafkaErrorCode::TopicAlreadyExists)) => {
                return alter(&admin, &settings.topic)
                    .await
                    .map_err(|source| refused(settings, source));
            }
            // The broker answered and does not want to.
            Err(source @ KafkaError::AdminOp(_)) => return Err(refused(settings, source)),
            Err(source) => source,
        };
        if start.elapsed() >= patience {
            let Settings { brokers, topic } = settings.clone();
            return Err(Error::Broker {
                brokers,
                topic,
                seconds: patience.as_secs(),
                source: Box::new(source),
            });
        }
        sleep(Duration::from_millis(500)).await;
    }
}

fn refused(settings: &Settings, source: KafkaError) -> Error {
    Error::Retention {
        topic: settings.topic.clone(),
        source: Box::new(source),
    }
}

async fn create(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(), KafkaError> {
    /// Partitions and replicas as the broker has them by default.
    const DEFAULT: i32 = -1;
    let topic = NewTopic::new(topic, DEFAULT, TopicReplication::Fixed(DEFAULT)).set("retention.ms", "-1");
    let options = AdminOptions::new()
        .request_timeout(Some(ANSWER))
        .operation_timeout(Some(ANSWER));
    let results = admin.create_topics([&topic], &options).await?;
    results
        .into_iter()
        .try_for_each(|result| result.map(drop).map_err(|(_, code)| KafkaError::AdminOp(code)))
}

async fn alter(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(), KafkaError> {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("retention.ms", "-1");
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let results = admin.alter_configs([&change], &options).await?;
    results
        .into_iter()
        .try_for_each(|result| result.map(drop).map_err(|(_, code)| KafkaError::AdminOp(code)))
}
