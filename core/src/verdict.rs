//! The classic rule: one judgement at the end of the soak, over everything the soak observed.

use crate::counters::Counts;
use crate::plan::{Outcome, Reason};

/// What a canary must show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Strict upper limit of the mean latency of successful requests, in seconds.
    pub mean_below_seconds: f64,
    /// The canary's share of failures must stay below stable's plus this, 0 to 1.
    pub failure_margin: f64,
    /// Requests the canary must have answered.
    pub min_requests: u64,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The rule is met.
    Promote(Outcome),
    /// The rule is broken.
    Abort(Outcome),
    /// Too few requests to say anything: neither a pass nor a fail.
    Wait {
        /// Requests still missing.
        missing: u64,
    },
}

/// Judges a soak by the counts of both arms over all of it.
///
/// The limits are strict: a mean of exactly the limit fails. Without a success there is no mean and no pass. The rule
/// carries no error probability: a canary at the edge of a limit passes or fails by chance.
pub fn whole_soak(canary: &Counts, stable: &Counts, rule: &Rule) -> Verdict {
    let missing = rule.min_requests.max(1).saturating_sub(canary.requests);
    if missing > 0 {
        return Verdict::Wait { missing };
    }
    let failed = canary.failure_share().unwrap_or(1.0);
    let allowed = stable.failure_share().unwrap_or(0.0) + rule.failure_margin;
    if failed >= allowed {
        return Verdict::Abort(Outcome::new(
            Reason::TooManyErrors,
            format!(
                "{:.2}% of {} requests failed, the limit is {:.2}%",
                failed * 100.0,
                canary.requests,
                allowed * 100.0
            ),
        ));
    }
    let limit_ms = rule.mean_below_seconds * 1000.0;
    match canary.mean_seconds() {
        Some(mean) if mean < rule.mean_below_seconds => Verdict::Promote(Outcome::new(
            Reason::Promoted,
            format!(
                "mean latency {:.1} ms is below {limit_ms} ms and {:.2}% of {} requests failed",
                mean * 1000.0,
                failed * 100.0,
                canary.requests
            ),
        )),
        Some(mean) => Verdict::Abort(Outcome::new(
            Reason::TooSlow,
            format!(
                "mean latency {:.1} ms over {} successful requests is not below {limit_ms} ms",
                mean * 1000.0,
                canary.successes
            ),
        )),
        None => Verdict::Abort(Outcome::new(
            Reason::TooManyErrors,
            format!("none of {} requests succeeded", canary.requests),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULE: Rule = Rule {
        mean_below_seconds: 0.5,
        failure_margin: 0.01,
        min_requests: 300,
    };

    fn arm(requests: u64, failures: u64, mean_ms: f64) -> Counts {
        let successes = requests - failures;
        Counts {
            requests,
            failures,
            successes,
            latency_seconds_sum: successes as f64 * mean_ms / 1000.0,
        }
    }

    fn reason(canary: Counts, stable: Counts) -> Option<Reason> {
        match whole_soak(&canary, &stable, &RULE) {
            Verdict::Promote(outcome) | Verdict::Abort(outcome) => Some(outcome.reason),
            Verdict::Wait { .. } => None,
        }
    }

    #[test]
    fn the_edges_of_the_rule_are_strict() {
        let stable = arm(4000, 0, 20.0);
        for (canary, expected) in [
            (arm(1000, 0, 499.9), Some(Reason::Promoted)),
            (arm(1000, 0, 500.0), Some(Reason::TooSlow)),
            (arm(1000, 0, 500.1), Some(Reason::TooSlow)),
            (arm(1000, 9, 20.0), Some(Reason::Promoted)),
            (arm(1000, 10, 20.0), Some(Reason::TooManyErrors)),
            (arm(299, 0, 20.0), None),
            (arm(300, 300, 0.0), Some(Reason::TooManyErrors)),
            (arm(0, 0, 0.0), None),
        ] {
            assert_eq!(reason(canary, stable), expected, "{canary:?}");
        }
    }

    #[test]
    fn errors_are_compared_with_the_stable_version_beside_it() {
        assert_eq!(
            reason(arm(1000, 25, 20.0), arm(4000, 80, 20.0)),
            Some(Reason::Promoted)
        );
    }

    proptest! {
        #[test]
        fn a_canary_without_traffic_is_never_promoted(stable in 0u64..10_000, failures in 0u64..100) {
            prop_assert_eq!(reason(Counts::default(), arm(stable + failures, failures, 10.0)), None);
        }

        #[test]
        fn more_failures_never_help(requests in 300u64..5000, failures in 0u64..300, mean_ms in 0f64..1000.0) {
            let (fewer, more) = (arm(requests, failures.saturating_sub(1), mean_ms), arm(requests, failures, mean_ms));
            let stable = arm(5000, 5, 10.0);
            if reason(more, stable) == Some(Reason::Promoted) {
                prop_assert_eq!(reason(fewer, stable), Some(Reason::Promoted));
            }
        }
    }
}
