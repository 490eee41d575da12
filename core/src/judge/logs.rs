//! Sums of exponentials, without leaving the logarithms.

/// `ln Σ exp(log)`; negative infinity of nothing.
fn log_sum_exp(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if top.is_infinite() {
        return top;
    }
    top + logs.map(|log| (log - top).exp()).sum::<f64>().ln()
}

/// Logarithm of the average of `exp(log)`: the evidence of a mixture with equal weights.
pub fn log_mean_exp(logs: &[f64]) -> f64 {
    log_sum_exp(logs.iter().copied()) - (logs.len() as f64).ln()
}

/// Merges evidence by a weighted average: pairs of log evidence and weight, the weights fixed beforehand, sum 1.
///
/// An average of e-processes is an e-process whatever the dependence between them; a product is not.
pub fn merge(parts: &[(f64, f64)]) -> f64 {
    log_sum_exp(parts.iter().map(|(log_e, weight)| log_e + weight.ln()))
}

/// `count · ln(x)`, 0 when nothing is counted, whatever `x`.
pub(super) fn times_ln(count: f64, x: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * x.ln() }
}

/// A geometric grid of `points` values from `low` to `high`.
pub(super) fn geometric(low: f64, high: f64, points: u32) -> Vec<f64> {
    let last = f64::from(points.saturating_sub(1).max(1));
    (0..points)
        .map(|point| low * (high / low).powf(f64::from(point) / last))
        .collect()
}

/// The bets of the mean tests, as shares of the largest bet allowed: 16 from 0.4 % to 95 %.
pub(super) fn bet_shares() -> Vec<f64> {
    geometric(0.004, 0.95, 16)
}

/// Half as many: each about 2.2 times the one before, so that no bet is more than 1.5 times off.
pub(super) fn lean_bet_shares() -> Vec<f64> {
    geometric(0.004, 0.95, 8)
}

/// The factor by which a past block fades in one block.
pub(super) fn decay(halflife_blocks: f64) -> f64 {
    (-1.0 / halflife_blocks).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn huge_logs_do_not_overflow_and_nothing_weighs_nothing() {
        assert_eq!(log_mean_exp(&[5000.0, 5000.0]), 5000.0);
        assert_eq!(merge(&[(3.0, 1.0), (900.0, 0.0)]), 3.0);
    }

    proptest! {
        #[test]
        fn a_merge_lies_between_its_parts(a in -50f64..50.0, b in -50f64..50.0, weight in 0.01f64..0.99) {
            let merged = merge(&[(a, weight), (b, 1.0 - weight)]);
            prop_assert!(merged >= a.min(b) - 1e-9 && merged <= a.max(b) + 1e-9);
        }
    }
}
