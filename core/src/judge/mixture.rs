//! The half-normal mixture: evidence for a drift of a sum with known variance.
//!
//! Source: Howard and others, Annals of Statistics 2021 (arXiv 1810.08240).

/// The mixture parameter that is nearly best at variance `best_at`, for one side at level `alpha`.
pub fn half_normal_tuning(best_at: f64, alpha: f64) -> f64 {
    let two_sided = -2.0 * (2.0 * alpha).ln();
    best_at / (two_sided + two_sided.ln_1p())
}

/// Log evidence of a sum `sum` with variance `variance` under the mixture with parameter `rho`.
pub fn half_normal_mixture(sum: f64, variance: f64, rho: f64) -> f64 {
    let spread = variance + rho;
    0.5 * (4.0 * rho / spread).ln() + sum * sum / (2.0 * spread) + log_normal_cdf(sum / spread.sqrt())
}

/// `ln Φ(z)`.
fn log_normal_cdf(z: f64) -> f64 {
    (libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / 2.0).ln()
}
