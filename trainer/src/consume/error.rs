//! What can go wrong with a stream.

use rdkafka::error::KafkaError;

use crate::dataset::DatasetError;

/// Why the stream could not be read. What was stored before stays stored and is not read again.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The author of the command line can fix this.
    #[error("cannot set up a consumer for brokers \"{brokers}\": write host:port, separated by commas")]
    Settings {
        /// What was given.
        brokers: String,
        /// What the client library says.
        source: KafkaError,
    },
    /// Nobody answered within the time limit.
    #[error(
        "no broker of \"{brokers}\" answered within the time limit: check --brokers, and that Kafka runs"
    )]
    Unreachable {
        /// The brokers that were asked.
        brokers: String,
        /// The last answer.
        source: KafkaError,
    },
    /// The brokers answer, and do not know the topic.
    #[error("topic {topic} does not exist on \"{brokers}\": create it, or check --topic")]
    NoTopic {
        /// The brokers that were asked.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// The brokers stopped answering in the middle.
    #[error(
        "the brokers \"{brokers}\" fell silent {silent_s} s before the time limit, {behind} records before the end \
         of {topic}; what had arrived is stored, and the next run goes on from there"
    )]
    Lost {
        /// The brokers.
        brokers: String,
        /// The topic.
        topic: String,
        /// Seconds without a word.
        silent_s: u64,
        /// Records not read.
        behind: u64,
    },
    /// The topic was deleted and made anew, or its newest records were lost.
    #[error(
        "partition {partition} of {topic} ends at offset {high}, but the data set goes to {stored}: the topic was \
         made anew; use another --data, or another topic name"
    )]
    Rewound {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where the topic ends.
        high: i64,
        /// Where the data set ends.
        stored: i64,
    },
    /// The client library gave up.
    #[error("the consumer of {topic} cannot go on")]
    Fatal {
        /// The topic.
        topic: String,
        /// What the client library says.
        source: KafkaError,
    },
    /// The data set could not be read or written; nothing was committed.
    #[error("what was read from the stream cannot be kept")]
    Dataset(#[source] DatasetError),
}
