//! `serin-trainer run`: stream, data set, judgement, artifact, release, in this order.
//!
//! A crash after any step repeats at most that step: the data set knows what was read, the artifact's name is its
//! content, and a release that names the digest already is left alone.

use std::io;
use std::time::Duration;

use futures::future::BoxFuture;
use indicatif::ProgressBar;
use jiff::civil::Date;
use serin_core::artifact::{ArtifactError, MANIFEST_FILE};
use tokio::time::Instant;
use url::Url;

use crate::als;
use crate::args::RunArgs;
use crate::artifact::{self, Artifact, DataRead};
use crate::cholesky::NotPositiveDefinite;
use crate::consume::{self, ConsumeError, Limits};
use crate::corpus::{Collector, Corpus};
use crate::dataset::{self, Dataset, DatasetError};
use crate::evaluate::{Scale, evaluate};
use crate::gate::Judgement;
use crate::release::{self, Proposal, Proposed, ReleaseError};
use crate::split;
use crate::store::{Store, StoreError};
use crate::summary::{Outcome, Published, Summary};

/// Why a run stopped. Each message completes "the run stopped: …"; each kind has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka.
    #[error("the stream could not be read to its end")]
    Stream(#[source] ConsumeError),
    /// The data set.
    #[error("the data set could not be read")]
    Data(#[source] DatasetError),
    /// A store, for data or models.
    #[error("a store could not be used")]
    Store(#[source] StoreError),
    /// A file to be checked.
    #[error("cannot read {file}: check the path and the rights")]
    File {
        /// The file.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// Kubernetes.
    #[error("the artifact is written, but the release could not be updated")]
    Release(#[source] ReleaseError),
    /// The arithmetic.
    #[error("the model could not be fitted")]
    Fit(#[source] NotPositiveDefinite),
    /// The model broke a rule.
    #[error("the fitted model would be refused by the server")]
    Model(#[source] ArtifactError),
}

impl Error {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stream(ConsumeError::Dataset(_)) | Self::Data(_) | Self::Store(_) | Self::File { .. } => 6,
            Self::Stream(_) => 5,
            Self::Release(_) => 7,
            Self::Fit(_) | Self::Model(_) => 8,
        }
    }
}

/// Runs once.
///
/// `options` are credentials of object stores by environment name. `today` goes into the name of the version, and
/// nowhere else: the artifact depends on the data set and the settings only.
///
/// # Errors
/// [`Error`]. A failed gate is no error: it is the outcome of the summary.
pub fn run<'a>(
    args: &'a RunArgs,
    options: &'a [(String, String)],
    today: Date,
    progress: &'a ProgressBar,
) -> BoxFuture<'a, Result<Summary, Error>> {
    Box::pin(async move {
        let dataset = Dataset::new(Store::open(&args.data, options).map_err(Error::Store)?);
        let models = Store::open(&args.models, options).map_err(Error::Store)?;
        let started = Instant::now();

        progress.set_message("reading the stream");
        let limit = Duration::try_from(args.time_limit).unwrap_or_default();
        let limits = Limits {
            deadline: started + limit,
            batch_records: args.batch_records as usize,
        };
        let consumed = consume::consume(&args.source(), &args.grammar(), &dataset, limits, progress).await;
        let consumed = consumed.map_err(Error::Stream)?;
        let read_at = Instant::now();

        progress.set_message("reading the data set");
        let (corpus, read) = gather(&dataset, args).await?;

        progress.set_message("judging");
        let (settings, gate) = (args.settings(), args.gate());
        let scale = Scale::to(args.grammar.max_rating);
        let evaluation =
            evaluate(&split::user_time(&corpus.ratings), &settings, scale).map_err(Error::Fit)?;
        let judgement = gate.judge(&evaluation);
        let mut summary = Summary::new(consumed, &corpus, evaluation, read_at - started);
        match judgement {
            Judgement::Passed => {}
            Judgement::Failed { .. } | Judgement::Inconclusive { .. } => {
                return Ok(summary.end(Outcome::NotPublished(judgement), read_at.elapsed()));
            }
        }

        progress.set_message("fitting all data");
        let fit = als::fit(&corpus.ratings, &settings).map_err(Error::Fit)?;
        let artifact =
            artifact::artifact(&fit, &corpus, &settings, &gate, &evaluation, read).map_err(Error::Model)?;

        progress.set_message("publishing");
        write(&models, &artifact).await.map_err(Error::Store)?;
        let proposal = proposal(args, artifact, today);
        let proposed = match &args.release {
            None => None,
            Some(release) => Some(
                release::propose(release, &proposal)
                    .await
                    .map_err(Error::Release)?,
            ),
        };
        let published = match proposed {
            None => Published::Written,
            Some(Proposed::Applied) => Published::Proposed,
            Some(Proposed::Unchanged) => Published::Unchanged,
        };
        summary.model = Some(proposal);
        Ok(summary.end(Outcome::Published(published), read_at.elapsed()))
    })
}

/// Reads the whole data set, span by span, every offset once.
async fn gather(dataset: &Dataset, args: &RunArgs) -> Result<(Corpus, DataRead), Error> {
    let mut collector = Collector::default();
    let mut read = DataRead::default();
    for span in dataset.spans(&args.topic).await.map_err(Error::Data)? {
        let (digest, rows) = dataset.read(&span).await.map_err(Error::Data)?;
        let place = format!("{}/{}", span.topic, span.partition);
        let (_, end) = read.offsets.entry(place).or_insert((span.start, span.start));
        for row in rows.iter().filter(|row| row.offset >= *end) {
            collector.add(row);
        }
        *end = span.end.max(*end);
        read.files.insert(dataset::events_file(&span), digest);
    }
    Ok((collector.finish(args.min_movie_events), read))
}

/// Writes the files, the manifest last: an artifact with a manifest is whole.
async fn write(models: &Store, artifact: &Artifact) -> Result<(), StoreError> {
    let folder = artifact.digest.short();
    let written = models.list(&folder).await?;
    if written.iter().any(|name| name == MANIFEST_FILE) {
        return Ok(());
    }
    for (name, bytes) in &artifact.files {
        models.write(&format!("{folder}/{name}"), bytes.clone()).await?;
    }
    Ok(())
}

fn proposal(args: &RunArgs, artifact: Artifact, today: Date) -> Proposal {
    let id = artifact.digest.short();
    let prefix: &Url = args.uri_prefix.as_ref().unwrap_or(&args.models);
    Proposal {
        version: format!("{today}-{id}"),
        uri: format!("{}/{id}/", prefix.as_str().trim_end_matches('/')),
        digest: artifact.digest,
        evidence: artifact.evidence,
    }
}
