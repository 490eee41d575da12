//! Why a release does not move: a typed reason for every plan.

use std::fmt;

use jiff::SignedDuration;

use super::{Outcome, Phase, Stage};
use crate::judge::Condition;
use crate::period::Period;

/// Why the release does not move further now.
#[derive(Clone, Debug, PartialEq)]
pub enum Because {
    /// No model has been named.
    NoModelYet,
    /// The wanted version is stable and all its pods are ready.
    Settled,
    /// The wanted version was rolled back.
    Rejected(Outcome),
    /// A person froze the release.
    Paused,
    /// The evidence does not open a gate.
    GateClosed(String),
    /// The release is scaled to zero.
    Asleep,
    /// Configuration that the template refers to is not there, and which.
    ConfigurationMissing(String),
    /// Pods are starting.
    PodsStarting {
        /// Ready so far.
        ready: i32,
        /// Asked for.
        wanted: i32,
        /// The pods' own words.
        trouble: Option<String>,
    },
    /// Pods of the canary that were ready are not.
    CanaryUnready {
        /// Ready now.
        ready: i32,
        /// Asked for.
        wanted: i32,
        /// The pods' own words.
        trouble: Option<String>,
    },
    /// The route has been asked for and is not yet carried.
    RoutePending(String),
    /// The canary is observed.
    Observing {
        /// Observed so far.
        observed: SignedDuration,
        /// Required.
        required: SignedDuration,
        /// What a promotion still waits for, in words; empty where there is nothing to say.
        open: String,
    },
    /// The canary has just got its traffic: what it does now says little.
    WarmingUp,
    /// Something keeps it from being promoted, and with which coverage.
    Unsure(Condition, f64),
    /// Nothing could be shown in time: a person decides.
    Inconclusive(String),
    /// It has passed, and a person is to say yes. Why it has passed.
    AwaitingApproval(String),
    /// No metrics that can be believed.
    MetricsUnavailable(String),
    /// Metrics, but no request to the canary.
    NoTraffic,
    /// The soak is done; the canary has answered too few requests to be judged.
    TooFewRequests {
        /// Requests missing.
        missing: u64,
    },
    /// The pods of the revision rolled back are shutting down.
    Draining(Outcome),
}

impl Because {
    /// One word for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoModelYet => "NoModelYet",
            Self::Settled => "Settled",
            Self::Rejected(outcome) | Self::Draining(outcome) => outcome.reason.as_str(),
            Self::Paused => "Paused",
            Self::GateClosed(_) => "GateClosed",
            Self::Asleep => "Asleep",
            Self::ConfigurationMissing(_) => "ConfigurationMissing",
            Self::PodsStarting { .. } => "PodsStarting",
            Self::CanaryUnready { .. } => "CanaryUnready",
            Self::RoutePending(_) => "RoutePending",
            Self::Observing { .. } => "Observing",
            Self::WarmingUp => "WarmingUp",
            Self::Unsure(condition, _) => condition.as_str(),
            Self::Inconclusive(_) => "Inconclusive",
            Self::AwaitingApproval(_) => "AwaitingApproval",
            Self::MetricsUnavailable(_) => "MetricsUnavailable",
            Self::NoTraffic => "NoTraffic",
            Self::TooFewRequests { .. } => "TooFewRequests",
        }
    }

    pub(super) fn phase(&self, stage: Option<Stage>) -> Phase {
        match self {
            Self::Paused | Self::GateClosed(_) | Self::MetricsUnavailable(_) | Self::NoTraffic => Phase::Held,
            Self::CanaryUnready { .. } | Self::Unsure(..) | Self::Inconclusive(_) => Phase::Held,
            Self::AwaitingApproval(_) | Self::ConfigurationMissing(_) | Self::Asleep => Phase::Held,
            Self::TooFewRequests { .. } => Phase::Judging,
            Self::NoModelYet => Phase::Waiting,
            Self::Rejected(_) => Phase::RolledBack,
            Self::Settled
            | Self::PodsStarting { .. }
            | Self::RoutePending(_)
            | Self::Observing { .. }
            | Self::WarmingUp
            | Self::Draining(_) => match stage {
                None => Phase::Promoted,
                Some(Stage::Preparing) => Phase::Preparing,
                Some(Stage::Shifting) => Phase::Shifting,
                Some(Stage::Soaking) => Phase::Soaking,
                Some(Stage::Growing | Stage::Promoting) => Phase::Promoting,
                Some(Stage::RollingBack) => Phase::RollingBack,
            },
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModelYet => f.write_str("spec.model is not set; a trainer or a person writes it"),
            Self::Settled => f.write_str("the wanted version is stable"),
            Self::Rejected(outcome) => write!(f, "rolled back: {}", outcome.message),
            Self::Paused => f.write_str("spec.paused is true"),
            Self::GateClosed(why) => f.write_str(why),
            Self::Asleep => f.write_str("spec.serving.replicas is 0: the version is tried when it is more"),
            Self::ConfigurationMissing(what) => write!(f, "the pods' configuration is incomplete: {what}"),
            Self::PodsStarting {
                ready,
                wanted,
                trouble,
            } => {
                write!(f, "{ready} of {wanted} pods are ready")?;
                trouble
                    .as_ref()
                    .map_or(Ok(()), |trouble| write!(f, ": {trouble}"))
            }
            Self::CanaryUnready {
                ready,
                wanted,
                trouble,
            } => {
                write!(
                    f,
                    "only {ready} of {wanted} canary pods are ready, the clock stands"
                )?;
                trouble
                    .as_ref()
                    .map_or(Ok(()), |trouble| write!(f, ": {trouble}"))
            }
            Self::RoutePending(why) => write!(f, "the weights are not carried yet: {why}"),
            Self::Observing {
                observed,
                required,
                open,
            } => {
                let (observed, required) = (whole_seconds(*observed), whole_seconds(*required));
                write!(f, "observed {observed} of {required}")?;
                if open.is_empty() {
                    Ok(())
                } else {
                    write!(f, "; {open}")
                }
            }
            Self::WarmingUp => f.write_str("the canary warms up, nothing of it counts yet"),
            Self::Unsure(Condition::LowCoverage, coverage) => write!(
                f,
                "only {:.0} % of the time has metrics, nothing is promoted until it is more",
                coverage * 100.0
            ),
            Self::Unsure(Condition::BaselineUnhealthy, _) => {
                f.write_str("the stable version itself fails or is slow: as good as that says little")
            }
            Self::Unsure(Condition::NoStableTraffic, _) => {
                f.write_str("the stable version gets no requests, there is nothing to compare with")
            }
            Self::Unsure(Condition::TrafficSplitOff, _) => f.write_str(
                "the canary gets another share of the requests than it was given: is it asked past the gateway, or \
                 by a header? Nothing is promoted on a chosen slice",
            ),
            Self::Unsure(Condition::WitnessesDisagree, _) => f.write_str(
                "gateway and pods count different numbers of answers: are pods asked past the gateway, or is a pod of \
                 the gateway not scraped? Nothing is promoted on counts that contradict each other",
            ),
            Self::Unsure(condition, _) => write!(f, "nothing is promoted: {}", condition.as_str()),
            Self::Inconclusive(why) => write!(f, "undecided: {why}"),
            Self::AwaitingApproval(why) => write!(f, "it waits for a person's yes, having passed: {why}"),
            Self::MetricsUnavailable(why) => write!(f, "no metrics, the clock stands: {why}"),
            Self::NoTraffic => f.write_str("the canary gets no requests, the clock stands"),
            Self::TooFewRequests { missing } => {
                write!(
                    f,
                    "the soak is done, {missing} more canary requests are needed to judge it"
                )
            }
            Self::Draining(outcome) => write!(f, "rolling back: {}", outcome.message),
        }
    }
}

/// For display: milliseconds of a soak interest nobody.
pub fn whole_seconds(duration: SignedDuration) -> Period {
    Period::clamped(SignedDuration::from_secs(duration.as_secs()))
}
