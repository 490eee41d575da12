//! Many answers in a few numbers.

use serde::Serialize;
use serde_json::{Value, json};

use crate::judge::Answer;
use crate::rivals::Decision;

/// A count that came as a floating-point number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, not negative and far below 2^53"
)]
pub(crate) fn whole(count: f64) -> u64 {
    count as u64
}

/// Share with its 95 % interval (Wilson).
fn share(hits: usize, runs: usize) -> (f64, f64, f64) {
    let (k, n, z) = (hits as f64, runs as f64, 1.96);
    let centre = (k + z * z / 2.0) / (n + z * z);
    let half = z / (n + z * z) * (k * (n - k) / n + z * z / 4.0).sqrt();
    (k / n, (centre - half).max(0.0), centre + half)
}

/// Mean; not a number where there is nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A slope with its 95 % interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Slope {
    pub(crate) rise: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Slope {
    /// Quantiles 0.975 of Student's t, for 1 degree of freedom and more.
    const T: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];

    /// That of equally distant values, by least squares; none of fewer than three values or more than twelve.
    pub(crate) fn of(values: &[f64], distance: f64) -> Option<Self> {
        let freedom = values.len().checked_sub(2)?;
        let t = *Self::T.get(freedom.checked_sub(1)?)?;
        let at = |index: usize| index as f64 * distance;
        let centre = at(values.len() - 1) / 2.0;
        let middle = mean(values);
        let spread: f64 = (0..values.len()).map(|index| (at(index) - centre).powi(2)).sum();
        let deviations = values.iter().enumerate();
        let rise = deviations
            .map(|(index, value)| (at(index) - centre) * (value - middle))
            .sum::<f64>()
            / spread;
        let left: f64 = values
            .iter()
            .enumerate()
            .map(|(index, value)| (value - middle - rise * (at(index) - centre)).powi(2))
            .sum();
        let half = t * (left / freedom as f64 / spread).sqrt();
        Some(Self {
            rise,
            low: rise - half,
            high: rise + half,
        })
    }
}

/// The value below which the share `q` of the sorted values lies.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the length"
)]
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((q * last as f64).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The answers with one of these decisions: how many, and medians and 95 % quantiles of minutes and requests.
pub(crate) fn summary(answers: &[Answer], decisions: &[Decision]) -> Value {
    let hits: Vec<(f64, u64)> = answers
        .iter()
        .flatten()
        .filter(|(decision, ..)| decisions.contains(decision))
        .map(|(_, minute, requests)| (*minute, *requests))
        .collect();
    let mut minutes: Vec<f64> = hits.iter().map(|hit| hit.0).collect();
    let mut requests: Vec<f64> = hits.iter().map(|hit| hit.1 as f64).collect();
    minutes.sort_by(f64::total_cmp);
    requests.sort_by(f64::total_cmp);
    let (at, low, high) = share(hits.len(), answers.len());
    let of = |sorted: &[f64]| json!({"median": quantile(sorted, 0.5), "p95": quantile(sorted, 0.95)});
    json!({
        "runs": answers.len(), "count": hits.len(), "share": at, "interval": [low, high],
        "minutes": of(&minutes), "requests": of(&requests),
    })
}

/// A share with its interval.
pub(crate) fn percent(summary: &Value) -> String {
    let of = |path: &str| summary.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN) * 100.0;
    format!(
        "{:.1} % ({:.1}–{:.1})",
        of("/share"),
        of("/interval/0"),
        of("/interval/1")
    )
}

/// Times and requests until the decision, and how often there was one.
pub(crate) fn when(summary: &Value) -> String {
    if summary["count"] == 0 {
        return "never".into();
    }
    let of = |path: &str| summary.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let share = summary["share"].as_f64().unwrap_or(0.0) * 100.0;
    let times = format!(
        "{} / {} min, {:.0} / {:.0} req",
        (of("/minutes/median") * 100.0).round() / 100.0,
        (of("/minutes/p95") * 100.0).round() / 100.0,
        of("/requests/median"),
        of("/requests/p95")
    );
    if share > 99.9 {
        times
    } else {
        format!("{share:.0} %: {times}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_line_and_its_interval_says_how_sure_that_is() {
        let line: Vec<f64> = (0..12).map(|step| 3.0 + 0.5 * f64::from(step)).collect();
        let found = Slope::of(&line, 0.25).unwrap();
        assert!(
            (found.rise - 2.0).abs() < 1e-9 && found.high - found.low < 1e-6,
            "{found:?}"
        );

        // By hand: spread 10, slope 2/10, and 1.2 - 0.4 left over on 3 degrees of freedom.
        let found = Slope::of(&[1.0, 2.0, 1.0, 2.0, 2.0], 1.0).unwrap();
        let half = 3.182 * (0.8_f64 / 3.0 / 10.0).sqrt();
        assert!((found.rise - 0.2).abs() < 1e-9, "{found:?}");
        assert!((found.high - found.rise - half).abs() < 1e-9, "{found:?}");

        assert!(
            Slope::of(&[1.0, 2.0], 1.0).is_none(),
            "two values leave nothing to be unsure by"
        );
    }
}
