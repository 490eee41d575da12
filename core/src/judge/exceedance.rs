//! The whole distribution of latencies: shares slower than each of several bucket edges.

use serde::{Deserialize, Serialize};

use super::Claim;
use super::arm::Trials;
use super::layout::{Histogram, Layout};
use super::logs::log_mean_exp;
use super::two_arm::{Design, Null, TwoArm, TwoArmState};

/// Evidence that at some edge more of the canary's requests are slower than of stable's, by more than a tolerance.
#[derive(Clone, Debug)]
pub struct Exceedance {
    /// First slow bucket of each edge, and its test.
    tests: Vec<(usize, TwoArm)>,
}

/// What an [`Exceedance`] test remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State(Vec<TwoArmState>);

fn design(tolerance: f64, claim: Claim, clip: f64) -> Design {
    Design::new(Null::Difference(tolerance), claim)
        .betting_on(vec![0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32])
        .expecting(0.5, 2.0)
        .clipped(clip)
}

impl Exceedance {
    /// A test at each of `edges`, which are edges of `layout`; others are left out.
    pub fn new(layout: &Layout, edges: &[f64], tolerance: f64, claim: Claim, clip: f64) -> Self {
        let tests = edges
            .iter()
            .filter_map(|edge| layout.bucket_above(*edge))
            .map(|first| (first, TwoArm::new(design(tolerance, claim, clip))))
            .collect();
        Self { tests }
    }

    /// Log evidence of each edge.
    pub fn per_edge(&self) -> Vec<f64> {
        self.tests.iter().map(|(_, test)| test.log_e()).collect()
    }

    /// Log evidence so far: the average over the edges.
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&self.per_edge())
    }

    /// Takes one block: the latencies of the successes and the failures, which count as slower than every edge.
    pub fn update(&mut self, canary: (&Histogram, u64), stable: (&Histogram, u64)) -> f64 {
        for (first, test) in &mut self.tests {
            test.update(slower(canary, *first), slower(stable, *first));
        }
        self.log_e()
    }

    /// Takes a block of stable alone: it shapes the alternatives only.
    pub fn expect(&mut self, stable: (&Histogram, u64)) {
        for (first, test) in &mut self.tests {
            test.expect(slower(stable, *first));
        }
    }

    pub(super) fn state(&self) -> State {
        State(self.tests.iter().map(|(_, test)| test.state().clone()).collect())
    }

    pub(super) fn resume(self, state: State, tolerance: f64, claim: Claim, clip: f64) -> Option<Self> {
        if state.0.len() != self.tests.len() {
            return None;
        }
        let resumed = self.tests.into_iter().zip(state.0).map(|((first, _), state)| {
            TwoArm::resume(design(tolerance, claim, clip), state).map(|test| (first, test))
        });
        resumed.collect::<Option<Vec<_>>>().map(|tests| Self { tests })
    }
}

/// Requests in bucket `first` and above, failures included, of all.
pub(super) fn slower((latencies, failures): (&Histogram, u64), first: usize) -> Trials {
    Trials {
        bad: latencies.count_from(first).saturating_add(failures),
        all: latencies.count().saturating_add(failures),
    }
}
