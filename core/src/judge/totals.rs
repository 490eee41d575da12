//! What both arms served since the start of a run, gaps included: for the classic rule and the report.

use serde::{Deserialize, Serialize};

use super::arm::{Arm, Trials};
use super::exceedance::slower;
use super::verdict::Kind;

/// What one arm served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ArmTotals {
    /// Finished requests, bad ones among them.
    pub requests: Trials,
    /// Successful requests.
    pub successes: u64,
    /// Sum of their latencies, in seconds.
    pub seconds: f64,
    /// Requests slower than the objective, failures included; 0 where no objective is judged.
    pub slow: u64,
    /// Matured outcomes of the model's quality.
    pub quality: Trials,
}

/// What both arms served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arms {
    /// The canary.
    pub canary: ArmTotals,
    /// Stable.
    pub stable: ArmTotals,
}

/// Blocks by what they could be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// The canary served requests.
    pub evaluated: u64,
    /// It served none.
    pub idle: u64,
    /// Data was missing.
    pub gap: u64,
    /// It was warming up.
    pub warmup: u64,
}

impl Trials {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            bad: self.bad.saturating_add(other.bad),
            all: self.all.saturating_add(other.all),
        }
    }

    /// Share of bad outcomes; none of nothing.
    pub fn share(self) -> Option<f64> {
        (self.all > 0).then(|| self.bad as f64 / self.all as f64)
    }
}

impl ArmTotals {
    /// Adds a block; `first_slow` is the first bucket above the objective.
    pub(super) fn add(&mut self, arm: &Arm, first_slow: Option<usize>) {
        self.requests = self.requests.plus(arm.requests);
        self.successes = self.successes.saturating_add(arm.latencies.count());
        self.seconds += arm.latencies.seconds();
        if let Some(first) = first_slow {
            let slow = slower((&arm.latencies, arm.requests.bad), first).bad;
            self.slow = self.slow.saturating_add(slow);
        }
        self.quality = self.quality.plus(arm.quality.unwrap_or_default());
    }

    /// Mean latency of the successful requests, in seconds; none without a success.
    pub fn mean_seconds(&self) -> Option<f64> {
        (self.successes > 0).then(|| self.seconds / self.successes as f64)
    }

    /// Share of requests slower than the objective; none without a request.
    pub fn slow_share(&self) -> Option<f64> {
        Trials::new(self.slow, self.requests.all).share()
    }
}

impl Blocks {
    pub(super) fn add(&mut self, kind: Kind) {
        let counter = match kind {
            Kind::Warmup => &mut self.warmup,
            Kind::Gap => &mut self.gap,
            Kind::Evaluated => &mut self.evaluated,
            Kind::Idle => &mut self.idle,
        };
        *counter = counter.saturating_add(1);
    }

    /// Share of the counting blocks that have data; 1 when none counts yet.
    pub fn coverage(&self) -> f64 {
        let counting = self.evaluated.saturating_add(self.idle).saturating_add(self.gap);
        if counting == 0 {
            1.0
        } else {
            1.0 - self.gap as f64 / counting as f64
        }
    }
}
