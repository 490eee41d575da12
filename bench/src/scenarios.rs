//! The canaries that are judged, by name.

use crate::traffic::{HEALTHY, PURE_ERRORS, Scenario};

/// The scenario in which serin is asked to judge the distribution too.
pub(crate) const TAIL: &str = "tail only: 5 % of requests + 1 s (serin: distribution judged)";

/// A healthy service of which everybody waits as long as it takes.
const PATIENT: Scenario = Scenario { cap: 30.0, ..HEALTHY };

/// Canaries that should not be withdrawn.
pub(crate) fn healthy() -> [(&'static str, Scenario); 4] {
    let bursting = |canary, stable| Scenario {
        bursts: Some((canary, stable)),
        ..PURE_ERRORS
    };
    [
        ("as described above", HEALTHY),
        (
            "errors 1 %, the canary's in bursts (gamma, shape 1; stable 9)",
            bursting(1.0, 9.0),
        ),
        ("errors 1 %, both arms in bursts (shape 1)", bursting(1.0, 1.0)),
        (
            "errors 1 %, both arms in wild bursts (shape 0.3)",
            bursting(0.3, 0.3),
        ),
    ]
}

/// Canaries that should be withdrawn.
pub(crate) fn bad() -> [(&'static str, Scenario); 14] {
    let times = |errors_times| Scenario {
        errors_times,
        ..PURE_ERRORS
    };
    let slower = |slower| Scenario { slower, ..HEALTHY };
    [
        ("errors 1 → 2 %", times(2.0)),
        ("errors 1 → 5 %", times(5.0)),
        (
            "errors 1 → 5 %, steady traffic",
            Scenario {
                day: 0.0,
                ..times(5.0)
            },
        ),
        (
            "errors 1 → 5 %, steady traffic, a look every 15 s",
            Scenario {
                day: 0.0,
                look: 15.0,
                ..times(5.0)
            },
        ),
        (
            "errors 1 → 3 %, both arms in bursts (shape 1)",
            Scenario {
                bursts: Some((1.0, 1.0)),
                ..times(3.0)
            },
        ),
        (
            "errors × 5, time limit 0.8 s",
            Scenario {
                errors_times: 5.0,
                ..HEALTHY
            },
        ),
        (
            "every request fails",
            Scenario {
                errors_plus: 1.0,
                ..HEALTHY
            },
        ),
        ("mean + 10 %", slower(1.1)),
        ("mean × 1.2", slower(1.2)),
        ("mean × 1.5", slower(1.5)),
        (
            "mean × 1.5, a look every 15 s",
            Scenario {
                look: 15.0,
                ..slower(1.5)
            },
        ),
        ("mean × 2", slower(2.0)),
        (
            "mean 400 → 560 ms, past the limit",
            Scenario {
                mean: 0.4,
                slower: 1.4,
                ..PATIENT
            },
        ),
        (
            TAIL,
            Scenario {
                tail: (0.05, 1.0),
                ..PURE_ERRORS
            },
        ),
    ]
}

/// Canaries that should be promoted, and some at the edge of a margin that should not.
pub(crate) fn promoted() -> [(&'static str, Scenario); 8] {
    let steady = |scenario| Scenario { day: 0.0, ..scenario };
    [
        ("healthy, time limit 0.8 s", HEALTHY),
        ("healthy, time limit 0.8 s, steady traffic", steady(HEALTHY)),
        ("healthy, time limit 30 s", PATIENT),
        ("healthy, time limit 30 s, steady traffic", steady(PATIENT)),
        (
            "errors at the edge: + 1 percentage point",
            Scenario {
                errors_plus: 0.01,
                ..HEALTHY
            },
        ),
        (
            "errors at the edge: 1 % + 1 percentage point, both arms in bursts (shape 1)",
            Scenario {
                errors_plus: 0.01,
                bursts: Some((1.0, 1.0)),
                ..PURE_ERRORS
            },
        ),
        (
            "healthy, errors 1 %, both arms in bursts (shape 1)",
            Scenario {
                bursts: Some((1.0, 1.0)),
                ..PURE_ERRORS
            },
        ),
        (
            "mean at the edge: × 1.1",
            Scenario {
                slower: 1.1,
                ..PATIENT
            },
        ),
    ]
}
