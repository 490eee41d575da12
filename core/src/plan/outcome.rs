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
            Self::Promoted | Self::Returned | Self::Superseded => false,
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

/// Something that happened, worth an event. One event per transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The canary's revision.
    pub revision: Revision,
    /// One word for machines; a closed set, listed in the reference of events.
    pub reason: &'static str,
    /// Whether a person should look.
    pub warning: bool,
    /// One sentence.
    pub message: String,
    /// Tells repeated transitions of one revision apart, for example the step.
    pub ordinal: usize,
}
