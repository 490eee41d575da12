//! Raw counters to counts: what the pods of an arm counted between two scrapes, and between two looks.
//!
//! Prometheus' `rate` and `increase` extrapolate to their window and return fractions of requests; a judgement
//! needs counts. So the operator reads raw samples and differences them here, per target and series, resets included.

mod blocks;
mod target;

use jiff::Timestamp;

pub use self::blocks::{Closed, Cut, Witness, closed, common_layout, earlier};
pub use self::target::{Scraped, Target, block_of};

/// What one series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Finished requests (`_count` of the histogram).
    Requests,
    /// Sum of their latencies, in seconds (`_sum`).
    LatencySum,
    /// Requests not slower than an edge (`_bucket`).
    Bucket(Edge),
    /// Outcomes that the servers count beside their requests.
    Outcomes,
    /// Bad ones among them.
    BadOutcomes,
    /// When the process started, in seconds since 1970 (`process_start_time_seconds`).
    Start,
    /// Requests to the pod that the gateway saw answered, by whomever, with anything but 5xx.
    GatewaySuccesses,
    /// Requests to the pod that the gateway saw fail: 5xx, time-outs, connections that were refused or cut.
    GatewayFailures,
    /// Whether the scrape succeeded (`up`). Its samples are the times at which absent series count as 0.
    Scrape,
}

/// The upper edge of a bucket, in seconds; the last one is infinite. Clients write `1` and `1.0`: equal as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge(u64);

impl Edge {
    /// An edge, if it is a positive number.
    pub fn new(seconds: f64) -> Option<Self> {
        // The bits of positive numbers are ordered as the numbers are.
        (seconds > 0.0).then(|| Self(seconds.to_bits()))
    }

    /// The edge in seconds.
    pub fn seconds(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// The raw samples of one series of one pod, oldest first, as scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Scrape target that exported it: the pod itself, or a gateway's pod and the endpoint it speaks of.
    pub pod: String,
    /// Everything else that tells it from the pod's other series, the edge of a bucket left out.
    pub labels: String,
    /// HTTP status that it counts.
    pub status: u16,
    /// What it counts.
    pub counter: Counter,
    /// Time and value of each scrape.
    pub samples: Vec<(Timestamp, f64)>,
}
