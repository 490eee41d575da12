//! Many answers in a few numbers.

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
