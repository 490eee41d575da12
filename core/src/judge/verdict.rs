//! What a look says.

use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::figures::Held;
use super::totals::{Arms, Blocks};

/// A question that is asked about a canary. Each has evidence for "worse" and for "not worse".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Question {
    /// The distribution of latencies.
    Distribution,
    /// The rate of errors.
    Errors,
    /// The mean latency against stable's.
    Latency,
    /// The mean latency against the limit.
    Mean,
    /// The quality of the model.
    Quality,
}

/// What a block could be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The canary was warming up.
    Warmup,
    /// The metrics of an arm were missing.
    Gap,
    /// The canary served requests.
    Evaluated,
    /// The canary served nothing.
    Idle,
}

/// What keeps a canary from being promoted, most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Condition {
    /// There have been no metrics for long.
    MetricsUnavailable,
    /// There have been no metrics for a while.
    MetricsStale,
    /// Too many blocks lack data.
    LowCoverage,
    /// Only stable is asked anything.
    NoCanaryTraffic,
    /// Only the canary is asked anything.
    NoStableTraffic,
    /// Stable itself fails or is slow: "as good as stable" says little.
    BaselineUnhealthy,
    /// The canary gets another share of the requests than it was meant to.
    TrafficSplitOff,
    /// Gateway and pods count differently.
    WitnessesDisagree,
    /// A figure of the team's own queries has no value.
    FigureMissing,
}

impl Question {
    /// What it asks about, in words.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Distribution => "slow requests",
            Self::Errors => "errors",
            Self::Latency => "a mean latency above stable's",
            Self::Mean => "a mean latency above the limit",
            Self::Quality => "worse answers",
        }
    }
}

impl Condition {
    /// The name in conditions and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MetricsUnavailable => "MetricsUnavailable",
            Self::MetricsStale => "MetricsStale",
            Self::LowCoverage => "LowCoverage",
            Self::NoCanaryTraffic => "NoCanaryTraffic",
            Self::NoStableTraffic => "NoStableTraffic",
            Self::BaselineUnhealthy => "BaselineUnhealthy",
            Self::TrafficSplitOff => "TrafficSplitOff",
            Self::WitnessesDisagree => "WitnessesDisagree",
            Self::FigureMissing => "FigureMissing",
        }
    }
}

/// Why a canary is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbortReason {
    /// It did not become ready, or crashes again and again.
    CanaryNotReady,
    /// Every request fails while stable's do not.
    AllRequestsFail,
    /// The evidence is in; the question that contributed most.
    Evidence(Question),
    /// The mean over the whole soak is not below the limit.
    ClassicLimit,
    /// The share of errors over the whole soak is not within its margin.
    ClassicErrors,
    /// A figure of the team's own queries is outside its bound.
    FigureOutside,
}

/// Why a canary is promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromoteReason {
    /// It was shown to be not worse, in every question.
    Evidence,
    /// The soak is over and the classic rule is met.
    ClassicPass,
}

/// Why nothing could be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InconclusiveReason {
    /// The deadline came before enough data.
    InsufficientData,
    /// The metrics stayed away.
    MetricsUnavailable,
    /// At the end of the soak the canary looks worse than its margin.
    MarginNotShown,
    /// At the end of the soak the canary had got another share of the requests than it was meant to.
    TrafficSplitOff,
    /// At the end of the soak gateway and pods had counted differently.
    WitnessesDisagree,
    /// At the end of the soak a figure of the team's own queries had no value.
    FigureMissing,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consequence {
    /// Nothing changes.
    None,
    /// The canary keeps its traffic and waits for a person.
    Hold,
    /// The canary becomes stable.
    Promote,
    /// The canary loses its traffic.
    RollBack,
}

/// The verdict of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// More is needed.
    Collecting,
    /// Nothing is promoted as long as the condition lasts.
    Hold(Condition),
    /// The canary is withdrawn.
    Abort(AbortReason),
    /// The canary becomes stable.
    Promote(PromoteReason),
    /// Nothing could be said in time.
    Inconclusive(InconclusiveReason, Consequence),
}

/// The evidence on one question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Support {
    /// The question.
    pub question: Question,
    /// Log evidence now.
    pub log_e: f64,
    /// Largest log evidence of any look, at least 0: the sequential p-value is its negative exponential.
    pub best: f64,
}

/// One look: the verdict and everything it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Number of the block, from 1.
    pub block: u64,
    /// What the block could be used for.
    pub kind: Kind,
    /// The verdict.
    pub verdict: Verdict,
    /// Merged log evidence for an abort.
    pub log_e_abort: f64,
    /// Evidence that the canary is worse, by question.
    pub abort: Vec<Support>,
    /// Evidence that it is not, by question.
    pub promote: Vec<Support>,
    /// What keeps it from being promoted.
    pub conditions: Vec<Condition>,
    /// Where the figures of the team's own queries stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Held>,
    /// Share of blocks with data; 1 when none counts yet.
    pub coverage: f64,
    /// Time observed under traffic.
    pub soak: SignedDuration,
    /// What both arms served since the start.
    pub totals: Arms,
    /// Blocks by kind.
    pub blocks: Blocks,
}

impl Verdict {
    /// Whether later blocks change nothing.
    pub fn is_final(self) -> bool {
        match self {
            Self::Collecting | Self::Hold(_) => false,
            Self::Abort(_) | Self::Promote(_) | Self::Inconclusive(..) => true,
        }
    }

    /// What is to be done.
    pub fn consequence(self) -> Consequence {
        match self {
            Self::Collecting | Self::Hold(_) => Consequence::None,
            Self::Abort(_) => Consequence::RollBack,
            Self::Promote(_) => Consequence::Promote,
            Self::Inconclusive(_, consequence) => consequence,
        }
    }
}

/// The reason in one word, for machines.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collecting => f.write_str("Collecting"),
            Self::Hold(condition) => f.write_str(condition.as_str()),
            Self::Abort(AbortReason::Evidence(question)) => write!(f, "Evidence:{question}"),
            Self::Abort(reason) => write!(f, "{reason:?}"),
            Self::Promote(reason) => write!(f, "{reason:?}"),
            Self::Inconclusive(reason, _) => write!(f, "{reason:?}"),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distribution => "distribution",
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Mean => "mean",
            Self::Quality => "quality",
        })
    }
}
