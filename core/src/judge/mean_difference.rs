//! The difference of two block means: for scores with a known range, where only sums and counts are known.

use super::Claim;
use super::logs::{bet_shares, log_mean_exp};

/// Evidence about the mean difference canary − stable of a score in [0, 1], larger is worse.
///
/// Slow for wide ranges: latencies are better judged by [`super::MeanRatio`].
#[derive(Clone, Debug)]
pub struct MeanDifference {
    difference: f64,
    bets: Vec<f64>,
    logs: Vec<f64>,
}

impl MeanDifference {
    /// A bet against `difference`, in (−1, 1).
    pub fn new(difference: f64, claim: Claim) -> Self {
        let sign = claim.sign();
        let bets: Vec<f64> = bet_shares()
            .iter()
            .map(|share| sign * share / (1.0 + sign * difference))
            .collect();
        Self {
            difference,
            logs: vec![0.0; bets.len()],
            bets,
        }
    }

    /// Log evidence so far.
    pub fn log_e(&self) -> f64 {
        log_mean_exp(&self.logs)
    }

    /// Takes the difference of one block's means, none when an arm had no request, and answers the log evidence.
    pub fn update(&mut self, observed: Option<f64>) -> f64 {
        if let Some(observed) = observed {
            for (log, bet) in self.logs.iter_mut().zip(&self.bets) {
                *log += (bet * (observed - self.difference)).ln_1p();
            }
        }
        self.log_e()
    }
}
