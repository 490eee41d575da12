//! A mean against a constant, from bucket counts and the sum.
//!
//! Source: betting on bounded means (Waudby-Smith and Ramdas, JRSS-B 86:1, 2024), with the wealth replaced by its
//! smallest value that the histogram allows.

use serde::{Deserialize, Serialize};

use super::Claim;
use super::layout::{Histogram, Layout};
use super::logs::{bet_shares, lean_bet_shares, log_mean_exp};
use super::worst::Worst;

/// Evidence about the mean latency of one arm against a limit.
///
/// Worse: null hypothesis "mean at most the limit", no upper bound on a latency is needed. Not worse: null hypothesis
/// "mean at least the limit"; the claim is about min(latency, cap), so the cap should be the enforced time limit.
/// The bets are fixed, never adaptive: evidence above 1 for "too slow" is impossible while the observed mean is not.
#[derive(Clone, Debug)]
pub struct MeanBet {
    limit: f64,
    claim: Claim,
    cap: f64,
    bets: Vec<f64>,
    state: State,
}

/// What a [`MeanBet`] remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    logs: Vec<f64>,
}

impl MeanBet {
    /// A bet against `limit`; latencies are at most `cap`, which is above the limit. All in seconds.
    pub fn new(limit: f64, claim: Claim, cap: f64) -> Self {
        Self::with(&bet_shares(), limit, claim, cap)
    }

    /// The same with half as many bets.
    pub(super) fn lean(limit: f64, claim: Claim, cap: f64) -> Self {
        Self::with(&lean_bet_shares(), limit, claim, cap)
    }

    fn with(shares: &[f64], limit: f64, claim: Claim, cap: f64) -> Self {
        let largest = match claim {
            Claim::Worse => 1.0 / limit,
            Claim::NotWorse => 1.0 / (cap - limit),
        };
        let bets: Vec<f64> = shares
            .iter()
            .map(|share| claim.sign() * largest * share)
            .collect();
        let state = State {
            logs: vec![0.0; bets.len()],
        };
        Self {
            limit,
            claim,
            cap,
            bets,
            state,
        }
    }

    /// Log evidence so far.
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&self.state.logs)
    }

    /// Log wealth of each bet.
    pub fn logs(&self) -> &[f64] {
        &self.state.logs
    }

    /// Takes one block and answers the log evidence.
    pub fn update(&mut self, layout: &Layout, latencies: &Histogram) -> f64 {
        let worst = self.arrange(layout, latencies);
        self.update_arranged(&worst)
    }

    /// The log factors that a block would bring to each bet.
    pub fn factors(&self, layout: &Layout, latencies: &Histogram) -> Vec<f64> {
        let worst = self.arrange(layout, latencies);
        self.bets
            .iter()
            .map(|bet| worst.log_wealth(*bet, self.limit))
            .collect()
    }

    fn arrange(&self, layout: &Layout, latencies: &Histogram) -> Worst {
        match self.claim {
            Claim::Worse => Worst::for_rising(layout, latencies),
            Claim::NotWorse => Worst::for_falling(layout, self.cap, latencies),
        }
    }

    /// As [`Self::update`], with the arrangement of the block that several tests share.
    pub(super) fn update_arranged(&mut self, worst: &Worst) -> f64 {
        for (log, bet) in self.state.logs.iter_mut().zip(&self.bets) {
            *log += worst.log_wealth(*bet, self.limit);
        }
        self.log_e()
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn resume(self, state: State) -> Option<Self> {
        (state.logs.len() == self.state.logs.len()).then_some(Self { state, ..self })
    }
}
