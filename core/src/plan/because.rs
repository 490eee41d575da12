//! Why a release does not move: a typed reason for every plan.

use std::fmt;

use jiff::SignedDuration;

use super::{Outcome, Phase, Reason, Stage};
use crate::closed::closed_set;
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

closed_set! {
    /// Why a release does not move, in one word: what a [`Because`] is without its figures. A closed set: reason of
    /// conditions, label of metrics.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Cause {
        /// `spec.model` is not set: a trainer or a person writes it.
        NoModelYet,
        /// The wanted version is stable, all its pods are ready, and the gateway carries it.
        Settled,
        /// `spec.paused` is true, and there is something to go on with.
        Paused,
        /// The evidence does not open a gate; which, and what it says.
        GateClosed,
        /// `spec.serving.replicas` is 0: a version that has not served yet is tried when the release is scaled up.
        Asleep,
        /// A ConfigMap or Secret that the pods read is not there; which. What serves goes on.
        ConfigurationMissing,
        /// Pods are starting; how many are ready, and what the others say.
        PodsStarting,
        /// Pods of the canary that were ready are not: the clock stands.
        CanaryUnready,
        /// The route has been asked for, and the gateway does not carry it yet.
        RoutePending,
        /// The canary is observed; for how long, and what is not shown yet.
        Observing,
        /// The canary has just got its traffic: nothing of it counts yet.
        WarmingUp,
        /// Too much of the time has no metrics: nothing is promoted.
        LowCoverage,
        /// The stable version gets no requests: there is nothing to compare the canary with.
        NoStableTraffic,
        /// The stable version itself fails or is slow: as good as that says little.
        BaselineUnhealthy,
        /// The canary gets another share of the requests than its weight: it is no fair sample.
        TrafficSplitOff,
        /// Gateway and pods count different numbers of answers: nothing is promoted on either.
        WitnessesDisagree,
        /// Nothing could be shown in time: a person decides, and the canary is watched meanwhile.
        Inconclusive,
        /// The canary has passed, and a person is to say yes; it is watched meanwhile.
        AwaitingApproval,
        /// There are no metrics that can be believed: the clock stands.
        MetricsUnavailable,
        /// No request reaches the canary: the clock stands.
        NoTraffic,
        /// The soak is done, and the canary has answered too few requests to be judged.
        TooFewRequests,
    }
}

/// The reason of a release's conditions, as far as the planner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// What it waits for.
    Waits(Cause),
    /// A trial ended, and so.
    Ended(Reason),
}

impl Why {
    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waits(cause) => cause.as_str(),
            Self::Ended(reason) => reason.as_str(),
        }
    }
}

impl Because {
    /// The same without figures.
    pub fn why(&self) -> Why {
        Why::Waits(match self {
            Self::Rejected(outcome) | Self::Draining(outcome) => return Why::Ended(outcome.reason),
            Self::NoModelYet => Cause::NoModelYet,
            Self::Settled => Cause::Settled,
            Self::Paused => Cause::Paused,
            Self::GateClosed(_) => Cause::GateClosed,
            Self::Asleep => Cause::Asleep,
            Self::ConfigurationMissing(_) => Cause::ConfigurationMissing,
            Self::PodsStarting { .. } => Cause::PodsStarting,
            Self::CanaryUnready { .. } => Cause::CanaryUnready,
            Self::RoutePending(_) => Cause::RoutePending,
            Self::Observing { .. } => Cause::Observing,
            Self::WarmingUp => Cause::WarmingUp,
            Self::Unsure(condition, _) => cause_of(*condition),
            Self::Inconclusive(_) => Cause::Inconclusive,
            Self::AwaitingApproval(_) => Cause::AwaitingApproval,
            Self::MetricsUnavailable(_) => Cause::MetricsUnavailable,
            Self::NoTraffic => Cause::NoTraffic,
            Self::TooFewRequests { .. } => Cause::TooFewRequests,
        })
    }

    /// One word for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        self.why().as_str()
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

/// What a condition of the judgement is to a release.
fn cause_of(condition: Condition) -> Cause {
    match condition {
        Condition::MetricsUnavailable | Condition::MetricsStale | Condition::FigureMissing => {
            Cause::MetricsUnavailable
        }
        Condition::NoCanaryTraffic => Cause::NoTraffic,
        Condition::LowCoverage => Cause::LowCoverage,
        Condition::NoStableTraffic => Cause::NoStableTraffic,
        Condition::BaselineUnhealthy => Cause::BaselineUnhealthy,
        Condition::TrafficSplitOff => Cause::TrafficSplitOff,
        Condition::WitnessesDisagree => Cause::WitnessesDisagree,
    }
}

/// For display: milliseconds of a soak interest nobody.
pub fn whole_seconds(duration: SignedDuration) -> Period {
    Period::clamped(SignedDuration::from_secs(duration.as_secs()))
}
