//! Whether the traffic was split as asked: the sample-ratio test.
//!
//! Source: Lindon and Malek, `NeurIPS` 2022 (arXiv 2011.03567): a mixture over the shares, valid at every look.

use super::logs::times_ln;

/// Weight of the prior around the asked shares, in requests.
const CONCENTRATION: f64 = 100.0;

/// Log evidence that requests do not fall on the arms in the asked shares. `arms`: count and share of each.
///
/// Weights of a gateway are not exact shares (retries, sticky clients, ramps): a warning, never a verdict.
pub fn split_evidence(arms: &[(u64, f64)]) -> f64 {
    let prior: Vec<f64> = arms.iter().map(|(_, share)| CONCENTRATION * share).collect();
    let posterior: Vec<f64> = arms
        .iter()
        .zip(&prior)
        .map(|((count, _), prior)| prior + *count as f64)
        .collect();
    let expected: f64 = arms
        .iter()
        .map(|(count, share)| times_ln(*count as f64, *share))
        .sum();
    log_beta(&posterior) - log_beta(&prior) - expected
}

/// Logarithm of the multivariate beta function.
fn log_beta(parameters: &[f64]) -> f64 {
    let each: f64 = parameters.iter().map(|parameter| libm::lgamma(*parameter)).sum();
    each - libm::lgamma(parameters.iter().sum())
}
