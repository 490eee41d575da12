//! From an address to a model that may be served: tries until it is there, or until trying is pointless.

use std::time::Duration;

use serin_core::artifact::ArtifactError;
use tracing::{info, warn};

use crate::error::chain;
use crate::fetch::Source;
use crate::service::Service;

/// The first pause between attempts.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause: a store that returns is noticed within it.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Only the author of the release can fix this.
    #[error(
        "the address \"{uri}\" cannot be used: {because}; write a file, http, https or s3 URL of the directory"
    )]
    Address {
        /// The address.
        uri: String,
        /// What is wrong with it.
        because: String,
    },
    /// The artifact may still be on its way.
    #[error("there is no {file} under {uri}; publish the artifact there, or correct spec.model.uri")]
    Missing {
        /// Name of the file.
        file: String,
        /// Where it was looked for.
        uri: String,
    },
    /// The store may be restarting, or refuses us until somebody grants access.
    #[error("cannot read {file} under {uri}; check that the store is up and lets this pod in")]
    Fetch {
        /// Name of the file.
        file: String,
        /// Where it was looked for.
        uri: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// Loading it would cost more memory than this pod was promised.
    #[error(
        "{file} has {bytes} bytes, at most {max_bytes} are loaded; raise --max-file-mib and the memory limit"
    )]
    TooLarge {
        /// Name of the file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// The bytes are there and are not what the release names.
    #[error("the artifact is refused")]
    Refused {
        /// What is wrong with them.
        source: ArtifactError,
    },
    /// The process is stopping, or the decoder has a bug.
    #[error("decoding was interrupted")]
    Interrupted {
        /// What the runtime said.
        source: tokio::task::JoinError,
    },
}

impl LoadError {
    /// Whether asking again would give the same answer.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Address { .. }
            | Self::TooLarge { .. }
            | Self::Refused { .. }
            | Self::Interrupted { .. } => true,
            Self::Missing { .. } | Self::Fetch { .. } => false,
        }
    }

    /// A stable word for the metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Address { .. } => "Address",
            Self::Missing { .. } => "Missing",
            Self::Fetch { .. } => "Fetch",
            Self::TooLarge { .. } => "TooLarge",
            Self::Refused { source } => source.reason(),
            Self::Interrupted { .. } => "Interrupted",
        }
    }
}

/// Makes `service` ready, however long that takes. Every failed attempt is told on `/readyz`; one that will be
/// repeated is logged, a final one is for the caller to log.
///
/// # Errors
/// Only errors that are final.
pub async fn load(service: &Service, source: &Source) -> Result<(), LoadError> {
    let mut pause = PAUSE_FIRST;
    loop {
        let error = match source.model(service.identity.digest).await {
            Ok(model) => {
                let (users, movies, rank) = (model.users.len(), model.movies.len(), model.rank);
                service.ready(model);
                info!(digest = %service.identity.digest, users, movies, rank, "ready: the model is verified and loaded");
                return Ok(());
            }
            Err(error) => error,
        };
        let because = chain(&error);
        service.metrics.load_failed(error.reason());
        if error.is_final() {
            service.refuse(because);
            return Err(error);
        }
        warn!(
            reason = error.reason(),
            pause_ms = pause.as_millis(),
            "not ready, asking again: {because}"
        );
        service.wait(because);
        tokio::time::sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}
