//! Whether a candidate may be published.

use std::fmt;

use serde::Serialize;

use crate::evaluate::Evaluation;

/// What a candidate must show on the `user-time` split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Its RMSE must be below this many stars.
    pub max_rmse: f64,
    /// With fewer test ratings there is no answer.
    pub min_test_ratings: u64,
}

/// The answer of a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judgement {
    /// Publish.
    Passed,
    /// Publish nothing; a person should look.
    Failed {
        /// What was measured, in stars.
        rmse: f64,
        /// What it had to be below, in stars.
        max_rmse: f64,
    },
    /// Neither pass nor fail: publish nothing and wait for more data.
    Inconclusive {
        /// What there was.
        test_ratings: u64,
        /// What there must be.
        min_test_ratings: u64,
    },
}

impl Gate {
    /// Judges an evaluation. An error that is no number fails.
    pub fn judge(&self, evaluation: &Evaluation) -> Judgement {
        let Self {
            max_rmse,
            min_test_ratings,
        } = *self;
        let Evaluation {
            rmse, test_ratings, ..
        } = *evaluation;
        if test_ratings < min_test_ratings || test_ratings == 0 {
            Judgement::Inconclusive {
                test_ratings,
                min_test_ratings: min_test_ratings.max(1),
            }
        } else if rmse < max_rmse {
            Judgement::Passed
        } else {
            Judgement::Failed { rmse, max_rmse }
        }
    }
}

impl Judgement {
    /// Stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::Inconclusive { .. } => "inconclusive",
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("the gate is passed"),
            Self::Failed { rmse, max_rmse } => write!(
                f,
                "gate rmse: {rmse:.4} stars on the user-time split is not below {max_rmse}; nothing is published: \
                 look at the report, or raise --max-rmse"
            ),
            Self::Inconclusive {
                test_ratings,
                min_test_ratings,
            } => write!(
                f,
                "gate rmse: {test_ratings} test ratings are fewer than the {min_test_ratings} it takes to judge; \
                 nothing is published: wait for more ratings, or lower --min-test-ratings"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rmse: f64, test_ratings: u64) -> Judgement {
        let evaluation = Evaluation {
            test_ratings,
            rmse,
            ..Evaluation::default()
        };
        Gate {
            max_rmse: 1.0,
            min_test_ratings: 1_000,
        }
        .judge(&evaluation)
    }

    #[test]
    fn the_threshold_itself_fails() {
        assert_eq!(judge(0.999_999, 1_000), Judgement::Passed);
        assert_eq!(
            judge(1.0, 1_000),
            Judgement::Failed {
                rmse: 1.0,
                max_rmse: 1.0
            }
        );
        assert_eq!(judge(f64::NAN, 1_000).name(), "failed");
    }

    #[test]
    fn too_little_data_is_neither_pass_nor_fail() {
        for rmse in [0.1, 9.0, f64::NAN] {
            assert_eq!(judge(rmse, 999).name(), "inconclusive");
        }
        let none = Gate {
            max_rmse: 1.0,
            min_test_ratings: 0,
        };
        let evaluation = Evaluation {
            test_ratings: 0,
            ..Evaluation::default()
        };
        assert_eq!(
            none.judge(&evaluation).name(),
            "inconclusive",
            "no data is never a pass"
        );
    }

    #[test]
    fn the_reason_names_value_threshold_and_remedy() {
        let text = judge(1.234_56, 1_000).to_string();
        assert!(
            text.contains("1.2346") && text.contains("below 1;") && text.contains("--max-rmse"),
            "{text}"
        );
        assert!(
            judge(1.0, 12)
                .to_string()
                .contains("12 test ratings are fewer than the 1000")
        );
    }
}
