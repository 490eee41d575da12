//! After a promotion: an alarm for a fault that begins late.
//!
//! Source: e-detectors (Shin, Ramdas, Rinaldo). Per bet, M ← e · (M + 1); the average over the bets has an expected
//! time to a false alarm of at least 1/α blocks when the alarm is raised at M ≥ 1/α.

use super::logs::log_mean_exp;

/// Watches a version that has been promoted, on the factors of an absolute test.
#[derive(Clone, Debug)]
pub struct Watch {
    /// `ln(M + 1)` of each bet: finite from the beginning, where M is 0.
    logs: Vec<f64>,
}

impl Watch {
    /// A watch over a test with this many bets.
    pub fn new(bets: usize) -> Self {
        Self {
            logs: vec![0.0; bets],
        }
    }

    /// Takes the log factors of one block, one per bet, and answers `ln M`.
    pub fn update(&mut self, factors: &[f64]) -> f64 {
        let grown: Vec<f64> = self
            .logs
            .iter()
            .zip(factors)
            .map(|(log, factor)| log + factor)
            .collect();
        self.logs = grown.iter().map(|log| log_one_more(*log)).collect();
        log_mean_exp(&grown)
    }
}

/// `ln(exp(log) + 1)`.
fn log_one_more(log: f64) -> f64 {
    log.max(0.0) + (-log.abs()).exp().ln_1p()
}
