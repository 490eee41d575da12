//! The process: flags, log, clock, and the exit code.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serin_core::movielog::Grammar;
use serin_trainer::args::{CheckArgs, Cli, Command, LogFormat, RunArgs};
use serin_trainer::check::check;
use serin_trainer::run::{Error, run};
use serin_trainer::summary::Summary;
use serin_trainer::tally::Tally;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Exit code of a run that a signal ended, as shells count it.
const INTERRUPTED: u8 = 128 + 15;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    start_log(cli.log_format);
    match cli.command {
        Command::Check(args) => check_file(&args),
        Command::Run(args) => run_once(&args),
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("SERIN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}

fn check_file(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let grammar = args.grammar.grammar();
    match tally(args, &grammar) {
        Ok(tally) => {
            let text = serde_json::to_string_pretty(&tally).context("a tally is JSON")?;
            writeln!(io::stdout().lock(), "{text}").context("standard output is closed")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(source) => Ok(stopped(&Error::File {
            file: args.file.display().to_string(),
            source,
        })),
    }
}

fn tally(args: &CheckArgs, grammar: &Grammar) -> io::Result<Tally> {
    if args.file.as_os_str() == "-" {
        check(io::stdin().lock(), grammar)
    } else {
        check(BufReader::new(File::open(&args.file)?), grammar)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that hands out the clock")]
fn run_once(args: &RunArgs) -> anyhow::Result<ExitCode> {
    // A second installation only says that there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let options: Vec<_> = std::env::vars()
        .filter(|(name, _)| name.starts_with("AWS_"))
        .collect();
    let progress = progress()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no threads")?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = run(args, &options, today, &progress) => Ok(Some(ended)),
            stop = stop() => stop.map(|()| None),
        }
    });
    // A question to a broker that is away may still be open; nobody waits for its answer.
    runtime.shutdown_background();
    progress.finish_and_clear();
    match ended.context("signals cannot be received")? {
        Some(Ok(summary)) => report(&summary),
        Some(Err(error)) => Ok(stopped(&error)),
        None => {
            tracing::warn!("stopped by a signal; the next run goes on where the data set ends");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// A process that is alone in its container gets no default handlers, so it must ask for them.
async fn stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

fn progress() -> anyhow::Result<ProgressBar> {
    if !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template(
        "{spinner} {msg} [{wide_bar}] {human_pos}/{human_len} {per_sec} eta {eta}",
    )
    .context("the template of the progress bar")?;
    let progress = ProgressBar::new(0).with_style(style);
    progress.enable_steady_tick(Duration::from_millis(200));
    Ok(progress)
}

fn report(summary: &Summary) -> anyhow::Result<ExitCode> {
    if let Some(objection) = &summary.objection {
        tracing::error!(outcome = summary.outcome, "{objection}");
    }
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        write!(stdout, "{summary}")
    } else {
        serde_json::to_string(summary)
            .map_err(io::Error::other)
            .and_then(|line| writeln!(stdout, "{line}"))
    }
    .context("standard output is closed")?;
    Ok(ExitCode::from(summary.exit_code()))
}

/// Says once, with every cause, why it stopped.
fn stopped(error: &Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    tracing::error!("the run stopped: {text}");
    ExitCode::from(error.exit_code())
}
