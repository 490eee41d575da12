//! Writing lines to the topic, and knowing which of them arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::error::{Error, Result};

/// Settings of everything that writes to Kafka.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Bootstrap brokers, host:port separated by commas
    #[arg(long, env = "SERIN_KAFKA_BROKERS", default_value = "127.0.0.1:9092")]
    pub brokers: String,
    /// Topic of the stream
    #[arg(long, env = "SERIN_KAFKA_TOPIC", default_value = "movielog1")]
    pub topic: String,
}

/// Counts acknowledgements; called by the client library's own thread.
#[derive(Debug, Default)]
struct Acknowledgements {
    delivered: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug, Clone, Default)]
struct Context(Arc<Acknowledgements>);

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() {
            &self.0.delivered
        } else {
            &self.0.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The stream of one topic, for writing. Records have no key, for nobody may rely on keys.
pub struct Stream {
    settings: Settings,
    producer: ThreadedProducer<Context>,
    acknowledgements: Arc<Acknowledgements>,
    written: AtomicU64,
}

/// The queue towards the broker is full; the line was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Stream {
    /// Makes the client. No broker is asked yet.
    ///
    /// # Errors
    /// `Producer`, when the client library refuses the settings.
    pub fn new(settings: &Settings) -> Result<Self> {
        let context = Context::default();
        let acknowledgements = context.0.clone();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &settings.brokers)
            .set("client.id", "serin-simulator")
            // Retries inside the library neither lose nor repeat a line; the only repeats are those we inject.
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("queue.buffering.max.messages", "200000")
            .create_with_context(context)
            .map_err(|source| Error::Producer {
                brokers: settings.brokers.clone(),
                source: Box::new(source),
            })?;
        Ok(Self {
            settings: settings.clone(),
            producer,
            acknowledgements,
            written: AtomicU64::new(0),
        })
    }

    /// Waits until a broker knows the topic. Blocks; the topic is created when the broker allows that.
    ///
    /// # Errors
    /// `Broker`, when that takes longer than `patience`.
    pub fn wait(&self, patience: Duration) -> Result<()> {
        const LOOK: Duration = Duration::from_secs(2);
        let start = Instant::now();
        loop {
            let source = match self
                .producer
                .client()
                .fetch_metadata(Some(&self.settings.topic), LOOK)
            {
                Ok(metadata) => match metadata
                    .topics()
                    .first()
                    .map(|topic| (topic.error(), topic.partitions().len()))
                {
                    Some((None, 1..)) => return Ok(()),
                    Some((Some(code), _)) => KafkaError::MetadataFetch(RDKafkaErrorCode::from(code)),
                    Some((None, 0)) | None => {
                        KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)
                    }
                },
                Err(error) => error,
            };
            if start.elapsed() >= patience {
                let Settings { brokers, topic } = self.settings.clone();
                return Err(Error::Broker {
                    brokers,
                    topic,
                    seconds: patience.as_secs(),
                    source: Box::new(source),
                });
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Hands a line to the client library, with its event time as the record's.
    ///
    /// # Errors
    /// `Full`, when the library takes no more for now.
    pub fn write(&self, text: &str, timestamp_ms: i64) -> Result<(), Full> {
        let record = BaseRecord::<(), str>::to(&self.settings.topic)
            .payload(text)
            .timestamp(timestamp_ms);
        self.producer.send(record).map_err(|_| Full)?;
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The same, waiting while the queue is full. Blocks.
    ///
    /// # Errors
    /// `Undelivered`, when nothing moves for `patience`.
    pub fn write_waiting(&self, text: &str, timestamp_ms: i64, patience: Duration) -> Result<()> {
        let start = Instant::now();
        while self.write(text, timestamp_ms) == Err(Full) {
            if start.elapsed() >= patience {
                return Err(self.undelivered());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until every line is acknowledged and returns their number. Blocks.
    ///
    /// # Errors
    /// `Undelivered`, when some are not within `patience`.
    pub fn finish(&self, patience: Duration) -> Result<u64> {
        // The counters below say what flushing achieved.
        let _ = self.producer.flush(patience);
        let delivered = self.delivered();
        if delivered == self.written.load(Ordering::Relaxed) {
            Ok(delivered)
        } else {
            Err(self.undelivered())
        }
    }

    /// Lines acknowledged so far.
    pub fn delivered(&self) -> u64 {
        self.acknowledgements.delivered.load(Ordering::Relaxed)
    }

    /// Lines given up so far.
    pub fn failed(&self) -> u64 {
        self.acknowledgements.failed.load(Ordering::Relaxed)
    }

    fn undelivered(&self) -> Error {
        let written = self.written.load(Ordering::Relaxed);
        let lost = written.saturating_sub(self.delivered());
        Error::Undelivered {
            brokers: self.settings.brokers.clone(),
            written,
            lost,
        }
    }
}
