//! The process `serin-inference`: settings, listener, signals, exit code.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser as _;
use serin_inference::args::{Args, LogFormat};
use serin_inference::error::{Error, chain};
use serin_inference::fetch::Source;
use serin_inference::identity::Identity;
use serin_inference::load::load;
use serin_inference::serve::{Patience, serve};
use serin_inference::service::Service;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

/// A client on the other side of the cluster sends a request within this after opening a connection.
const LINGER: Duration = Duration::from_secs(1);
/// Far above the platform's limit of 800 ms; with drain and linger it fits into the 30 s Kubernetes grants.
const FINISH: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the process hands out its start once, here"
    )]
    let started = SystemTime::now();
    let args = Args::parse();
    log_to_stderr(&args);
    // Fails only when a provider is installed already, which serves as well.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    match run(&args, started).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reason = chain(&error);
            error!("the process ends: {reason}");
            leave_message(&args.termination_log, &reason);
            ExitCode::FAILURE
        }
    }
}

/// Listens first, so that probes are told why the process is not ready, then loads while serving.
async fn run(args: &Args, started: SystemTime) -> Result<(), Error> {
    let stop = stop_signal()?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|source| Error::Listen {
            address: args.listen,
            source,
        })?;
    info!(address = %args.listen, uri = args.model_uri, digest = %args.model_digest, "listening, loading the model");

    let identity = Identity {
        digest: args.model_digest,
        version: args.model_version.clone(),
        revision: args.revision.clone(),
    };
    let service = Arc::new(Service::new(identity, started));
    let patience = Patience {
        drain: args.drain.get().unsigned_abs(),
        linger: LINGER,
        finish: FINISH,
    };
    let serving = serve(listener, Arc::clone(&service), stop, patience);
    let loading = async {
        let source = Source::open(&args.model_uri, &store_credentials(), args.max_file_mib << 20)?;
        load(&service, &source).await
    };
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return Ok(()),
        loaded = loading => loaded.map_err(|source| Error::Model { source })?,
    }
    serving.await;
    Ok(())
}

fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    let handler = |kind| signal(kind).map_err(|source| Error::Signals { source });
    let (mut terminate, mut interrupt) = (
        handler(SignalKind::terminate())?,
        handler(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The names are those of every S3 client, so they are taken as they are instead of becoming flags.
fn store_credentials() -> Vec<(String, String)> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables.filter(|(name, _)| name.starts_with("AWS_")).collect()
}

fn log_to_stderr(args: &Args) {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&args.log))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match args.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}

/// Kubernetes shows this text in `kubectl describe pod`; elsewhere the file does not exist and is not created.
fn leave_message(path: &Path, reason: &str) {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, reason.as_bytes()));
    match written {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(%error, "cannot write {}", path.display());
        }
        Ok(()) | Err(_) => {}
    }
}
