//! Why a look could not be finished.

use kube::core::Status;
use kube::runtime::finalizer;

use crate::archive::ArchiveError;

/// Why a look could not be finished. Traffic stays where it was; the look is repeated with growing pauses.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object is no `ModelRelease`; only its author can help.
    #[error("the object is malformed: {0}")]
    Malformed(String),
    /// The API server did not do what was asked.
    #[error("cannot {what}")]
    Api {
        /// What was asked.
        what: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// The decision could not be recorded: nothing that follows from it is done before it is.
    #[error("cannot record the decision")]
    Archive(#[source] ArchiveError),
    /// An object stands where one of the operator's must be.
    #[error("{0} is not the one that the operator makes there: remove it, or wait until it is gone")]
    Occupied(String),
    /// Somebody else's Service has the name of the stable one.
    #[error(
        "the Service \"{0}\" has the name that this release needs and is not its own: rename it, or the release"
    )]
    NameTaken(String),
    /// One Service cannot send to all that are served.
    #[error(
        "one Service cannot send to pods whose ports are called {0}: without a gateway or an Ingress leave spec.serving.port as it is, or let `kubectl serin promote` replace all pods at once"
    )]
    UnlikePorts(String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a key")]
    NoEntropy,
    /// The finalizer could not be set or removed.
    #[error("cannot keep the finalizer")]
    Finalizer(#[source] Box<finalizer::Error<Error>>),
}

impl Error {
    /// Every [`Error::reason`].
    pub const REASONS: [&'static str; 8] = [
        "Malformed",
        "Api",
        "Archive",
        "Occupied",
        "NameTaken",
        "UnlikePorts",
        "NoEntropy",
        "Finalizer",
    ];

    /// Marks what was asked when `source` came back.
    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api {
            what,
            source: Box::new(source),
        }
    }

    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Malformed",
            Self::Api { .. } => "Api",
            Self::Archive(_) => "Archive",
            Self::Occupied(_) => "Occupied",
            Self::NameTaken(_) => "NameTaken",
            Self::UnlikePorts(_) => "UnlikePorts",
            Self::NoEntropy => "NoEntropy",
            Self::Finalizer(_) => "Finalizer",
        }
    }

    /// Whether the look was built on an object that has changed since: no news, for the next look is due already.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if is_conflict(source))
    }

    /// Why an object cannot be as it follows from `spec`, in words for people: the API server's, where it refused it.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self {
            // A quota, too, says 403.
            Self::Api { what, .. } => self
                .answer()
                .filter(|answer| matches!(answer.code, 400 | 403 | 422))
                .map(|answer| format!("the API server refuses to {what}: {}", answer.message)),
            Self::NameTaken(_) | Self::UnlikePorts(_) => Some(self.to_string()),
            // It is waited for until what is there is gone.
            Self::Occupied(_) => None,
            Self::Malformed(_) | Self::Archive(_) | Self::NoEntropy | Self::Finalizer(_) => None,
        }
    }

    /// Whether the object is wrong as it is: asking again at once is pointless.
    pub(crate) fn is_final(&self) -> bool {
        self.answer()
            .is_some_and(|answer| matches!(answer.code, 400 | 422))
    }

    fn answer(&self) -> Option<&Status> {
        let Self::Api { source, .. } = self else {
            return None;
        };
        let kube::Error::Api(answer) = source.as_ref() else {
            return None;
        };
        Some(answer)
    }
}

/// Whether the API server does not know the thing.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API server has another version of the thing, or has it already.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// What is not there any more is deleted.
pub(crate) fn gone(done: kube::Result<()>, what: &str) -> Result<(), Error> {
    match done {
        Err(error) if is_not_found(&error) => Ok(()),
        done => done.map_err(Error::api(format!("delete {what}"))),
    }
}
