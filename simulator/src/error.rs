//! Everything that can stop a simulator process.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rdkafka::error::KafkaError;

/// Why a simulator process stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken or not ours.
    #[error("cannot listen on {address}: choose a free port or end the process that holds it")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A server that listened stopped by itself.
    #[error("the server on {address} stopped")]
    Serve {
        /// Where it listened.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot listen for signals")]
    Signal(#[source] io::Error),
    /// A target that cannot be asked.
    #[error("cannot ask {url}: {problem}; write for example http://127.0.0.1:8082")]
    Url {
        /// The target.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A data file cannot be read.
    #[error(
        "cannot read {path}: give the directory of ml-100k.inter, ml-100k.user and ml-100k.item, or leave --ml-100k out for a synthetic population"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A data file has a row of another shape.
    #[error("{path} line {line}: {problem}; fetch the file anew")]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line, the header being 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The client library refuses its settings.
    #[error("cannot make a Kafka producer for {brokers}: check --brokers, host:port separated by commas")]
    Producer {
        /// The bootstrap brokers.
        brokers: String,
        /// What the library said.
        source: Box<KafkaError>,
    },
    /// No broker answered in time.
    #[error(
        "no broker of {brokers} answered for topic {topic} within {seconds} s: check --brokers and that Kafka runs"
    )]
    Broker {
        /// The bootstrap brokers.
        brokers: String,
        /// The topic asked for.
        topic: String,
        /// How long we waited.
        seconds: u64,
        /// What the library said last.
        source: Box<KafkaError>,
    },
    /// The topic would delete what is written.
    #[error(
        "cannot make topic {topic} keep everything: set its retention.ms to -1, or pass --retention as-is"
    )]
    Retention {
        /// The topic.
        topic: String,
        /// What the broker said.
        source: Box<KafkaError>,
    },
    /// Some lines never reached the topic.
    #[error(
        "{lost} of {written} lines were not acknowledged by {brokers}: the topic holds the rest; empty it before writing again"
    )]
    Undelivered {
        /// The bootstrap brokers.
        brokers: String,
        /// Lines handed to the client library.
        written: u64,
        /// Lines that were never acknowledged.
        lost: u64,
    },
    /// A file or standard output cannot be written.
    #[error("cannot write {target}")]
    Write {
        /// The file, or standard output.
        target: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The result of a simulator process.
pub type Result<T, E = Error> = std::result::Result<T, E>;
