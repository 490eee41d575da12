//! What one block holds: the counts of both arms, or the reason why they are missing.

use serde::{Deserialize, Serialize};

use super::layout::Histogram;

/// Outcomes of which some are bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trials {
    /// Bad outcomes.
    pub bad: u64,
    /// All outcomes.
    pub all: u64,
}

impl Trials {
    /// `bad` of `all`.
    pub fn new(bad: u64, all: u64) -> Self {
        Self { bad, all }
    }

    /// Bad and good outcomes.
    pub(super) fn split(self) -> (f64, f64) {
        (self.bad as f64, self.all.saturating_sub(self.bad) as f64)
    }
}

/// A count that was added up as a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, not negative, and far below 2^53: what adds them up has checked it"
)]
pub(crate) fn whole(count: f64) -> u64 {
    count as u64
}

/// What one arm served in one block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Finished requests; bad are those with a status of 5xx, a timeout or a failed connection.
    pub requests: Trials,
    /// Latencies of the successful requests.
    pub latencies: Histogram,
    /// Matured outcomes of the model's quality, where it is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Trials>,
}

/// Increments that span a gap of the metrics: they count for the totals, never as evidence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Late {
    /// Of the canary.
    pub canary: Option<Arm>,
    /// Of stable.
    pub stable: Option<Arm>,
}

/// One block, as it was observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Block {
    /// The canary is still warming up: only stable counts, and only for what is expected of it.
    Warmup {
        /// Stable, where it was seen.
        stable: Option<Arm>,
    },
    /// The metrics of an arm are missing.
    Gap,
    /// The metrics of both arms are there; either may have served nothing.
    Seen {
        /// The canary.
        canary: Arm,
        /// Stable.
        stable: Arm,
    },
}
