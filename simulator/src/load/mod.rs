//! `load`: asks for recommendations as thousands of viewers would, and says exactly what became of every request.
//!
//! Open loop: requests go out by a schedule fixed beforehand, so a slow service meets the same load as a fast one, and
//! latency counts from the scheduled time, so waiting that the service causes is never left out.

pub mod control;
pub mod driver;
pub mod report;
pub mod schedule;
pub mod tally;
pub mod verdict;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::future::BoxFuture;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use url::Url;

use crate::duration::{parse_duration, parse_positive, parse_range};
use crate::error::{Error, Result};
use crate::serve::{Clock, bind, serve};
use crate::stop::Stop;
use driver::{Live, Plan, Target, drive};
use report::{Report, Run};
use schedule::{Arrivals, Ramp, Schedule};

/// How the report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A dozen lines for people.
    Text,
    /// One JSON object; its shape is described in the module `load::report`.
    Json,
}

/// Settings of `load`.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Base address of the service; /recommend/<user> is appended
    #[arg(long, default_value = "http://127.0.0.1:8082")]
    pub url: Url,
    /// Requests a second
    #[arg(long, default_value = "200", value_parser = parse_positive)]
    pub rate: f64,
    /// Rate that changes in a straight line and then stays, as from:to:duration; replaces --rate
    #[arg(long)]
    pub ramp: Option<Ramp>,
    /// Gaps between requests
    #[arg(long, value_enum, default_value = "constant")]
    pub arrivals: Arrivals,
    /// How long requests are sent; until SIGTERM, Ctrl-C or POST /stop when left out
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Users to ask for, both ends included
    #[arg(long, default_value = "1..1000", value_parser = parse_range)]
    pub users: RangeInclusive<u64>,
    /// Patience of the caller, from the sending of a request to the end of its answer
    #[arg(long, default_value = "800ms", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Seed of users and gaps
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Shape of the final report on standard output
    #[arg(long, value_enum, default_value = "text")]
    pub report: Format,
    /// Print one JSON line a second, and the final report as one JSON line
    #[arg(long)]
    pub progress_jsonl: bool,
    /// Serve POST /mark/<name>, GET /stats, POST /stop, probes and metrics here
    #[arg(long)]
    pub control: Option<SocketAddr>,
    /// Exit with status 1 when a request was lost
    #[arg(long)]
    pub fail_on_lost: bool,
}

/// Runs a load, prints its report and returns it.
///
/// # Errors
/// `Url` and `Listen` before anything is sent; `Write` when standard output is closed.
pub fn run(settings: &Settings, clock: Clock, stop: Stop) -> BoxFuture<'_, Result<Report>> {
    Box::pin(async move {
        let target = Target::new(&settings.url)?;
        let ramp = settings.ramp.unwrap_or_else(|| Ramp::steady(settings.rate));
        let plan = Plan {
            target,
            schedule: Schedule::new(ramp, settings.arrivals, settings.seed),
            duration: settings.duration,
            users: settings.users.clone(),
            patience: settings.timeout,
            seed: settings.seed,
        };
        let run = Run {
            schema: 1,
            url: settings.url.to_string(),
            seed: settings.seed,
            arrivals: settings.arrivals.name(),
            started_at: clock().to_string(),
        };
        let live = Live::start();
        if let Some(address) = settings.control {
            let router = control::router(run.clone(), live.clone(), stop.clone(), clock);
            // Ends with the process: /stats stays readable while the last requests come in.
            tokio::spawn(serve(bind(address).await?, router, Stop::default()));
        }
        let progress = settings
            .progress_jsonl
            .then(|| tokio::spawn(tell_progress(live.clone())));

        drive(plan, &live, &stop).await;

        if let Some(progress) = progress {
            progress.abort();
        }
        let report = live.with(|tally| Report::new(run, tally, live.elapsed(), true));
        print(settings, &report)?;
        Ok(report)
    })
}

/// Prints a line a second until it is aborted.
async fn tell_progress(live: Live) {
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let text = live.with(|tally| {
            let totals = report::TotalsReport::from(&tally.totals);
            json!({
                "type": "progress",
                "offsetSeconds": live.elapsed().as_secs_f64(),
                "mark": tally.current_mark(),
                "totals": totals,
            })
        });
        if write_line(&text.to_string()).is_err() {
            // Nobody reads any more; the run itself goes on.
            return;
        }
    }
}

fn print(settings: &Settings, report: &Report) -> Result<()> {
    // Numbers, texts and maps with text or integer keys always become JSON.
    let value = serde_json::to_value(report).unwrap_or_default();
    match (settings.progress_jsonl, settings.report) {
        (true, _) => write_line(&json!({"type": "report", "report": value}).to_string()),
        (false, Format::Json) => write_line(&format!("{value:#}")),
        (false, Format::Text) => write_line(report.to_string().trim_end()),
    }
}

/// Writes one line to standard output at once.
pub(crate) fn write_line(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .map_err(|source| Error::Write {
            target: "standard output".to_owned(),
            source,
        })
}
