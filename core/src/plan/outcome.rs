//! How trials end, and what is worth an event.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::closed::closed_set;
use crate::revision::Revision;

closed_set! {
    /// Why a trial ended. A closed set: label of metrics, reason of conditions.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
    pub enum Reason {
        /// It met the rule, or there was nothing to compare it with.
        Promoted,
        /// Its pods did not become or stay ready within `rollout.progressDeadline`.
        NotReady,
        /// Its requests took too long.
        TooSlow,
        /// Too many of its requests failed.
        TooManyErrors,
        /// Its answers were worse.
        WorseQuality,
        /// A figure of `spec.analysis.metrics` was outside its bound.
        MetricOutside,
        /// Nothing could be shown in time, and `analysis.onInconclusive` is `RollBack`.
        Inconclusive,
        /// A person asked for it.
        Aborted,
        /// `spec` returned to the stable version.
        Returned,
        /// A newer version took its place.
        Superseded,
        /// It was asked for while another was on trial, and `rollout.onNewVersion` is `Reject`.
        Refused,
        /// It was stable, and a person returned to the version before.
        Undone,
        /// The release was scaled to zero.
        Asleep,
    }
}

impl Reason {
    /// Whether the trial of a canary ends so that does not make it the stable version.
    pub fn is_rollback(self) -> bool {
        match self {
            Self::NotReady
            | Self::TooSlow
            | Self::TooManyErrors
            | Self::WorseQuality
            | Self::MetricOutside
            | Self::Inconclusive
            | Self::Aborted
            | Self::Returned
            | Self::Superseded
            | Self::Asleep => true,
            Self::Promoted | Self::Refused | Self::Undone => false,
        }
    }

    /// Whether the trial of a canary ends so, be it that it becomes the stable version.
    pub fn ends_trial(self) -> bool {
        self == Self::Promoted || self.is_rollback()
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

closed_set! {
    /// What is worth an event: the steps of a trial, and what people meet on the way. A closed set, in the order of a
    /// trial.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Transition {
        /// The pods of a version are asked for; what it is compared with.
        Started,
        /// The gateway is seen to send the weight of a step; once per step.
        Soaking,
        /// A step that is not the last is passed; by what.
        StepPassed,
        /// The canary has passed and `rollout.approval` is `Manual`; by what. It is watched meanwhile.
        AwaitingApproval,
        /// The canary grows to carry all traffic; why.
        Promoting,
        /// The canary is the stable version, its pods the same as before.
        Promoted,
        /// The canary is losing its traffic, then its pods; why, with figures.
        RollingBack,
        /// Nothing of the canary is left; why.
        RolledBack,
        /// Another version was on trial and `rollout.onNewVersion` is `Reject`: it is not tried.
        Refused,
        /// The annotation `serin.dev/request` does not fit: why.
        RequestIgnored,
        /// Somebody else changed the weights or deleted the route, which is put back; what was found.
        RouteRestored,
    }
}

impl Transition {
    /// What of the same trial it comes right after: nothing where it begins one, none where it is told at any time.
    pub fn follows(self) -> Option<&'static [Self]> {
        match self {
            Self::Started => Some(&[]),
            Self::Soaking => Some(&[Self::Started, Self::StepPassed]),
            Self::StepPassed => Some(&[Self::Started, Self::Soaking, Self::StepPassed]),
            Self::AwaitingApproval => Some(&[Self::Soaking]),
            Self::Promoting => Some(&[
                Self::Started,
                Self::Soaking,
                Self::StepPassed,
                Self::AwaitingApproval,
            ]),
            Self::Promoted => Some(&[Self::Started, Self::Promoting]),
            Self::RollingBack => Some(&[
                Self::Started,
                Self::Soaking,
                Self::StepPassed,
                Self::AwaitingApproval,
                Self::Promoting,
            ]),
            Self::RolledBack => Some(&[Self::RollingBack]),
            Self::Refused | Self::RequestIgnored | Self::RouteRestored => None,
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
