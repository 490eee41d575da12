//! How trials end, and what is worth an event.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::revision::Revision;

/// Why a trial ended. A closed set: label of metrics, reason of events and conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// It met the rule, or there was nothing to compare it with.
    Promoted,
    /// Its pods did not become or stay ready within the progress deadline.
    NotReady,
    /// Its mean latency was not below the limit.
    TooSlow,
    /// Too many of its requests failed.
    TooManyErrors,
    /// Its answers were worse.
    WorseQuality,
    /// A figure of `spec.analysis.metrics` was outside its bound.
    MetricOutside,
    /// Nothing could be shown in time, and the release says that this is a no.
    Inconclusive,
    /// A person asked for it.
    Aborted,
    /// `spec` returned to the stable version.
    Returned,
    /// A newer version took its place.
    Superseded,
    /// It was asked for while another was on trial, and the release says that this is a no.
    Refused,
    /// It was stable, and a person returned to the version before.
    Undone,
    /// The release was scaled to zero.
    Asleep,
}

impl Reason {
    /// The name in events, conditions and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "Promoted",
            Self::NotReady => "NotReady",
            Self::TooSlow => "TooSlow",
            Self::TooManyErrors => "TooManyErrors",
            Self::WorseQuality => "WorseQuality",
            Self::MetricOutside => "MetricOutside",
            Self::Inconclusive => "Inconclusive",
            Self::Aborted => "Aborted",
            Self::Returned => "Returned",
            Self::Superseded => "Superseded",
            Self::Refused => "Refused",
            Self::Undone => "Undone",
            Self::Asleep => "Asleep",
        }
    }

    /// Whether the version itself is to blame and is not tried again unchanged.
    pub fn is_rejection(self) -> bool {
        match self {
            Self::NotReady
            | Self::TooSlow
            | Self::TooManyErrors
            | Self::WorseQuality
            | Self::MetricOutside
            | Self::Inconclusive
            | Self::Aborted
            | Self::Refused
            | Self::Undone => true,
            Self::Promoted | Self::Returned | Self::Superseded | Self::Asleep => false,
        }
    }
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// For machines.
    pub reason: Reason,
    /// For people, figures included.
    pub message: String,
}

impl Outcome {
    /// An outcome in words.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// What is worth an event: the steps of a trial, and what people meet on the way. A closed set, in the order of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// The pods of a version are asked for.
    Started,
    /// The gateway is seen to send the weight of a step.
    Soaking,
    /// A step that is not the last is passed.
    StepPassed,
    /// The canary has passed, and a person is to say yes.
    AwaitingApproval,
    /// The canary grows to carry all traffic.
    Promoting,
    /// The canary is the stable version.
    Promoted,
    /// The canary is losing its traffic, then its pods.
    RollingBack,
    /// Nothing of the canary is left.
    RolledBack,
    /// A version was asked for while another was on trial.
    Refused,
    /// A request does not fit.
    RequestIgnored,
    /// Somebody else has changed the route.
    RouteRestored,
}

impl Transition {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Started,
        Self::Soaking,
        Self::StepPassed,
        Self::AwaitingApproval,
        Self::Promoting,
        Self::Promoted,
        Self::RollingBack,
        Self::RolledBack,
        Self::Refused,
        Self::RequestIgnored,
        Self::RouteRestored,
    ];

    /// The reason of the event, and the label of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::Soaking => "Soaking",
            Self::StepPassed => "StepPassed",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Promoting => "Promoting",
            Self::Promoted => "Promoted",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Refused => "Refused",
            Self::RequestIgnored => "RequestIgnored",
            Self::RouteRestored => "RouteRestored",
        }
    }

    /// When it is told, and what its message says.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Started => "The pods of a version are asked for; what it is compared with.",
            Self::Soaking => "The gateway is seen to send the weight of a step; once per step.",
            Self::StepPassed => "A step that is not the last is passed; by what.",
            Self::AwaitingApproval => {
                "The canary has passed and `rollout.approval` is `Manual`; by what. It is watched meanwhile."
            }
            Self::Promoting => "The canary grows to carry all traffic; why.",
            Self::Promoted => "The canary is the stable version, its pods the same as before.",
            Self::RollingBack => "The canary is losing its traffic, then its pods; why, with figures.",
            Self::RolledBack => "Nothing of the canary is left; why.",
            Self::Refused => {
                "Another version was on trial and `rollout.onNewVersion` is `Reject`: it is not tried."
            }
            Self::RequestIgnored => "The annotation `serin.dev/request` does not fit: why.",
            Self::RouteRestored => {
                "Somebody else changed the weights or deleted the route, which is put back; what was found."
            }
        }
    }

    /// Whether a person should look: always, never, or where the version itself is to blame.
    pub fn warns(self) -> &'static str {
        match self {
            Self::AwaitingApproval | Self::Refused | Self::RequestIgnored | Self::RouteRestored => "Warning",
            Self::Started | Self::Soaking | Self::StepPassed | Self::Promoting | Self::Promoted => "Normal",
            Self::RollingBack | Self::RolledBack => "Warning where the version is to blame, else Normal",
        }
    }
}

/// Something that happened, worth an event. One event per transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The canary's revision.
    pub revision: Revision,
    /// What happened.
    pub reason: Transition,
    /// Whether a person should look.
    pub warning: bool,
    /// One sentence.
    pub message: String,
    /// Tells repeated transitions of one revision apart, for example the step.
    pub ordinal: usize,
}
