//! The command line of the simulator.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use serin_simulator::stop::Stop;
use serin_simulator::{history, load, platform, proxy};
use tracing_subscriber::EnvFilter;

/// A stand-in movie platform: asks for recommendations, spoils answers on demand, writes the stream
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// What is logged to standard error, such as info or `serin_simulator=debug`
    #[arg(long, env = "SERIN_LOG", default_value = "info", global = true)]
    log: String,
    /// Shape of the log
    #[arg(long, value_enum, default_value = "text", global = true)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask for recommendations at a set rate and report what became of every request
    Load(load::Settings),
    /// Stand in front of a server and make its answers slow or faulty
    Proxy(proxy::Settings),
    /// Write the backlog of the stream to Kafka
    History(history::Settings),
    /// Stream live viewers to Kafka, serve the user and movie APIs, ask for recommendations
    Platform(platform::Settings),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let filter =
        EnvFilter::try_new(&cli.log).with_context(|| format!("--log \"{}\" is no filter", cli.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match cli.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    match cli.command {
        Command::Load(settings) => {
            let report = load::run(&settings, now, Stop::on_signals()?).await?;
            let failed = settings.fail_on_lost && report.totals.counts.lost > 0;
            return Ok(if failed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            });
        }
        Command::Proxy(settings) => proxy::run(&settings, now, Stop::on_signals()?).await?,
        // Signals end this one at once: it holds nothing that would be lost.
        Command::History(settings) => history::run(&settings, now).await?,
        Command::Platform(settings) => platform::run(&settings, now, Stop::on_signals()?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::disallowed_methods, reason = "this is the process's one clock")]
fn now() -> Timestamp {
    Timestamp::now()
}
