//! Flags of the process; every one may come from the environment as well.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use serin_core::movielog::Grammar;
use url::Url;

use crate::als::Settings;
use crate::consume::Source;
use crate::gate::Gate;
use crate::release::ReleaseName;

/// Trains the recommender from the movie platform's stream and proposes it as a release.
#[derive(Clone, Debug, Parser)]
#[command(name = "serin-trainer", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Form of the log on standard error. `SERIN_LOG` filters it, for example `SERIN_LOG=debug`.
    #[arg(long, global = true, env = "SERIN_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

const EXIT_CODES: &str = "\
Exit codes of run:
  0  the model is published, or was published already
  2  the command line is wrong
  3  the gate failed: nothing is published
  4  too few test ratings to judge: nothing is published
  5  the stream could not be read to its end; what had arrived is stored
  6  the data set or the artifact could not be read or written
  7  the artifact is written, but the release could not be updated
  8  the model could not be fitted
Exit codes of check: 0, or 6 when the file cannot be read.";

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Read the stream, train, judge, publish, propose.
    Run(Box<RunArgs>),
    /// Count the lines of a file by kind, as JSON.
    Check(CheckArgs),
}

/// Settings of `run`. A flag given twice has its last value, so that a chart's extra flags win.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct RunArgs {
    /// Kafka brokers, host:port separated by commas.
    #[arg(long, env = "SERIN_KAFKA_BROKERS", default_value = "localhost:9092")]
    pub brokers: String,
    /// Topic to read.
    #[arg(long, env = "SERIN_TOPIC", default_value = "movielog1")]
    pub topic: String,
    /// Consumer group under which progress is committed, for lag monitors; the data set alone decides where to start.
    #[arg(long, env = "SERIN_GROUP", default_value = "serin-trainer")]
    pub group: String,
    /// Longest time for reading the stream, for example 15m; a broker that is away is waited for as long.
    #[arg(long, env = "SERIN_TIME_LIMIT", default_value = "15m", value_parser = duration)]
    pub time_limit: SignedDuration,
    /// Records per file of the data set, and at most per partition in memory.
    #[arg(long, env = "SERIN_BATCH_RECORDS", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_records: u32,
    /// Directory of the data set, a file:// or s3:// URI.
    #[arg(long, env = "SERIN_DATA")]
    pub data: Url,
    /// Directory for artifacts, a file:// or s3:// URI; each gets a directory of its own below it.
    #[arg(long, env = "SERIN_MODELS")]
    pub models: Url,
    /// Where the server finds that directory, when it is not the same URI.
    #[arg(long, env = "SERIN_URI_PREFIX")]
    pub uri_prefix: Option<Url>,
    /// Release whose spec.model is edited, as namespace/name; without it the artifact is only written.
    #[arg(long, env = "SERIN_RELEASE")]
    pub release: Option<ReleaseName>,
    /// Settings of the stream's grammar.
    #[command(flatten)]
    pub grammar: GrammarArgs,
    /// Records must lie within so many days of their Kafka timestamp; 0 accepts any date.
    #[arg(long, env = "SERIN_PLAUSIBLE_DAYS", default_value_t = 0)]
    pub plausible_days: u32,
    /// A film counts from so many watch and rating events on; rarer ids may be damaged ones.
    #[arg(long, env = "SERIN_MIN_MOVIE_EVENTS", default_value_t = 2)]
    pub min_movie_events: u64,
    /// Gate: RMSE on the user-time split must be below this many stars.
    #[arg(long, env = "SERIN_MAX_RMSE", default_value_t = 1.0)]
    pub max_rmse: f64,
    /// Gate: with fewer test ratings there is no judgement, and nothing is published.
    #[arg(long, env = "SERIN_MIN_TEST_RATINGS", default_value_t = 1_000)]
    pub min_test_ratings: u64,
    /// Factors per user and movie.
    #[arg(long, env = "SERIN_FACTORS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub factors: u16,
    /// Sweeps of the fit.
    #[arg(long, env = "SERIN_ITERATIONS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub iterations: u16,
    /// Penalty per rating of the fit; above 0.
    #[arg(long, env = "SERIN_RIDGE", default_value_t = 0.12, value_parser = above_zero)]
    pub ridge: f64,
    /// Seed of the fit: same data and seed, same bytes. Below 2^32.
    #[arg(long, env = "SERIN_SEED", default_value_t = 1)]
    pub seed: u32,
}

/// Settings of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// File of stream lines, or - for standard input.
    pub file: PathBuf,
    /// Settings of the stream's grammar.
    #[command(flatten)]
    pub grammar: GrammarArgs,
}

/// Settings of the stream's grammar.
#[derive(Clone, Copy, Debug, Args)]
pub struct GrammarArgs {
    /// Highest rating of the platform, in stars.
    #[arg(long, env = "SERIN_MAX_RATING", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub max_rating: u8,
}

impl GrammarArgs {
    /// The grammar, without a plausibility window.
    pub fn grammar(&self) -> Grammar {
        Grammar {
            max_rating: self.max_rating,
            plausible_within: None,
        }
    }
}

impl RunArgs {
    /// The stream's grammar.
    pub fn grammar(&self) -> Grammar {
        let days = i64::from(self.plausible_days);
        let plausible_within = (days > 0).then(|| SignedDuration::from_hours(24 * days));
        Grammar {
            plausible_within,
            ..self.grammar.grammar()
        }
    }

    /// The stream.
    pub fn source(&self) -> Source {
        Source {
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            group: self.group.clone(),
        }
    }

    /// The fit.
    pub fn settings(&self) -> Settings {
        Settings {
            factors: usize::from(self.factors),
            iterations: usize::from(self.iterations),
            ridge: self.ridge,
            seed: u64::from(self.seed),
        }
    }

    /// The gate.
    pub fn gate(&self) -> Gate {
        Gate {
            max_rmse: self.max_rmse,
            min_test_ratings: self.min_test_ratings,
        }
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(duration) if duration.is_positive() => Ok(duration),
        Ok(_) => Err("a time limit must be above 0, for example 15m".to_owned()),
        Err(error) => Err(format!("{error}: write for example 15m or 90s")),
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        Ok(_) | Err(_) => Err("write a number above 0, for example 0.12".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_of_flags_are_the_defaults_of_the_fit() {
        let line = [
            "serin-trainer",
            "run",
            "--data",
            "file:///d/",
            "--models",
            "file:///m/",
        ];
        let Command::Run(args) = Cli::parse_from(line).command else {
            panic!("run is run")
        };
        assert_eq!(args.settings(), Settings::default());
        assert_eq!(args.grammar(), Grammar::default());
        assert_eq!(args.time_limit, SignedDuration::from_mins(15));
    }

    #[test]
    fn wrong_values_are_refused_with_a_remedy() {
        let run = [
            "serin-trainer",
            "run",
            "--data",
            "file:///d/",
            "--models",
            "file:///m/",
        ];
        let cases = [
            ("--time-limit=0s", "above 0"),
            ("--time-limit=soon", "write for example 15m"),
            ("--ridge=0", "above 0"),
            ("--factors=0", "1..=512"),
            ("--release=recommender", "namespace/name"),
            ("--max-rating=11", "1..=10"),
        ];
        for (flag, expected) in cases {
            let error = Cli::try_parse_from(run.into_iter().chain([flag]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{flag}: {error}");
        }
    }
}
