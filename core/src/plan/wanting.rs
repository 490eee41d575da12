//! Which version is wanted: what `spec` asks for, with what its references lead to.

use std::borrow::Cow;

use super::{Observed, State};
use crate::configuration::Configuration;
use crate::policy::Policy;
use crate::revision::{Revision, Version};

/// Which version is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No model has been named.
    Nothing,
    /// This one.
    Version(Version),
    /// Part of its configuration is missing, and which: nobody can tell the revision.
    Unknown(String),
}

impl Wanted {
    /// The version, where it is known.
    pub(super) fn version(&self) -> Option<&Version> {
        match self {
            Self::Version(version) => Some(version),
            Self::Nothing | Self::Unknown(_) => None,
        }
    }

    /// Whether `revision` may be the one that is wanted, for all that is known.
    pub(super) fn may_be(&self, revision: &Revision) -> bool {
        match self {
            Self::Nothing => false,
            Self::Version(version) => version.revision == *revision,
            Self::Unknown(_) => true,
        }
    }
}

/// A revision that was there before its configuration was part of it, and the revision that it would be with the
/// configuration that was first seen beside it. Both mean the same pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The revision that goes on.
    pub revision: Revision,
    /// The one in whose place it stands.
    pub in_place_of: Revision,
}

/// What is wanted, and the state that knows it.
///
/// A revision under way, or rolled back, that knows of no configuration adopts the one that is seen first: whoever
/// begins to look at configuration starts no canary by that.
pub(super) fn wanted<'a>(policy: &Policy, state: &'a State, seen: &Observed) -> (Wanted, Cow<'a, State>) {
    let mut state = Cow::Borrowed(state);
    let Some(asked) = &policy.asked else {
        return (Wanted::Nothing, state);
    };
    let known = match &seen.configuration {
        Configuration::Known(known) => known,
        Configuration::Incomplete(missing) => return (Wanted::Unknown(missing.join("; ")), state),
    };
    let version = asked.version(known);
    if known.is_empty() {
        return (Wanted::Version(version), state);
    }
    let bare = asked.bare();
    let is_adopted = |adopted: &Adopted| adopted.revision == bare.revision;
    if state.has_part(&bare.revision) && !state.adopted.as_ref().is_some_and(is_adopted) {
        state.to_mut().adopted = Some(Adopted {
            revision: bare.revision.clone(),
            in_place_of: version.revision.clone(),
        });
    }
    let is_the_same = |adopted: &Adopted| is_adopted(adopted) && adopted.in_place_of == version.revision;
    let wanted = if state.adopted.as_ref().is_some_and(is_the_same) {
        bare.clone()
    } else {
        version
    };
    (Wanted::Version(wanted), state)
}

impl State {
    /// Whether a revision is stable, on trial, or turned down: what is done about `spec` depends on it.
    fn has_part(&self, revision: &Revision) -> bool {
        let canary = self.canary.as_ref().map(|canary| &canary.version);
        let rejected = self.rejected.as_ref().map(|(version, _)| version);
        [self.stable.as_ref(), canary, rejected]
            .into_iter()
            .flatten()
            .any(|version| version.revision == *revision)
    }
}
