//! `history`: writes the backlog that a new consumer finds when it reads from the earliest offset.

pub mod backlog;
pub mod retention;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::task::block_in_place;

use crate::duration::parse_duration;
use crate::error::{Error, Result};
use crate::kafka::{self, Stream};
use crate::load::write_line;
use crate::population::Population;
use crate::serve::Clock;
use backlog::{Backlog, Portion, Recipe};
use retention::Retention;

/// Settings of `history`.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Where the lines go.
    #[command(flatten)]
    pub kafka: kafka::Settings,
    /// Part of the ratings in percent, end not included; 0..60 now and 60..100 later together write everything once
    #[arg(long, default_value = "0..100")]
    pub portion: Portion,
    /// Directory of ml-100k.inter, ml-100k.user and ml-100k.item; a synthetic population when left out
    #[arg(long, env = "SERIN_ML_100K")]
    pub ml_100k: Option<PathBuf>,
    /// Watch lines before each rating
    #[arg(long, default_value_t = 2)]
    pub watch_lines: u32,
    /// Multiple of the real rates of malformed, replaced and repeated lines; 0 for none
    #[arg(long, default_value_t = 1.0)]
    pub noise: f64,
    /// Seed of shuffle, viewings and noise
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How long to wait for a broker at the start, and for acknowledgements at the end
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub patience: Duration,
    /// Whether the topic is told to keep lines of long ago
    #[arg(long, value_enum, default_value = "keep-all")]
    pub retention: Retention,
    /// Write the lines to this file instead of Kafka
    #[arg(long)]
    pub output: Option<PathBuf>,
}

/// Writes the backlog, waits until all of it is delivered and prints a summary as JSON:
///
/// ```json
/// {"source": "ml-100k", "ratings": 100000, "lines": 180130, "delivered": 180130,
///  "written": {"rate": 60000, "watch": 120000, "duplicate": 130},
///  "injected": {"character_inserted": 126, "duplicate": 130, "movie_replaced": 70},
///  "firstEvent": "2026-04-22T12:00:00Z", "lastEvent": "2026-11-23T11:59:00Z", "seconds": 2.1}
/// ```
///
/// # Errors
/// Data files that cannot be read, a broker that does not answer, lines that are not acknowledged.
pub fn run(settings: &Settings, clock: Clock) -> BoxFuture<'_, Result<()>> {
    Box::pin(async move {
        let start = Instant::now();
        let (population, ratings) = Population::load(settings.ml_100k.as_deref(), settings.seed)?;
        if settings.ml_100k.is_none() {
            tracing::warn!("no --ml-100k directory: the ratings are those of a synthetic population");
        }
        let recipe = Recipe {
            portion: settings.portion.clone(),
            watch_lines: settings.watch_lines,
            noise: settings.noise,
            seed: settings.seed,
        };
        let backlog = recipe.make(&population, &ratings, clock());
        let delivered = if let Some(path) = &settings.output {
            write_file(path, &backlog)?
        } else {
            if settings.retention == Retention::KeepAll {
                retention::keep_all(&settings.kafka, settings.patience).await?;
            }
            block_in_place(|| write_topic(settings, &backlog))?
        };
        let summary = json!({
            "source": population.source,
            "ratings": ratings.len(),
            "lines": backlog.records.len(),
            "delivered": delivered,
            "written": backlog.written,
            "injected": backlog.injected,
            "firstEvent": backlog.first.map(|at| at.to_string()),
            "lastEvent": backlog.last.map(|at| at.to_string()),
            "seconds": start.elapsed().as_secs_f64(),
        });
        write_line(&summary.to_string())
    })
}

fn write_topic(settings: &Settings, backlog: &Backlog) -> Result<u64> {
    let stream = Stream::new(&settings.kafka)?;
    stream.wait(settings.patience)?;
    for record in &backlog.records {
        stream.write_waiting(&record.text, record.timestamp_ms, settings.patience)?;
    }
    stream.finish(settings.patience)
}

fn write_file(path: &PathBuf, backlog: &Backlog) -> Result<u64> {
    let lines: Vec<&str> = backlog
        .records
        .iter()
        .map(|record| record.text.as_str())
        .collect();
    let text = lines.join("\n") + "\n";
    let target = path.display().to_string();
    fs::write(path, text).map_err(|source| Error::Write { target, source })?;
    Ok(u64::try_from(lines.len()).unwrap_or(u64::MAX))
}
