//! What a run has done, for a person or a program.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use crate::consume::Consumed;
use crate::corpus::Corpus;
use crate::evaluate::Evaluation;
use crate::gate::Judgement;
use crate::release::Proposal;
use crate::tally::Tally;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The model passed its gate.
    Published(Published),
    /// It did not, for this reason.
    NotPublished(Judgement),
}

/// How far a published model went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The artifact is written; no release was named.
    Written,
    /// The release names the model now.
    Proposed,
    /// The release named it already.
    Unchanged,
}

impl Outcome {
    /// Stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Published(Published::Written) => "written",
            Self::Published(Published::Proposed) => "proposed",
            Self::Published(Published::Unchanged) => "unchanged",
            Self::NotPublished(judgement) => judgement.name(),
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Published(_) | Self::NotPublished(Judgement::Passed) => 0,
            Self::NotPublished(Judgement::Failed { .. }) => 3,
            Self::NotPublished(Judgement::Inconclusive { .. }) => 4,
        }
    }

    /// Why nothing was published; `None` when something was.
    pub fn objection(&self) -> Option<String> {
        match self {
            Self::Published(_) => None,
            Self::NotPublished(judgement) => Some(judgement.to_string()),
        }
    }
}

/// Everything worth knowing at the end of a run; one JSON line when piped.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Stable name of how it ended.
    pub outcome: &'static str,
    /// Why nothing was published, where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objection: Option<String>,
    /// The model, where one was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Proposal>,
    /// Lines read from the stream in this run.
    pub stream: Tally,
    /// Records that the time limit left unread.
    pub behind: u64,
    /// Records that the topic's retention removed unread.
    pub missed: u64,
    /// Ratings in the whole data set.
    pub ratings: u64,
    /// Users with a rating.
    pub users: u64,
    /// Movies.
    pub movies: u64,
    /// The judgement's figures; errors are null without test ratings.
    pub evaluation: Evaluation,
    /// Seconds of reading the stream.
    pub read_seconds: f64,
    /// Seconds of all that followed.
    pub train_seconds: f64,
    #[serde(skip)]
    exit_code: u8,
}

impl Summary {
    /// The summary of a run that is judged, but not at its end.
    pub fn new(consumed: Consumed, corpus: &Corpus, evaluation: Evaluation, reading: Duration) -> Self {
        Self {
            outcome: "",
            objection: None,
            model: None,
            stream: consumed.tally,
            behind: consumed.behind,
            missed: consumed.missed,
            ratings: corpus.ratings.rows().len() as u64,
            users: corpus.users.len() as u64,
            movies: corpus.movies.len() as u64,
            evaluation,
            read_seconds: seconds(reading),
            train_seconds: 0.0,
            exit_code: 0,
        }
    }

    /// Notes the end.
    #[must_use]
    pub fn end(self, outcome: Outcome, training: Duration) -> Self {
        Self {
            outcome: outcome.name(),
            objection: outcome.objection(),
            exit_code: outcome.exit_code(),
            train_seconds: seconds(training),
            ..self
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}

impl fmt::Display for Summary {
    /// A table for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream, evaluation, ..
        } = self;
        let events = stream.events;
        let mut row = |name: &str, value: String| writeln!(f, "{name:<12}  {value}");
        row("outcome", self.outcome.to_owned())?;
        row(
            "stream",
            format!("{} lines in {:.1} s", stream.lines, self.read_seconds),
        )?;
        row(
            "",
            format!(
                "{} watch, {} rate, {} recommendation, {} create_account",
                events.watch, events.rate, events.recommendation, events.create_account
            ),
        )?;
        row(
            "",
            format!(
                "{} rejected{}, {} repaired, {} duplicates",
                stream.rejected,
                classes(stream)?,
                stream.repaired,
                stream.duplicates
            ),
        )?;
        if self.behind > 0 || self.missed > 0 {
            row(
                "",
                format!(
                    "{} not read within the time limit, {} expired unread",
                    self.behind, self.missed
                ),
            )?;
        }
        row(
            "data",
            format!(
                "{} ratings, {} users, {} movies",
                self.ratings, self.users, self.movies
            ),
        )?;
        row(
            "user-time",
            format!(
                "RMSE {:.4} (biases alone {:.4}, skill {:.1} %), MAE {:.4}, {} test ratings",
                evaluation.rmse,
                evaluation.bias_only_rmse,
                100.0 * evaluation.skill,
                evaluation.mae,
                evaluation.test_ratings
            ),
        )?;
        row(
            "lists",
            format!(
                "NDCG@20 {:.4} (popularity {:.4})",
                evaluation.ndcg_at_20, evaluation.popularity_ndcg_at_20
            ),
        )?;
        row("training", format!("{:.1} s", self.train_seconds))?;
        if let Some(model) = &self.model {
            row("version", model.version.clone())?;
            row("uri", model.uri.clone())?;
            row("digest", model.digest.to_string())?;
        }
        if let Some(objection) = &self.objection {
            row("objection", objection.clone())?;
        }
        Ok(())
    }
}

fn classes(stream: &Tally) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for (class, count) in &stream.rejected_by_class {
        write!(
            text,
            "{}{count} {class}",
            if text.is_empty() { " (" } else { ", " }
        )?;
    }
    text.push_str(if text.is_empty() { "" } else { ")" });
    Ok(text)
}
