//! What a person asks of a release, once: it names the revision it is meant for, so that one that comes late cannot hit
//! another, and is followed or ignored exactly once.

use std::fmt;
use std::str::FromStr;

use super::Canary;
use crate::digest::Digest;
use crate::revision::Revision;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Withdraw the canary.
    Abort,
    /// Say yes to the canary where `rollout.approval` is `Manual`, be it before it is asked for.
    Approve,
    /// Promote the canary as soon as its pods can carry everything, judged or not.
    Promote,
    /// Take the step that is named as passed.
    Skip,
    /// Try the version again that was rolled back.
    Retry,
    /// Return to the version that was stable before.
    Undo,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Abort,
        Self::Approve,
        Self::Promote,
        Self::Skip,
        Self::Retry,
        Self::Undo,
    ];

    /// The word in the annotation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Approve => "approve",
            Self::Promote => "promote",
            Self::Skip => "skip",
            Self::Retry => "retry",
            Self::Undo => "undo",
        }
    }
}

impl Verb {
    /// What it asks for, and when it fits.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Abort => "Withdraw the canary of this revision; in every stage, and while paused.",
            Self::Approve => {
                "Say yes to it where `rollout.approval` is `Manual`, be it before it has passed."
            }
            Self::Promote => "Promote it as soon as its pods can carry everything, judged or not.",
            Self::Skip => "Take the step after the `@` as passed; it must be the one under way.",
            Self::Retry => "Try it again; it was rolled back last, at the time after the `@`.",
            Self::Undo => {
                "Return from this stable revision to the one before, without a soak. After an `@`, when it was promoted."
            }
        }
    }
}

/// A request, as the annotation says it: a verb, a slash, the revision, and after an `@` the occasion that tells one time
/// from another: the step (`skip`), when the trial began, when it was rolled back (`retry`) or promoted (`undo`). Of a
/// step, when its trial began may follow after another `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub verb: Verb,
    /// Of which revision.
    pub revision: Revision,
    /// Which time.
    pub occasion: Option<String>,
}

impl Request {
    /// A request that needs no occasion.
    pub fn new(verb: Verb, revision: &Revision) -> Self {
        Self {
            verb,
            revision: revision.clone(),
            occasion: None,
        }
    }

    /// The request for one occasion.
    pub fn on(verb: Verb, revision: &Revision, occasion: impl fmt::Display) -> Self {
        Self {
            occasion: Some(occasion.to_string()),
            ..Self::new(verb, revision)
        }
    }

    /// Whether it is meant for this trial, as far as it says so.
    pub(super) fn is_of(&self, canary: &Canary) -> bool {
        let occasion = self.occasion.as_deref();
        let began = match self.verb {
            Verb::Skip => occasion.and_then(|occasion| Some(occasion.split_once('@')?.1)),
            Verb::Abort | Verb::Approve | Verb::Promote => occasion,
            Verb::Retry | Verb::Undo => None,
        };
        self.revision == canary.version.revision
            && began.is_none_or(|began| began == canary.began.to_string())
    }

    /// The step that is to be skipped.
    pub(super) fn step(&self) -> Option<&str> {
        let occasion = self.occasion.as_deref()?;
        Some(occasion.split_once('@').map_or(occasion, |(step, _)| step))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.verb.as_str(), self.revision)?;
        self.occasion
            .as_ref()
            .map_or(Ok(()), |occasion| write!(f, "@{occasion}"))
    }
}

/// Why a text is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the annotation serin.dev/request \"{0}\" is no request: write a verb (abort, approve, promote, skip, retry, undo), a slash and a revision, or let `kubectl serin` write it"
)]
pub struct RequestError(pub(super) String);

/// Tells the events of two requests apart.
pub(super) fn ordinal(request: &str) -> usize {
    let digest = Digest::of(request.as_bytes());
    let digits = digest
        .hex()
        .get(..6)
        .and_then(|digits| usize::from_str_radix(digits, 16).ok());
    digits.unwrap_or_default()
}

impl FromStr for Request {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let wrong = || RequestError(text.chars().take(100).collect());
        let (verb, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (revision, occasion) = match rest.split_once('@') {
            Some((revision, occasion)) => (revision, Some(occasion.to_owned())),
            None => (rest, None),
        };
        let verb = Verb::ALL.into_iter().find(|known| known.as_str() == verb);
        let known = verb.zip(Revision::parse(revision));
        let (verb, revision) = known.filter(|_| text.len() <= 100).ok_or_else(wrong)?;
        Ok(Self {
            verb,
            revision,
            occasion,
        })
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request, in its own words.
    pub request: String,
    /// Whether it was followed.
    pub is_followed: bool,
    /// Why, or why not.
    pub words: String,
}
