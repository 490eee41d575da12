//! `serin-operator`: see `--help`.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use serin_operator::args::{Args, LogFormat};
use serin_operator::run::run;
use tikv_jemallocator::Jemalloc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Looks make and drop thousands of small objects: this one needs less time for them, and gives back what a burst took.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter =
        EnvFilter::try_new(&args.log).with_context(|| format!("--log \"{}\" is no filter", args.log))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter);
    match args.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("a TLS provider is installed already");
    }
    let (stopping, stop) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping");
        let _ = stopping.send(true);
    });
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that hands out the system's clock"
    )]
    let clock = Arc::new(jiff::Timestamp::now);
    run(args, clock, stop).await
}
